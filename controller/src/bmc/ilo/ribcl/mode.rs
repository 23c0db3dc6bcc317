//! UEFI or BIOS.

use async_trait::async_trait;

use super::{
    Ribcl,
    request::{Class, Command},
    table::Trouble,
};
use crate::{
    bmc::{BmcError, BootModeControl, Changed},
    node::BootMode,
};

#[async_trait]
impl BootModeControl for Ribcl {
    /// A machine that does not know the question knows nothing but BIOS.
    async fn mode(&self) -> Result<Option<BootMode>, BmcError> {
        Ok(match self.word("GET_CURRENT_BOOT_MODE", "BOOT_MODE").await? {
            None => Some(BootMode::Bios),
            Some(word) => mode_of(&word),
        })
    }

    async fn set_mode(&self, mode: BootMode) -> Result<Changed, BmcError> {
        let only = |what: &str| {
            self.client.link.unsupported(format!("boot by {what}: the machine knows only the other"))
        };
        let Some(supported) = self.word("GET_SUPPORTED_BOOT_MODE", "SUPPORTED_BOOT_MODE").await? else {
            return if mode == BootMode::Bios { Ok(Changed::Already) } else { Err(only("UEFI")) };
        };
        match (supported.as_str(), mode) {
            ("LEGACY_ONLY", BootMode::Uefi) => return Err(only("UEFI")),
            ("UEFI_ONLY", BootMode::Bios) => return Err(only("BIOS")),
            _ => {}
        }
        // What is pending is in force after the self-test of the next start.
        let pending = self.word("GET_PENDING_BOOT_MODE", "BOOT_MODE").await?;
        if pending.as_deref().and_then(mode_of) == Some(mode) {
            return Ok(Changed::Already);
        }
        let word = match mode {
            BootMode::Uefi => "UEFI",
            BootMode::Bios => "LEGACY",
        };
        self.client.tell(&Command::write(Class::Server, "SET_PENDING_BOOT_MODE").with("value", word)).await?;
        Ok(Changed::Yes)
    }
}

fn mode_of(word: &str) -> Option<BootMode> {
    match word {
        "UEFI" => Some(BootMode::Uefi),
        "LEGACY" => Some(BootMode::Bios),
        _ => None,
    }
}

impl Ribcl {
    /// `None`: the machine does not know the question.
    async fn word(&self, name: &'static str, element: &str) -> Result<Option<String>, BmcError> {
        let command = Command::read(Class::Server, name);
        match self.client.try_ask(&command).await? {
            Ok(data) => {
                let found = data.value(&[element]).map(|word| word.to_ascii_uppercase());
                found.map(Some).ok_or_else(|| self.client.malformed(&command, &format!("no {element}")))
            }
            Err(refusal) if refusal.trouble == Trouble::Unsupported => Ok(None),
            Err(refusal) => Err(self.client.refused(&command, &refusal)),
        }
    }
}
