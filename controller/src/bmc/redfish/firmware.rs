//! Firmware: its versions, and replacing it by `SimpleUpdate` or, where the BMC fetches nothing, by pushing the image.

use async_trait::async_trait;
use http::Method;
use serde_json::json;
use tracing::info;
use url::Url;

use super::{Machine, client::Refusal, document::Document, push, task::job_of, transport::Call};
use crate::{
    bmc::{BmcError, FirmwareInventory, FirmwareUpdate, Job, Outcome},
    node::hardware::FirmwareComponent,
};

const SIMPLE_UPDATE: &str = "UpdateService.SimpleUpdate";
const NIC: &str = "nic:";
/// Entries of the inventory in an error.
const MAX_NAMED: usize = 32;

#[async_trait]
impl FirmwareInventory for Machine {
    async fn components(&self) -> Result<Vec<FirmwareComponent>, BmcError> {
        let system = self.system().await?;
        let mut components = Vec::new();
        if let Some(version) = system.shown("/BiosVersion") {
            components.push(FirmwareComponent {
                component: "bios".to_owned(),
                current_version: Some(version),
                ..FirmwareComponent::default()
            });
        }
        let managers = self.managers(&system).await?;
        let versions =
            managers.iter().filter_map(|manager| Some((manager, manager.shown("/FirmwareVersion")?)));
        if let Some((manager, version)) = versions.into_iter().next() {
            components.push(FirmwareComponent {
                component: "bmc".to_owned(),
                current_version: Some(version),
                model: manager.shown("/Model"),
                ..FirmwareComponent::default()
            });
        }
        for adapter in self.network_adapters(&system).await? {
            let Some(version) = adapter.shown("/Controllers/0/FirmwarePackageVersion") else { continue };
            components.push(FirmwareComponent {
                component: format!("{NIC}{}", adapter.id()),
                current_version: Some(version),
                vendor: adapter.shown("/Manufacturer"),
                model: adapter.shown("/Model"),
                serial_number: adapter.shown("/SerialNumber"),
            });
        }
        Ok(components)
    }
}

#[async_trait]
impl FirmwareUpdate for Machine {
    async fn update(&self, component: &str, url: &Url) -> Result<Option<Job>, BmcError> {
        let service = match self.client.root().await?.link("/UpdateService") {
            Some(link) => self.client.find(link).await?,
            None => None,
        };
        let none = || self.client.unsupported("replace firmware: it has no UpdateService");
        let service = service.ok_or_else(none)?;
        if service.flag("/ServiceEnabled") == Some(false) {
            return Err(self.client.unsupported("replace firmware: its UpdateService is switched off"));
        }
        let targets = self.update_targets(&service, component).await?;
        if let Some(link) = service.action_target(SIMPLE_UPDATE) {
            return self.simple_update(&service, link, &targets, url).await;
        }
        let link = service.text("/MultipartHttpPushUri").ok_or_else(|| {
            self.client
                .unsupported("replace firmware: it has neither SimpleUpdate nor a URL to push images to")
        })?;
        let started = push::image(&self.client, link, &targets, url).await?;
        Ok(job_of([started]))
    }

    /// A task names the request that it came of (Task 1.3, `Payload`).
    async fn under_way(&self) -> Result<Option<Job>, BmcError> {
        let Some(service) = self.client.root().await?.link("/Tasks") else { return Ok(None) };
        let Some(service) = self.client.look(service).await? else { return Ok(None) };
        let Some(link) = service.link("/Tasks") else { return Ok(None) };
        let tasks = self.client.documents(link).await?;
        let is_it = |task: &&Document| {
            let ended = ["Completed", "Killed", "Exception", "Cancelled"];
            task.text("/Payload/TargetUri").is_some_and(|target| target.contains("/UpdateService"))
                && task.text("/TaskState").is_some_and(|state| !ended.contains(&state))
        };
        Ok(tasks.iter().find(is_it).map(|task| Job(task.path.clone())))
    }

    async fn progress(&self, job: &Job) -> Result<Outcome, BmcError> {
        self.client.job_progress(job).await
    }
}

/// Whether it is the targets that the BMC does not take.
fn names_targets(refusal: &Refusal) -> bool {
    let arguments = refusal.messages.iter().flat_map(|message| &message.arguments);
    arguments.map(|argument| argument.trim_start_matches(['#', '/'])).any(|name| name.starts_with("Targets"))
}

impl Machine {
    async fn simple_update(
        &self,
        service: &Document,
        link: &str,
        targets: &[String],
        url: &Url,
    ) -> Result<Option<Job>, BmcError> {
        let protocol = url.scheme().to_ascii_uppercase();
        let allowed = self.allowed(service, SIMPLE_UPDATE, "TransferProtocol").await?;
        let mut body = json!({"ImageURI": url});
        if allowed.is_some_and(|words| words.contains(&protocol)) {
            body["TransferProtocol"] = json!(protocol);
        }
        let plain = body.clone();
        if !targets.is_empty() {
            body["Targets"] = json!(targets);
        }
        let call = Call { method: &Method::POST, link, body: Some(&body), if_match: None };
        let started = match self.client.start(call).await? {
            // The image itself says what it is for.
            Err(refusal) if !targets.is_empty() && names_targets(&refusal) => {
                info!(bmc = self.client.transport.address, reason = %refusal.error, "the update is asked for without targets");
                self.client.start(Call { body: Some(&plain), ..call }).await??
            }
            result => result?,
        };
        Ok(job_of([started]))
    }

    /// Which entries of the firmware inventory are meant: of a network card by its id or the entry's own, of others none,
    /// the image knows.
    async fn update_targets(&self, service: &Document, component: &str) -> Result<Vec<String>, BmcError> {
        let Some(id) = component.strip_prefix(NIC) else { return Ok(Vec::new()) };
        let entries = match service.link("/FirmwareInventory") {
            Some(link) => self.client.documents(link).await?,
            None => Vec::new(),
        };
        let of_it = |entry: &&Document| {
            let related = entry.links("/RelatedItem");
            entry.id() == id
                || related.iter().any(|link| link.trim_end_matches('/').rsplit('/').next() == Some(id))
        };
        let may_be = |entry: &&Document| entry.flag("/Updateable") != Some(false);
        let found: Vec<_> =
            entries.iter().filter(may_be).filter(of_it).map(|entry| entry.path.clone()).collect();
        if found.is_empty() {
            let known: Vec<_> = entries.iter().filter(may_be).map(Document::id).take(MAX_NAMED).collect();
            return Err(BmcError::DriverInfo(format!(
                "component {component}: the BMC has no firmware for it that can be updated; it has {}",
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            )));
        }
        Ok(found)
    }

    /// The network cards of the machine.
    pub(super) async fn network_adapters(&self, system: &Document) -> Result<Vec<Document>, BmcError> {
        let mut adapters = Vec::new();
        for link in system.links("/Links/Chassis") {
            let Some(chassis) = self.client.look(&link).await? else { continue };
            if let Some(link) = chassis.link("/NetworkAdapters") {
                adapters.extend(self.client.documents(link).await?);
            }
        }
        Ok(adapters)
    }
}
