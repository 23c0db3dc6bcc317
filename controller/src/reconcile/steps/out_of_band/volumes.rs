//! What a node says of its volumes: `raid_config`, and the root device that comes of it.

use chrono::Utc;
use serde_json::{Map, Value, json};

use crate::node::{
    Node,
    raid::{StorageController, Volume},
};

const GIB: u64 = 1 << 30;
pub(super) const ROOT_DEVICE: &str = "root_device";

/// `raid_config`: what there is now, with Ironic's names.
pub(super) fn note(node: &mut Node, there: &[StorageController]) {
    let disks: Vec<_> = there.iter().flat_map(|controller| &controller.volumes).map(shown).collect();
    node.raid_config = Map::from_iter([
        ("logical_disks".to_owned(), json!(disks)),
        ("last_updated".to_owned(), json!(Utc::now())),
    ]);
}

fn shown(volume: &Volume) -> Value {
    let mut disk = json!({"size_gb": volume.size / GIB, "volume_name": volume.name, "id": volume.id});
    if let Some(level) = &volume.level {
        disk["raid_level"] = json!(level);
    }
    if let Some(wwn) = &volume.wwn {
        disk["root_device_hint"] = json!({"wwn": wwn});
    }
    disk
}

/// Root devices that came of volumes, not of the operator.
pub(super) fn hints(node: &Node) -> Vec<Value> {
    let disks = node.raid_config.get("logical_disks").and_then(Value::as_array).into_iter().flatten();
    disks.filter_map(|disk| disk.get("root_device_hint").cloned()).collect()
}

/// A volume that is gone is no root device.
pub(super) fn drop_stale_hint(node: &mut Node, ours: &[Value], there: &[StorageController]) {
    let mut volumes = there.iter().flat_map(|controller| &controller.volumes);
    let hint = node.properties.get(ROOT_DEVICE).cloned().unwrap_or_default();
    if !volumes.any(|volume| volume.wwn.is_some() && hint == json!({"wwn": volume.wwn})) {
        drop_hint(node, ours);
    }
}

/// Removes the root device, if we set it.
pub(super) fn drop_hint(node: &mut Node, ours: &[Value]) {
    if node.properties.get(ROOT_DEVICE).is_some_and(|hint| ours.contains(hint)) {
        node.properties.remove(ROOT_DEVICE);
    }
}
