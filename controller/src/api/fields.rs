//! The fields of the API's resources: since which microversion, and who may set them.

use super::{error::ApiError, version::Version};

/// Who may set a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Only the controller.
    Read,
    /// Who creates the resource.
    Create,
    /// Who creates or patches it.
    Patch,
}

/// One field of a resource.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    /// Its name.
    pub name: &'static str,
    /// The minor version it came with.
    pub since: u16,
    /// Who may set it.
    pub access: Access,
}

/// A row of a table of fields.
pub(super) const fn field(name: &'static str, since: u16, access: Access) -> Field {
    Field { name, since, access }
}

use Access::{Create, Patch, Read};

/// Fields of a node, in Ironic's order.
pub(super) const NODE: &[Field] = &[
    field("uuid", 1, Create),
    field("created_at", 1, Read),
    field("updated_at", 1, Read),
    field("automated_clean", 47, Patch),
    field("bios_interface", 40, Patch),
    field("boot_interface", 31, Patch),
    field("boot_mode", 75, Read),
    field("clean_step", 7, Read),
    field("conductor_group", 46, Patch),
    field("console_enabled", 1, Read),
    field("console_interface", 31, Patch),
    field("deploy_interface", 31, Patch),
    field("deploy_step", 44, Read),
    field("description", 51, Patch),
    field("disable_power_off", 95, Patch),
    field("driver", 1, Patch),
    field("driver_info", 1, Patch),
    field("driver_internal_info", 3, Read),
    field("extra", 1, Patch),
    field("fault", 42, Read),
    field("firmware_interface", 86, Patch),
    field("health", 109, Read),
    field("inspection_finished_at", 6, Read),
    field("inspection_started_at", 6, Read),
    field("inspect_interface", 31, Patch),
    field("instance_info", 1, Patch),
    field("instance_name", 104, Patch),
    field("instance_uuid", 1, Patch),
    field("last_error", 1, Read),
    field("lessee", 65, Patch),
    field("maintenance", 1, Patch),
    field("maintenance_reason", 1, Read),
    field("management_interface", 31, Patch),
    field("name", 5, Patch),
    field("network_data", 66, Patch),
    field("network_interface", 20, Patch),
    field("owner", 50, Patch),
    field("parent_node", 83, Patch),
    field("power_interface", 31, Patch),
    field("power_state", 1, Read),
    field("properties", 1, Patch),
    field("protected", 48, Patch),
    field("protected_reason", 48, Patch),
    field("provision_state", 1, Read),
    field("provision_updated_at", 1, Read),
    field("raid_config", 12, Read),
    field("raid_interface", 31, Patch),
    field("rescue_interface", 38, Patch),
    field("reservation", 1, Read),
    field("resource_class", 21, Patch),
    field("retired", 61, Patch),
    field("retired_reason", 61, Patch),
    field("secure_boot", 75, Read),
    field("service_step", 87, Read),
    field("shard", 82, Patch),
    field("storage_interface", 33, Patch),
    field("target_power_state", 1, Read),
    field("target_provision_state", 1, Read),
    field("target_raid_config", 12, Read),
    field("traits", 37, Read),
    field("vendor_interface", 31, Patch),
    field("links", 1, Read),
    field("conductor", 49, Read),
    field("allocation_uuid", 52, Read),
    field("chassis_uuid", 1, Patch),
    field("ports", 1, Read),
    field("states", 14, Read),
    field("portgroups", 24, Read),
    field("volume", 32, Read),
];

/// Fields of a node in a listing that asks for none.
pub(super) const NODE_DEFAULT: &[&str] =
    &["instance_uuid", "maintenance", "power_state", "provision_state", "uuid", "name"];

/// Fields of a node that hold dictionaries or lists: no listing is sorted by them.
pub(super) const NODE_UNSORTABLE: &[&str] = &[
    "clean_step",
    "deploy_step",
    "service_step",
    "driver_info",
    "driver_internal_info",
    "extra",
    "instance_info",
    "network_data",
    "properties",
    "raid_config",
    "target_raid_config",
    "traits",
    "links",
    "ports",
    "states",
    "portgroups",
    "volume",
    "conductor",
    "allocation_uuid",
    "chassis_uuid",
    "health",
];

