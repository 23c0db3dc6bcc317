//! Firmware: versions and updates.

use async_trait::async_trait;
use serde_json::json;
use tokio::time::Instant;
use url::Url;

use super::Ris;
use crate::{
    bmc::{BmcError, FirmwareInventory, FirmwareUpdate, Job, Outcome, redfish::Document},
    node::hardware::FirmwareComponent,
};

/// States of a service that does nothing now.
const AT_REST: [&str; 3] = ["IDLE", "COMPLETED", "ERROR"];
const UPDATES: &str = "/Oem/Hp/links/UpdateService";
pub(super) const ROM: &str = "/Oem/Hp/Bios/Current/VersionString";
/// Older and newer firmware.
pub(super) const ILO: [&str; 2] = ["/Firmware/Current/VersionString", "/FirmwareVersion"];

#[async_trait]
impl FirmwareInventory for Ris {
    async fn components(&self) -> Result<Vec<FirmwareComponent>, BmcError> {
        let (system, manager) = (self.system().await?, self.manager().await?);
        let rom = system.text(ROM);
        let ilo = ILO.iter().find_map(|pointer| manager.text(pointer));
        let component = |(name, version): (&str, Option<&str>)| {
            Some(FirmwareComponent {
                component: name.to_owned(),
                current_version: Some(version?.chars().take(128).collect()),
                ..FirmwareComponent::default()
            })
        };
        Ok([("bios", rom), ("bmc", ilo)].into_iter().filter_map(component).collect())
    }
}

#[async_trait]
impl FirmwareUpdate for Ris {
    /// The image itself says what it is for.
    async fn update(&self, component: &str, url: &Url) -> Result<Option<Job>, BmcError> {
        if !matches!(component, "bios" | "bmc") {
            return Err(self.unsupported(format!("update {component}: an iLO 4 updates bios and bmc only")));
        }
        let service = self.updates().await?;
        let body = json!({"Action": "InstallFromURI", "FirmwareURI": url});
        self.client.post(&service.path, &body).await??;
        self.wait_until_begun(&service).await?;
        Ok(Some(Job(service.path)))
    }

    async fn under_way(&self) -> Result<Option<Job>, BmcError> {
        let service = self.updates().await?;
        let rests = service.text("/State").is_none_or(|state| AT_REST.contains(&state));
        Ok((!rests).then_some(Job(service.path)))
    }

    async fn progress(&self, job: &Job) -> Result<Outcome, BmcError> {
        let service = self.client.get(&job.0).await?;
        let percent = service.value.get("ProgressPercent").and_then(serde_json::Value::as_u64);
        let percent = percent.and_then(|percent| u8::try_from(percent.min(100)).ok());
        Ok(match service.text("/State") {
            Some("COMPLETED" | "IDLE") => Outcome::Done,
            Some("ERROR") => {
                Outcome::Failed("the iLO says that the update failed: its log says why".to_owned())
            }
            _ => Outcome::Pending(percent),
        })
    }
}

impl Ris {
    /// What the iLO says of the last update, it says until the next has begun.
    async fn wait_until_begun(&self, before: &Document) -> Result<(), BmcError> {
        let said = |service: &Document| {
            let percent = service.whole("/ProgressPercent");
            (service.text("/State").map(str::to_owned), percent)
        };
        let (known, within) = (said(before), self.pace().post);
        let until = Instant::now() + within;
        loop {
            let state = match self.client.get(&before.path).await {
                Ok(service) => said(&service),
                Err(error) if error.passing() => known.clone(),
                Err(error) => return Err(error),
            };
            let runs = state.0.as_ref().is_some_and(|state| !AT_REST.contains(&state.as_str()));
            if runs || state != known {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(BmcError::Timeout {
                    address: self.link.address.clone(),
                    what: "the request for an update, which has not begun,".to_owned(),
                    seconds: within.as_secs(),
                });
            }
            tokio::time::sleep(self.pace().poll_max).await;
        }
    }

    async fn updates(&self) -> Result<Document, BmcError> {
        let manager = self.manager().await?;
        let found = self.linked(&manager, UPDATES).await?;
        found.ok_or_else(|| self.unsupported("update firmware: it has no UpdateService"))
    }
}
