//! A fake machine.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;
use url::Url;

use super::settings::{Operation, Settings};
use crate::{
    bmc::{
        BiosSettings, BmcError, BootDevice, BootModeControl, BootSource, Changed, FirmwareInventory,
        Indicator, Indicators, KeyChange, Light, MediaKind, MediaSlot, Outcome, Power, PowerAction,
        SecureBoot, VirtualMedia,
    },
    node::{
        BootMode, Node, PowerState,
        hardware::{BiosSetting, FirmwareComponent},
    },
};

const POLL: Duration = Duration::from_millis(500);

/// What is so at a fake machine, whoever asks.
#[derive(Debug)]
pub(super) struct Truth {
    power: PowerState,
    /// A change of power under way, and when it is done.
    turning: Option<(PowerState, Instant)>,
    once: Option<BootSource>,
    always: Option<BootSource>,
    mode: BootMode,
    secure_boot: bool,
    keys: KeyChange,
    cd: Option<Url>,
    floppy: Option<Url>,
    /// Of the system; that of the chassis is always on.
    light: Light,
}

/// A way to the truth, with the settings of the moment.
pub(super) struct Machine {
    address: String,
    settings: Settings,
    truth: Arc<Mutex<Truth>>,
}

impl Truth {
    /// As the node remembers it.
    pub(super) fn of(node: &Node) -> Self {
        Self {
            power: node.power_state.unwrap_or(PowerState::Off),
            turning: None,
            once: None,
            always: None,
            mode: node.boot_mode.unwrap_or(BootMode::Uefi),
            secure_boot: node.secure_boot.unwrap_or(false),
            keys: KeyChange::ResetToDefault,
            cd: None,
            floppy: None,
            light: Light::On,
        }
    }

    fn power(&mut self) -> PowerState {
        if let Some((state, _)) = self.turning.take_if(|(_, done)| *done <= Instant::now()) {
            // A one-time choice is used up by the start that it was made for.
            if state == PowerState::On && self.power == PowerState::Off {
                self.once = None;
            }
            self.power = state;
        }
        self.power
    }

    fn slot(&mut self, kind: MediaKind) -> &mut Option<Url> {
        match kind {
            MediaKind::Cd => &mut self.cd,
            MediaKind::Floppy => &mut self.floppy,
        }
    }
}

impl Machine {
    pub(super) fn new(label: String, settings: Settings, truth: Arc<Mutex<Truth>>) -> Self {
        Self { address: format!("fake:{label}"), settings, truth }
    }

    fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempt(&self, operation: Operation) -> Result<(), BmcError> {
        if self.settings.fails(operation) {
            return Err(BmcError::Refused {
                address: self.address.clone(),
                what: operation.name().to_owned(),
                status: 503,
                message: "fake_fail in driver_info asks for this".to_owned(),
            });
        }
        Ok(())
    }

    /// A change other than of power.
    async fn change<T: PartialEq + Send>(
        &self,
        operation: Operation,
        field: impl Fn(&mut Truth) -> &mut T + Send,
        value: T,
    ) -> Result<Changed, BmcError> {
        self.attempt(operation)?;
        if *field(&mut self.truth()) == value {
            return Ok(Changed::Already);
        }
        tokio::time::sleep(self.settings.management_delay()).await;
        *field(&mut self.truth()) = value;
        Ok(Changed::Yes)
    }
}

#[async_trait]
impl Power for Machine {
    async fn state(&self) -> Result<PowerState, BmcError> {
        self.attempt(Operation::PowerState)?;
        Ok(self.truth().power())
    }

    async fn set(&self, action: PowerAction) -> Result<Changed, BmcError> {
        let (operation, state) = match action {
            PowerAction::On | PowerAction::ForceRestart | PowerAction::GracefulRestart => {
                (Operation::PowerOn, PowerState::On)
            }
            PowerAction::ForceOff => (Operation::PowerOff, PowerState::Off),
            PowerAction::GracefulShutdown => (Operation::SoftPowerOff, PowerState::Off),
        };
        self.attempt(operation)?;
        let mut truth = self.truth();
        if truth.power() == state {
            truth.turning = None;
            return Ok(Changed::Already);
        }
        if !self.settings.sticks(operation) {
            truth.turning = Some((state, Instant::now() + self.settings.power_delay()));
        }
        Ok(Changed::Yes)
    }

    async fn wait_for(&self, state: PowerState, within: Duration) -> Result<(), BmcError> {
        let until = Instant::now() + within;
        loop {
            if self.state().await? == state {
                return Ok(());
            }
            let now = Instant::now();
            if now >= until {
                let (address, seconds) = (self.address.clone(), within.as_secs());
                return Err(BmcError::PowerUnchanged { address, wanted: state, seconds });
            }
            let done = self.truth().turning.map_or(now + POLL, |(_, done)| done);
            tokio::time::sleep_until(done.min(now + POLL).min(until)).await;
        }
    }
}

#[async_trait]
impl BootDevice for Machine {
    async fn boot_once(&self, source: BootSource) -> Result<Changed, BmcError> {
        self.change(Operation::BootDevice, |truth| &mut truth.once, Some(source)).await
    }

