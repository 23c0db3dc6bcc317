//! What a BMC told of firmware and its settings, kept for the API.

use bessemer_proto::ids::NodeId;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::hardware::{BiosSetting, FirmwareComponent};

/// Most settings or components that are kept of one machine.
const MOST: usize = 4096;

/// All that is kept of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardwareCache {
    /// Whose it is.
    pub node: NodeId,
    /// Settings of the firmware, by name.
    #[serde(default)]
    pub bios: Vec<Cached<BiosSetting>>,
    /// Firmware, by component.
    #[serde(default)]
    pub firmware: Vec<Cached<Firmware>>,
}

/// One thing, with the times of its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cached<T> {
    /// The thing.
    pub value: T,
    /// When it was first seen.
    pub created_at: DateTime<Utc>,
    /// When it last was other than before.
    pub updated_at: Option<DateTime<Utc>>,
}

/// Firmware of a component, and what it was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firmware {
    /// As it is.
    pub component: FirmwareComponent,
    /// The version that was seen first.
    pub initial_version: Option<String>,
    /// The version that it last changed to.
    pub last_version_flashed: Option<String>,
}

impl HardwareCache {
    /// Nothing known yet.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self { node, bios: Vec::new(), firmware: Vec::new() }
    }

    /// The UUID of the document: the node's.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.node.0
    }

    /// Takes over what the BMC says now; settings that are no more are dropped.
    pub fn note_bios(&mut self, mut settings: Vec<BiosSetting>, now: DateTime<Utc>) {
        settings.truncate(MOST);
        settings.sort_by(|a, b| a.name.cmp(&b.name));
        settings.dedup_by(|a, b| a.name == b.name);
        let known = std::mem::take(&mut self.bios);
        self.bios = settings
            .into_iter()
            .map(|setting| match known.iter().find(|old| old.value.name == setting.name) {
                Some(old) => old.with(setting, now),
                None => Cached { value: setting, created_at: now, updated_at: None },
            })
            .collect();
    }

    /// Takes over what the BMC says now. A component that the BMC does not show for now is kept.
    pub fn note_firmware(&mut self, components: Vec<FirmwareComponent>, now: DateTime<Utc>) {
        for component in components.into_iter().take(MOST) {
            let known =
                self.firmware.iter().position(|old| old.value.component.component == component.component);
            let Some(old) = known.and_then(|index| self.firmware.get_mut(index)) else {
                if self.firmware.len() < MOST {
                    let initial_version = component.current_version.clone();
                    let value = Firmware { component, initial_version, last_version_flashed: None };
                    self.firmware.push(Cached { value, created_at: now, updated_at: None });
                }
                continue;
            };
            let mut value = Firmware { component, ..old.value.clone() };
            if value.component.current_version != old.value.component.current_version {
                value.last_version_flashed.clone_from(&value.component.current_version);
            }
            *old = old.with(value, now);
        }
    }
}

impl<T: PartialEq> Cached<T> {
    fn with(&self, value: T, now: DateTime<Utc>) -> Self {
        let updated_at = if self.value == value { self.updated_at } else { Some(now) };
        Self { value, created_at: self.created_at, updated_at }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn setting(name: &str, value: &str) -> BiosSetting {
        BiosSetting { name: name.into(), value: Some(value.into()), ..BiosSetting::default() }
    }

    fn component(name: &str, version: &str) -> FirmwareComponent {
        FirmwareComponent {
            component: name.into(),
            current_version: Some(version.into()),
            ..FirmwareComponent::default()
        }
    }

    #[test]
    fn settings_keep_their_age_and_vanish_with_the_bmc_that_had_them() {
        let (then, now) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH + TimeDelta::days(1));
        let mut cache = HardwareCache::new(NodeId::random());
        cache.note_bios(
            vec![setting("b", "1"), setting("a", "1"), setting("c", "1"), setting("c", "2")],
            then,
        );
        cache.note_bios(vec![setting("b", "2"), setting("a", "1")], now);
        let shown: Vec<_> =
            cache.bios.iter().map(|row| (row.value.name.as_str(), row.created_at, row.updated_at)).collect();
        assert_eq!(shown, [("a", then, None), ("b", then, Some(now))]);
    }

    #[test]
    fn firmware_remembers_where_it_began_and_what_it_became() {
        let (then, now) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH + TimeDelta::days(1));
        let mut cache = HardwareCache::new(NodeId::random());
        cache.note_firmware(vec![component("bios", "1"), component("bmc", "1")], then);
        cache.note_firmware(vec![component("bios", "2")], now);
        let bios = &cache.firmware[0];
        assert_eq!(bios.value.initial_version.as_deref(), Some("1"));
        assert_eq!(bios.value.last_version_flashed.as_deref(), Some("2"));
        assert_eq!(bios.updated_at, Some(now));
        assert_eq!((cache.firmware.len(), cache.firmware[1].updated_at), (2, None));
    }
}
