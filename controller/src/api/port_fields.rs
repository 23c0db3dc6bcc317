//! Setting a port's fields from outside, and the rules about them.

use http::StatusCode;
use serde_json::Value;

use super::{
    State,
    error::ApiError,
    resources::find_portgroup,
    value::{Wrong, boolean, dictionary, mac_address, shortened, text, uuid},
    version::Version,
};
use crate::{
    node::{Dictionary, Port, ProvisionState},
    store::StoreError,
};

/// States in which the way a port is connected may change.
const CONNECTABLE: &[ProvisionState] = &[
    ProvisionState::Enroll,
    ProvisionState::Inspecting,
    ProvisionState::InspectWait,
    ProvisionState::Manageable,
];
/// What `local_link_connection` may say.
const LINK_KEYS: &[&str] = &[
    "port_id",
    "switch_id",
    "hostname",
    "switch_info",
    "network_type",
    "vtep-logical-switch",
    "vtep-physical-switch",
];

/// Sets one field; `null` is its default.
pub(super) async fn set(
    state: &State,
    port: &mut Port,
    field: &str,
    value: Value,
    version: Version,
) -> Result<(), ApiError> {
    match field {
        "node_uuid" => {
            let given = uuid(field, value).map_err(|wrong| wrong.in_new("port"))?;
            let given = given.ok_or_else(|| ApiError::bad("A port must have a node."))?;
            let node = state.store.node(&given.to_string()).await.map_err(|error| match error {
                // The path is right, what it says is not.
                StoreError::NotFound { .. } => ApiError::from(error).with_status(StatusCode::BAD_REQUEST),
                error => error.into(),
            })?;
            port.node = node.uuid;
        }
        "portgroup_uuid" => {
            port.portgroup = match uuid(field, value).map_err(|wrong| wrong.in_new("port"))? {
                None => None,
                Some(given) => {
                    let group = find_portgroup(state, &given.to_string()).await;
                    Some(group.map_err(|error| error.with_status(StatusCode::BAD_REQUEST))?.uuid)
                }
            };
        }
        "local_link_connection" => {
            let link = dictionary(value).map_err(|wrong| wrong.in_new("port"))?;
            port.local_link_connection = link_connection(link, version)?;
        }
        _ => set_plain(port, field, value).map_err(|wrong| wrong.in_new("port"))?,
    }
    Ok(())
}

fn set_plain(port: &mut Port, field: &str, value: Value) -> Result<(), Wrong> {
    match field {
        "uuid" => {
            if let Some(given) = uuid(field, value)? {
                port.uuid = given;
            }
        }
        "address" => port.address = mac_address(field, &value)?,
        "name" => port.name = text(value, 255)?,
        "description" => port.description = text(value, 255)?,
        "physical_network" => {
            port.physical_network = text(value, 64)?;
            if port.physical_network.as_deref() == Some("") {
                let sentence = "A non-empty value is required when setting physical_network";
                return Err(Wrong::Value(sentence.to_owned()));
            }
        }
        "pxe_enabled" => port.pxe_enabled = boolean(field, &value)?.unwrap_or(true),
        "is_smartnic" => port.is_smartnic = boolean(field, &value)?.unwrap_or_default(),
        "vendor" => port.vendor = text(value, 32)?,
        "category" => port.category = text(value, 80)?,
        "available_for_dynamic_portgroup" => {
            port.available_for_dynamic_portgroup = boolean(field, &value)?.unwrap_or(true);
        }
        "extra" => port.extra = dictionary(value)?,
        _ => return Err(format!("{field} cannot be set.").into()),
    }
    Ok(())
}

/// Checks what is said about the other end of a cable; a switch's address is written in lower case.
fn link_connection(mut link: Dictionary, version: Version) -> Result<Dictionary, ApiError> {
    let schema = |problem: &str| ApiError::bad(format!("Schema error for local_link_connection: {problem}"));
    if link.contains_key("network_type") && !version.has(64) {
        return Err(ApiError::too_old("network_type in local_link_connection"));
    }
    if link.keys().any(|name| name.starts_with("vtep-")) && !version.has(90) {
        return Err(ApiError::too_old("a VTEP in local_link_connection"));
    }
    for (name, value) in &link {
        if !LINK_KEYS.contains(&name.as_str()) {
            let name = shortened(name);
            return Err(schema(&format!("Additional properties are not allowed ('{name}' was unexpected)")));
        }
        if !value.is_string() {
            return Err(schema(&format!("'{name}' must be a string")));
        }
    }
    let has = |name: &str| link.contains_key(name);
    if link.get("network_type").is_some_and(|kind| kind != "managed" && kind != "unmanaged") {
        return Err(schema("'network_type' is not one of managed, unmanaged"));
    }
    let unmanaged = link.get("network_type").is_some_and(|kind| kind == "unmanaged");
    let vtep = has("vtep-logical-switch") && has("vtep-physical-switch");
    let plugged = has("port_id") && (has("switch_id") || has("hostname"));
    if !link.is_empty() && !unmanaged && !vtep && !plugged {
        return Err(schema(
            "'port_id' and 'switch_id' (or 'hostname' of a Smart NIC) are required properties",
        ));
    }
    if let Some(Value::String(switch)) = link.get_mut("switch_id") {
        *switch = switch_id(switch).ok_or_else(|| schema("'switch_id' is no MAC address or datapath id"))?;
    }
    Ok(link)
}

