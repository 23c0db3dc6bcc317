//! What users of an iLO see: every capability, handed on to the best language that the iLO speaks.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bessemer_proto::secret::Secret;
use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use super::{
    compose::compose,
    link::Link,
    probe::{self, Languages},
};
use crate::{
    bmc::{quirks::Identity, *},
    node::{
        BootMode, PowerState,
        hardware::{BiosSetting, FirmwareComponent},
    },
};

/// One iLO, as its users see it.
pub(super) struct Ilo {
    link: Arc<Link>,
    /// What it is spoken to by, with the languages that it was made from.
    spoken: Mutex<Option<(Languages, Arc<Bmc>)>>,
}

/// Everything; what this iLO lacks says so when it is used.
pub(super) fn bmc(ilo: &Arc<Ilo>) -> Bmc {
    Bmc {
        boot_device: Some(ilo.clone()),
        boot_mode: Some(ilo.clone()),
        secure_boot: Some(ilo.clone()),
        virtual_media: Some(ilo.clone()),
        nmi: Some(ilo.clone()),
        indicators: Some(ilo.clone()),
        bios: Some(ilo.clone()),
        firmware: Some(ilo.clone()),
        firmware_update: Some(ilo.clone()),
        raid: Some(ilo.clone()),
        overview: Some(ilo.clone()),
        inventory: Some(ilo.clone()),
        sensors: Some(ilo.clone()),
        log: Some(ilo.clone()),
        console: Some(ilo.clone()),
        http_boot: Some(ilo.clone()),
        manager: Some(ilo.clone()),
        events: Some(ilo.clone()),
        ..Bmc::only_power(ilo.clone())
    }
}

/// Calls a method of a capability.
macro_rules! hand_on {
    ($ilo:ident, $capability:ident . $method:ident ( $($argument:expr),* ), $what:literal) => {
        match &$ilo.spoken().await?.$capability {
            Some(capability) => capability.$method($($argument),*).await,
            None => Err($ilo.link.unsupported($what)),
        }
    };
}

impl Ilo {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, spoken: Mutex::default() }
    }

    async fn spoken(&self) -> Result<Arc<Bmc>, BmcError> {
        let languages = probe::languages(&self.link).await?;
        let mut spoken = self.spoken.lock().await;
        match &*spoken {
            Some((known, bmc)) if *known == languages => Ok(Arc::clone(bmc)),
            _ => {
                let bmc = Arc::new(compose(&self.link, languages)?);
                *spoken = Some((languages, Arc::clone(&bmc)));
                Ok(bmc)
            }
        }
    }
}

#[async_trait]
impl Power for Ilo {
    async fn state(&self) -> Result<PowerState, BmcError> {
        self.spoken().await?.power.state().await
    }

    async fn set(&self, action: PowerAction) -> Result<Changed, BmcError> {
        self.spoken().await?.power.set(action).await
    }

    async fn wait_for(&self, state: PowerState, within: Duration) -> Result<(), BmcError> {
        self.spoken().await?.power.wait_for(state, within).await
    }
}

#[async_trait]
impl BootDevice for Ilo {
    async fn boot_once(&self, source: BootSource) -> Result<Changed, BmcError> {
        hand_on!(self, boot_device.boot_once(source), "choose what the machine boots from")
    }

    async fn boot_always(&self, source: BootSource) -> Result<Changed, BmcError> {
        hand_on!(self, boot_device.boot_always(source), "choose what the machine boots from")
    }

    async fn current(&self) -> Result<Option<(BootSource, bool)>, BmcError> {
        hand_on!(self, boot_device.current(), "tell what the machine boots from")
    }

    async fn supported(&self) -> Result<Vec<BootSource>, BmcError> {
        hand_on!(self, boot_device.supported(), "tell what the machine can boot from")
    }
}

#[async_trait]
impl BootModeControl for Ilo {
    async fn mode(&self) -> Result<Option<BootMode>, BmcError> {
        hand_on!(self, boot_mode.mode(), "tell the boot mode")
    }

    async fn set_mode(&self, mode: BootMode) -> Result<Changed, BmcError> {
        hand_on!(self, boot_mode.set_mode(mode), "set the boot mode")
    }
}

#[async_trait]
impl SecureBoot for Ilo {
    async fn enabled(&self) -> Result<Option<bool>, BmcError> {
        match &self.spoken().await?.secure_boot {
            Some(secure_boot) => secure_boot.enabled().await,
            None => Ok(None),
        }
    }

