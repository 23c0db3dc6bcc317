//! Power, and interrupting the machine.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tracing::debug;

use super::Ris;
use crate::{
    bmc::{BmcError, Changed, Nmi, Power, PowerAction, ilo::wait, redfish::Document},
    node::PowerState,
};

/// Blades are told of power again when they do not follow.
const BLADE: &str = "ProLiant BL";
const MAX_BLADE_TRIES: u32 = 3;

#[async_trait]
impl Power for Ris {
    async fn state(&self) -> Result<PowerState, BmcError> {
        state_of(&self.system().await?)
    }

    async fn set(&self, action: PowerAction) -> Result<Changed, BmcError> {
        let system = self.system().await?;
        let is_on = state_of(&system)? == PowerState::On;
        let reset = |kind: &str| json!({"Action": "Reset", "ResetType": kind});
        let body = match (action, is_on) {
            (PowerAction::On, true) | (PowerAction::ForceOff | PowerAction::GracefulShutdown, false) => {
                return Ok(Changed::Already);
            }
            (PowerAction::On | PowerAction::ForceRestart, false) => reset("On"),
            (PowerAction::ForceOff, true) => reset("ForceOff"),
            (PowerAction::ForceRestart, true) => reset("ForceRestart"),
            (PowerAction::GracefulShutdown, true) => {
                json!({"Action": "PowerButton", "Target": "/Oem/Hp", "PushType": "Press"})
            }
            (PowerAction::GracefulRestart, _) => {
                return Err(self.unsupported("restart by asking the operating system: shut down, then start"));
            }
        };
        self.client.post(&system.path, &body).await??;
        if action == PowerAction::On && system.text("/Model").is_some_and(|model| model.contains(BLADE)) {
            self.insist(&system, &body).await?;
        }
        Ok(Changed::Yes)
    }

    async fn wait_for(&self, state: PowerState, within: Duration) -> Result<(), BmcError> {
        wait::for_power(self, state, within, self.pace(), &self.link.address).await
    }
}

#[async_trait]
impl Nmi for Ris {
    async fn inject(&self) -> Result<(), BmcError> {
        let system = self.system().await?;
        Ok(self.client.post(&system.path, &json!({"Action": "Reset", "ResetType": "Nmi"})).await??)
    }
}

impl Ris {
    /// The enclosure of a blade may say yes, and then not have power for it yet.
    async fn insist(&self, system: &Document, body: &serde_json::Value) -> Result<(), BmcError> {
        for _ in 0..MAX_BLADE_TRIES {
            tokio::time::sleep(self.pace().blade).await;
            if self.state().await? == PowerState::On {
                return Ok(());
            }
            debug!(bmc = self.link.address, "a blade is told again to be on");
            self.client.post(&system.path, body).await??;
        }
        Ok(())
    }
}

/// Older firmware has `Power`, newer `PowerState` as well.
fn state_of(system: &Document) -> Result<PowerState, BmcError> {
    match system.text("/Power").or_else(|| system.text("/PowerState")) {
        Some("On") => Ok(PowerState::On),
        Some("Off") => Ok(PowerState::Off),
        _ => Err(system.malformed("no Power that is On or Off")),
    }
}
