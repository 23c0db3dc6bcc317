//! UEFI Secure Boot.

use async_trait::async_trait;
use serde_json::json;

use super::{Machine, document::Document};
use crate::bmc::{BmcError, Changed, SecureBoot};

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
}

impl Machine {
    async fn resource(&self) -> Result<Option<Document>, BmcError> {
        let system = self.system().await?;
        match system.link("/SecureBoot") {
            Some(link) => self.client.find(link).await,
            None => Ok(None),
        }
    }
}