/// A MAC address, or the 16 hexadecimal digits of an OpenFlow datapath.
fn switch_id(text: &str) -> Option<String> {
    if let Ok(address) = mac_address("switch_id", &text.into()) {
        return Some(address);
    }
    (text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| text.to_ascii_lowercase())
}

/// No other port has the name.
pub(super) async fn check_name(state: &State, port: &Port) -> Result<(), ApiError> {
    let Some(name) = &port.name else { return Ok(()) };
    let others = state.store.ports(None, None).await?;
    if others.iter().any(|other| other.uuid != port.uuid && other.name.as_ref() == Some(name)) {
        return Err(ApiError::conflict(format!("A port with name {name} already exists.")));
    }
    Ok(())
}

/// Rules about what may change when, and about port groups.
pub(super) async fn check(state: &State, before: Option<&Port>, after: &Port) -> Result<(), ApiError> {
    if let Some(before) = before {
        check_change(state, before, after).await?;
    }
    let joins = before.is_none_or(|before| {
        before.portgroup != after.portgroup
            || before.physical_network != after.physical_network
            || before.node != after.node
    });
    match after.portgroup {
        Some(group) if joins => check_portgroup(state, after, &group.to_string()).await,
        _ => Ok(()),
    }
}

async fn check_change(state: &State, before: &Port, after: &Port) -> Result<(), ApiError> {
    let node = state.store.node(&before.node.to_string()).await?;
    if node.provision_state == ProvisionState::Inspecting {
        return Err(ApiError::conflict(format!(
            "Cannot update port \"{}\" on node \"{}\" while it is in state \"{}\".",
            after.uuid, node.uuid, node.provision_state
        )));
    }
    if node.maintenance {
        return Ok(());
    }
    let in_use = node.provision_state == ProvisionState::Active || node.instance_uuid.is_some();
    if in_use && before.address != after.address {
        return Err(ApiError::conflict(format!(
            "Cannot update hardware address for port {} as node {} is active or has instance UUID assigned",
            after.uuid, node.uuid
        )));
    }
    let reconnected = before.portgroup != after.portgroup
        || before.pxe_enabled != after.pxe_enabled
        || before.local_link_connection != after.local_link_connection
        || before.physical_network != after.physical_network;
    if reconnected && !CONNECTABLE.contains(&node.provision_state) {
        return Err(ApiError::conflict(format!(
            "Port {} can not have any connectivity attributes (portgroup_id, pxe_enabled, local_link_connection, \
             physical_network) updated unless node {} is in a {} state or in maintenance mode. The current state is \
             {}.",
            after.uuid,
            node.uuid,
            CONNECTABLE.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", "),
            node.provision_state
        )));
    }
    Ok(())
}

async fn check_portgroup(state: &State, port: &Port, group: &str) -> Result<(), ApiError> {
    let group = find_portgroup(state, group).await?;
    if group.node != port.node {
        return Err(ApiError::bad("Port can not be added to a portgroup belonging to a different node."));
    }
    let ports = state.store.ports(Some(port.node), None).await?;
    let members = ports.iter().filter(|other| other.portgroup == Some(group.uuid) && other.uuid != port.uuid);
    for member in members {
        if member.physical_network != port.physical_network {
            return Err(ApiError::conflict(format!(
                "Port with physical network {} cannot become a member of port group {} which has ports in physical \
                 network {}.",
                port.physical_network.as_deref().unwrap_or("None"),
                group.uuid,
                member.physical_network.as_deref().unwrap_or("None")
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn link(value: Value, version: u16) -> Result<Map<String, Value>, StatusCode> {
        let link = value.as_object().cloned().unwrap();
        link_connection(link, Version(version)).map_err(|error| error.status())
    }

    #[test]
    fn the_other_end_of_a_cable_is_complete_or_unmanaged() {
        let written = link(json!({"switch_id": "00:AA:22:33:44:55", "port_id": "Gi1/0/1"}), 115).unwrap();
        assert_eq!(written["switch_id"], "00:aa:22:33:44:55");
        for fine in [
            json!({}),
            json!({"network_type": "unmanaged"}),
            json!({"port_id": "rep0-0", "hostname": "host1"}),
            json!({"vtep-logical-switch": "a", "vtep-physical-switch": "b"}),
            json!({"switch_id": "00000000deadbeef", "port_id": "1", "switch_info": "x"}),
        ] {
            assert!(link(fine.clone(), 115).is_ok(), "{fine}");
        }
        for bad in [
            json!({"bogus": "1"}),
            json!({"port_id": 5, "switch_id": "00:aa:22:33:44:55"}),
            json!({"switch_id": "00:aa:22:33:44:55"}),
            json!({"port_id": "1", "switch_id": "rack7"}),
            json!({"network_type": "soup"}),
        ] {
            assert_eq!(link(bad.clone(), 115), Err(StatusCode::BAD_REQUEST), "{bad}");
        }
        assert_eq!(link(json!({"network_type": "unmanaged"}), 63), Err(StatusCode::NOT_ACCEPTABLE));
    }
}