    async fn boot_always(&self, source: BootSource) -> Result<Changed, BmcError> {
        let once = self.change(Operation::BootDevice, |truth| &mut truth.once, None).await?;
        let always = self.change(Operation::BootDevice, |truth| &mut truth.always, Some(source)).await?;
        Ok(if once == Changed::Yes { once } else { always })
    }

    async fn current(&self) -> Result<Option<(BootSource, bool)>, BmcError> {
        self.attempt(Operation::BootDevice)?;
        let truth = self.truth();
        Ok(Some(match (truth.once, truth.always) {
            (Some(once), _) => (once, false),
            (None, Some(always)) => (always, true),
            // As Ironic's fake says of a machine that was never told.
            (None, None) => (BootSource::Pxe, false),
        }))
    }

    async fn supported(&self) -> Result<Vec<BootSource>, BmcError> {
        Ok(self.settings.boot_devices.clone())
    }
}

#[async_trait]
impl BootModeControl for Machine {
    async fn mode(&self) -> Result<Option<BootMode>, BmcError> {
        self.attempt(Operation::BootMode)?;
        Ok(Some(self.truth().mode))
    }

    async fn set_mode(&self, mode: BootMode) -> Result<Changed, BmcError> {
        self.change(Operation::BootMode, |truth| &mut truth.mode, mode).await
    }
}

#[async_trait]
impl SecureBoot for Machine {
    async fn enabled(&self) -> Result<Option<bool>, BmcError> {
        self.attempt(Operation::SecureBoot)?;
        Ok(Some(self.truth().secure_boot))
    }

    async fn set_enabled(&self, enabled: bool) -> Result<Changed, BmcError> {
        self.change(Operation::SecureBoot, |truth| &mut truth.secure_boot, enabled).await
    }

    async fn change_keys(&self, keys: KeyChange) -> Result<Changed, BmcError> {
        self.change(Operation::SecureBoot, |truth| &mut truth.keys, keys).await
    }
}

#[async_trait]
impl VirtualMedia for Machine {
    async fn ready(&self) -> Result<(), BmcError> {
        Ok(())
    }

    async fn insert(&self, kind: MediaKind, url: &Url) -> Result<Changed, BmcError> {
        self.change(Operation::VirtualMedia, move |truth| truth.slot(kind), Some(url.clone())).await
    }

    async fn eject(&self, kind: MediaKind) -> Result<Changed, BmcError> {
        self.change(Operation::VirtualMedia, move |truth| truth.slot(kind), None).await
    }

    async fn has(&self, _: MediaKind) -> Result<bool, BmcError> {
        Ok(true)
    }

    async fn slots(&self) -> Result<Vec<MediaSlot>, BmcError> {
        self.attempt(Operation::VirtualMedia)?;
        let truth = self.truth();
        let slot = |types: [&str; 2], image: &Option<Url>| MediaSlot {
            media_types: types.map(str::to_owned).to_vec(),
            inserted: image.is_some(),
            image: image.as_ref().map(Url::to_string).unwrap_or_default(),
        };
        Ok(vec![slot(["CD", "DVD"], &truth.cd), slot(["Floppy", "USBStick"], &truth.floppy)])
    }
}

#[async_trait]
impl Indicators for Machine {
    async fn lights(&self) -> Result<Vec<Indicator>, BmcError> {
        let states = vec![Light::Blinking, Light::Off, Light::On];
        Ok(vec![
            Indicator {
                component: "chassis",
                id: "led-0".to_owned(),
                states: vec![Light::Off, Light::On],
                read_only: true,
            },
            Indicator { component: "system", id: "led".to_owned(), states, read_only: false },
        ])
    }

    async fn light(&self, component: &str, _: &str) -> Result<Light, BmcError> {
        self.attempt(Operation::Indicators)?;
        Ok(if component == "system" { self.truth().light } else { Light::On })
    }

    async fn set_light(&self, _: &str, _: &str, light: Light) -> Result<(), BmcError> {
        self.change(Operation::Indicators, |truth| &mut truth.light, light).await.map(drop)
    }
}

#[async_trait]
impl BiosSettings for Machine {
    /// None, as Ironic's fake: what is not there has no settings.
    async fn read(&self) -> Result<Vec<BiosSetting>, BmcError> {
        self.attempt(Operation::Bios)?;
        Ok(Vec::new())
    }

    async fn apply(&self, _: &[(String, serde_json::Value)]) -> Result<Changed, BmcError> {
        self.attempt(Operation::Bios)?;
        Ok(Changed::Yes)
    }

    async fn reset(&self) -> Result<Changed, BmcError> {
        self.attempt(Operation::Bios)?;
        Ok(Changed::Yes)
    }

    async fn outcome(&self, _: &[(String, serde_json::Value)]) -> Result<Outcome, BmcError> {
        Ok(Outcome::Done)
    }
}

#[async_trait]
impl FirmwareInventory for Machine {
    async fn components(&self) -> Result<Vec<FirmwareComponent>, BmcError> {
        self.attempt(Operation::Firmware)?;
        Ok(Vec::new())
    }
}
