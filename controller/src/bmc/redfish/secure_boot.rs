//! UEFI Secure Boot.

use async_trait::async_trait;
use serde_json::json;

use super::{Machine, document::Document};
use crate::bmc::{BmcError, Changed, KeyChange, SecureBoot};

/// DSP0268, SecureBoot 1.0.
const RESET_KEYS: &str = "SecureBoot.ResetKeys";
/// What a database of keys consists of.
const KEYS: [&str; 2] = ["/Certificates", "/Signatures"];

#[async_trait]
impl SecureBoot for Machine {
    async fn enabled(&self) -> Result<Option<bool>, BmcError> {
        Ok(self.resource().await?.and_then(|resource| resource.flag("/SecureBootEnable")))
    }

    async fn set_enabled(&self, enabled: bool) -> Result<Changed, BmcError> {
        let Some(resource) = self.resource().await? else {
            return if enabled {
                Err(self.client.unsupported("turn Secure Boot on: the system has no SecureBoot resource"))
            } else {
                Ok(Changed::Already)
            };
        };
        if resource.flag("/SecureBootEnable") == Some(enabled) {
            return Ok(Changed::Already);
        }
        self.client.patch(&resource.path, &json!({"SecureBootEnable": enabled})).await??;
        Ok(Changed::Yes)
    }

    async fn change_keys(&self, change: KeyChange) -> Result<Changed, BmcError> {
        let Some(resource) = self.resource().await? else {
            return Err(self
                .client
                .unsupported("change Secure Boot keys: the system has no SecureBoot resource"));
        };
        let link = resource
            .action_target(RESET_KEYS)
            .ok_or_else(|| self.client.unsupported("change Secure Boot keys: it has no ResetKeys action"))?;
        if change == KeyChange::Clear && self.has_no_keys(&resource).await? {
            return Ok(Changed::Already);
        }
        let kind = match change {
            KeyChange::ResetToDefault => "ResetAllKeysToDefault",
            KeyChange::Clear => "DeleteAllKeys",
        };
        self.client.post(link, &json!({"ResetKeysType": kind})).await??;
        Ok(Changed::Yes)
    }
}

impl Machine {
    /// Whether the BMC shows its keys, and there are none (SecureBootDatabase 1.0).
    async fn has_no_keys(&self, resource: &Document) -> Result<bool, BmcError> {
        let link = resource.link("/SecureBootDatabases");
        let Some(link) = link.filter(|_| resource.text("/SecureBootMode") == Some("SetupMode")) else {
            return Ok(false);
        };
        let databases = self.client.documents(link).await?;
        for database in databases.iter().filter(|database| !database.id().ends_with("Default")) {
            for keys in KEYS {
                if let Some(link) = database.link(keys)
                    && !self.client.members(link).await?.is_empty()
                {
                    return Ok(false);
                }
            }
        }
        Ok(!databases.is_empty())
    }

    pub(in crate::bmc) async fn has_secure_boot(&self) -> Result<bool, BmcError> {
        Ok(self.resource().await?.is_some())
    }

    async fn resource(&self) -> Result<Option<Document>, BmcError> {
        let system = self.system().await?;
        match system.link("/SecureBoot") {
            Some(link) => self.client.find(link).await,
            None => Ok(None),
        }
    }
}
