//! Power.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    Ribcl,
    request::{Class, Command},
};
use crate::{
    bmc::{BmcError, Changed, Power, PowerAction, ilo::wait},
    node::PowerState,
};

#[async_trait]
impl Power for Ribcl {
    async fn state(&self) -> Result<PowerState, BmcError> {
        let command = Command::read(Class::Server, "GET_HOST_POWER_STATUS");
        let data = self.client.ask(&command).await?;
        match data.attribute("HOST_POWER") {
            Some("ON") => Ok(PowerState::On),
            Some("OFF") => Ok(PowerState::Off),
            _ => Err(self.client.malformed(&command, "no HOST_POWER that is ON or OFF")),
        }
    }

    async fn set(&self, action: PowerAction) -> Result<Changed, BmcError> {
        let is_on = self.state().await? == PowerState::On;
        let write = |name| Command::write(Class::Server, name);
        let command = match (action, is_on) {
            (PowerAction::On, true) | (PowerAction::ForceOff | PowerAction::GracefulShutdown, false) => {
                return Ok(Changed::Already);
            }
            (PowerAction::On | PowerAction::ForceRestart, false) => {
                write("SET_HOST_POWER").with("HOST_POWER", "Yes")
            }
            (PowerAction::ForceOff, true) => write("HOLD_PWR_BTN").with("TOGGLE", "NO"),
            (PowerAction::GracefulShutdown, true) => write("PRESS_PWR_BTN"),
            (PowerAction::ForceRestart, true) => write("RESET_SERVER"),
            (PowerAction::GracefulRestart, _) => {
                return Err(self
                    .client
                    .link
                    .unsupported("restart by asking the operating system: shut down, then start"));
            }
        };
        self.client.tell(&command).await?;
        Ok(Changed::Yes)
    }

    async fn wait_for(&self, state: PowerState, within: Duration) -> Result<(), BmcError> {
        wait::for_power(self, state, within, self.pace(), &self.client.link.address).await
    }
}
