//! `management.reset_secure_boot_keys_to_default`, `clear_secure_boot_keys`, `set_bmc_clock`.

use async_trait::async_trait;
use chrono::Utc;

use super::{At, Started, Task, lacks};
use crate::{
    bmc::{BmcError, Changed, Job, KeyChange, Outcome},
    node::Node,
    reconcile::error::Failure,
};

/// Changes the keys that Secure Boot trusts.
pub(super) struct Keys(KeyChange);
pub(super) const RESET_KEYS: Keys = Keys(KeyChange::ResetToDefault);
pub(super) const CLEAR_KEYS: Keys = Keys(KeyChange::Clear);

/// Sets the BMC's clock to the controller's.
pub(super) struct SetClock;

#[async_trait]
impl Task for Keys {
    async fn start(&self, _node: &mut Node, at: &At<'_>) -> Result<Started, Failure> {
        let secure_boot = at.bmc.secure_boot.as_ref().ok_or_else(|| lacks("change Secure Boot keys"))?;
        Ok(match secure_boot.change_keys(self.0).await? {
            Changed::Already => Started::Done,
            Changed::Yes => Started::Running { job: None, restart: true },
        })
    }

    /// BMCs tell nothing of keys: they are changed when the machine has started anew.
    async fn look(&self, at: &At<'_>, _job: Option<&Job>) -> Result<Outcome, BmcError> {
        match &at.bmc.secure_boot {
            Some(secure_boot) => secure_boot.enabled().await.map(|_| Outcome::Done),
            None => Ok(Outcome::Done),
        }
    }
}

#[async_trait]
impl Task for SetClock {
    async fn start(&self, _node: &mut Node, at: &At<'_>) -> Result<Started, Failure> {
        let manager = at.bmc.manager.as_ref().ok_or_else(|| lacks("set its clock"))?;
        manager.set_clock(Utc::now()).await?;
        Ok(Started::Done)
    }

    async fn look(&self, _at: &At<'_>, _job: Option<&Job>) -> Result<Outcome, BmcError> {
        Ok(Outcome::Done)
    }
}
