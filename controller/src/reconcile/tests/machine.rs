//! A machine behind the BMC traits: switched on with a deploy ISO it runs an agent, which speaks the real wire.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use bessemer_proto::secret::Secret;
use chrono::{DateTime, Utc};
use tokio::task::AbortHandle;
use url::Url;

use super::{agent, works::Works};
use crate::{
    bmc::{
        Bmc, BmcError, BootDevice, BootModeControl, BootSource, Changed, KeyChange, Manager, MediaKind,
        MediaSlot, Power, PowerAction, SecureBoot, Sensor, SensorKind, Sensors, VirtualMedia,
    },
    node::{BootMode, PowerState},
};

/// How the agent of a machine treats a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Reports an error.
    Fail,
    /// Never ends it.
    Hang,
    /// Ends it after this many milliseconds.
    Slow(u64),
    /// The machine loses power.
    LosePower,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) on: bool,
    pub(super) cd: Option<Url>,
    pub(super) floppy: Option<Url>,
    pub(super) once: Option<BootSource>,
    pub(super) always: Option<BootSource>,
    pub(super) mode: Option<BootMode>,
    pub(super) secure: bool,
    /// The BMC tells nothing of settings of the firmware.
    pub(super) lacks_bios: bool,
    /// The BMC's password, once it was changed.
    pub(super) password: Option<String>,
    /// What the BMC was asked to do, in order.
    pub(super) asked: Vec<String>,
    /// This request to the BMC fails.
    pub(super) broken: Option<&'static str>,
    /// This request to the BMC panics.
    pub(super) bug: Option<&'static str>,
    /// This request to the BMC takes long.
    pub(super) slow: Option<(&'static str, Duration)>,
    /// How many requests were slow.
    pub(super) slowed: usize,
    /// No agent ever calls.
    pub(super) silent: bool,
    pub(super) steps: HashMap<&'static str, Treatment>,
    /// What the agent fetched to write.
    pub(super) config_drive: Option<Vec<u8>>,
    /// Steps that were carried out, by name.
    pub(super) done: Vec<String>,
    pub(super) works: Works,
    agent: Option<AbortHandle>,
}

#[derive(Clone, Default)]
pub(super) struct Machine(Arc<Mutex<State>>);

impl Machine {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// With the credentials that a node has; a wrong password is refused.
    pub(super) fn bmc_with(&self, password: Option<&str>) -> Bmc {
        let (is_wrong, lacks_bios) = {
            let state = self.lock();
            let right = state.password.as_deref();
            (right.is_some() && right != password, state.lacks_bios)
        };
        if !is_wrong {
            let whole = self.bmc();
            return if lacks_bios { Bmc { bios: None, ..whole } } else { whole };
        }
        let stranger = Arc::new(Stranger(self.clone()));
        Bmc { manager: Some(stranger.clone()), ..Bmc::only_power(stranger) }
    }

    pub(super) fn bmc(&self) -> Bmc {
        let machine = Arc::new(self.clone());
        Bmc {
            manager: Some(machine.clone()),
            boot_device: Some(machine.clone()),
            boot_mode: Some(machine.clone()),
            secure_boot: Some(machine.clone()),
            virtual_media: Some(machine.clone()),
            bios: Some(machine.clone()),
            firmware: Some(machine.clone()),
            firmware_update: Some(machine.clone()),
            raid: Some(machine.clone()),
            inventory: Some(machine.clone()),
            sensors: Some(machine.clone()),
            ..Bmc::only_power(machine)
        }
    }

    pub(super) fn cut_power(&self) {
        let mut state = self.lock();
        state.on = false;
        if let Some(agent) = state.agent.take() {
            agent.abort();
        }
    }

    fn start(&self) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.on, true) {
            return;
        }
        state.works.start();
        let boots_cd = state.once.take() == Some(BootSource::Cd);
        let medium = state.floppy.clone().or_else(|| state.cd.clone());
        if let (Some(medium), true, false) = (medium, boots_cd, state.silent) {
            let agent = tokio::spawn(agent::run(self.clone(), medium));
            state.agent = Some(agent.abort_handle());
        }
    }

    pub(super) async fn ask(&self, what: &'static str) -> Result<(), BmcError> {
        let slow = self.lock().slow.filter(|(slow, _)| *slow == what);
        if let Some((_, delay)) = slow {
            self.lock().slowed += 1;
            tokio::time::sleep(delay).await;
        }
        let bug = {
            let mut state = self.lock();
            state.asked.push(what.to_owned());
            if state.broken == Some(what) {
                return Err(BmcError::Refused {
                    address: "bmc.test".into(),
                    what: what.into(),
                    status: 503,
                    message: "out of order".into(),
                });
            }
            state.bug == Some(what)
        };
        assert!(!bug, "a bug in {what}");
        Ok(())
    }
}

#[async_trait]
impl Power for Machine {
    async fn state(&self) -> Result<PowerState, BmcError> {
        // Slow is only the answer.
        let is_on = self.lock().on;
        self.ask("read power").await?;
        Ok(if is_on { PowerState::On } else { PowerState::Off })
    }

    async fn set(&self, action: PowerAction) -> Result<Changed, BmcError> {
        match action {
            PowerAction::On => {
                self.ask("on").await?;
                self.start();
            }
            PowerAction::ForceOff => {
                self.ask("force off").await?;
                self.cut_power();
            }
            PowerAction::GracefulShutdown => {
                self.ask("shut down").await?;
                self.cut_power();
            }
            PowerAction::ForceRestart | PowerAction::GracefulRestart => {
                self.ask("restart").await?;
                self.cut_power();
                self.start();
            }
        }
        Ok(Changed::Yes)
    }

