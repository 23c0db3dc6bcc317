//! The iLO itself.

use async_trait::async_trait;
use bessemer_proto::secret::Secret;
use chrono::{DateTime, Utc};
use serde_json::json;

use super::{ROOT, Ris, firmware::ILO, href};
use crate::bmc::{BmcError, Changed, Health, Manager, Overview, quirks::Identity};

#[async_trait]
impl Manager for Ris {
    async fn reset(&self) -> Result<(), BmcError> {
        let manager = self.manager().await?;
        match self.client.post(&manager.path, &json!({"Action": "Reset"})).await {
            // It may be gone before it has answered.
            Err(BmcError::Unreachable { .. } | BmcError::Timeout { .. }) => {}
            other => other??,
        }
        self.link.wait_for_return(|| async { self.client.get(&manager.path).await.map(drop) }).await
    }

    async fn clock(&self) -> Result<Option<DateTime<Utc>>, BmcError> {
        Ok(None)
    }

    async fn set_clock(&self, _now: DateTime<Utc>) -> Result<Changed, BmcError> {
        Err(self.unsupported("have its clock set by RIS"))
    }

    async fn change_password(&self, new: &Secret) -> Result<Changed, BmcError> {
        let who = &self.link.settings.credentials;
        if &who.password == new {
            return Ok(Changed::Already);
        }
        let root = self.client.get(ROOT).await?;
        let service = self.linked(&root, "/links/AccountService").await?;
        let service = service.ok_or_else(|| root.malformed("no AccountService"))?;
        let accounts =
            href(&service.value, "/links/Accounts").ok_or_else(|| service.malformed("no Accounts"))?;
        for link in self.member_links(accounts).await? {
            let Some(account) = self.client.find(&link).await? else { continue };
            if account.text("/UserName") == Some(who.user.as_str()) {
                self.client.patch(&account.path, &json!({"Password": new.reveal()})).await??;
                return Ok(Changed::Yes);
            }
        }
        // Users of a directory are not kept by the iLO.
        Err(self.unsupported("change the password: ilo_username is no local user of it"))
    }
}

#[async_trait]
impl Overview for Ris {
    async fn vendor(&self) -> Result<Option<String>, BmcError> {
        Ok(Some("HPE".to_owned()))
    }

    async fn identity(&self) -> Result<Identity, BmcError> {
        let (system, manager) = (self.system().await?, self.manager().await?);
        Ok(Identity {
            vendor: system.shown("/Manufacturer"),
            model: system.shown("/Model"),
            bmc: manager.shown("/Model"),
            firmware: ILO.iter().find_map(|pointer| manager.shown(pointer)),
        })
    }

    async fn health(&self) -> Result<Option<Health>, BmcError> {
        let system = self.system().await?;
        let health = system.text("/Status/Health").or_else(|| system.text("/Status/HealthRollUp"));
        Ok(health.and_then(|health| health.parse().ok()))
    }
}
