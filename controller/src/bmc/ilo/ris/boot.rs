//! What boots next.

use async_trait::async_trait;
use serde_json::{Value, json};
use tracing::{debug, info};

use super::Ris;
use crate::bmc::{BmcError, BootDevice, BootSource, Changed, MediaKind, redfish::Document};

const ENABLED: &str = "/Boot/BootSourceOverrideEnabled";
const TARGET: &str = "/Boot/BootSourceOverrideTarget";
const SUPPORTED: &str = "/Boot/BootSourceOverrideSupported";
/// The iLO refuses changes of the boot source while the machine is in its self-test.
const DURING_POST: &str = "UnableToModifyDuringSystemPOST";
const MAX_POST_WAITS: u32 = 6;

#[async_trait]
impl BootDevice for Ris {
    async fn boot_once(&self, source: BootSource) -> Result<Changed, BmcError> {
        let system = self.system().await?;
        let target = self.target(&system, source)?;
        match self.set_override(&system, target, "Once").await {
            // The drive itself can be told the same.
            Err(error @ BmcError::Refused { .. }) if source == BootSource::Cd => {
                info!(bmc = self.link.address, reason = %error, "the boot source is refused: the drive is told instead");
                self.boot_from_drive(MediaKind::Cd).await
            }
            other => other,
        }
    }

    async fn boot_always(&self, source: BootSource) -> Result<Changed, BmcError> {
        let system = self.system().await?;
        let result = match self.target(&system, source) {
            Ok(target) => self.set_override(&system, target, "Continuous").await,
            Err(error) => Err(error),
        };
        match result {
            Err(error @ (BmcError::Refused { .. } | BmcError::Unsupported { .. }))
                if source == BootSource::Disk && has_boot(&system) =>
            {
                info!(bmc = self.link.address, reason = %error, "the firmware's boot order decides");
                self.clear_override().await
            }
            other => other,
        }
    }

    async fn current(&self) -> Result<Option<(BootSource, bool)>, BmcError> {
        let system = self.system().await?;
        if !has_boot(&system) {
            return Err(self.no_boot());
        }
        let source = system.text(TARGET).and_then(source_of);
        Ok(match (system.text(ENABLED), source) {
            (Some("Once"), Some(source)) => Some((source, false)),
            (Some("Continuous"), Some(source)) => Some((source, true)),
            _ => None,
        })
    }

    async fn supported(&self) -> Result<Vec<BootSource>, BmcError> {
        let system = self.system().await?;
        if !has_boot(&system) {
            return Err(self.no_boot());
        }
        Ok(BootSource::ALL.into_iter().filter(|source| self.target(&system, *source).is_ok()).collect())
    }
}

/// Gen8 has RIS with newer firmware, but not all of it.
fn has_boot(system: &Document) -> bool {
    system.value.pointer(TARGET).is_some()
}

fn word_of(source: BootSource) -> Option<&'static str> {
    Some(match source {
        BootSource::Cd => "Cd",
        BootSource::Disk => "Hdd",
        BootSource::Pxe => "Pxe",
        BootSource::Setup => "BiosSetup",
        BootSource::UefiHttp => return None,
    })
}

fn source_of(word: &str) -> Option<BootSource> {
    BootSource::ALL.into_iter().find(|source| word_of(*source) == Some(word))
}

impl Ris {
    fn no_boot(&self) -> BmcError {
        self.unsupported("choose what the machine boots from by RIS")
    }

    fn target(&self, system: &Document, source: BootSource) -> Result<&'static str, BmcError> {
        if !has_boot(system) {
            return Err(self.no_boot());
        }
        let word = word_of(source).ok_or_else(|| self.unsupported(format!("boot from {source}")))?;
        match system.texts(SUPPORTED).filter(|list| !list.is_empty()) {
            Some(words) if !words.contains(&word) => {
                Err(self.unsupported(format!("boot from {word}: it only offers {}", words.join(", "))))
            }
            _ => Ok(word),
        }
    }

    async fn set_override(
        &self,
        system: &Document,
        target: &str,
        enabled: &str,
    ) -> Result<Changed, BmcError> {
        if system.text(ENABLED) == Some(enabled) && system.text(TARGET) == Some(target) {
            return Ok(Changed::Already);
        }
        let body =
            json!({"Boot": {"BootSourceOverrideEnabled": enabled, "BootSourceOverrideTarget": target}});
        self.patch_patiently(&system.path, &body).await?;
        Ok(Changed::Yes)
    }

    async fn clear_override(&self) -> Result<Changed, BmcError> {
        let system = self.system().await?;
        if matches!(system.text(ENABLED), None | Some("Disabled")) {
            return Ok(Changed::Already);
        }
        let body =
            json!({"Boot": {"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None"}});
        self.patch_patiently(&system.path, &body).await?;
        Ok(Changed::Yes)
    }

    async fn patch_patiently(&self, path: &str, body: &Value) -> Result<(), BmcError> {
        let mut pause = self.pace().poll_max;
        for _ in 0..MAX_POST_WAITS {
            match self.client.patch(path, body).await? {
                Err(refusal) if refusal.says(DURING_POST) => {
                    debug!(bmc = self.link.address, "the machine is in its self-test");
                }
                other => return Ok(other?),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.pace().longest);
        }
        Ok(self.client.patch(path, body).await??)
    }
}
