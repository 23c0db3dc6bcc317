//! `/v1/portgroups`, `/v1/portgroups/X/ports`, `/v1/nodes/X/portgroups`.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    routing::get,
};
use bessemer_proto::ids::NodeId;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    super::{
        State,
        error::ApiError,
        fields::{
            Access::{Create, Patch, Read},
            Field, field,
        },
        layers::since,
        links::Context,
        nodes, ports,
        query::Query,
        value::{Wrong, boolean, dictionary, logical_name, mac_address, text, uuid},
        version::Version,
    },
    frame::{self, Filter, Scope, Served, part_links},
    of_node::NodesWanted,
};
use crate::{
    node::{
        ProvisionState,
        portgroup::{DEFAULT_MODE, Portgroup},
    },
    store::{Resource, Stored},
};

/// States in which a port group may move to another node.
const MOVABLE: &[ProvisionState] = &[
    ProvisionState::Enroll,
    ProvisionState::Inspecting,
    ProvisionState::InspectWait,
    ProvisionState::Manageable,
];

pub(super) fn routes() -> Router<State> {
    frame::routes::<Portgroup>()
        .merge(frame::detail_route::<Portgroup>())
        .route("/v1/portgroups/{ident}/ports", since(24, get(ports_of)))
        .route("/v1/portgroups/{ident}/ports/detail", since(24, get(ports_of_detail)))
        .route("/v1/nodes/{node}/portgroups", since(24, get(of_node)))
        .route("/v1/nodes/{node}/portgroups/detail", since(24, get(of_node_detail)))
}

impl Resource for Portgroup {
    const KIND: &'static str = "portgroup";
    const WHAT: &'static str = "Portgroup";

