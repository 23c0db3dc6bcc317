//! From a RAID configuration and the disks that are there to the volumes to be made. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{NewVolume, PhysicalDrive, StorageController, existing};

const GIB: u64 = 1 << 30;

/// Which logical disks are wanted; Ironic's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The one with `is_root_volume`.
    pub root: bool,
    /// The others.
    pub others: bool,
}

/// A volume that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// What the BMC is told.
    pub volume: NewVolume,
    /// Whether the operating system goes there.
    pub is_root: bool,
    /// The volume that is it already, by its id.
    pub there: Option<String>,
}

/// A level with what it needs of `n` disks.
pub(super) struct Level {
    pub(super) name: &'static str,
    least: usize,
    /// Disks must be a multiple of this.
    multiple: usize,
    /// Of `n` disks, how many hold data.
    data: fn(usize) -> usize,
}

const LEVELS: &[Level] = &[
    Level { name: "0", least: 1, multiple: 1, data: |n| n },
    Level { name: "1", least: 2, multiple: 2, data: |_| 1 },
    Level { name: "5", least: 3, multiple: 1, data: |n| n - 1 },
    Level { name: "6", least: 4, multiple: 1, data: |n| n - 2 },
    Level { name: "1+0", least: 4, multiple: 2, data: |n| n / 2 },
    Level { name: "5+0", least: 6, multiple: 2, data: |n| n - 2 },
    Level { name: "6+0", least: 8, multiple: 2, data: |n| n - 4 },
];

/// What a logical disk asks for.
pub(super) struct Wish<'a> {
    at: usize,
    pub(super) level: &'static Level,
    /// `None`: as large as possible.
    pub(super) size: Option<u64>,
    pub(super) name: Option<&'a str>,
    is_root: bool,
    disk_type: Option<&'a str>,
    interface_type: Option<&'a str>,
    pub(super) count: Option<usize>,
    controller: Option<&'a str>,
    pub(super) disks: Option<BTreeSet<&'a str>>,
}

