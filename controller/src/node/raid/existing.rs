//! Which volumes of a machine are the wanted ones. Pure. What is not certain is never taken for the wanted: people's data
//! may be on it.

use std::collections::BTreeSet;

use super::{NewVolume, StorageController, Volume, layout::Planned, layout::Wish};

const GIB: u64 = 1 << 30;

/// The volume of the wanted name, if it is what is wanted in all else; the error says how it differs.
pub(super) fn find<'a>(
    wish: &Wish<'_>,
    controllers: &'a [StorageController],
) -> Result<Option<(&'a StorageController, &'a Volume)>, String> {
    let Some(name) = wish.name else { return Ok(None) };
    let on = controllers.iter().filter(|controller| wish.may_be_on(controller));
    let all = on.flat_map(|controller| controller.volumes.iter().map(move |volume| (controller, volume)));
    let mut called = all.filter(|(_, volume)| volume.name == name);
    let Some((controller, volume)) = called.next() else { return Ok(None) };
    if called.next().is_some() {
        return Err(format!("there are several volumes called {name}: name the controller, or delete them"));
    }
    match difference(wish, controller, volume) {
        None => Ok(Some((controller, volume))),
        Some(difference) => Err(format!(
            "volume {name} is there already, but {difference}: delete it, or give the new one another name"
        )),
    }
}

fn difference(wish: &Wish<'_>, controller: &StorageController, volume: &Volume) -> Option<String> {
    let level = volume.level.as_deref().unwrap_or("none");
    if level != wish.level.name {
        return Some(format!("its RAID level is {level}, not {}", wish.level.name));
    }
    let disks: Vec<_> = controller.drives.iter().filter(|drive| volume.drives.contains(&drive.id)).collect();
    if disks.is_empty() || disks.len() != volume.drives.len() {
        return Some("the BMC does not tell which disks it is on".to_owned());
    }
    let most = wish.level.capacity(disks.len(), disks.iter().map(|disk| disk.size).min().unwrap_or_default());
    // Controllers keep some of the disks for themselves.
    let is_as_large = wish.size.map_or(volume.size >= most / 10 * 9, |wanted| is_about(volume.size, wanted));
    if !is_as_large {
        let wanted = wish.size.unwrap_or(most);
        return Some(format!("it has {} GiB, not {}", volume.size / GIB, wanted / GIB));
    }
    let named = wish.disks.as_ref().is_none_or(|disks| disks.len() == volume.drives.len());
    let counted = wish.count.is_none_or(|count| count == volume.drives.len());
    if !named || !counted || !disks.iter().all(|disk| wish.fits(disk)) {
        return Some(format!("it is on other disks: {}", volume.drives.join(", ")));
    }
    None
}

/// Controllers round to their stripes, and to MB or MiB.
fn is_about(size: u64, wanted: u64) -> bool {
    size.abs_diff(wanted) <= GIB.max(wanted / 100)
}

/// A volume that is a planned one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made<'a> {
    /// It.
    pub volume: &'a Volume,
    /// False: it may also be another one of the planned.
    pub is_certain: bool,
}

/// For each of the planned the volume that it is; those in `before` are nobody's but the one that they were planned for.
pub fn made<'a>(
    planned: &[Planned],
    before: &BTreeSet<String>,
    controllers: &'a [StorageController],
) -> Vec<Option<Made<'a>>> {
    let mut found: Vec<Option<Made<'a>>> = vec![None; planned.len()];
    let mut claimed = BTreeSet::new();
    let all = || controllers.iter().flat_map(|c| c.volumes.iter().map(move |volume| (&c.id, volume)));
    for (slot, there) in found.iter_mut().zip(planned).map(|(slot, planned)| (slot, &planned.there)) {
        let volume = all().map(|(_, volume)| volume).find(|volume| Some(&volume.id) == there.as_ref());
        *slot = volume.map(|volume| Made { volume, is_certain: true });
    }
    // Disks tell more than names, which some BMCs make up, and names more than sizes.
    let rules: [fn(&NewVolume, &Volume) -> bool; 3] = [is_on_its_disks, has_its_name, may_be];
    for rule in rules {
        for (slot, planned) in found.iter_mut().zip(planned) {
            if slot.is_some() || planned.there.is_some() {
                continue;
            }
            let fits = |(on, volume): &(&String, &Volume)| {
                **on == planned.volume.controller
                    && !before.contains(&volume.id)
                    && !claimed.contains(&volume.id)
                    && volume.level.as_ref().is_none_or(|level| *level == planned.volume.level)
                    && rule(&planned.volume, volume)
            };
            let mut fitting = all().filter(fits);
            let first = fitting.next();
            let is_certain = fitting.next().is_none();
            if let Some((_, volume)) = first {
                claimed.insert(volume.id.clone());
                *slot = Some(Made { volume, is_certain });
            }
        }
    }
    found
}

fn is_on_its_disks(wanted: &NewVolume, volume: &Volume) -> bool {
    !volume.drives.is_empty()
        && volume.drives.iter().collect::<BTreeSet<_>>() == wanted.drives.iter().collect()
}

