//! How a BMC of some make differs from the plain one: data, read from TOML (`tests/profiles/`). No code knows a make.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::lab::LabError;

/// Paths in a profile are those of the plain BMC (`/redfish/v1/Systems/1`); clients see the profile's ids instead.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// What it is called in a table of results.
    pub name: String,
    /// Where the facts are from.
    pub sources: Vec<String>,
    /// What ids and links are.
    pub ids: Ids,
    /// Rules of the boot override.
    pub boot: BootRules,
    /// Rules of power.
    pub power: PowerRules,
    /// Rules of virtual media.
    pub media: MediaRules,
    /// How answers look.
    pub answers: AnswerRules,
    /// Rules of log-ins.
    pub access: AccessRules,
    /// The wire of iLO 4 and older.
    pub ribcl: RibclRules,
    /// Changes of resources.
    pub overlay: Vec<Overlay>,
    /// Actions under another path.
    pub alias: Vec<Alias>,
}

/// The ids of the one system, manager and chassis.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ids {
    /// Of the system; `@uuid@` and `@name@` are the machine's.
    pub system: String,
    /// Of the manager.
    pub manager: String,
    /// Of the chassis.
    pub chassis: String,
}

impl Default for Ids {
    fn default() -> Self {
        let one = || "1".to_owned();
        Self { system: one(), manager: one(), chassis: one() }
    }
}

/// Rules of the boot override.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BootRules {
    /// The resource whose PATCH changes the override; the system itself then refuses.
    pub path: Option<String>,
    /// The words for targets that are accepted.
    pub targets: Vec<String>,
    /// Whether the system lists them.
    pub lists_targets: bool,
    /// `Cd` is a drive in the machine, in which no medium is.
    pub cd_is_physical: bool,
    /// Enabled, target and mode must all be in each PATCH.
    pub needs_all: bool,
    /// A PATCH without mode sets legacy mode.
    pub forgets_mode: bool,
    /// A value that is in force already is refused.
    pub refuses_repeat: bool,
    /// Changes during the self-test are refused with this message id.
    pub refused_in_post: Option<String>,
    /// A persistent override to the disk is accepted and gone at the next start.
    pub disk_is_not_kept: bool,
    /// A persistent override is refused.
    pub only_once: bool,
    /// The mode cannot be changed.
    pub mode_is_fixed: bool,
    /// The mode is not shown at all.
    pub mode_is_hidden: bool,
    /// A changed mode, or Secure Boot, shows only after the next start.
    pub changes_at_start: bool,
    /// Attributes of the manager that boot a virtual medium once.
    pub attributes: Option<BootAttributes>,
}

impl Default for BootRules {
    fn default() -> Self {
        Self {
            path: None,
            targets: ["None", "Cd", "Hdd", "Pxe"].map(str::to_owned).to_vec(),
            lists_targets: true,
            cd_is_physical: false,
            needs_all: false,
            forgets_mode: false,
            refuses_repeat: false,
            refused_in_post: None,
            disk_is_not_kept: false,
            only_once: false,
            mode_is_fixed: false,
            mode_is_hidden: false,
            changes_at_start: false,
            attributes: None,
        }
    }
}

/// A boot override by attributes: PATCH of `path` with `{"Attributes": {once: "Enabled", device: virtual_cd}}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootAttributes {
    /// The resource.
    pub path: String,
    /// The attribute that says for how long.
    pub once: String,
    /// The attribute that says what.
    pub device: String,
    /// Its value for the virtual CD.
    pub virtual_cd: String,
}

/// Rules of power.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PowerRules {
    /// The reset types that are accepted.
    pub resets: Vec<String>,
    /// They are listed in an ActionInfo resource instead of the system.
    pub action_info: bool,
    /// What is done already is refused: status and message id.
    pub refuses_repeat: Option<(u16, String)>,
}

impl Default for PowerRules {
    fn default() -> Self {
        let resets = ["On", "ForceOff", "GracefulShutdown", "ForceRestart", "PowerCycle", "Nmi"];
        Self { resets: resets.map(str::to_owned).to_vec(), action_info: false, refuses_repeat: None }
    }
}

/// Rules of virtual media.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MediaRules {
    /// Where they are.
    pub location: MediaLocation,
    /// The slots. Without any: one for CDs, and the machine's second one.
    pub slots: Vec<SlotRules>,
    /// Parameters that an insertion must have besides `Image`.
    pub needs: Vec<String>,
    /// Parameters that it does not know.
    pub refuses: Vec<String>,
    /// For so many looks after an ejection the slot still says that it is full.
    pub stale_looks: u32,
    /// The image's name stays after an ejection.
    pub keeps_name: bool,
    /// So many insertions right after an ejection are answered 503.
    pub busy_after_eject: u32,
    /// An ejection of an empty slot is refused.
    pub refuses_empty_eject: bool,
    /// Without the licence: refused with this message id.
    pub licence_missing: Option<String>,
    /// A property of a slot's PATCH that boots it once, as a JSON pointer.
    pub boot_once: Option<String>,
}

/// Where the BMC shows its virtual media. Real ones differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaLocation {
    /// `/redfish/v1/Systems/1/VirtualMedia`.
    #[default]
    System,
    /// `/redfish/v1/Managers/1/VirtualMedia`.
    Manager,
    /// Both, as the same slots.
    Both,
}

/// One slot.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotRules {
    /// Its id.
    pub id: String,
    /// Its media types.
    pub types: Vec<String>,
    /// What is behind it.
    pub takes: Takes,
    /// How a medium is inserted.
    #[serde(default)]
    pub by: InsertBy,
}