/// Plans the volumes of a configuration that [`super::check`] accepted: a volume that is there already keeps its disks, the
/// others get free ones. The error is a sentence without its full stop.
pub fn plan(
    config: &Map<String, Value>,
    controllers: &[StorageController],
    selection: Selection,
) -> Result<Vec<Planned>, String> {
    let disks = config.get("logical_disks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut wishes = Vec::new();
    for (at, disk) in disks.iter().enumerate() {
        if let Some(wish) = Wish::of(at, disk).map_err(|problem| format!("logical disk {at}: {problem}"))?
            && (if wish.is_root { selection.root } else { selection.others })
        {
            wishes.push(wish);
        }
    }
    // Named disks first, what takes all that is left last.
    wishes.sort_by_key(|wish| (wish.size.is_none(), wish.disks.is_none(), wish.at));
    let mut taken: BTreeSet<(String, String)> = BTreeSet::new();
    let mut planned = Vec::new();
    for wish in wishes {
        let found = existing::find(&wish, controllers);
        if let Some((controller, volume)) = found.map_err(|why| format!("logical disk {}: {why}", wish.at))? {
            let there = Some(volume.id.clone());
            let volume = wish.volume(controller, volume.drives.clone());
            planned.push(Planned { volume, is_root: wish.is_root, there });
            continue;
        }
        let volume = place(&wish, controllers, &taken)
            .ok_or_else(|| format!("logical disk {}: {}", wish.at, wish.unplaced()))?;
        taken.extend(volume.drives.iter().map(|drive| (volume.controller.clone(), drive.clone())));
        planned.push(Planned { volume, is_root: wish.is_root, there: None });
    }
    Ok(planned)
}

/// The best place: the fewest disks, then the smallest.
fn place(
    wish: &Wish<'_>,
    controllers: &[StorageController],
    taken: &BTreeSet<(String, String)>,
) -> Option<NewVolume> {
    let mut best: Option<(usize, u64, NewVolume)> = None;
    for controller in controllers.iter().filter(|controller| wish.takes(controller)) {
        let free = controller.drives.iter().filter(|drive| {
            drive.healthy
                && drive.volumes.is_empty()
                && (!drive.is_spare || wish.disks.is_some())
                && !taken.contains(&(controller.id.clone(), drive.id.clone()))
                && wish.fits(drive)
        });
        let mut groups: BTreeMap<_, Vec<&PhysicalDrive>> = BTreeMap::new();
        for drive in free {
            let kind = (&drive.disk_type, &drive.interface_type, drive.size);
            groups.entry(kind).or_default().push(drive);
        }
        for ((.., size), drives) in groups {
            let Some(count) = wish.count_of(size, drives.len()) else { continue };
            let capacity = wish.level.capacity(count, size);
            // What takes all wants the most, others the least that suffices.
            let cost = match wish.size {
                Some(_) => (count, size),
                None => (0, u64::MAX - capacity),
            };
            if best.as_ref().is_none_or(|(best_count, best_size, _)| cost < (*best_count, *best_size)) {
                let disks = drives.iter().take(count).map(|drive| drive.id.clone()).collect();
                best = Some((cost.0, cost.1, wish.volume(controller, disks)));
            }
        }
    }
    best.map(|(.., volume)| volume)
}

impl Level {
    /// What that many disks of a size hold.
    pub(super) fn capacity(&self, count: usize, size: u64) -> u64 {
        size.saturating_mul((self.data)(count) as u64)
    }

    /// Whether it can be made of that many disks.
    pub(super) fn takes(&self, count: usize) -> bool {
        count >= self.least && count.is_multiple_of(self.multiple) && (self.name != "1" || count == 2)
    }
}

impl<'a> Wish<'a> {
    /// `None`: it makes no volume.
    fn of(at: usize, disk: &'a Value) -> Result<Option<Self>, String> {
        let text = |key: &str| disk.get(key).and_then(Value::as_str);
        let flag = |key: &str| disk.get(key).and_then(Value::as_bool).unwrap_or_default();
        let level = text("raid_level").unwrap_or_default();
        if level == "JBOD" {
            return Ok(None);
        }
        let level = LEVELS
            .iter()
            .find(|known| known.name == level)
            .ok_or_else(|| format!("RAID level {level} cannot be made by a BMC"))?;
        if flag("share_physical_disks") {
            return Err("share_physical_disks is not supported: give each volume its own disks".to_owned());
        }
        let names = disk.get("physical_disks").and_then(Value::as_array);
        if names.is_some_and(|names| names.iter().any(Value::is_object)) {
            return Err("physical_disks must be names of disks".to_owned());
        }
        let disks: Option<BTreeSet<_>> = names.map(|names| names.iter().filter_map(Value::as_str).collect());
        Ok(Some(Self {
            at,
            level,
            size: disk.get("size_gb").and_then(Value::as_u64).map(|gib| gib.saturating_mul(GIB)),
            name: text("volume_name"),
            is_root: flag("is_root_volume"),
            disk_type: text("disk_type"),
            interface_type: text("interface_type"),
            count: disk
                .get("number_of_physical_disks")
                .and_then(Value::as_u64)
                .map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
            controller: text("controller"),
            disks,
        }))
    }

    fn volume(&self, controller: &StorageController, drives: Vec<String>) -> NewVolume {
        NewVolume {
            controller: controller.id.clone(),
            level: self.level.name.to_owned(),
            size: self.size,
            name: self.name.map(str::to_owned),
            drives,
        }
    }

    /// Whether it may be on this controller.
    pub(super) fn may_be_on(&self, controller: &StorageController) -> bool {
        self.controller.is_none_or(|id| id == controller.id || id == controller.name)
    }

    fn takes(&self, controller: &StorageController) -> bool {
        self.may_be_on(controller) && controller.levels.iter().any(|level| level == self.level.name)
    }

    /// Whether it may be on this disk.
    pub(super) fn fits(&self, drive: &PhysicalDrive) -> bool {
        let is = |wanted: Option<&str>, found: &Option<String>| {
            wanted.is_none_or(|wanted| found.as_deref() == Some(wanted))
        };
        is(self.disk_type, &drive.disk_type)
            && is(self.interface_type, &drive.interface_type)
            && self.disks.as_ref().is_none_or(|disks| disks.contains(drive.id.as_str()))
    }

    /// How many of `there` equal disks to use; `None`: these cannot be used.
    fn count_of(&self, size: u64, there: usize) -> Option<usize> {
        let named = self.disks.as_ref().map(BTreeSet::len);
        let suffices = |count: usize| {
            self.level.takes(count)
                && self.size.is_none_or(|wanted| self.level.capacity(count, size) >= wanted)
        };
        match named.or(self.count) {
            Some(count) => (count <= there && suffices(count)).then_some(count),
            None if self.size.is_some() => (self.level.least..=there).find(|count| suffices(*count)),
            None => (self.level.least..=there).rev().find(|count| suffices(*count)),
        }
    }

    fn unplaced(&self) -> String {
        let size = self.size.map_or("MAX".to_owned(), |size| format!("{} GiB", size / GIB));
        let narrowed = [
            self.controller.map(|id| format!(" of controller {id}")),
            self.disk_type.map(|kind| format!(", {kind}")),
            self.interface_type.map(|kind| format!(", {kind}")),
            self.count.map(|count| format!(", exactly {count}")),
        ];
        let narrowed: String = narrowed.into_iter().flatten().collect();
        format!(
            "there are no free, healthy, equal disks{narrowed} for RAID level {} with {size}",
            self.level.name
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::raid::Volume;

    const ALL: Selection = Selection { root: true, others: true };

    fn drive(id: &str, kind: &str, gib: u64) -> PhysicalDrive {
        PhysicalDrive {
            id: id.into(),
            size: gib * GIB,
            disk_type: Some(kind.into()),
            interface_type: Some("sas".into()),
            healthy: true,
            ..PhysicalDrive::default()
        }
    }

    fn machine() -> Vec<StorageController> {
        let levels = ["0", "1", "5", "6", "1+0"].map(str::to_owned).to_vec();
        let hdds = (0..4).map(|n| drive(&format!("h{n}"), "hdd", 1000));
        let drives = hdds.chain((0..2).map(|n| drive(&format!("s{n}"), "ssd", 400))).collect();
        let ahci = StorageController {
            id: "ahci".into(),
            drives: vec![drive("x", "ssd", 8000)],
            ..Default::default()
        };
        vec![
            StorageController { id: "raid".into(), name: "P408".into(), levels, drives, volumes: vec![] },
            ahci,
        ]
    }

    type Found = (String, Vec<String>, Option<u64>);

    fn planned(disks: Value) -> Result<Vec<Found>, String> {
        let config = json!({"logical_disks": disks});
        crate::node::raid::check(config.as_object().unwrap())?;
        let planned = plan(config.as_object().unwrap(), &machine(), ALL)?;
        Ok(planned
            .into_iter()
            .map(|p| (p.volume.level, p.volume.drives, p.volume.size.map(|s| s / GIB)))
            .collect())
    }

    #[test]
    fn takes_the_fewest_and_smallest_disks_that_suffice() {
        let found = planned(json!([{"size_gb": 300, "raid_level": "1"}])).unwrap();
        assert_eq!(found, [("1".into(), vec!["s0".into(), "s1".into()], Some(300))]);
        let found = planned(json!([{"size_gb": 2500, "raid_level": "5"}])).unwrap();
        assert_eq!(found[0].1.len(), 4);
        let found = planned(json!([{"size_gb": "MAX", "raid_level": "1+0", "disk_type": "hdd"}])).unwrap();
        assert_eq!((found[0].1.len(), found[0].2), (4, None));
        let found =
            planned(json!([{"size_gb": 1, "raid_level": "0", "number_of_physical_disks": 3}])).unwrap();
        assert_eq!(found[0].1, ["h0", "h1", "h2"]);
    }

    #[test]
    fn named_disks_come_first_and_what_takes_all_last() {
        let found = planned(json!([
            {"size_gb": "MAX", "raid_level": "0", "disk_type": "hdd"},
            {"size_gb": 100, "raid_level": "1", "controller": "P408", "physical_disks": ["h1", "h3"]},
        ]))
        .unwrap();
        assert_eq!(found[0].1, ["h1", "h3"]);
        assert_eq!(found[1].1, ["h0", "h2"]);
    }

    #[test]
    fn what_cannot_be_placed_says_what_is_missing() {
        let problem = |disks: Value| planned(disks).unwrap_err();
        let text = problem(json!([{"size_gb": 9000, "raid_level": "5"}]));
        assert!(
            text.contains("logical disk 0") && text.contains("9000 GiB") && text.contains("level 5"),
            "{text}"
        );
        assert!(problem(json!([{"size_gb": 1, "raid_level": "6+0"}])).contains("level 6+0"));
        assert!(problem(json!([{"size_gb": 1, "raid_level": "2"}])).contains("level 2"));
        assert!(
            problem(json!([{"size_gb": 1, "raid_level": "1", "interface_type": "sata"}])).contains("sata")
        );
        assert!(
            problem(json!([{"size_gb": 1, "raid_level": "0", "share_physical_disks": true}]))
                .contains("share")
        );
        // Two times two SSDs are not there.
        let twice = json!([{"size_gb": 300, "raid_level": "1", "disk_type": "ssd"}, {"size_gb": 300, "raid_level": "1", "disk_type": "ssd"}]);
        assert!(problem(twice).contains("logical disk 1"));
    }

    #[test]
    fn disks_of_volumes_are_free_only_when_those_are_deleted() {
        let mut controllers = machine();
        controllers[0].volumes = vec![Volume { id: "old".into(), is_array: true, ..Volume::default() }];
        controllers[0].drives.iter_mut().for_each(|drive| drive.volumes.push("old".into()));
        let config = json!({"logical_disks": [{"size_gb": 300, "raid_level": "1", "is_root_volume": true}]});
        let config = config.as_object().unwrap();
        assert!(plan(config, &controllers, ALL).is_err());
        let mut left: Vec<_> = controllers.iter().map(StorageController::without_arrays).collect();
        assert!(plan(config, &left, ALL).unwrap()[0].is_root);
        assert_eq!(plan(config, &left, Selection { root: false, others: true }), Ok(vec![]));
        left[0].drives.iter_mut().for_each(|drive| drive.healthy = false);
        assert!(plan(config, &left, ALL).is_err());
        // What is no array is not deleted, and its disks are not free.
        controllers[0].volumes[0].is_array = false;
        let left: Vec<_> = controllers.iter().map(StorageController::without_arrays).collect();
        assert!(plan(config, &left, ALL).is_err());
    }

    #[test]
    fn a_spare_is_taken_only_when_it_is_named() {
        let mut controllers = machine();
        controllers[0].drives.iter_mut().for_each(|drive| drive.is_spare = true);
        let of = |config: Value| plan(config.as_object().unwrap(), &controllers, ALL);
        assert!(of(json!({"logical_disks": [{"size_gb": 300, "raid_level": "1"}]})).is_err());
        let named = json!({"logical_disks": [{"size_gb": 300, "raid_level": "1", "controller": "raid",
            "physical_disks": ["h0", "h1"]}]});
        assert_eq!(of(named).unwrap()[0].volume.drives, ["h0", "h1"]);
    }
}
