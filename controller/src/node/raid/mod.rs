//! `target_raid_config`, checked as Ironic checks it.

mod disks;
pub mod existing;
pub mod layout;

use serde_json::{Map, Value};

pub use disks::{NewVolume, PhysicalDrive, StorageController, Volume};

const LEVELS: &[&str] = &["JBOD", "0", "1", "2", "5", "6", "1+0", "5+0", "6+0"];

/// What a logical disk may say, with the meaning that `drivers/X/raid/logical_disk_properties` shows.
pub const LOGICAL_DISK: &[(&str, &str)] = &[
    ("raid_level", "RAID level: JBOD, 0, 1, 2, 5, 6, 1+0, 5+0 or 6+0. Required."),
    ("size_gb", "Size in GiB, or MAX for all the space that is left. Required."),
    ("volume_name", "Name of the volume. Default: made up."),
    ("is_root_volume", "Whether the operating system goes there. Default false."),
    ("share_physical_disks", "Whether other logical disks may use the same physical disks. Default false."),
    ("disk_type", "hdd or ssd. Default: either."),
    ("interface_type", "sata, scsi or sas. Default: any."),
    ("number_of_physical_disks", "How many physical disks to use. Default: as few as the level needs."),
    ("controller", "The RAID controller to use. Default: a suitable one."),
    ("physical_disks", "The physical disks to use; needs controller. Default: suitable ones."),
];

/// Says what is wrong with a configuration, as a sentence without its full stop.
pub fn check(config: &Map<String, Value>) -> Result<(), String> {
    if let Some(name) = config.keys().find(|name| *name != "logical_disks") {
        return Err(format!("\"{}\" is not known: only logical_disks is", short(name)));
    }
    let disks = match config.get("logical_disks") {
        Some(Value::Array(disks)) if !disks.is_empty() => disks,
        Some(Value::Array(_)) => return Err("logical_disks is empty".to_owned()),
        Some(_) => return Err("logical_disks must be a list".to_owned()),
        None => return Err("'logical_disks' is a required property".to_owned()),
    };
    let mut roots = 0;
    for (index, disk) in disks.iter().enumerate() {
        let disk = disk.as_object().ok_or_else(|| format!("logical disk {index} must be an object"))?;
        check_disk(disk).map_err(|problem| format!("logical disk {index}: {problem}"))?;
        roots += usize::from(disk.get("is_root_volume") == Some(&Value::Bool(true)));
    }
    if roots > 1 {
        return Err("more than one logical disk has is_root_volume".to_owned());
    }
    Ok(())
}

fn check_disk(disk: &Map<String, Value>) -> Result<(), String> {
    for name in ["raid_level", "size_gb"] {
        if !disk.contains_key(name) {
            return Err(format!("'{name}' is a required property"));
        }
    }
    for (name, value) in disk {
        let is_word = |words: &[&str]| value.as_str().is_some_and(|word| words.contains(&word));
        let is_good = match name.as_str() {
            "raid_level" => is_word(LEVELS),
            "size_gb" => value.as_u64().is_some() || is_word(&["MAX"]),
            "volume_name" | "controller" => value.is_string(),
            "is_root_volume" | "share_physical_disks" => value.is_boolean(),
            "disk_type" => is_word(&["hdd", "ssd"]),
            "interface_type" => is_word(&["sata", "scsi", "sas"]),
            "number_of_physical_disks" => value.as_u64().is_some_and(|number| number > 0),
            "physical_disks" => is_disk_list(value),
            _ => return Err(format!("\"{}\" is not known", short(name))),
        };
        if !is_good {
            let meaning = LOGICAL_DISK.iter().find(|(known, _)| known == name).map_or("", |(_, text)| text);
            return Err(format!("{name} {} cannot be: {meaning}", short(&value.to_string())));
        }
    }
    if disk.contains_key("physical_disks") && !disk.contains_key("controller") {
        return Err("'controller' is a dependency of 'physical_disks'".to_owned());
    }
    Ok(())
}

/// Names, or at least two descriptions.
fn is_disk_list(value: &Value) -> bool {
    let Some(disks) = value.as_array() else { return false };
    disks.iter().all(Value::is_string) || (disks.len() > 1 && disks.iter().all(Value::is_object))
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problem(config: Value) -> String {
        check(config.as_object().unwrap()).err().unwrap_or_default()
    }

    #[test]
    fn takes_what_ironic_takes() {
        for good in [
            json!({"logical_disks": [{"size_gb": 100, "raid_level": "1", "is_root_volume": true}]}),
            json!({"logical_disks": [{"size_gb": "MAX", "raid_level": "1+0", "disk_type": "ssd",
                "interface_type": "sas", "number_of_physical_disks": 4, "volume_name": "v",
                "controller": "c", "physical_disks": ["a", "b"]}]}),
            json!({"logical_disks": [{"size_gb": 0, "raid_level": "JBOD", "controller": "software",
                "physical_disks": [{"size": "> 100"}, {"size": "> 100"}]}]}),
        ] {
            assert_eq!(problem(good), "");
        }
    }

    #[test]
    fn refuses_what_ironic_refuses_and_says_what() {
        let disk = |extra: Value| {
            let mut disk = json!({"size_gb": 1, "raid_level": "0"});
            disk.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            json!({"logical_disks": [disk]})
        };
        for (bad, part) in [
            (json!({"disks": []}), "disks"),
            (json!({"logical_disks": []}), "empty"),
            (json!({"logical_disks": [{"size_gb": 1}]}), "'raid_level' is a required property"),
            (disk(json!({"raid_level": "7"})), "raid_level"),
            (disk(json!({"size_gb": -1})), "size_gb"),
            (disk(json!({"size_gb": "ALL"})), "size_gb"),
            (disk(json!({"is_root_volume": "yes"})), "is_root_volume"),
            (disk(json!({"number_of_physical_disks": 0})), "number_of_physical_disks"),
            (disk(json!({"physical_disks": ["a"]})), "'controller' is a dependency"),
            (disk(json!({"controller": "c", "physical_disks": [{}]})), "physical_disks"),
            (disk(json!({"colour": "red"})), "colour"),
            (
                json!({"logical_disks": [{"size_gb": 1, "raid_level": "0", "is_root_volume": true},
                    {"size_gb": 1, "raid_level": "0", "is_root_volume": true}]}),
                "more than one",
            ),
        ] {
            let problem = problem(bad.clone());
            assert!(problem.contains(part), "{bad}: {problem}");
        }
    }
}
