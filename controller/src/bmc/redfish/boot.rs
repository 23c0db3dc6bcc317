//! What boots next, and in which mode.

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tracing::{debug, info};

use url::Url;

use super::{Machine, client::Refusal, document::Document};
use crate::bmc::{BmcError, BootDevice, BootSource, Changed, HttpBoot, queue::Retry};

pub(super) const ENABLED: &str = "/Boot/BootSourceOverrideEnabled";
pub(super) const TARGET: &str = "/Boot/BootSourceOverrideTarget";
pub(super) const MODE: &str = "/Boot/BootSourceOverrideMode";
const ALLOWED: &str = "/Boot/BootSourceOverrideTarget@Redfish.AllowableValues";
/// iLO refuses changes of the boot source while the machine is in its self-test.
const DURING_POST: &str = "UnableToModifyDuringSystemPOST";
const ATTEMPTS_IN_POST: u32 = 7;
const HTTP_URI: &str = "/Boot/HttpBootUri";

#[async_trait]
impl BootDevice for Machine {
    async fn boot_once(&self, source: BootSource) -> Result<Changed, BmcError> {
        let system = self.system().await?;
        let done = match self.target(&system, source) {
            Ok(target) => self.set_override(&system, target, "Once").await?,
            Err(refused) => match self.boot_option(&system, source).await? {
                Some(boot) => {
                    self.patch_boot(&system.path, &json!({"Boot": boot})).await?.map(|()| Changed::Yes)
                }
                None => return Err(refused),
            },
        };
        done.map_err(BmcError::from)
    }

    async fn boot_always(&self, source: BootSource) -> Result<Changed, BmcError> {
        let system = self.system().await?;
        if source != BootSource::Disk {
            let target = self.target(&system, source)?;
            return self.set_override(&system, target, "Continuous").await?.map_err(BmcError::from);
        }
        let uefi = system.text(MODE) == Some("UEFI");
        if !(uefi && self.quirks(&system).no_persistent_disk_in_uefi)
            && let Ok(target) = self.target(&system, source)
        {
            match self.set_override(&system, target, "Continuous").await? {
                Ok(changed) => return Ok(changed),
                Err(refusal) => info!(
                    bmc = self.client.transport.address,
                    reason = %refusal.error,
                    "the BMC takes no persistent boot source: the firmware's boot order decides"
                ),
            }
        }
        self.clear_override().await
    }

    async fn current(&self) -> Result<Option<(BootSource, bool)>, BmcError> {
        let system = self.system().await?;
        let source = system.text(TARGET).and_then(source_of);
        Ok(match (system.text(ENABLED), source) {
            (Some("Once"), Some(source)) => Some((source, false)),
            (Some("Continuous"), Some(source)) => Some((source, true)),
            _ => None,
        })
    }

    async fn supported(&self) -> Result<Vec<BootSource>, BmcError> {
        let system = self.system().await?;
        Ok(BootSource::ALL.into_iter().filter(|source| self.target(&system, *source).is_ok()).collect())
    }
}

#[async_trait]
impl HttpBoot for Machine {
    async fn boot_once_from(&self, url: &Url) -> Result<Changed, BmcError> {
        let system = self.system().await?;
        let target = self.target(&system, BootSource::UefiHttp)?;
        let is_so = system.text(ENABLED) == Some("Once") && system.text(TARGET) == Some(target);
        if is_so && system.text(HTTP_URI) == Some(url.as_str()) {
            return Ok(Changed::Already);
        }
        let mut boot = json!({
            "BootSourceOverrideTarget": target, "BootSourceOverrideEnabled": "Once", "HttpBootUri": url,
        });
        if let (true, Some(mode)) = (self.quirks(&system).full_boot_request, system.text(MODE)) {
            boot["BootSourceOverrideMode"] = json!(mode);
        }
        self.patch_boot(&system.path, &json!({"Boot": boot})).await??;
        Ok(Changed::Yes)
    }
}

/// Redfish's words for a source, best first.
fn words_of(source: BootSource) -> &'static [&'static str] {
    match source {
        BootSource::Cd => &["Cd", "UsbCd"],
        BootSource::Disk => &["Hdd"],
        BootSource::Pxe => &["Pxe"],
        BootSource::Setup => &["BiosSetup"],
        BootSource::UefiHttp => &["UefiHttp"],
    }
}