fn has_its_name(wanted: &NewVolume, volume: &Volume) -> bool {
    volume.drives.is_empty() && wanted.name.as_ref() == Some(&volume.name)
}

fn may_be(wanted: &NewVolume, volume: &Volume) -> bool {
    volume.drives.is_empty() && wanted.size.is_none_or(|size| is_about(volume.size, size))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::node::raid::{
        PhysicalDrive,
        layout::{Selection, plan},
    };

    fn machine(volumes: Vec<Volume>) -> Vec<StorageController> {
        let drive = |n: usize| {
            let id = format!("d{n}");
            let of = volumes.iter().filter(|volume| volume.drives.contains(&id));
            let volumes = of.map(|volume| volume.id.clone()).collect();
            PhysicalDrive { id, size: 1000 * GIB, healthy: true, volumes, ..PhysicalDrive::default() }
        };
        let drives = (0..6).map(drive).collect();
        let levels = vec!["0".into(), "1".into()];
        vec![StorageController { id: "raid".into(), levels, drives, volumes, ..Default::default() }]
    }

    fn volume(id: &str, name: &str, gib: u64, drives: &[&str]) -> Volume {
        Volume {
            id: id.into(),
            name: name.into(),
            level: Some("1".into()),
            size: gib * GIB,
            drives: drives.iter().map(|&drive| drive.to_owned()).collect(),
            is_array: true,
            ..Volume::default()
        }
    }

    fn planned(disks: Value, there: &[Volume]) -> Result<Vec<Planned>, String> {
        let config = json!({"logical_disks": disks});
        plan(config.as_object().unwrap(), &machine(there.to_vec()), Selection { root: true, others: true })
    }

    #[test]
    fn a_volume_of_the_name_is_the_wanted_one_only_in_all_it_is() {
        let old = [volume("old", "root", 500, &["d0", "d1"])];
        let same = json!([{"size_gb": 500, "raid_level": "1", "volume_name": "root"},
            {"size_gb": 500, "raid_level": "1", "volume_name": "data"}]);
        let found = planned(same, &old).unwrap();
        assert_eq!((found[0].there.as_deref(), found[1].there.as_deref()), (Some("old"), None));
        assert_eq!(
            (&*found[0].volume.drives, &*found[1].volume.drives),
            (&["d0".into(), "d1".into()][..], &["d2".into(), "d3".into()][..])
        );
        for (other, part) in [
            (json!({"raid_level": "0"}), "RAID level is 1, not 0"),
            (json!({"size_gb": 300}), "500 GiB, not 300"),
            (json!({"size_gb": "MAX"}), "500 GiB, not 1000"),
            (json!({"controller": "raid", "physical_disks": ["d2", "d3"]}), "other disks: d0, d1"),
            (json!({"disk_type": "ssd"}), "other disks"),
            (json!({"number_of_physical_disks": 4}), "other disks"),
        ] {
            let mut disk = json!({"size_gb": 500, "raid_level": "1", "volume_name": "root"});
            disk.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
            let problem = planned(json!([disk]), &old).unwrap_err();
            assert!(problem.contains("root is there already") && problem.contains(part), "{problem}");
        }
        let disk = json!([{"size_gb": 500, "raid_level": "1", "volume_name": "root"}]);
        let twice = [old[0].clone(), volume("older", "root", 500, &["d2", "d3"])];
        assert!(planned(disk.clone(), &twice).unwrap_err().contains("several"));
        let untold = [volume("old", "root", 500, &[])];
        assert!(planned(disk, &untold).unwrap_err().contains("does not tell which disks"));
    }

    #[test]
    fn what_was_made_is_known_by_its_disks_and_what_was_there_before_is_not_it() {
        let disk = json!({"size_gb": 500, "raid_level": "1"});
        let wanted = planned(json!([disk, disk]), &[]).unwrap();
        let ids = |found: Vec<Option<Made<'_>>>| -> Vec<_> {
            found.into_iter().map(|made| made.map(|made| (made.volume.id.clone(), made.is_certain))).collect()
        };
        let some = |id: &str, is_certain| Some((id.to_owned(), is_certain));
        // In another order, under names that the BMC made up.
        let there =
            machine(vec![volume("a", "Volume 1", 500, &["d3", "d2"]), volume("b", "x", 500, &["d0", "d1"])]);
        assert_eq!(ids(made(&wanted, &BTreeSet::new(), &there)), [some("b", true), some("a", true)]);
        let before = BTreeSet::from(["b".to_owned()]);
        assert_eq!(ids(made(&wanted, &before, &there)), [None, some("a", true)]);
        // Disks that are not told: both are there, and nobody knows which is which.
        let there = machine(vec![volume("a", "", 500, &[]), volume("b", "", 500, &[])]);
        let found = ids(made(&wanted, &BTreeSet::new(), &there));
        assert_eq!(found[0], some("a", false));
        let other = machine(vec![volume("a", "", 900, &[])]);
        assert_eq!(ids(made(&wanted, &BTreeSet::new(), &other)), [None, None]);
    }
}
