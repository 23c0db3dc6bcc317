//! The `fake_*` keys of `driver_info`, checked.

use std::time::Duration;

use rand::Rng as _;
use serde_json::Value;

use crate::{
    bmc::{BmcError, BootSource},
    node::Dictionary,
};

/// Longest delay that may be asked for.
const MAX_DELAY_SECONDS: f64 = 3600.0;

pub(super) const PROPERTIES: &[(&str, &str)] = &[
    (
        "fake_power_delay",
        "Seconds that a change of power takes: a number, or \"min,max\" for a random one; at most 3600. Default 0.",
    ),
    (
        "fake_management_delay",
        "Seconds that changes of boot device, boot mode, Secure Boot and virtual media take. Default 0.",
    ),
    (
        "fake_fail",
        "What fails, separated by commas: power_state, power_on, power_off, soft_power_off, boot_device, \
         boot_mode, secure_boot, virtual_media, indicators, bios, firmware. Default nothing.",
    ),
    (
        "fake_stuck",
        "Which changes of power are accepted and never happen: power_on, power_off, soft_power_off. Default none.",
    ),
    (
        "fake_deploy_delay, fake_vendor_delay, fake_bios_delay, fake_firmware_delay",
        "Seconds that a step of that interface takes, as fake_power_delay. The node waits meanwhile. Default 0.",
    ),
    (
        "fake_inspect_delay, fake_rescue_delay",
        "Seconds that an inspection takes, and a rescue or its end, as fake_power_delay. Default 0.",
    ),
    (
        "fake_inventory",
        "What an inspection finds: an object as a ramdisk would send it, with interfaces and cpu.architecture. \
         Default nothing.",
    ),
    (
        "fake_fail_step",
        "Steps that fail when their time is over, separated by commas, such as deploy.deploy or \
         vendor.log_passthrough; also inspect.inspect_hardware, rescue.rescue, rescue.unrescue. Default none.",
    ),
    (
        "fake_boot_devices",
        "The boot devices that the API may choose, separated by commas: pxe, disk, cdrom, bios, uefihttp. \
         Default pxe.",
    ),
];

/// A random length out of the delay of that key.
pub(super) fn delay(info: &Dictionary, key: &str) -> Result<Duration, BmcError> {
    Ok(Delay::read(info, key)?.draw())
}

/// What an inspection finds.
pub(super) fn inventory(info: &Dictionary) -> Result<Option<Dictionary>, BmcError> {
    match info.get("fake_inventory") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(found)) => Ok(Some(found.clone())),
        Some(_) => Err(wrong("fake_inventory: an object is needed".to_owned())),
    }
}

/// `interface.step` of the steps that fail.
pub(super) fn failing_steps(info: &Dictionary) -> Result<Vec<String>, BmcError> {
    words(info, "fake_fail_step", |word| word.contains('.').then(|| word.to_owned()))
}

/// What can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    PowerState,
    PowerOn,
    PowerOff,
    SoftPowerOff,
    BootDevice,
    BootMode,
    SecureBoot,
    VirtualMedia,
    Indicators,
    Bios,
    Firmware,
}

impl Operation {
    const ALL: [Self; 11] = [
        Self::PowerState,
        Self::PowerOn,
        Self::PowerOff,
        Self::SoftPowerOff,
        Self::BootDevice,
        Self::BootMode,
        Self::SecureBoot,
        Self::VirtualMedia,
        Self::Indicators,
        Self::Bios,
        Self::Firmware,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PowerState => "power_state",
            Self::PowerOn => "power_on",
            Self::PowerOff => "power_off",
            Self::SoftPowerOff => "soft_power_off",
            Self::BootDevice => "boot_device",
            Self::BootMode => "boot_mode",
            Self::SecureBoot => "secure_boot",
            Self::VirtualMedia => "virtual_media",
            Self::Indicators => "indicators",
            Self::Bios => "bios",
            Self::Firmware => "firmware",
        }
    }

    fn is_power_change(self) -> bool {
        matches!(self, Self::PowerOn | Self::PowerOff | Self::SoftPowerOff)
    }
}

/// How a fake machine behaves.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    power_delay: Delay,
    management_delay: Delay,
    failing: Vec<Operation>,
    stuck: Vec<Operation>,
    pub(super) boot_devices: Vec<BootSource>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Delay {
    least: f64,
    most: f64,
}

impl Settings {
    pub(super) fn from_driver_info(info: &Dictionary) -> Result<Self, BmcError> {
        let stuck = words(info, "fake_stuck", operation)?;
        if let Some(other) = stuck.iter().find(|operation| !operation.is_power_change()) {
            return Err(wrong(format!("fake_stuck: {} is no change of power", other.name())));
        }
        inventory(info)?;
        let mut boot_devices = words(info, "fake_boot_devices", |word| word.parse().ok())?;
        if boot_devices.is_empty() {
            boot_devices.push(BootSource::Pxe);
        }
        Ok(Self {
            power_delay: Delay::read(info, "fake_power_delay")?,
            management_delay: Delay::read(info, "fake_management_delay")?,
            failing: words(info, "fake_fail", operation)?,
            stuck,
            boot_devices,
        })
    }

    pub(super) fn power_delay(&self) -> Duration {
        self.power_delay.draw()
    }

    pub(super) fn management_delay(&self) -> Duration {
        self.management_delay.draw()
    }

    pub(super) fn fails(&self, operation: Operation) -> bool {
        self.failing.contains(&operation)
    }

    pub(super) fn sticks(&self, operation: Operation) -> bool {
        self.stuck.contains(&operation)
    }
}

impl Delay {
    fn read(info: &Dictionary, key: &str) -> Result<Self, BmcError> {
        let unusable = || {
            wrong(format!("{key} must be a number of seconds from 0 to {MAX_DELAY_SECONDS}, or \"min,max\""))
        };
        let (least, most) = match info.get(key) {
            None | Some(Value::Null) => return Ok(Self::default()),
            Some(Value::Number(number)) => (number.as_f64(), number.as_f64()),
            Some(Value::String(text)) => {
                let (least, most) = text.split_once(',').unwrap_or((text, text));
                (least.trim().parse().ok(), most.trim().parse().ok())
            }
            Some(_) => return Err(unusable()),
        };
        match (least, most) {
            (Some(least), Some(most)) if 0.0 <= least && least <= most && most <= MAX_DELAY_SECONDS => {
                Ok(Self { least, most })
            }
            _ => Err(unusable()),
        }
    }

    fn draw(self) -> Duration {
        Duration::from_secs_f64(rand::rng().random_range(self.least..=self.most))
    }
}

fn operation(word: &str) -> Option<Operation> {
    Operation::ALL.into_iter().find(|operation| operation.name() == word)
}

/// A list, or a string with commas.
fn words<T>(info: &Dictionary, key: &str, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, BmcError> {
    let words: Vec<&str> = match info.get(key) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect(),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect()
        }
        Some(_) => return Err(wrong(format!("{key} must be words separated by commas"))),
    };
    let unknown = |word: &str| {
        let word: String = word.chars().take(40).collect();
        wrong(format!("{key}: \"{word}\" is not known; see the properties of the driver"))
    };
    words.into_iter().map(|word| read(word).ok_or_else(|| unknown(word))).collect()
}

fn wrong(message: String) -> BmcError {
    BmcError::DriverInfo(message)
}