fn source_of(word: &str) -> Option<BootSource> {
    BootSource::ALL.into_iter().find(|source| words_of(*source).contains(&word))
}

impl Machine {
    /// The word this BMC knows for a source.
    fn target(&self, system: &Document, source: BootSource) -> Result<&'static str, BmcError> {
        let words = words_of(source);
        let Some(allowed) = system.texts(ALLOWED).filter(|list| !list.is_empty()) else {
            return Ok(words[0]);
        };
        let known = words.iter().find(|word| allowed.contains(word)).copied();
        known.ok_or_else(|| {
            self.client.unsupported(format!("boot from {}: it only offers {}", words[0], allowed.join(", ")))
        })
    }

    async fn set_override(
        &self,
        system: &Document,
        target: &str,
        enabled: &str,
    ) -> Result<Result<Changed, Refusal>, BmcError> {
        let same_duration = system.text(ENABLED) == Some(enabled);
        if same_duration && system.text(TARGET) == Some(target) {
            return Ok(Ok(Changed::Already));
        }
        let quirks = self.quirks(system);
        let mut boot = Map::from_iter([("BootSourceOverrideTarget".to_owned(), json!(target))]);
        // Some BMCs refuse a value that is in force already; others want all of them each time.
        if !same_duration || quirks.always_send_enabled || quirks.full_boot_request {
            boot.insert("BootSourceOverrideEnabled".to_owned(), json!(enabled));
        }
        if let (true, Some(mode)) = (quirks.full_boot_request, system.text(MODE)) {
            boot.insert("BootSourceOverrideMode".to_owned(), json!(mode));
        }
        // A URL that is left there is fetched at the next HTTP boot.
        if system.text(HTTP_URI).is_some() {
            boot.insert("HttpBootUri".to_owned(), Value::Null);
        }
        let result = self.patch_boot(&system.path, &json!({"Boot": boot})).await?;
        Ok(result.map(|()| Changed::Yes))
    }

    /// Booting one of the firmware's own entries once, where the BMC has no word for the source but entries that say what
    /// they are for (`BootOption.Alias`).
    async fn boot_option(&self, system: &Document, source: BootSource) -> Result<Option<Value>, BmcError> {
        let allowed = system.texts(ALLOWED).unwrap_or_default();
        let (next, path) = (allowed.contains(&"UefiBootNext"), allowed.contains(&"UefiTarget"));
        let Some(link) = system.link("/Boot/BootOptions").filter(|_| next || path) else { return Ok(None) };
        let options = self.client.documents(link).await?;
        let is_it = |option: &&Document| option.text("/Alias").is_some_and(|a| words_of(source).contains(&a));
        let Some(option) = options.iter().find(is_it) else { return Ok(None) };
        Ok(match (option.text("/BootOptionReference"), option.text("/UefiDevicePath")) {
            (Some(reference), _) if next => Some(json!({
                "BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "UefiBootNext", "BootNext": reference,
            })),
            (_, Some(device)) if path => Some(json!({
                "BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "UefiTarget",
                "UefiTargetBootSourceOverride": device,
            })),
            _ => None,
        })
    }

    /// The firmware's own boot order decides.
    async fn clear_override(&self) -> Result<Changed, BmcError> {
        let system = self.system().await?;
        if matches!(system.text(ENABLED), None | Some("Disabled")) {
            return Ok(Changed::Already);
        }
        self.patch_boot(&system.path, &json!({"Boot": {"BootSourceOverrideEnabled": "Disabled"}})).await??;
        Ok(Changed::Yes)
    }

    async fn patch_boot(&self, path: &str, body: &Value) -> Result<Result<(), Refusal>, BmcError> {
        let pace = &self.client.transport.pace;
        let retry = Retry {
            attempts: ATTEMPTS_IN_POST,
            pause: pace.poll_max,
            factor: 2,
            longest: pace.poll_max * 6,
            within: pace.operation,
        };
        let in_post = |result: &Result<Result<(), Refusal>, BmcError>| {
            let waits = matches!(result, Ok(Err(refusal)) if refusal.says(DURING_POST));
            if waits {
                debug!(bmc = self.client.transport.address, "the machine is in its self-test");
            }
            waits.into()
        };
        retry.run(|| self.client.patch(path, body), in_post).await
    }
}