    async fn set_enabled(&self, enabled: bool) -> Result<Changed, BmcError> {
        match &self.spoken().await?.secure_boot {
            Some(secure_boot) => secure_boot.set_enabled(enabled).await,
            // A machine without Secure Boot has it off.
            None if !enabled => Ok(Changed::Already),
            None => Err(self
                .link
                .unsupported("turn Secure Boot on: the machine, or its iLO's firmware, has none")),
        }
    }

    async fn change_keys(&self, change: KeyChange) -> Result<Changed, BmcError> {
        hand_on!(
            self,
            secure_boot.change_keys(change),
            "change Secure Boot keys: the machine, or its iLO's firmware, has none"
        )
    }
}

#[async_trait]
impl VirtualMedia for Ilo {
    async fn ready(&self) -> Result<(), BmcError> {
        hand_on!(self, virtual_media.ready(), "insert a medium")
    }

    async fn insert(&self, kind: MediaKind, url: &Url) -> Result<Changed, BmcError> {
        hand_on!(self, virtual_media.insert(kind, url), "insert a medium")
    }

    async fn eject(&self, kind: MediaKind) -> Result<Changed, BmcError> {
        hand_on!(self, virtual_media.eject(kind), "eject a medium")
    }

    async fn has(&self, kind: MediaKind) -> Result<bool, BmcError> {
        hand_on!(self, virtual_media.has(kind), "insert a medium")
    }

    async fn slots(&self) -> Result<Vec<MediaSlot>, BmcError> {
        hand_on!(self, virtual_media.slots(), "tell of its virtual drives")
    }
}

#[async_trait]
impl Nmi for Ilo {
    async fn inject(&self) -> Result<(), BmcError> {
        hand_on!(self, nmi.inject(), "inject an NMI by what its firmware speaks")
    }
}

#[async_trait]
impl Indicators for Ilo {
    async fn lights(&self) -> Result<Vec<Indicator>, BmcError> {
        match &self.spoken().await?.indicators {
            Some(indicators) => indicators.lights().await,
            None => Ok(Vec::new()),
        }
    }

    async fn light(&self, component: &str, id: &str) -> Result<Light, BmcError> {
        hand_on!(self, indicators.light(component, id), "tell of lights by what its firmware speaks")
    }

    async fn set_light(&self, component: &str, id: &str, light: Light) -> Result<(), BmcError> {
        hand_on!(
            self,
            indicators.set_light(component, id, light),
            "change lights by what its firmware speaks"
        )
    }
}

#[async_trait]
impl BiosSettings for Ilo {
    async fn read(&self) -> Result<Vec<BiosSetting>, BmcError> {
        match &self.spoken().await?.bios {
            Some(bios) => bios.read().await,
            None => Ok(Vec::new()),
        }
    }

    async fn apply(&self, wanted: &[(String, Value)]) -> Result<Changed, BmcError> {
        hand_on!(self, bios.apply(wanted), "change settings of the firmware by what its firmware speaks")
    }

    async fn reset(&self) -> Result<Changed, BmcError> {
        hand_on!(self, bios.reset(), "reset settings of the firmware by what its firmware speaks")
    }

    async fn outcome(&self, wanted: &[(String, Value)]) -> Result<Outcome, BmcError> {
        hand_on!(self, bios.outcome(wanted), "tell of settings of the firmware")
    }
}

#[async_trait]
impl FirmwareInventory for Ilo {
    async fn components(&self) -> Result<Vec<FirmwareComponent>, BmcError> {
        match &self.spoken().await?.firmware {
            Some(firmware) => firmware.components().await,
            None => Ok(Vec::new()),
        }
    }
}

#[async_trait]
impl FirmwareUpdate for Ilo {
    async fn update(&self, component: &str, url: &Url) -> Result<Option<Job>, BmcError> {
        // New firmware may speak more, or less.
        probe::forget(&self.link);
        hand_on!(self, firmware_update.update(component, url), "update firmware by what its firmware speaks")
    }

    async fn under_way(&self) -> Result<Option<Job>, BmcError> {
        hand_on!(self, firmware_update.under_way(), "tell of updates")
    }

    async fn progress(&self, job: &Job) -> Result<Outcome, BmcError> {
        let outcome = hand_on!(self, firmware_update.progress(job), "tell of updates");
        if matches!(outcome, Ok(Outcome::Done)) {
            probe::forget(&self.link);
        }
        outcome
    }
}

#[async_trait]
impl Raid for Ilo {
    async fn controllers(&self) -> Result<Vec<StorageController>, BmcError> {
        hand_on!(self, raid.controllers(), "tell of RAID controllers by what its firmware speaks")
    }

    async fn create(&self, volumes: &[NewVolume]) -> Result<Option<Job>, BmcError> {
        hand_on!(self, raid.create(volumes), "make RAID volumes by what its firmware speaks")
    }

