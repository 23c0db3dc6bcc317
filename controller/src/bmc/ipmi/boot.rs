//! What boots next (IPMI 2.0, sections 28.12 and 28.13).

use async_trait::async_trait;

use super::{
    Machine,
    command::{GET_BOOT_OPTIONS, SET_BOOT_OPTIONS},
    fru,
};
use crate::{
    bmc::{
        BmcError, BootDevice, BootSource, Changed,
        quirks::{self, Identity},
    },
    node::BootMode,
};

/// Boot options (table 28-14): who changes them, which ones say what ends a choice, who has seen it, the choice.
const SET_IN_PROGRESS: u8 = 0;
const VALID_BIT_CLEARING: u8 = 3;
const ACKNOWLEDGE: u8 = 4;
const BOOT_FLAGS: u8 = 5;
/// A choice outlives the minute in which the machine should have been switched.
const NOT_AFTER_A_MINUTE: u8 = 0x08;
/// Which bits are written, and that: the firmware has not seen the choice yet.
const NEWS_FOR_FIRMWARE: [u8; 2] = [0x01, 0x01];

const VALID: u8 = 0x80;
const PERSISTENT: u8 = 0x40;
const EFI: u8 = 0x20;

/// Bits 5 to 2 of the second byte.
const DEVICES: &[(u8, BootSource)] =
    &[(1, BootSource::Pxe), (2, BootSource::Disk), (5, BootSource::Cd), (6, BootSource::Setup)];

/// A boot choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Choice {
    flags: u8,
    device: u8,
}

#[async_trait]
impl BootDevice for Machine {
    async fn boot_once(&self, source: BootSource) -> Result<Changed, BmcError> {
        self.choose(source, false).await
    }

    async fn boot_always(&self, source: BootSource) -> Result<Changed, BmcError> {
        self.choose(source, true).await
    }

    async fn current(&self) -> Result<Option<(BootSource, bool)>, BmcError> {
        let choice = self.choice().await?;
        if choice.flags & VALID == 0 {
            return Ok(None);
        }
        let is_persistent = choice.flags & PERSISTENT != 0;
        if let Some((_, source)) = DEVICES.iter().find(|(device, _)| *device == choice.device) {
            return Ok(Some((*source, is_persistent)));
        }
        let is_disk = choice.flags & EFI != 0 && self.uefi_disk().await? == Some(choice.device);
        Ok(is_disk.then_some((BootSource::Disk, is_persistent)))
    }

    async fn supported(&self) -> Result<Vec<BootSource>, BmcError> {
        Ok(DEVICES.iter().map(|(_, source)| *source).collect())
    }
}

impl Machine {
    async fn choice(&self) -> Result<Choice, BmcError> {
        let answer: [u8; 4] = self.client.ask(&GET_BOOT_OPTIONS, &[BOOT_FLAGS, 0, 0]).await?;
        let [_version, _parameter, flags, device] = answer;
        Ok(Choice { flags, device: device >> 2 & 0x0f })
    }

    async fn choose(&self, source: BootSource, persistent: bool) -> Result<Changed, BmcError> {
        let wanted = self.wanted(source, persistent).await?;
        // A choice for once is used up at some time that the BMC alone knows: it is made again.
        if persistent && self.choice().await? == wanted {
            return Ok(Changed::Already);
        }
        self.if_it_can(&[SET_IN_PROGRESS, 1]).await?;
        let written = self.write(wanted).await;
        // Also when it failed: others may not write until then.
        self.if_it_can(&[SET_IN_PROGRESS, 0]).await?;
        written?;
        let found = self.choice().await?;
        if found.device != wanted.device {
            return Err(self.client.malformed(
                &SET_BOOT_OPTIONS,
                "it accepted the boot device, but does not say so when it is asked",
            ));
        }
        if found.flags != wanted.flags {
            tracing::warn!(
                bmc = self.client.address,
                "the BMC did not keep all of a boot choice (valid, persistent, UEFI): wanted {:#04x}, found {:#04x}",
                wanted.flags,
                found.flags
            );
        }
        Ok(Changed::Yes)
    }

    async fn wanted(&self, source: BootSource, persistent: bool) -> Result<Choice, BmcError> {
        let Some((device, _)) = DEVICES.iter().find(|(_, known)| *known == source) else {
            return Err(self.client.unsupported(format!("boot from {source}: IPMI has no such device")));
        };
        let mode = self.boot_mode.as_ref().map_err(|problem| BmcError::DriverInfo(problem.clone()))?;
        let is_uefi = *mode == BootMode::Uefi;
        let mut flags = VALID;
        flags |= if persistent { PERSISTENT } else { 0 };
        flags |= if is_uefi { EFI } else { 0 };
        let of_its_own = if is_uefi && source == BootSource::Disk { self.uefi_disk().await? } else { None };
        Ok(Choice { flags, device: of_its_own.unwrap_or(*device) })
    }

    /// How this maker calls the disk in UEFI mode.
    async fn uefi_disk(&self) -> Result<Option<u8>, BmcError> {
        let vendor = fru::maker(&self.client).await?.map(str::to_owned);
        let identity = Identity { vendor, ..Identity::default() };
        Ok(quirks::of(&identity).quirks.ipmi_uefi_disk)
    }

    async fn write(&self, wanted: Choice) -> Result<(), BmcError> {
        // BMCs that cannot do this forget a choice unless the machine is switched soon, as it usually is.
        if self.client.settings.disable_boot_timeout {
            self.if_it_can(&[VALID_BIT_CLEARING, NOT_AFTER_A_MINUTE]).await?;
        }
        let [mask, data] = NEWS_FOR_FIRMWARE;
        self.if_it_can(&[ACKNOWLEDGE, mask, data]).await?;
        let request = [BOOT_FLAGS, wanted.flags, wanted.device << 2, 0, 0, 0];
        self.client.command(&SET_BOOT_OPTIONS, &request).await.map(drop)
    }

    /// Optional parameters: a BMC that refuses them does without.
    async fn if_it_can(&self, request: &[u8]) -> Result<(), BmcError> {
        match self.client.command(&SET_BOOT_OPTIONS, request).await {
            Err(error @ BmcError::Completion { .. }) => {
                tracing::debug!(bmc = self.client.address, %error, parameter = request[0], "a boot option is not there");
                Ok(())
            }
            done => done.map(drop),
        }
    }
}
