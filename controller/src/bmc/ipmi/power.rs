//! Power, and interrupting the machine (IPMI 2.0, sections 28.2 and 28.3).

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    Machine,
    command::{CHASSIS_CONTROL, GET_CHASSIS_STATUS},
};
use crate::{
    bmc::{BmcError, Changed, Health, Nmi, Power, PowerAction},
    node::PowerState,
};

const DOWN: u8 = 0;
const UP: u8 = 1;
const HARD_RESET: u8 = 3;
const DIAGNOSTIC_INTERRUPT: u8 = 4;
const SOFT_SHUTDOWN: u8 = 5;

const IS_ON: u8 = 0x01;
/// Power overload, main power fault, power control fault.
const POWER_FAULTS: u8 = 0x02 | 0x08 | 0x10;
/// Drive fault, cooling fault.
const OTHER_FAULTS: u8 = 0x04 | 0x08;

#[async_trait]
impl Power for Machine {
    async fn state(&self) -> Result<PowerState, BmcError> {
        let [power, ..]: [u8; 3] = self.client.ask(&GET_CHASSIS_STATUS, &[]).await?;
        Ok(if power & IS_ON == 0 { PowerState::Off } else { PowerState::On })
    }

    async fn set(&self, action: PowerAction) -> Result<Changed, BmcError> {
        let (control, target) = match action {
            PowerAction::On => (UP, Some(PowerState::On)),
            PowerAction::ForceOff => (DOWN, Some(PowerState::Off)),
            PowerAction::GracefulShutdown => (SOFT_SHUTDOWN, Some(PowerState::Off)),
            PowerAction::ForceRestart => (HARD_RESET, None),
            PowerAction::GracefulRestart => {
                return Err(self.client.unsupported(
                    "restart the machine softly: IPMI has no command for it; shut it down softly and power it on",
                ));
            }
        };
        match self.state().await? {
            state if Some(state) == target => return Ok(Changed::Already),
            // A reset of a machine that is off does nothing.
            PowerState::Off if target.is_none() => self.control(UP).await?,
            _ => self.control(control).await?,
        }
        Ok(Changed::Yes)
    }

    async fn wait_for(&self, state: PowerState, within: Duration) -> Result<(), BmcError> {
        let until = Instant::now() + within;
        let mut pause = self.client.pace.poll;
        loop {
            let problem = match self.state().await {
                Ok(found) if found == state => return Ok(()),
                Ok(_) => None,
                // BMCs are busy around a change of power: only the deadline ends the wait.
                Err(error) if error.passing() => Some(error),
                Err(error) => return Err(error),
            };
            let now = Instant::now();
            if now >= until {
                let (address, seconds) = (self.client.address.clone(), within.as_secs());
                return Err(problem.unwrap_or(BmcError::PowerUnchanged { address, wanted: state, seconds }));
            }
            tokio::time::sleep_until(until.min(now + pause)).await;
            pause = (pause * 2).min(self.client.pace.poll * 5);
        }
    }
}

#[async_trait]
impl Nmi for Machine {
    async fn inject(&self) -> Result<(), BmcError> {
        self.control(DIAGNOSTIC_INTERRUPT).await
    }
}

impl Machine {
    async fn control(&self, control: u8) -> Result<(), BmcError> {
        self.client.command(&CHASSIS_CONTROL, &[control]).await.map(drop)
    }

    /// What the chassis says of itself.
    pub(super) async fn chassis_health(&self) -> Result<Health, BmcError> {
        let [power, _, other]: [u8; 3] = self.client.ask(&GET_CHASSIS_STATUS, &[]).await?;
        let is_well = power & POWER_FAULTS == 0 && other & OTHER_FAULTS == 0;
        Ok(if is_well { Health::Ok } else { Health::Critical })
    }
}