/// Fields of a port, in Ironic's order.
pub(super) const PORT: &[Field] = &[
    field("uuid", 1, Create),
    field("created_at", 1, Read),
    field("updated_at", 1, Read),
    field("address", 1, Patch),
    field("extra", 1, Patch),
    field("internal_info", 18, Read),
    field("is_smartnic", 53, Patch),
    field("local_link_connection", 19, Patch),
    field("physical_network", 34, Patch),
    field("pxe_enabled", 19, Patch),
    field("node_uuid", 1, Patch),
    field("name", 88, Patch),
    field("description", 97, Patch),
    field("vendor", 100, Patch),
    field("category", 101, Patch),
    field("available_for_dynamic_portgroup", 111, Patch),
    field("links", 1, Read),
    field("portgroup_uuid", 24, Patch),
];

/// Fields of a port in a listing that asks for none.
pub(super) const PORT_DEFAULT: &[&str] = &["uuid", "address"];

/// Fields of a port that hold dictionaries or lists, or are not the port's own.
pub(super) const PORT_UNSORTABLE: &[&str] =
    &["extra", "internal_info", "local_link_connection", "links", "portgroup_uuid"];

/// Fields of an allocation, in Ironic's order.
pub(super) const ALLOCATION: &[Field] = &[
    field("uuid", 52, Create),
    field("created_at", 52, Read),
    field("updated_at", 52, Read),
    field("candidate_nodes", 52, Create),
    field("extra", 52, Patch),
    field("last_error", 52, Read),
    field("name", 52, Patch),
    field("owner", 60, Create),
    field("resource_class", 52, Create),
    field("state", 52, Read),
    field("traits", 52, Create),
    field("links", 52, Read),
    field("node_uuid", 52, Read),
];

/// The field of that name.
pub(super) fn find(table: &'static [Field], name: &str) -> Option<&'static Field> {
    table.iter().find(|field| field.name == name)
}

/// The names that a version knows.
pub(super) fn known(table: &'static [Field], version: Version) -> Vec<&'static str> {
    table.iter().filter(|field| version.has(field.since)).map(|field| field.name).collect()
}

/// The fields a listing shows by default, as far as a version knows them.
pub(super) fn defaults(
    table: &'static [Field],
    names: &'static [&'static str],
    version: Version,
) -> Vec<&'static str> {
    names.iter().copied().filter(|name| find(table, name).is_some_and(|f| version.has(f.since))).collect()
}

/// The fields a client asked for by name.
pub(super) fn requested(
    table: &'static [Field],
    names: &[String],
    version: Version,
) -> Result<Vec<&'static str>, ApiError> {
    let unknown: Vec<_> = names.iter().filter(|name| find(table, name).is_none()).cloned().collect();
    if !unknown.is_empty() {
        return Err(ApiError::bad(format!("Field(s) \"{}\" are not valid.", unknown.join(", "))));
    }
    let found: Vec<_> = names.iter().filter_map(|name| find(table, name)).collect();
    if let Some(newer) = found.iter().find(|field| !version.has(field.since)) {
        return Err(ApiError::too_old(&format!("the field {}", newer.name)));
    }
    Ok(found.into_iter().map(|field| field.name).collect())
}

/// The field that a client wants to set, if it may.
pub(super) fn settable(
    table: &'static [Field],
    name: &str,
    access: Access,
    version: Version,
) -> Result<Option<&'static Field>, ApiError> {
    let Some(field) = find(table, name) else { return Ok(None) };
    let allowed = field.access == Patch || (field.access == Create && access == Create);
    if allowed && !version.has(field.since) {
        return Err(ApiError::too_old(&format!("the field {name}")));
    }
    Ok(allowed.then_some(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_69_fields_at_the_newest_version() {
        assert_eq!(known(NODE, Version(115)).len(), 69);
        let mut names = known(NODE, Version(115));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 69);
    }

    #[test]
    fn newer_fields_are_unknown_to_older_clients() {
        let old = known(NODE, Version(1));
        assert!(old.contains(&"uuid") && !old.contains(&"name") && !old.contains(&"traits"));
        assert!(!defaults(NODE, NODE_DEFAULT, Version(4)).contains(&"name"));
        let refused = requested(NODE, &["shard".to_owned()], Version(81)).unwrap_err();
        assert_eq!(refused.status(), http::StatusCode::NOT_ACCEPTABLE);
        let refused = requested(NODE, &["nope".to_owned()], Version(115)).unwrap_err();
        assert_eq!(refused.status(), http::StatusCode::BAD_REQUEST);
    }
}