    async fn wait_for(&self, wanted: PowerState, within: Duration) -> Result<(), BmcError> {
        let is_so = async {
            while (self.lock().on) != (wanted == PowerState::On) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(within, is_so).await.map_err(|_| BmcError::Timeout {
            address: "bmc.test".into(),
            what: wanted.to_string(),
            seconds: within.as_secs(),
        })
    }
}

#[async_trait]
impl Sensors for Machine {
    /// Asked all the time: not noted as asked.
    async fn sensors(&self) -> Result<Vec<Sensor>, BmcError> {
        if self.lock().broken == Some("read sensors") {
            let (address, what) = ("bmc.test".into(), "read sensors".into());
            return Err(BmcError::Timeout { address, what, seconds: 1 });
        }
        Ok(vec![Sensor {
            kind: SensorKind::Temperature,
            id: "0@Chassis".into(),
            name: "Inlet".into(),
            reading: Some(21.5),
            unit: "Celsius",
            state: None,
            health: None,
            more: [].into(),
        }])
    }
}

#[async_trait]
impl BootDevice for Machine {
    async fn boot_once(&self, source: BootSource) -> Result<Changed, BmcError> {
        self.ask("boot once").await?;
        self.lock().once = Some(source);
        Ok(Changed::Yes)
    }

    async fn boot_always(&self, source: BootSource) -> Result<Changed, BmcError> {
        self.ask("boot always").await?;
        self.lock().always = Some(source);
        Ok(Changed::Yes)
    }

    async fn current(&self) -> Result<Option<(BootSource, bool)>, BmcError> {
        let state = self.lock();
        Ok(state.once.map(|once| (once, false)).or(state.always.map(|always| (always, true))))
    }

    async fn supported(&self) -> Result<Vec<BootSource>, BmcError> {
        Ok(BootSource::ALL.to_vec())
    }
}

#[async_trait]
impl BootModeControl for Machine {
    async fn mode(&self) -> Result<Option<BootMode>, BmcError> {
        Ok(self.lock().mode)
    }

    async fn set_mode(&self, mode: BootMode) -> Result<Changed, BmcError> {
        self.ask("boot mode").await?;
        self.lock().mode = Some(mode);
        Ok(Changed::Yes)
    }
}

#[async_trait]
impl SecureBoot for Machine {
    async fn enabled(&self) -> Result<Option<bool>, BmcError> {
        Ok(Some(self.lock().secure))
    }

    async fn set_enabled(&self, enabled: bool) -> Result<Changed, BmcError> {
        self.ask("secure boot").await?;
        self.lock().secure = enabled;
        Ok(Changed::Yes)
    }

    async fn change_keys(&self, _: KeyChange) -> Result<Changed, BmcError> {
        self.ask("secure boot keys").await?;
        Ok(Changed::Yes)
    }
}

#[async_trait]
impl VirtualMedia for Machine {
    async fn ready(&self) -> Result<(), BmcError> {
        self.ask("ready").await
    }

    async fn insert(&self, kind: MediaKind, url: &Url) -> Result<Changed, BmcError> {
        self.ask("insert").await?;
        match kind {
            MediaKind::Cd => self.lock().cd = Some(url.clone()),
            MediaKind::Floppy => self.lock().floppy = Some(url.clone()),
        }
        Ok(Changed::Yes)
    }

    async fn eject(&self, kind: MediaKind) -> Result<Changed, BmcError> {
        self.ask("eject").await?;
        match kind {
            MediaKind::Cd => self.lock().cd = None,
            MediaKind::Floppy => self.lock().floppy = None,
        }
        Ok(Changed::Yes)
    }

    async fn has(&self, _kind: MediaKind) -> Result<bool, BmcError> {
        Ok(true)
    }

    async fn slots(&self) -> Result<Vec<MediaSlot>, BmcError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Manager for Machine {
    async fn reset(&self) -> Result<(), BmcError> {
        self.ask("reset BMC").await
    }

    async fn clock(&self) -> Result<Option<DateTime<Utc>>, BmcError> {
        Ok(None)
    }

    async fn set_clock(&self, _now: DateTime<Utc>) -> Result<Changed, BmcError> {
        Ok(Changed::Already)
    }

    /// Slow is only the answer: the password is in force already.
    async fn change_password(&self, new: &Secret) -> Result<Changed, BmcError> {
        self.lock().password = Some(new.reveal().to_owned());
        self.ask("password").await?;
        Ok(Changed::Yes)
    }
}

/// Somebody with a wrong password.
struct Stranger(Machine);

impl Stranger {
    fn refused<T>(&self) -> Result<T, BmcError> {
        self.0.lock().asked.push("wrong password".to_owned());
        Err(BmcError::Credentials { address: "bmc.test".into(), user: "admin".into(), keys: "ilo_password" })
    }
}

#[async_trait]
impl Power for Stranger {
    async fn state(&self) -> Result<PowerState, BmcError> {
        self.refused()
    }

    async fn set(&self, _action: PowerAction) -> Result<Changed, BmcError> {
        self.refused()
    }

    async fn wait_for(&self, _wanted: PowerState, _within: Duration) -> Result<(), BmcError> {
        self.refused()
    }
}

#[async_trait]
impl Manager for Stranger {
    async fn reset(&self) -> Result<(), BmcError> {
        self.refused()
    }

    async fn clock(&self) -> Result<Option<DateTime<Utc>>, BmcError> {
        self.refused()
    }

    async fn set_clock(&self, _now: DateTime<Utc>) -> Result<Changed, BmcError> {
        self.refused()
    }

    async fn change_password(&self, _new: &Secret) -> Result<Changed, BmcError> {
        self.refused()
    }
}
