//! Firmware: versions and updates.

use async_trait::async_trait;
use serde_json::json;
use url::Url;

use super::Ris;
use crate::{
    bmc::{BmcError, FirmwareInventory, FirmwareUpdate, Job, Outcome, redfish::Document},
    node::hardware::FirmwareComponent,
};

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
    async fn update(&self, _component: &str, url: &Url) -> Result<Option<Job>, BmcError> {
        let service = self.updates().await?;
        let body = json!({"Action": "InstallFromURI", "FirmwareURI": url});
        self.client.post(&service.path, &body).await??;
        Ok(Some(Job(service.path)))
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
    async fn updates(&self) -> Result<Document, BmcError> {
        let manager = self.manager().await?;
        let found = self.linked(&manager, UPDATES).await?;
        found.ok_or_else(|| self.unsupported("update firmware: it has no UpdateService"))
    }
}
