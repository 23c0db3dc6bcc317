//! `power_off` and `reboot`: the last steps of an agent's life.
//!
//! The step itself only asks the process-wide [`PowerSwitch`]; the agent acts on it after the step's result is
//! stored by the controller, because afterwards there is nobody left to send it.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use bessemer_proto::step::{NoArguments, names};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Step, StepContext, StepError, arguments};

/// What to do with the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerAction {
    /// Power off.
    Off,
    /// Restart.
    Reboot,
}

/// Why the machine is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    /// The agent does not own this machine.
    #[error(
        "this agent is an ordinary process and may not switch the machine off or restart it: \
         start it with --allow-power, or use the BMC"
    )]
    NotPermitted,
}

/// Whether the agent may act on the machine's power, and what it was asked to do.
pub struct PowerSwitch {
    permitted: AtomicBool,
    requested: watch::Sender<Option<PowerAction>>,
}

static PROCESS: LazyLock<Arc<PowerSwitch>> = LazyLock::new(PowerSwitch::new);

impl PowerSwitch {
    fn new() -> Arc<Self> {
        Arc::new(Self { permitted: AtomicBool::new(false), requested: watch::channel(None).0 })
    }

    /// The one switch of this process: a process has one machine.
    #[must_use]
    pub fn process() -> Arc<Self> {
        PROCESS.clone()
    }

    /// Allows the agent to act.
    pub fn permit(&self) {
        self.permitted.store(true, Ordering::Relaxed);
    }

    /// Waits until a step asks.
    pub async fn requested(&self) -> PowerAction {
        let mut receiver = self.requested.subscribe();
        loop {
            if let Some(action) = *receiver.borrow_and_update() {
                return action;
            }
            // The sender lives as long as self.
            receiver.changed().await.ok();
        }
    }

    fn request(&self, action: PowerAction) -> Result<Value, PowerError> {
        if !self.permitted.load(Ordering::Relaxed) {
            return Err(PowerError::NotPermitted);
        }
        self.requested.send_replace(Some(action));
        Ok(json!({}))
    }
}

/// The step `power_off`.
pub struct PowerOff(Arc<PowerSwitch>);

/// The step `reboot`.
pub struct Reboot(Arc<PowerSwitch>);

impl Default for PowerOff {
    fn default() -> Self {
        Self(PowerSwitch::process())
    }
}

impl Default for Reboot {
    fn default() -> Self {
        Self(PowerSwitch::process())
    }
}

#[async_trait]
impl Step for PowerOff {
    fn name(&self) -> &'static str {
        names::POWER_OFF
    }

    async fn run(&self, value: Value, _: StepContext) -> Result<Value, StepError> {
        let NoArguments {} = arguments(value)?;
        Ok(self.0.request(PowerAction::Off).map_err(anyhow::Error::from)?)
    }
}

#[async_trait]
impl Step for Reboot {
    fn name(&self) -> &'static str {
        names::REBOOT
    }

    async fn run(&self, value: Value, _: StepContext) -> Result<Value, StepError> {
        let NoArguments {} = arguments(value)?;
        Ok(self.0.request(PowerAction::Reboot).map_err(anyhow::Error::from)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::steps::{Roots, StepReport};

    struct Quiet;
    impl StepReport for Quiet {
        fn progress(&self, _: &'static str, _: u64, _: u64) {}
        fn warning(&self, _: String) {}
    }

    fn context() -> StepContext {
        StepContext { cancel: CancellationToken::new(), report: Arc::new(Quiet), roots: Roots::default() }
    }

    #[tokio::test]
    async fn an_ordinary_process_refuses_and_nothing_is_requested() {
        let switch = PowerSwitch::new();
        let error = PowerOff(switch.clone()).run(json!({}), context()).await.unwrap_err();
        assert!(error.to_string().contains("--allow-power"), "{error}");
        assert!(tokio::time::timeout(Duration::from_millis(50), switch.requested()).await.is_err());
    }

    #[tokio::test]
    async fn a_permitted_agent_is_asked_to_act() {
        let switch = PowerSwitch::new();
        switch.permit();
        Reboot(switch.clone()).run(json!({}), context()).await.unwrap();
        assert_eq!(switch.requested().await, PowerAction::Reboot);
    }

    #[tokio::test]
    async fn unknown_arguments_are_refused() {
        let switch = PowerSwitch::new();
        switch.permit();
        let error = PowerOff(switch).run(json!({"in": 5}), context()).await.unwrap_err();
        assert!(matches!(error, StepError::Arguments(_)));
    }
}
