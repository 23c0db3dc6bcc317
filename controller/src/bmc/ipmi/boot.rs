//! What boots next (IPMI 2.0, sections 28.12 and 28.13).

use async_trait::async_trait;

use super::{
    Machine,
    command::{GET_BOOT_OPTIONS, SET_BOOT_OPTIONS},
};
use crate::{
    bmc::{BmcError, BootDevice, BootSource, Changed},
    node::BootMode,
};

/// Which boot options the choice is, and which ones say what ends it.
const BOOT_FLAGS: u8 = 5;
const VALID_BIT_CLEARING: u8 = 3;
/// A choice outlives the minute in which the machine should have been switched.
const NOT_AFTER_A_MINUTE: u8 = 0x08;

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
        let known = DEVICES.iter().find(|(device, _)| choice.flags & VALID != 0 && *device == choice.device);
        Ok(known.map(|(_, source)| (*source, choice.flags & PERSISTENT != 0)))
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
        let Some((device, _)) = DEVICES.iter().find(|(_, known)| *known == source) else {
            return Err(self.client.unsupported(format!("boot from {source}: IPMI has no such device")));
        };
        let mut flags = VALID;
        flags |= if persistent { PERSISTENT } else { 0 };
        flags |= if self.boot_mode == Some(BootMode::Uefi) { EFI } else { 0 };
        let wanted = Choice { flags, device: *device };
        // A choice for once is used up at some time that the BMC alone knows: it is made again.
        if persistent && self.choice().await? == wanted {
            return Ok(Changed::Already);
        }
        if self.client.settings.disable_boot_timeout {
            self.outlive_a_minute().await?;
        }
        let request = [BOOT_FLAGS, flags, device << 2, 0, 0, 0];
        self.client.command(&SET_BOOT_OPTIONS, &request).await?;
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

    /// BMCs that cannot do this forget a choice unless the machine is switched soon, as it usually is.
    async fn outlive_a_minute(&self) -> Result<(), BmcError> {
        match self.client.command(&SET_BOOT_OPTIONS, &[VALID_BIT_CLEARING, NOT_AFTER_A_MINUTE]).await {
            Err(error @ BmcError::Completion { .. }) => {
                tracing::debug!(bmc = self.client.address, %error, "a boot choice may end after a minute");
                Ok(())
            }
            done => done.map(drop),
        }
    }
}
