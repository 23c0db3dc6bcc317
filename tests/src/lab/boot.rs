//! What a machine boots next: the override a BMC is asked for, and how one start uses it up.

/// Legacy BIOS or UEFI. Changing it gives the machine other firmware at its next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootMode {
    /// BIOS.
    Legacy,
    /// UEFI.
    Uefi,
}

/// Where to boot from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootTarget {
    /// The CD drive.
    Cd,
    /// The first disk.
    Disk,
    /// The network.
    Network,
}

/// For how long an override holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverrideEnabled {
    /// Not at all: the firmware's own order decides.
    Disabled,
    /// For one start.
    Once,
    /// For every start.
    Continuous,
}

/// What a BMC was asked to boot, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootOverride {
    /// For how long.
    pub enabled: OverrideEnabled,
    /// What; `None` leaves it to the firmware.
    pub target: Option<BootTarget>,
}

impl BootOverride {
    /// No override.
    pub const DISABLED: Self = Self { enabled: OverrideEnabled::Disabled, target: None };

    /// What the next start boots first, and the override that is left after it.
    #[must_use]
    pub fn start(self) -> (Option<BootTarget>, Self) {
        match self.enabled {
            OverrideEnabled::Disabled => (None, self),
            OverrideEnabled::Once => (self.target, Self::DISABLED),
            OverrideEnabled::Continuous => (self.target, self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_holds_for_exactly_one_start() {
        let once = BootOverride { enabled: OverrideEnabled::Once, target: Some(BootTarget::Cd) };
        assert_eq!(once.start(), (Some(BootTarget::Cd), BootOverride::DISABLED));
        assert_eq!(BootOverride::DISABLED.start(), (None, BootOverride::DISABLED));
    }

    #[test]
    fn continuous_holds_and_a_disabled_target_is_only_remembered() {
        let wanted = BootOverride { enabled: OverrideEnabled::Continuous, target: Some(BootTarget::Disk) };
        assert_eq!(wanted.start(), (Some(BootTarget::Disk), wanted));
        let idle = BootOverride { enabled: OverrideEnabled::Disabled, target: Some(BootTarget::Cd) };
        assert_eq!(idle.start(), (None, idle));
    }
}
