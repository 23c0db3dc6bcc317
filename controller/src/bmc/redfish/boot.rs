//! What boots next, and in which mode.

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tracing::{debug, info};

use url::Url;

use super::{Machine, client::Refusal, document::Document};
use crate::bmc::{
    BmcError, BootDevice, BootSource, Changed, HttpBoot,
    queue::Retry,
    quirks::{ManagerAttributes, Quirks},
};

pub(super) const ENABLED: &str = "/Boot/BootSourceOverrideEnabled";
pub(super) const TARGET: &str = "/Boot/BootSourceOverrideTarget";
pub(super) const MODE: &str = "/Boot/BootSourceOverrideMode";
const ALLOWED: &str = "/Boot/BootSourceOverrideTarget@Redfish.AllowableValues";
/// iLO refuses changes of the boot source while the machine is in its self-test.
const DURING_POST: &str = "UnableToModifyDuringSystemPOST";
const ATTEMPTS_IN_POST: u32 = 7;
const HTTP_URI: &str = "/Boot/HttpBootUri";
const SETTINGS: &str = "/@Redfish.Settings/SettingsObject";

/// Where the boot source is chosen, and how.
pub(super) struct Place {
    /// The system, or its settings where the BMC takes the choice only there.
    pub(super) at: Document,
    pub(super) quirks: Quirks,
}

#[async_trait]
impl BootDevice for Machine {
    async fn boot_once(&self, source: BootSource) -> Result<Changed, BmcError> {
        let place = self.boot_place().await?;
        if let (BootSource::Cd, Some(wanted)) = (source, &place.quirks.virtual_cd_attributes) {
            return self.boot_by_attributes(wanted).await;
        }
        let done = match self.target(&place, source) {
            Ok(target) => self.set_override(&place, target, "Once").await?,
            Err(refused) => match self.boot_option(&place.at, source).await? {
                Some(boot) => {
                    self.patch_boot(&place.at.path, &json!({"Boot": boot})).await?.map(|()| Changed::Yes)
                }
                None => return Err(refused),
            },
        };
        done.map_err(BmcError::from)
    }