    fn uuid(&self) -> Uuid {
        self.uuid
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn node(&self) -> Option<NodeId> {
        Some(self.node)
    }

    fn unique(&self) -> Option<(&'static str, String)> {
        self.address.clone().map(|address| ("MAC address", address))
    }
}

impl Served for Portgroup {
    const PATH: &'static str = "portgroups";
    const LIST: &'static str = "portgroups";
    const BODY: &'static str = "portgroup";
    const SINCE: u16 = 23;
    const NAMED: bool = true;
    const FIELDS: &'static [Field] = &[
        field("uuid", 23, Create),
        field("created_at", 23, Read),
        field("updated_at", 23, Read),
        field("address", 23, Patch),
        field("extra", 23, Patch),
        field("internal_info", 23, Read),
        field("mode", 26, Patch),
        field("name", 23, Patch),
        field("node_uuid", 23, Patch),
        field("properties", 26, Patch),
        field("standalone_ports_supported", 23, Patch),
        field("physical_network", 102, Patch),
        field("category", 103, Patch),
        field("dynamic_portgroup", 111, Read),
        field("ports", 23, Read),
        field("links", 23, Read),
    ];
    const DEFAULT: &'static [&'static str] = &["uuid", "address", "name"];
    const UNSORTABLE: &'static [&'static str] = &["extra", "internal_info", "properties", "ports"];
    const REQUIRED: &'static [&'static str] = &["node_uuid"];

    fn blank() -> Self {
        Self {
            uuid: Uuid::new_v4(),
            node: NodeId(Uuid::nil()),
            name: None,
            address: None,
            mode: DEFAULT_MODE.to_owned(),
            properties: Map::new(),
            standalone_ports_supported: true,
            physical_network: None,
            category: None,
            dynamic_portgroup: false,
            internal_info: Map::new(),
            extra: Map::new(),
        }
    }

    fn set(&mut self, field: &str, value: Value, _: Version) -> Result<(), Wrong> {
        match field {
            "uuid" => self.uuid = uuid(field, value)?.unwrap_or(self.uuid),
            "node_uuid" => self.node = NodeId(uuid(field, value)?.unwrap_or(self.node.0)),
            "name" => self.name = logical_name(value)?,
            "address" if value.is_null() => self.address = None,
            "address" => self.address = Some(mac_address(field, &value)?),
            "mode" => {
                self.mode = text(value, 255)?
                    .ok_or_else(|| "'mode' is a mandatory attribute and can not be removed".to_owned())?;
            }
            "properties" => self.properties = dictionary(value)?,
            "standalone_ports_supported" => {
                self.standalone_ports_supported = boolean(field, &value)?.unwrap_or(true);
            }
            "physical_network" => self.physical_network = text(value, 64)?,
            "category" => self.category = text(value, 80)?,
            "extra" => self.extra = dictionary(value)?,
            _ => return Err(format!("{field} cannot be set.").into()),
        }
        Ok(())
    }

    fn finish(context: &Context, document: &mut Map<String, Value>) {
        let links = part_links(context, document, Self::PATH, "ports");
        document.insert("ports".into(), links);
    }

    async fn filter(state: &State, context: &Context, query: &mut Query) -> Result<Filter<Self>, ApiError> {
        let wanted = NodesWanted::read(state, context, query, 106).await?;
        Ok(Box::new(move |row: &Stored<Self>| wanted.matches(row.value.node, row.value.address.as_deref())))
    }

    async fn check(state: &State, before: Option<&Self>, after: &Self) -> Result<(), ApiError> {
        let Some(before) = before else { return Ok(()) };
        let node = state.store.node(&before.node.to_string()).await?;
        if node.provision_state == ProvisionState::Inspecting {
            return Err(ApiError::conflict(format!(
                "Cannot update portgroup \"{}\" on node \"{}\" while it is in state \"{}\".",
                after.uuid, node.uuid, node.provision_state
            )));
        }
        if before.node == after.node {
            return Ok(());
        }
        if !MOVABLE.contains(&node.provision_state) && !node.maintenance {
            return Err(ApiError::conflict(format!(
                "Portgroup {} can not be associated to node {} unless the node is in a {} state or in maintenance \
                 mode. Current state is '{}'.",
                after.uuid,
                after.node,
                MOVABLE.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", "),
                node.provision_state
            )));
        }
        if has_ports(state, before).await? {
            return Err(ApiError::bad(format!(
                "Portgroup {} can not be associated with node {} because there are ports associated with this \
                 portgroup.",
                after.uuid, after.node
            )));
        }
        Ok(())
    }

    async fn check_removal(state: &State, value: &Self) -> Result<(), ApiError> {
        if has_ports(state, value).await? {
            return Err(ApiError::bad(format!(
                "Cannot complete the requested action because portgroup {} contains ports.",
                value.uuid
            )));
        }
        Ok(())
    }
}

async fn has_ports(state: &State, portgroup: &Portgroup) -> Result<bool, ApiError> {
    let ports = state.store.ports(Some(portgroup.node), None).await?;
    Ok(ports.iter().any(|port| port.portgroup == Some(portgroup.uuid)))
}

// === parts ===

async fn ports_of(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let uuid = frame::find::<Portgroup>(&state.store, &ident).await?.value.uuid;
    ports::list_of_portgroup(&state, &context, query, uuid, false).await
}

async fn ports_of_detail(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let uuid = frame::find::<Portgroup>(&state.store, &ident).await?.value.uuid;
    ports::list_of_portgroup(&state, &context, query, uuid, true).await
}

async fn of_node(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let node = nodes::find(&state, &context, &ident).await?.uuid;
    let scope = Scope { path: format!("nodes/{node}/portgroups"), node: Some(node), detail: false };
    frame::listing::<Portgroup>(&state, &context, query, scope).await
}

async fn of_node_detail(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let node = nodes::find(&state, &context, &ident).await?.uuid;
    let scope = Scope { path: format!("nodes/{node}/portgroups/detail"), node: Some(node), detail: true };
    frame::listing::<Portgroup>(&state, &context, query, scope).await
}
