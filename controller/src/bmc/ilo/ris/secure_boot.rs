//! UEFI Secure Boot. Changes are only looked at in a self-test that has settings to apply: so one setting without
//! meaning is changed with them.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::Ris;
use crate::{
    bmc::{BmcError, BootModeControl as _, Changed, KeyChange, SecureBoot, redfish::Document},
    node::BootMode,
};

const LINK: &str = "/Oem/Hp/links/SecureBoot";
const ENABLED: &str = "/SecureBootEnable";
const CURRENT: &str = "/SecureBootCurrentState";
/// The setting without meaning: a text that is shown during the self-test.
const MESSAGE: &str = "CustomPostMessage";

#[async_trait]
impl SecureBoot for Ris {
    async fn enabled(&self) -> Result<Option<bool>, BmcError> {
        let Some(resource) = self.secure_boot().await? else { return Ok(None) };
        Ok(resource.flag(CURRENT).or_else(|| resource.flag(ENABLED)))
    }

    async fn set_enabled(&self, enabled: bool) -> Result<Changed, BmcError> {
        let Some(resource) = self.secure_boot().await? else {
            return if enabled {
                Err(self.no_secure_boot("turn Secure Boot on"))
            } else {
                Ok(Changed::Already)
            };
        };
        let is_asked_for = resource.flag(ENABLED) == Some(enabled);
        if is_asked_for && resource.flag(CURRENT).is_none_or(|current| current == enabled) {
            return Ok(Changed::Already);
        }
        self.only_in_uefi("change Secure Boot").await?;
        self.wait_for_post().await?;
        if !is_asked_for {
            self.client.patch(&resource.path, &json!({"SecureBootEnable": enabled})).await??;
        }
        match self.have_it_applied().await? {
            Changed::Already if is_asked_for => Ok(Changed::Already),
            _ => Ok(Changed::Yes),
        }
    }

    async fn change_keys(&self, change: KeyChange) -> Result<Changed, BmcError> {
        let resource = self.secure_boot().await?;
        let resource = resource.ok_or_else(|| self.no_secure_boot("change Secure Boot keys"))?;
        self.only_in_uefi("change Secure Boot keys").await?;
        let body = match change {
            KeyChange::ResetToDefault => json!({"ResetToDefaultKeys": true}),
            KeyChange::Clear => json!({"ResetAllKeys": true}),
        };
        self.wait_for_post().await?;
        self.client.patch(&resource.path, &body).await??;
        self.have_it_applied().await?;
        Ok(Changed::Yes)
    }
}

impl Ris {
    async fn secure_boot(&self) -> Result<Option<Document>, BmcError> {
        let system = self.system().await?;
        self.linked(&system, LINK).await
    }

    fn no_secure_boot(&self, what: &str) -> BmcError {
        self.unsupported(format!("{what}: the machine has none"))
    }

    async fn only_in_uefi(&self, what: &str) -> Result<(), BmcError> {
        let bios = self.bios(what).await?;
        let pending = self.pending(&bios).await?;
        // A machine that will boot by UEFI may be told already.
        let is_uefi = self.mode().await? == Some(BootMode::Uefi)
            || pending.text("/BootMode").is_some_and(|mode| mode.eq_ignore_ascii_case("uefi"));
        if is_uefi {
            Ok(())
        } else {
            Err(self.unsupported(format!("{what}: the machine boots by BIOS, and only UEFI has it")))
        }
    }

    /// Sees to it that the next self-test has settings to apply.
    async fn have_it_applied(&self) -> Result<Changed, BmcError> {
        let bios = self.bios("change Secure Boot").await?;
        let pending = self.pending(&bios).await?;
        let message =
            |of: &Document| of.value.get(MESSAGE).and_then(Value::as_str).unwrap_or_default().to_owned();
        let shown = message(&bios);
        if message(&pending) != shown {
            return Ok(Changed::Already);
        }
        let other = match shown.strip_suffix(' ') {
            Some(shorter) => shorter.to_owned(),
            None => format!("{shown} "),
        };
        self.client.patch(&pending.path, &json!({MESSAGE: other})).await??;
        Ok(Changed::Yes)
    }
}