    async fn delete(&self, volumes: &[Volume]) -> Result<Option<Job>, BmcError> {
        hand_on!(self, raid.delete(volumes), "remove RAID volumes by what its firmware speaks")
    }

    async fn progress(&self, job: &Job) -> Result<Outcome, BmcError> {
        hand_on!(self, raid.progress(job), "tell of RAID jobs")
    }

    async fn needs_restart(&self, controllers: &[String]) -> Result<bool, BmcError> {
        hand_on!(self, raid.needs_restart(controllers), "make RAID volumes by what its firmware speaks")
    }
}

#[async_trait]
impl Overview for Ilo {
    async fn vendor(&self) -> Result<Option<String>, BmcError> {
        match &self.spoken().await?.overview {
            Some(overview) => overview.vendor().await,
            None => Ok(None),
        }
    }

    async fn identity(&self) -> Result<Identity, BmcError> {
        match &self.spoken().await?.overview {
            Some(overview) => overview.identity().await,
            None => Ok(Identity::default()),
        }
    }

    async fn health(&self) -> Result<Option<Health>, BmcError> {
        match &self.spoken().await?.overview {
            Some(overview) => overview.health().await,
            None => Ok(None),
        }
    }
}

#[async_trait]
impl Inventory for Ilo {
    async fn look(&self) -> Result<Found, BmcError> {
        hand_on!(self, inventory.look(), "tell what the machine is made of")
    }

    /// iLO 5 and newer remember what an older one is only told when the machine starts.
    fn needs_power(&self) -> bool {
        probe::remembered(&self.link) != Some(Languages::Redfish)
    }
}

#[async_trait]
impl Sensors for Ilo {
    async fn sensors(&self) -> Result<Vec<Sensor>, BmcError> {
        hand_on!(self, sensors.sensors(), "tell of sensors")
    }
}

#[async_trait]
impl SystemLog for Ilo {
    async fn entries(&self, most: usize) -> Result<Vec<LogEntry>, BmcError> {
        hand_on!(self, log.entries(most), "tell of its log by what its firmware speaks")
    }

    async fn clear(&self) -> Result<Changed, BmcError> {
        hand_on!(self, log.clear(), "empty its log by what its firmware speaks")
    }
}

#[async_trait]
impl HttpBoot for Ilo {
    async fn boot_once_from(&self, url: &Url) -> Result<Changed, BmcError> {
        hand_on!(self, http_boot.boot_once_from(url), "boot what a URL names")
    }
}

#[async_trait]
impl Manager for Ilo {
    async fn reset(&self) -> Result<(), BmcError> {
        let done = hand_on!(self, manager.reset(), "be restarted");
        probe::forget(&self.link);
        done
    }

    async fn clock(&self) -> Result<Option<DateTime<Utc>>, BmcError> {
        match &self.spoken().await?.manager {
            Some(manager) => manager.clock().await,
            None => Ok(None),
        }
    }

    async fn set_clock(&self, now: DateTime<Utc>) -> Result<Changed, BmcError> {
        hand_on!(self, manager.set_clock(now), "have its clock set")
    }

    async fn change_password(&self, new: &Secret) -> Result<Changed, BmcError> {
        let changed = hand_on!(self, manager.change_password(new), "have a password changed");
        let changed = changed.map_err(|error: BmcError| error.hidden(new))?;
        self.link.trust(new);
        Ok(changed)
    }
}

#[async_trait]
impl Console for Ilo {
    async fn has_serial(&self) -> Result<bool, BmcError> {
        match &self.spoken().await?.console {
            Some(console) => console.has_serial().await,
            None => Ok(false),
        }
    }

    async fn serial(&self, claim: Claim) -> Result<Box<dyn SerialLine>, BmcError> {
        hand_on!(self, console.serial(claim), "show a serial console")
    }

    async fn graphical(&self) -> Result<Option<Url>, BmcError> {
        match &self.spoken().await?.console {
            Some(console) => console.graphical().await,
            None => Ok(None),
        }
    }
}

#[async_trait]
impl EventSubscriptions for Ilo {
    async fn list(&self) -> Result<Vec<Subscription>, BmcError> {
        hand_on!(self, events.list(), "tell of subscriptions by what its firmware speaks")
    }

    async fn create(
        &self,
        destination: &Url,
        event_types: &[String],
        context: Option<&str>,
        headers: &[(String, Secret)],
    ) -> Result<Subscription, BmcError> {
        hand_on!(
            self,
            events.create(destination, event_types, context, headers),
            "send events by what its firmware speaks"
        )
    }

    async fn delete(&self, id: &str) -> Result<Changed, BmcError> {
        hand_on!(self, events.delete(id), "end subscriptions by what its firmware speaks")
    }
}
