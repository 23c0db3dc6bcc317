//! Setting a node's fields from outside: the one place where `POST` and `PATCH` bodies become a [`Node`].

use serde_json::{Map, Value};

use super::{
    error::ApiError,
    fields::{self, Access},
    mask,
    node_view::document,
    patch::Operation,
    value::{Wrong, boolean, dictionary, name, required_text, text, uuid},
    version::Version,
};
use crate::{
    drivers::{self, DriverError, KINDS},
    node::{Node, ProvisionState, network_data},
};

/// Fields a patch may change, in the order of Ironic's message.
const PATCHABLE: &str = "automated_clean, bios_interface, boot_interface, chassis_uuid, conductor_group, \
    console_interface, deploy_interface, description, disable_power_off, driver, driver_info, extra, \
    inspect_interface, instance_info, instance_name, instance_uuid, lessee, maintenance, management_interface, \
    name, network_data, network_interface, owner, power_interface, properties, protected, protected_reason, \
    raid_interface, rescue_interface, resource_class, retired, retired_reason, shard, storage_interface, \
    vendor_interface, parent_node, firmware_interface";

/// States in which the way a node is driven may change.
const REDRIVABLE: &[ProvisionState] = &[
    ProvisionState::Enroll,
    ProvisionState::Inspecting,
    ProvisionState::InspectWait,
    ProvisionState::Manageable,
    ProvisionState::Available,
];

/// A patch that is known to touch only what may be patched.
#[derive(Clone, Debug)]
pub(super) struct NodePatch {
    operations: Vec<Operation>,
    reset_interfaces: bool,
}

impl NodePatch {
    /// Reads a patch.
    pub(super) fn parse(body: Value, version: Version, reset_interfaces: bool) -> Result<Self, ApiError> {
        let operations =
            Operation::parse_all(body, version).map_err(|error| ApiError::bad(error.to_string()))?;
        for operation in &operations {
            if fields::settable(fields::NODE, operation.field(), Access::Patch, version)?.is_none() {
                return Err(ApiError::bad(format!(
                    "Cannot patch {}. Only the following can be updated: {PATCHABLE}",
                    operation.path()
                )));
            }
        }
        let takes_chassis =
            |operation: &Operation| operation.field() == "chassis_uuid" && operation.removes_field();
        if !version.has(25) && operations.iter().any(takes_chassis) {
            return Err(ApiError::too_old("the removal of chassis_uuid"));
        }
        if reset_interfaces && !operations.iter().any(|operation| operation.path() == "/driver") {
            let sentence = "The reset_interfaces parameter can only be used when changing the node's driver.";
            return Err(ApiError::bad(sentence));
        }
        Ok(Self { operations, reset_interfaces })
    }

    /// Whether the patch changes that field.
    pub(super) fn touches(&self, field: &str) -> bool {
        self.operations.iter().any(|operation| operation.field() == field)
    }

    /// Applies the patch to a node; on an error the node is unchanged.
    pub(super) fn apply(&self, node: &mut Node) -> Result<(), ApiError> {
        let frees_instance = matches!(self.operations.as_slice(), [only] if only.field() == "instance_uuid" && only.removes_field());
        let allowed = node.provision_state.patch_allowed() || (node.maintenance && frees_instance);
        if !allowed {
            return Err(ApiError::conflict(format!(
                "Node {} can not be updated while a state transition is in progress.",
                node.uuid
            )));
        }
        let before = document(node);
        let mut after = before.clone();
        for operation in &self.operations {
            operation.apply(&mut after).map_err(|error| ApiError::bad(error.to_string()))?;
        }
        let mut changed = node.clone();
        if self.reset_interfaces {
            changed.interfaces.clear();
        }
        for (field, value) in after {
            if before.get(&field) != Some(&value) {
                set(&mut changed, &field, value)
                    .map_err(|wrong| wrong.in_patch(&format!("Node {}", node.label())))?;
            }
        }
        mask::restore(&mut changed.driver_info, &node.driver_info);
        mask::restore(&mut changed.instance_info, &node.instance_info);
        check_interfaces(&mut changed)?;
        self.check_driven(node, &changed)?;
        follow_up(node, &mut changed);
        check_change(node, &changed)?;
        *node = changed;
        Ok(())
    }
}

