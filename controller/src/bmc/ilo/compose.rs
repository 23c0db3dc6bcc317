//! For each capability the best language that has it.

use std::sync::Arc;

use async_trait::async_trait;
use bessemer_proto::secret::Secret;
use chrono::{DateTime, Utc};
use url::Url;

use super::{
    hpe,
    link::Link,
    probe::Languages,
    ribcl::{self, Ribcl},
    ris::{self, Ris},
};
use crate::{
    bmc::{
        Bmc, BmcError, BootDevice, BootModeControl, BootSource, Changed, Found, Inventory, Manager,
        MediaKind, MediaSlot, VirtualMedia,
        redfish::{self, AuthType, Machine},
    },
    node::BootMode,
};

/// What an iLO that speaks these languages can do.
pub(super) fn compose(link: &Arc<Link>, languages: Languages) -> Result<Bmc, BmcError> {
    let (ris, redfish) = match languages {
        Languages::Redfish => return hpe::bmc(link),
        Languages::Ribcl { ris, redfish } => (ris, redfish),
    };
    let xml = ribcl::bmc(&Arc::new(Ribcl::new(Arc::clone(link))));
    let mut bmc = match ris {
        true => over(ris::bmc(&Arc::new(Ris::new(Arc::clone(link))?)), xml),
        false => xml,
    };
    if redfish {
        // The part of Redfish that iLO 4 has is used for what the older languages lack.
        let standard = redfish::bmc_of(&Arc::new(Machine::new(link.json(AuthType::Auto)?)));
        bmc.indicators = bmc.indicators.or(standard.indicators);
        bmc.log = bmc.log.or(standard.log);
        bmc.events = bmc.events.or(standard.events);
        bmc.console = bmc.console.or(standard.console);
    }
    Ok(bmc)
}

/// RIS where it has the thing, else RIBCL. A machine of Gen8 has RIS with newer firmware, but not all of it: that shows
/// when it is used.
fn over(ris: Bmc, xml: Bmc) -> Bmc {
    fn two<T: ?Sized>(first: Option<Arc<T>>, second: Option<Arc<T>>) -> Option<Two<T>> {
        first.zip(second).map(|(first, second)| Two(first, second))
    }
    Bmc {
        boot_device: two(ris.boot_device, xml.boot_device).map(|two| Arc::new(two) as Arc<dyn BootDevice>),
        boot_mode: two(ris.boot_mode, xml.boot_mode).map(|two| Arc::new(two) as Arc<dyn BootModeControl>),
        virtual_media: two(ris.virtual_media, xml.virtual_media)
            .map(|two| Arc::new(two) as Arc<dyn VirtualMedia>),
        inventory: two(ris.inventory, xml.inventory).map(|two| Arc::new(two) as Arc<dyn Inventory>),
        manager: two(ris.manager, xml.manager).map(|two| Arc::new(two) as Arc<dyn Manager>),
        sensors: xml.sensors,
        ..ris
    }
}

/// The same thing in two languages: the second is asked what the first does not support.
struct Two<T: ?Sized>(Arc<T>, Arc<T>);

macro_rules! either {
    ($two:ident . $method:ident ( $($argument:expr),* )) => {
        match $two.0.$method($($argument),*).await {
            Err(BmcError::Unsupported { .. }) => $two.1.$method($($argument),*).await,
            other => other,
        }
    };
}

#[async_trait]
impl BootDevice for Two<dyn BootDevice> {
    async fn boot_once(&self, source: BootSource) -> Result<Changed, BmcError> {
        either!(self.boot_once(source))
    }

    async fn boot_always(&self, source: BootSource) -> Result<Changed, BmcError> {
        either!(self.boot_always(source))
    }

    async fn current(&self) -> Result<Option<(BootSource, bool)>, BmcError> {
        either!(self.current())
    }

    async fn supported(&self) -> Result<Vec<BootSource>, BmcError> {
        either!(self.supported())
    }
}

#[async_trait]
impl BootModeControl for Two<dyn BootModeControl> {
    async fn mode(&self) -> Result<Option<BootMode>, BmcError> {
        either!(self.mode())
    }

    async fn set_mode(&self, mode: BootMode) -> Result<Changed, BmcError> {
        either!(self.set_mode(mode))
    }
}

#[async_trait]
impl VirtualMedia for Two<dyn VirtualMedia> {
    async fn ready(&self) -> Result<(), BmcError> {
        either!(self.ready())
    }

    async fn insert(&self, kind: MediaKind, url: &Url) -> Result<Changed, BmcError> {
        either!(self.insert(kind, url))
    }

    async fn eject(&self, kind: MediaKind) -> Result<Changed, BmcError> {
        either!(self.eject(kind))
    }

    async fn has(&self, kind: MediaKind) -> Result<bool, BmcError> {
        either!(self.has(kind))
    }

    async fn slots(&self) -> Result<Vec<MediaSlot>, BmcError> {
        either!(self.slots())
    }
}

#[async_trait]
impl Manager for Two<dyn Manager> {
    async fn reset(&self) -> Result<(), BmcError> {
        either!(self.reset())
    }

    async fn clock(&self) -> Result<Option<DateTime<Utc>>, BmcError> {
        either!(self.clock())
    }

    async fn set_clock(&self, now: DateTime<Utc>) -> Result<Changed, BmcError> {
        either!(self.set_clock(now))
    }

    async fn change_password(&self, new: &Secret) -> Result<Changed, BmcError> {
        either!(self.change_password(new))
    }
}

#[async_trait]
impl Inventory for Two<dyn Inventory> {
    /// RIS knows capabilities that RIBCL does not, RIBCL properties and network ports that RIS does not.
    async fn look(&self) -> Result<Found, BmcError> {
        let ris = self.0.look().await?;
        let mut found = match self.1.look().await {
            // RIBCL may be switched off.
            Err(BmcError::Unsupported { .. }) => return Ok(ris),
            other => other?,
        };
        found.capabilities.extend(ris.capabilities);
        for (key, value) in ris.properties {
            found.properties.entry(key).or_insert(value);
        }
        if let Some(vendor) = ris.inventory.get("system_vendor") {
            found.inventory.insert("system_vendor".to_owned(), vendor.clone());
        }
        Ok(found)
    }

    fn needs_power(&self) -> bool {
        self.0.needs_power() || self.1.needs_power()
    }
}