    async fn boot_always(&self, source: BootSource) -> Result<Changed, BmcError> {
        let place = self.boot_place().await?;
        if source != BootSource::Disk {
            let target = self.target(&place, source)?;
            return self.set_override(&place, target, "Continuous").await?.map_err(BmcError::from);
        }
        let uefi = place.at.text(MODE) == Some("UEFI");
        if !(uefi && place.quirks.no_persistent_disk_in_uefi)
            && let Ok(target) = self.target(&place, source)
        {
            match self.set_override(&place, target, "Continuous").await? {
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
        let place = self.boot_place().await?;
        Ok(BootSource::ALL.into_iter().filter(|source| self.target(&place, *source).is_ok()).collect())
    }
}

#[async_trait]
impl HttpBoot for Machine {
    async fn boot_once_from(&self, url: &Url) -> Result<Changed, BmcError> {
        let place = self.boot_place().await?;
        let target = self.target(&place, BootSource::UefiHttp)?;
        let at = &place.at;
        let is_so = at.text(ENABLED) == Some("Once") && at.text(TARGET) == Some(target);
        if is_so && at.text(HTTP_URI) == Some(url.as_str()) {
            return Ok(Changed::Already);
        }
        let mut boot = json!({
            "BootSourceOverrideTarget": target, "BootSourceOverrideEnabled": "Once", "HttpBootUri": url,
        });
        if let (true, Some(mode)) = (place.quirks.full_boot_request, at.text(MODE)) {
            boot["BootSourceOverrideMode"] = json!(mode);
        }
        self.patch_boot(&at.path, &json!({"Boot": boot})).await??;
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
    /// The system; its settings (`@Redfish.Settings`) where those show the boot override: such BMCs refuse it in the
    /// system. What the settings leave out is as the system says.
    pub(super) async fn boot_place(&self) -> Result<Place, BmcError> {
        let system = self.system().await?;
        let quirks = self.quirks(&system);
        let Some(link) = system.link(SETTINGS) else { return Ok(Place { at: system, quirks }) };
        let settings = self.client.look(link).await?;
        let Some(mut at) = settings.filter(|settings| settings.value.pointer(TARGET).is_some()) else {
            return Ok(Place { at: system, quirks });
        };
        if let (Some(Value::Object(shown)), Some(Value::Object(boot))) =
            (system.value.get("Boot"), at.value.get_mut("Boot"))
        {
            for (key, value) in shown {
                let missing = boot.get(key).is_none_or(Value::is_null);
                if missing && key.starts_with("BootSourceOverride") {
                    boot.insert(key.clone(), value.clone());
                }
            }
        }
        Ok(Place { at, quirks })
    }

    /// The word this BMC knows for a source.
    fn target(&self, place: &Place, source: BootSource) -> Result<&'static str, BmcError> {
        let words = words_of(source);
        let Some(allowed) = place.at.texts(ALLOWED).filter(|list| !list.is_empty()) else {
            return Ok(words[0]);
        };
        let mut known = words.iter().filter(|word| allowed.contains(word)).copied();
        // Where the virtual drive is a USB drive, the other word means one in the machine.
        let best = if place.quirks.virtual_cd_is_usb { known.next_back() } else { known.next() };
        best.ok_or_else(|| {
            self.client.unsupported(format!("boot from {}: it only offers {}", words[0], allowed.join(", ")))
        })
    }

    async fn set_override(
        &self,
        place: &Place,
        target: &str,
        enabled: &str,
    ) -> Result<Result<Changed, Refusal>, BmcError> {
        let (at, quirks) = (&place.at, &place.quirks);
        let same_duration = at.text(ENABLED) == Some(enabled);
        if same_duration && at.text(TARGET) == Some(target) {
            return Ok(Ok(Changed::Already));
        }
        let mut boot = Map::from_iter([("BootSourceOverrideTarget".to_owned(), json!(target))]);
        // Some BMCs refuse a value that is in force already; others want all of them each time.
        if !same_duration || quirks.always_send_enabled || quirks.full_boot_request {
            boot.insert("BootSourceOverrideEnabled".to_owned(), json!(enabled));
        }
        if let (true, Some(mode)) = (quirks.full_boot_request, at.text(MODE)) {
            boot.insert("BootSourceOverrideMode".to_owned(), json!(mode));
        }
        // A URL that is left there is fetched at the next HTTP boot.
        if at.text(HTTP_URI).is_some() {
            boot.insert("HttpBootUri".to_owned(), Value::Null);
        }
        let result = self.patch_boot(&at.path, &json!({"Boot": boot})).await?;
        Ok(result.map(|()| Changed::Yes))
    }

    /// By attributes of the manager, where the BMC's word for a CD means a drive in the machine.
    async fn boot_by_attributes(&self, wanted: &ManagerAttributes) -> Result<Changed, BmcError> {
        let system = self.system().await?;
        for manager in self.managers(&system).await? {
            for link in manager.links_or_link(&wanted.at) {
                let Some(at) = self.client.find(&link).await? else { continue };
                let now = |name: &String| at.value.get("Attributes").and_then(|all| all.get(name));
                if wanted.values.keys().any(|name| now(name).is_none()) {
                    continue;
                }
                if wanted.values.iter().all(|(name, value)| now(name).and_then(Value::as_str) == Some(value))
                {
                    return Ok(Changed::Already);
                }
                self.client.patch(&at.path, &json!({"Attributes": wanted.values})).await??;
                return Ok(Changed::Yes);
            }
        }
        let names: Vec<_> = wanted.values.keys().map(String::as_str).collect();
        Err(self.client.unsupported(format!(
            "boot from its virtual CD: its managers have no attributes {}",
            names.join(", ")
        )))
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
        let Place { at, quirks } = self.boot_place().await?;
        if matches!(at.text(ENABLED), None | Some("Disabled")) {
            return Ok(Changed::Already);
        }
        let mut boot = json!({"BootSourceOverrideEnabled": "Disabled"});
        if quirks.full_boot_request {
            boot["BootSourceOverrideTarget"] = json!("None");
            boot["BootSourceOverrideMode"] = json!(at.text(MODE));
        }
        self.patch_boot(&at.path, &json!({"Boot": boot})).await??;
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
