//! Power.

use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::debug;

use super::{Machine, client::Refusal, document::Document};
use crate::{
    bmc::{
        BmcError, Changed, Power, PowerAction,
        queue::{Again, Retry},
    },
    node::PowerState,
};

pub(super) const RESET: &str = "ComputerSystem.Reset";
const PUSH: &str = "PushPowerButton";
const ATTEMPTS_IN_CONFLICT: u32 = 7;

#[async_trait]
impl Power for Machine {
    async fn state(&self) -> Result<PowerState, BmcError> {
        state_of(&self.system().await?)
    }

    async fn set(&self, action: PowerAction) -> Result<Changed, BmcError> {
        let system = self.system().await?;
        let state = state_of(&system)?;
        if !restarts(action) && state == target(action) && !in_transition(&system) {
            return Ok(Changed::Already);
        }
        // A machine that is off is not restarted but started.
        let is_off = state == PowerState::Off && !in_transition(&system);
        let action = if restarts(action) && is_off { PowerAction::On } else { action };
        let link = system
            .action_target(RESET)
            .ok_or_else(|| self.client.unsupported("change power: the system has no Reset action"))?;
        let reset_type = self.reset_type(&system, action).await?;
        let body = json!({ "ResetType": reset_type });
        let pace = &self.client.transport.pace;
        let retry = Retry {
            attempts: ATTEMPTS_IN_CONFLICT,
            pause: pace.conflict,
            factor: 1,
            longest: pace.conflict,
            within: pace.operation,
        };
        let not_yet = |result: &Result<Result<Changed, Refusal>, BmcError>| match result {
            Ok(Err(refusal)) if refusal.status == StatusCode::CONFLICT => {
                debug!(bmc = self.client.transport.address, "the BMC is not ready for a reset yet");
                Again::Yes
            }
            _ => Again::No,
        };
        match retry.run(|| self.reset_once(link, &body, action), not_yet).await {
            // Whoever asks again would undo the push, if the BMC took it.
            Err(error) if reset_type == PUSH && error.passing() => {
                let taken = self.wait_for(target(action), pace.operation).await;
                taken.map(|()| Changed::Yes).map_err(|_| error)
            }
            done => Ok(done??),
        }
    }

    async fn wait_for(&self, state: PowerState, within: Duration) -> Result<(), BmcError> {
        let pace = self.client.transport.pace;
        let until = Instant::now() + within;
        let mut pause = pace.poll;
        loop {
            // The last look may begin at the deadline.
            let problem = match tokio::time::timeout_at(until + pace.poll_max, self.state()).await {
                Ok(Ok(found)) if found == state => return Ok(()),
                Ok(Ok(_)) | Err(_) => None,
                // BMCs are busy around a change of power: only the deadline ends the wait.
                Ok(Err(error)) if error.passing() => Some(error),
                Ok(Err(error)) => return Err(error),
            };
            let now = Instant::now();
            if now >= until {
                let (address, seconds) = (self.client.transport.address.clone(), within.as_secs());
                return Err(problem.unwrap_or(BmcError::PowerUnchanged { address, wanted: state, seconds }));
            }
            tokio::time::sleep_until(until.min(now + pause)).await;
            pause = (pause * 2).min(pace.poll_max);
        }
    }
}

impl Machine {
    /// A refusal by a machine that is as it should be is none.
    async fn reset_once(
        &self,
        link: &str,
        body: &Value,
        action: PowerAction,
    ) -> Result<Result<Changed, Refusal>, BmcError> {
        let Err(refusal) = self.client.post(link, body).await? else { return Ok(Ok(Changed::Yes)) };
        let unwilling = matches!(refusal.status, StatusCode::CONFLICT | StatusCode::BAD_REQUEST);
        if unwilling && !restarts(action) && self.state().await.ok() == Some(target(action)) {
            return Ok(Ok(Changed::Already));
        }
        Ok(Err(refusal))
    }

    /// The word this BMC knows for an action.
    async fn reset_type(&self, system: &Document, action: PowerAction) -> Result<&'static str, BmcError> {
        let words: &[&'static str] = match action {
            PowerAction::On => &["On", "ForceOn", PUSH],
            PowerAction::ForceOff => &["ForceOff"],
            PowerAction::GracefulShutdown => &["GracefulShutdown", PUSH],
            PowerAction::ForceRestart => &["ForceRestart", "PowerCycle"],
            PowerAction::GracefulRestart => &["GracefulRestart"],
        };
        let Some(allowed) = self.allowed_resets(system).await? else { return Ok(words[0]) };
        let known = words.iter().find(|word| allowed.iter().any(|allowed| allowed == *word));
        known.copied().ok_or_else(|| {
            self.client.unsupported(format!("do {}: it only offers {}", words[0], allowed.join(", ")))
        })
    }

    /// `None` when the BMC does not say.
    pub(super) async fn allowed_resets(&self, system: &Document) -> Result<Option<Vec<String>>, BmcError> {
        self.allowed(system, RESET, "ResetType").await
    }
}

fn target(action: PowerAction) -> PowerState {
    match action {
        PowerAction::On | PowerAction::ForceRestart | PowerAction::GracefulRestart => PowerState::On,
        PowerAction::ForceOff | PowerAction::GracefulShutdown => PowerState::Off,
    }
}

/// A machine that is on already is to begin anew.
fn restarts(action: PowerAction) -> bool {
    matches!(action, PowerAction::ForceRestart | PowerAction::GracefulRestart)
}

/// A machine on its way to a state is not in it yet.
fn state_of(system: &Document) -> Result<PowerState, BmcError> {
    match system.text("/PowerState") {
        Some("On" | "PoweringOff" | "Paused") => Ok(PowerState::On),
        Some("Off" | "PoweringOn") => Ok(PowerState::Off),
        Some(other) => {
            let other: String = other.chars().take(40).collect();
            Err(system.malformed(format!("an unknown PowerState \"{other}\"")))
        }
        None => Err(system.malformed("no PowerState")),
    }
}

fn in_transition(system: &Document) -> bool {
    matches!(system.text("/PowerState"), Some("PoweringOn" | "PoweringOff"))
}