impl NodePatch {
    /// Rules about changing how a node is driven.
    fn check_driven(&self, before: &Node, after: &Node) -> Result<(), ApiError> {
        if before.driver != after.driver && before.console_enabled {
            return Err(ApiError::conflict(format!(
                "Node {} can not update the driver while the console is enabled. Please stop the console first.",
                before.uuid
            )));
        }
        if before.interfaces.get("console") != after.interfaces.get("console") && before.console_enabled {
            return Err(ApiError::conflict(format!(
                "Node {} can not update the console interface while the console is enabled. Please stop the console \
                 first.",
                before.uuid
            )));
        }
        let redrivable = REDRIVABLE.contains(&before.provision_state);
        // The interfaces that follow from another driver are no choice of the client.
        let chosen = KINDS.iter().map(|kind| (kind, format!("{kind}_interface"))).find(|(kind, field)| {
            self.touches(field) && before.interfaces.get(**kind) != after.interfaces.get(**kind)
        });
        match chosen {
            Some((_, field)) if !redrivable && !before.maintenance => Err(not_redrivable(before, &field)),
            _ if before.resource_class.is_some()
                && before.resource_class != after.resource_class
                && !redrivable =>
            {
                Err(not_redrivable(before, "resource_class"))
            }
            _ => Ok(()),
        }
    }
}

fn not_redrivable(node: &Node, field: &str) -> ApiError {
    let allowed: Vec<_> = REDRIVABLE.iter().map(|state| state.as_str()).collect();
    ApiError::conflict(format!(
        "Node {} can not have {field} updated unless it is in one of allowed ({}) states or in maintenance mode. \
         Current state is '{}'.",
        node.uuid,
        allowed.join(", "),
        node.provision_state
    ))
}

/// What a change brings with it.
fn follow_up(before: &Node, after: &mut Node) {
    if before.protected && !after.protected {
        after.protected_reason = None;
    }
    if before.retired && !after.retired {
        after.retired_reason = None;
    }
    // Nova tells an instance's name here.
    if before.instance_info != after.instance_info && after.instance_name.is_none() {
        let name = after.instance_info.get("display_name").and_then(Value::as_str);
        after.instance_name = name.filter(|name| name.chars().count() <= 255).map(str::to_owned);
    }
}

/// A node from the body of `POST /v1/nodes`.
///
/// `group` is the conductor group of a node that names none.
pub(super) fn create(mut body: Map<String, Value>, version: Version, group: &str) -> Result<Node, ApiError> {
    let Some(driver) = body.remove("driver").filter(|driver| !driver.is_null()) else {
        return Err(ApiError::bad("Schema error for node: 'driver' is a required property"));
    };
    let driver = required_text(driver, 255).map_err(|wrong| wrong.in_new("node"))?;
    let mut node = Node::new(driver);
    for (field, value) in body {
        if fields::settable(fields::NODE, &field, Access::Create, version)?.is_none() {
            return Err(ApiError::bad(format!(
                "Schema error for node: Additional properties are not allowed ('{}' was unexpected)",
                super::value::shortened(&field)
            )));
        }
        set(&mut node, &field, value).map_err(|wrong| wrong.in_new("node"))?;
    }
    if node.conductor_group.is_empty() {
        group.clone_into(&mut node.conductor_group);
    }
    if !version.has(11) {
        // Before 1.11 there was no enroll.
        node.provision_state = ProvisionState::Available;
    }
    check_interfaces(&mut node)?;
    if node.protected || node.protected_reason.is_some() {
        return Err(ApiError::bad("A node can be protected only while it is in use: active or rescue."));
    }
    check_retired(&node)?;
    Ok(node)
}

/// Nodes of another conductor group than `ours` have no controller.
pub(super) fn check_conductor_group(node: &Node, ours: &str) -> Result<(), ApiError> {
    if node.conductor_group.eq_ignore_ascii_case(ours) {
        return Ok(());
    }
    Err(no_conductor(node, &node.driver, None))
}

fn no_conductor(node: &Node, driver: &str, known: Option<&str>) -> ApiError {
    let known = known.map(|known| format!(" Enabled drivers: {known}.")).unwrap_or_default();
    ApiError::bad(format!(
        "No valid host was found. Reason: No conductor service registered which supports driver {driver} for \
         conductor group \"{}\". Ensure the driver is valid and enabled.{known}",
        node.conductor_group
    ))
}

