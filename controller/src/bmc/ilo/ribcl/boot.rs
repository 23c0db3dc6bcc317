//! What boots next. Machines that boot by BIOS know classes of devices; those that boot by UEFI know single boot
//! options, which are told apart by their descriptions.

use async_trait::async_trait;

use super::{
    Ribcl,
    request::{Class, Command},
    xml::Element,
};
use crate::bmc::{BmcError, BootDevice, BootSource, Changed};

/// Ways to boot that are looked at.
const MAX_DEVICES: usize = 64;
const NORMAL: &str = "Normal";

/// What a source is called.
struct Words {
    source: BootSource,
    /// For one-time boots, and as class in the order of a machine that boots by BIOS.
    class: &'static str,
    /// Parts of descriptions of UEFI boot options, in lower case.
    descriptions: &'static [&'static str],
}

const WORDS: &[Words] = &[
    Words {
        source: BootSource::Cd,
        class: "CDROM",
        descriptions: &["virtual usb cd", "virtual cd", "cd/dvd"],
    },
    Words { source: BootSource::Pxe, class: "NETWORK", descriptions: &["pxe", " nic", "iscsi"] },
    Words {
        source: BootSource::Disk,
        class: "HDD",
        descriptions: &["logical drive", "hdd", "storage", "logvol", "hard drive"],
    },
    Words { source: BootSource::Setup, class: "RBSU", descriptions: &[] },
];

fn words_of(source: BootSource) -> Option<&'static Words> {
    WORDS.iter().find(|words| words.source == source)
}

/// One way to boot, at its place in the order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Device {
    value: String,
    source: Option<BootSource>,
}

#[async_trait]
impl BootDevice for Ribcl {
    async fn boot_once(&self, source: BootSource) -> Result<Changed, BmcError> {
        let class = self.class(source)?;
        self.set_one_time(class).await
    }

    async fn boot_always(&self, source: BootSource) -> Result<Changed, BmcError> {
        self.class(source)?;
        let mut order = self.order().await?;
        let first = match order.iter().position(|device| device.source == Some(source)) {
            Some(first) => first,
            // An empty disk is in no order of UEFI; the boot entry that is written later puts itself first.
            None if source == BootSource::Disk => 0,
            None => {
                let what = format!("always boot from {source}: it is not in the boot order");
                return Err(self.client.link.unsupported(what));
            }
        };
        let cleared = self.set_one_time(NORMAL).await?;
        if first == 0 {
            return Ok(cleared);
        }
        let device = order.remove(first);
        order.insert(0, device);
        let command = Command::write(Class::Server, "SET_PERSISTENT_BOOT");
        let command =
            order.into_iter().fold(command, |command, device| command.child("DEVICE", device.value));
        self.client.tell(&command).await?;
        Ok(Changed::Yes)
    }

    async fn current(&self) -> Result<Option<(BootSource, bool)>, BmcError> {
        let once = self.one_time().await?;
        if let Some(words) = WORDS.iter().find(|words| words.class.eq_ignore_ascii_case(&once)) {
            return Ok(Some((words.source, false)));
        }
        Ok(self.order().await?.first().and_then(|device| Some((device.source?, true))))
    }

    async fn supported(&self) -> Result<Vec<BootSource>, BmcError> {
        Ok(WORDS.iter().map(|words| words.source).collect())
    }
}

impl Ribcl {
    fn class(&self, source: BootSource) -> Result<&'static str, BmcError> {
        let words = words_of(source);
        words
            .map(|words| words.class)
            .ok_or_else(|| self.client.link.unsupported(format!("boot from {source}")))
    }

    async fn one_time(&self) -> Result<String, BmcError> {
        let command = Command::read(Class::Server, "GET_ONE_TIME_BOOT");
        let data = self.client.ask(&command).await?;
        // Older firmware calls the element DEVICE.
        let found = data.value(&["BOOT_TYPE"]).or_else(|| data.value(&["DEVICE"]));
        found.map(str::to_owned).ok_or_else(|| self.client.malformed(&command, "no BOOT_TYPE"))
    }

    async fn set_one_time(&self, class: &'static str) -> Result<Changed, BmcError> {
        if self.one_time().await?.eq_ignore_ascii_case(class) {
            return Ok(Changed::Already);
        }
        let command = Command::write(Class::Server, "SET_ONE_TIME_BOOT").with("value", class);
        self.client.tell(&command).await?;
        Ok(Changed::Yes)
    }

    async fn order(&self) -> Result<Vec<Device>, BmcError> {
        let data = self.client.ask(&Command::read(Class::Server, "GET_PERSISTENT_BOOT")).await?;
        Ok(data.children.iter().take(MAX_DEVICES).filter_map(device).collect())
    }
}

fn device(element: &Element) -> Option<Device> {
    let value = element.attribute("VALUE").filter(|value| !value.is_empty())?.to_owned();
    let source = match element.attribute("DESCRIPTION") {
        Some(description) => {
            let description = description.to_ascii_lowercase();
            let fits = |words: &&Words| words.descriptions.iter().any(|part| description.contains(part));
            WORDS.iter().find(fits).map(|words| words.source)
        }
        None => WORDS.iter().find(|words| words.class.eq_ignore_ascii_case(&value)).map(|words| words.source),
    };
    Some(Device { value, source })
}