/// What is behind a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Takes {
    /// The machine's CD drive.
    Cd,
    /// The machine's second drive.
    Second,
    /// Nothing: an insertion is refused.
    Nothing,
}

/// How a medium is inserted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InsertBy {
    /// By the actions.
    #[default]
    Action,
    /// By PATCH of the slot; there are no actions.
    Patch,
    /// Either.
    Both,
    /// Neither: it can be looked at.
    Nothing,
}

impl SlotRules {
    /// Whether it shows the actions.
    pub(super) fn has_actions(&self) -> bool {
        matches!(self.by, InsertBy::Action | InsertBy::Both)
    }

    /// Whether it is changed by PATCH.
    pub(super) fn takes_patch(&self) -> bool {
        matches!(self.by, InsertBy::Patch | InsertBy::Both)
    }
}

/// How answers look.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerRules {
    /// A PATCH without If-Match is refused with 428.
    pub needs_if_match: bool,
    /// ETags are strong.
    pub strong_etags: bool,
    /// Collections have so many members a page.
    pub page: usize,
    /// Collections hold their members, not links to them.
    pub expanded: bool,
    /// Links end with a slash.
    pub slashes: bool,
    /// A link without slash is redirected to the one with it.
    pub redirects: bool,
    /// Actions that are answered by 202 and a task monitor, by the end of their path.
    pub tasks: Vec<String>,
    /// How often a task monitor says "not yet".
    pub task_looks: u32,
    /// Resources (and all below them) that do not exist.
    pub missing: Vec<String>,
}

/// Rules of log-ins.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessRules {
    /// There are no sessions.
    pub no_sessions: bool,
    /// After so many wrong passwords the account is locked; 0: never.
    pub lock_after: u32,
    /// For so many seconds.
    pub lock_seconds: u64,
    /// A locked account is refused with this status.
    pub lock_status: Option<u16>,
}

/// The wire of iLO 4 and older.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RibclRules {
    /// RIBCL is spoken.
    pub enabled: bool,
    /// Redfish is not spoken.
    pub no_redfish: bool,
    /// Boot modes are known.
    pub boot_modes: bool,
    /// The product.
    pub product: String,
    /// The firmware version of the BMC.
    pub firmware: String,
    /// The licence, such as `iLO 4 Advanced`; empty: the standard one.
    pub licence: String,
}

/// A change of one resource.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// The resource; `*` stands for one segment. A resource that is not there is made.
    pub path: String,
    /// JSON, merged as RFC 7396 says; `@name@`, `@uuid@`, `@post@`, `@power@` and `@mode@` are the machine's.
    pub merge: String,
    /// The words of `@post@`: off, running, finished.
    #[serde(default)]
    pub post: Option<[String; 3]>,
}

/// An action under another path.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// The path clients use.
    pub path: String,
    /// The path of the plain BMC.
    pub to: String,
    /// A property of the request with another name and other values.
    #[serde(default)]
    pub property: Option<AliasProperty>,
}

/// A property of an aliased action.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AliasProperty {
    /// Its name.
    pub name: String,
    /// What it stands for.
    pub becomes: String,
    /// Its values and what they stand for.
    pub values: Vec<(String, String)>,
}

/// The profiles in `tests/profiles`, by the names of their files.
pub const KNOWN: [(&str, &str); 20] = {
    macro_rules! profiles {
        ($($name:literal),* $(,)?) => {
            [$(($name, include_str!(concat!("../../../profiles/", $name, ".toml")))),*]
        };
    }
    profiles!(
        "standard",
        "idrac8",
        "idrac9-4",
        "idrac9",
        "idrac10",
        "ilo4-gen8",
        "ilo4",
        "ilo5",
        "ilo6",
        "xcc",
        "supermicro-x10",
        "supermicro-x11",
        "supermicro-x12",
        "supermicro-x13",
        "megarac",
        "irmc",
        "cimc",
        "openbmc",
        "sushy",
        "slow-tasks",
    )
};

impl Profile {
    /// One of [`KNOWN`].
    pub fn named(name: &str) -> Result<Self, LabError> {
        let found = KNOWN.iter().find(|(known, _)| *known == name);
        let (_, text) = found.ok_or_else(|| {
            let names: Vec<_> = KNOWN.iter().map(|(known, _)| *known).collect();
            LabError::Profile { name: name.into(), problem: format!("there are only {}", names.join(", ")) }
        })?;
        Self::parse(name, text)
    }

    /// From a file.
    pub fn read(path: &Path) -> Result<Self, LabError> {
        let text = std::fs::read_to_string(path).map_err(LabError::file("read", path))?;
        Self::parse(&path.display().to_string(), &text)
    }

    fn parse(name: &str, text: &str) -> Result<Self, LabError> {
        let wrong = |problem: String| LabError::Profile { name: name.into(), problem };
        let profile: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        for overlay in &profile.overlay {
            let parsed = serde_json::from_str::<Value>(&overlay.merge);
            parsed.map_err(|error| wrong(format!("overlay of {}: {error}", overlay.path)))?;
        }
        Ok(profile)
    }

    /// Whether a path is one of a list, or below one.
    pub(super) fn is_missing(&self, path: &str) -> bool {
        let below = |base: &String| {
            path.strip_prefix(base.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.answers.missing.iter().any(below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_profiles_can_be_read_and_name_their_sources() {
        for (name, _) in KNOWN {
            let profile = Profile::named(name).unwrap();
            assert!(!profile.name.is_empty() && !profile.sources.is_empty(), "{name}");
        }
        assert!(Profile::named("x").unwrap_err().to_string().contains("standard, idrac8"));
        assert!(Profile::parse("p", "nmae = 'x'").is_err(), "unknown keys are refused");
    }
}