/// Sets one field; `null` is its default.
fn set(node: &mut Node, field: &str, value: Value) -> Result<(), Wrong> {
    match field {
        "uuid" => {
            if let Some(given) = uuid(field, value)? {
                node.uuid = bessemer_proto::ids::NodeId(given);
            }
        }
        "name" => node.name = name(value)?,
        "driver" => {
            node.driver = match value {
                Value::Null => return Err(Wrong::Schema("'driver' is a required property".to_owned())),
                value => required_text(value, 255)?,
            }
        }
        "driver_info" => node.driver_info = dictionary(value)?,
        "properties" => node.properties = dictionary(value)?,
        "instance_info" => node.instance_info = dictionary(value)?,
        "extra" => node.extra = dictionary(value)?,
        "network_data" => {
            let data = dictionary(value)?;
            network_data::check(&data)
                .map_err(|problem| Wrong::Value(format!("Invalid network_data: {problem}")))?;
            node.network_data = data;
        }
        "instance_uuid" => node.instance_uuid = uuid(field, value)?.map(|uuid| uuid.to_string()),
        "instance_name" => node.instance_name = text(value, 255)?,
        "resource_class" => node.resource_class = text(value, 80)?,
        "conductor_group" => {
            node.conductor_group = text(value, 255)?.unwrap_or_default().to_ascii_lowercase();
        }
        "owner" => node.owner = text(value, 255)?,
        "lessee" => node.lessee = text(value, 255)?,
        "shard" => node.shard = text(value, 255)?,
        "description" => node.description = text(value, 4096)?,
        "parent_node" => node.parent_node = text(value, 255)?,
        "chassis_uuid" => node.chassis_uuid = uuid(field, value)?.map(|uuid| uuid.to_string()),
        "automated_clean" => node.automated_clean = boolean(field, &value)?,
        "protected" => node.protected = boolean(field, &value)?.unwrap_or_default(),
        "protected_reason" => node.protected_reason = text(value, 4096)?,
        "retired" => node.retired = boolean(field, &value)?.unwrap_or_default(),
        "retired_reason" => node.retired_reason = text(value, 4096)?,
        "disable_power_off" => node.disable_power_off = boolean(field, &value)?.unwrap_or_default(),
        "maintenance" => set_maintenance(node, boolean(field, &value)?.unwrap_or_default(), None),
        _ => return set_interface(node, field, value),
    }
    Ok(())
}

fn set_interface(node: &mut Node, field: &str, value: Value) -> Result<(), Wrong> {
    let kind = field.strip_suffix("_interface").filter(|kind| KINDS.contains(kind));
    let kind = kind.ok_or_else(|| format!("{field} cannot be set."))?;
    match text(value, 255)? {
        Some(name) => node.interfaces.insert(kind.to_owned(), name),
        None => node.interfaces.remove(kind),
    };
    Ok(())
}

/// Puts a node into maintenance or takes it out.
pub(super) fn set_maintenance(node: &mut Node, maintenance: bool, reason: Option<String>) {
    node.maintenance = maintenance;
    node.maintenance_reason = reason.filter(|_| maintenance);
    if !maintenance {
        node.fault = None;
    }
}

/// Fills interfaces that are not chosen with the driver's defaults, and refuses what the driver does not have.
fn check_interfaces(node: &mut Node) -> Result<(), ApiError> {
    drivers::complete(node).map_err(|error| match &error {
        DriverError::Unknown { name, known } => no_conductor(node, name, Some(known)),
        DriverError::Kind { .. } | DriverError::Interface { .. } | DriverError::Classic { .. } => {
            ApiError::bad(error.to_string())
        }
    })
}

/// Rules about what may change when.
fn check_change(before: &Node, after: &Node) -> Result<(), ApiError> {
    let state = before.provision_state;
    if let (Some(old), Some(new)) = (&before.instance_uuid, &after.instance_uuid)
        && old != new
    {
        let sentence = format!("Node {} is associated with instance {old}.", before.uuid);
        return Err(ApiError::conflict(sentence));
    }
    if before.allocation_uuid.is_some()
        && before.instance_uuid.is_some()
        && after.instance_uuid.is_none()
        && !before.maintenance
        && !REDRIVABLE.contains(&state)
    {
        let allowed: Vec<_> = REDRIVABLE.iter().map(|state| state.as_str()).collect();
        return Err(ApiError::conflict(format!(
            "Node {} with an allocation can not have instance_uuid removed unless it is in one of allowed ({}) states \
             or in maintenance mode. Current state is '{state}'.",
            before.uuid,
            allowed.join(", ")
        )));
    }
    let in_use = matches!(state, ProvisionState::Active | ProvisionState::Rescue);
    if after.protected && !before.protected && !in_use {
        let sentence = format!(
            "Node {} can only be made protected in provision states 'active' or 'rescue', the current state is \
             '{state}'",
            before.uuid
        );
        return Err(ApiError::conflict(sentence));
    }
    if after.protected_reason.is_some() && !after.protected {
        return Err(ApiError::bad("The protected_reason field can only be set when protected is True"));
    }
    check_retired(after)?;
    if after.retired && !before.retired && state == ProvisionState::Available {
        let sentence = format!(
            "Node {} can not have 'retired' set in provision state 'available', the current state is '{state}'",
            before.uuid
        );
        return Err(ApiError::conflict(sentence));
    }
    Ok(())
}

fn check_retired(node: &Node) -> Result<(), ApiError> {
    if node.retired_reason.is_some() && !node.retired {
        return Err(ApiError::bad("The retired_reason field can only be set when retired is True"));
    }
    Ok(())
}
