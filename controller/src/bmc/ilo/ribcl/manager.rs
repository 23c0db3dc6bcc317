//! The iLO itself.

use async_trait::async_trait;
use bessemer_proto::secret::Secret;
use chrono::{DateTime, Utc};

use super::{
    Ribcl,
    request::{Class, Command},
};
use crate::bmc::{BmcError, Changed, Manager};

#[async_trait]
impl Manager for Ribcl {
    async fn reset(&self) -> Result<(), BmcError> {
        let link = &self.client.link;
        match self.client.tell(&Command::write(Class::Rib, "RESET_RIB")).await {
            // It may be gone before it has answered.
            Ok(()) | Err(BmcError::Unreachable { .. } | BmcError::Timeout { .. }) => {}
            Err(error) => return Err(error),
        }
        link.wait_for_return(|| async { self.client.product().await.map(drop) }).await
    }

    async fn clock(&self) -> Result<Option<DateTime<Utc>>, BmcError> {
        Ok(None)
    }

    async fn set_clock(&self, _now: DateTime<Utc>) -> Result<Changed, BmcError> {
        Err(self.client.link.unsupported("have its clock set by RIBCL"))
    }

    async fn change_password(&self, new: &Secret) -> Result<Changed, BmcError> {
        let who = &self.client.link.settings.credentials;
        if &who.password == new {
            return Ok(Changed::Already);
        }
        let command = Command::write(Class::User, "MOD_USER")
            .with("USER_LOGIN", who.user.clone())
            .child("PASSWORD", new.reveal());
        self.client.tell(&command).await?;
        Ok(Changed::Yes)
    }
}
