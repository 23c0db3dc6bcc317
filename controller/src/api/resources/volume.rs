//! `/v1/volume`, `/v1/volume/connectors`, `/v1/volume/targets`, and the same below `/v1/nodes/X`.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    routing::get,
};
use bessemer_proto::ids::NodeId;
use serde_json::{Map, Value, json};
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
        mask::masked_any,
        nodes,
        query::Query,
        value::{Wrong, dictionary, required_text, uuid, wrong_type},
        version::Version,
    },
    frame::{self, Filter, Scope, Served},
};
use crate::{
    node::{
        Node, PowerState,
        volume::{VolumeConnector, VolumeTarget},
    },
    store::{Resource, Stored},
};

/// The version that volumes came with.
const SINCE: u16 = 32;

pub(super) fn routes() -> Router<State> {
    frame::routes::<VolumeConnector>()
        .merge(frame::routes::<VolumeTarget>())
        .route("/v1/volume", since(SINCE, get(root)))
        .route("/v1/nodes/{node}/volume", since(SINCE, get(root_of_node)))
        .route("/v1/nodes/{node}/volume/connectors", since(SINCE, get(of_node::<VolumeConnector>)))
        .route("/v1/nodes/{node}/volume/targets", since(SINCE, get(of_node::<VolumeTarget>)))
}

// === connectors ===

impl Resource for VolumeConnector {
    const KIND: &'static str = "volume_connector";
    const WHAT: &'static str = "Volume connector";

    fn uuid(&self) -> Uuid {
        self.uuid
    }

    fn node(&self) -> Option<NodeId> {
        Some(self.node)
    }

    fn unique(&self) -> Option<(&'static str, String)> {
        Some(("type", format!("{} and connector ID {}", self.kind, self.connector_id)))
    }
}

impl Served for VolumeConnector {
    const PATH: &'static str = "volume/connectors";
    const LIST: &'static str = "connectors";
    const BODY: &'static str = "connector";
    const SINCE: u16 = SINCE;
    const DETAIL_SINCE: u16 = SINCE;
    const FIELDS: &'static [Field] = &[
        field("uuid", SINCE, Create),
        field("created_at", SINCE, Read),
        field("updated_at", SINCE, Read),
        field("connector_id", SINCE, Patch),
        field("extra", SINCE, Patch),
        field("node_uuid", SINCE, Patch),
        field("type", SINCE, Patch),
        field("links", SINCE, Read),
    ];
    const DEFAULT: &'static [&'static str] = &["uuid", "node_uuid", "type", "connector_id"];
    const UNSORTABLE: &'static [&'static str] = &["extra"];
    const REQUIRED: &'static [&'static str] = &["connector_id", "node_uuid", "type"];

    fn blank() -> Self {
        Self {
            uuid: Uuid::new_v4(),
            node: NodeId(Uuid::nil()),
            kind: String::new(),
            connector_id: String::new(),
            extra: Map::new(),
        }
    }

    fn set(&mut self, field: &str, value: Value, _: Version) -> Result<(), Wrong> {
        match field {
            "uuid" => self.uuid = uuid(field, value)?.unwrap_or(self.uuid),
            "node_uuid" => self.node = NodeId(uuid(field, value)?.unwrap_or(self.node.0)),
            "type" => self.kind = required_text(value, 32)?,
            "connector_id" => self.connector_id = required_text(value, 255)?,
            "extra" => self.extra = dictionary(value)?,
            _ => return Err(format!("{field} cannot be set.").into()),
        }
        Ok(())
    }

    async fn filter(state: &State, context: &Context, query: &mut Query) -> Result<Filter<Self>, ApiError> {
        let node = node_wanted(state, context, query).await?;
        Ok(Box::new(move |row: &Stored<Self>| node.is_none_or(|node| node == row.value.node)))
    }

    async fn check(state: &State, before: Option<&Self>, _: &Self) -> Result<(), ApiError> {
        match before {
            Some(before) => refuse_change(state, before.node, "volume connector update").await,
            None => Ok(()),
        }
    }

    async fn check_removal(state: &State, value: &Self) -> Result<(), ApiError> {
        refuse_removal(state, value.node, "volume connector deletion").await
    }
}

// === targets ===

impl Resource for VolumeTarget {
    const KIND: &'static str = "volume_target";
    const WHAT: &'static str = "Volume target";

    fn uuid(&self) -> Uuid {
        self.uuid
    }

    fn node(&self) -> Option<NodeId> {
        Some(self.node)
    }

    fn unique(&self) -> Option<(&'static str, String)> {
        Some(("boot_index", format!("{} of node {}", self.boot_index, self.node)))
    }
}

impl Served for VolumeTarget {
    const PATH: &'static str = "volume/targets";
    const LIST: &'static str = "targets";
    const BODY: &'static str = "target";
    const SINCE: u16 = SINCE;
    const DETAIL_SINCE: u16 = SINCE;
    const FIELDS: &'static [Field] = &[
        field("uuid", SINCE, Create),
        field("created_at", SINCE, Read),
        field("updated_at", SINCE, Read),
        field("boot_index", SINCE, Patch),
        field("extra", SINCE, Patch),
        field("node_uuid", SINCE, Patch),
        field("properties", SINCE, Patch),
        field("volume_id", SINCE, Patch),
        field("volume_type", SINCE, Patch),
        field("links", SINCE, Read),
    ];
    const DEFAULT: &'static [&'static str] = &["uuid", "node_uuid", "volume_type", "boot_index", "volume_id"];
    const UNSORTABLE: &'static [&'static str] = &["extra", "properties"];
    const REQUIRED: &'static [&'static str] = &["boot_index", "node_uuid", "volume_id", "volume_type"];

    fn blank() -> Self {
        Self {
            uuid: Uuid::new_v4(),
            node: NodeId(Uuid::nil()),
            volume_type: String::new(),
            boot_index: 0,
            volume_id: String::new(),
            properties: Map::new(),
            extra: Map::new(),
        }
    }

    fn set(&mut self, field: &str, value: Value, _: Version) -> Result<(), Wrong> {
        match field {
            "uuid" => self.uuid = uuid(field, value)?.unwrap_or(self.uuid),
            "node_uuid" => self.node = NodeId(uuid(field, value)?.unwrap_or(self.node.0)),
            "boot_index" => {
                self.boot_index = value.as_i64().ok_or_else(|| wrong_type(&value, "'integer'"))?;
            }
            "volume_id" => self.volume_id = required_text(value, 36)?,
            "volume_type" => self.volume_type = required_text(value, 64)?,
            "properties" => self.properties = dictionary(value)?,
            "extra" => self.extra = dictionary(value)?,
            _ => return Err(format!("{field} cannot be set.").into()),
        }
        Ok(())
    }

    fn finish(context: &Context, document: &mut Map<String, Value>) {
        const VIEW: &str = "baremetal:volume:view_target_properties";
        let Some(properties) = document.get_mut("properties") else { return };
        *properties = match context.viewer.may(VIEW) {
            true => masked_any(properties),
            false => {
                json!({"redacted_contents": format!("** Value redacted - requires {VIEW} permission. **")})
            }
        };
    }

    async fn filter(state: &State, context: &Context, query: &mut Query) -> Result<Filter<Self>, ApiError> {
        let node = node_wanted(state, context, query).await?;
        Ok(Box::new(move |row: &Stored<Self>| node.is_none_or(|node| node == row.value.node)))
    }

    async fn check(state: &State, before: Option<&Self>, _: &Self) -> Result<(), ApiError> {
        match before {
            Some(before) => refuse_change(state, before.node, "volume target update").await,
            None => Ok(()),
        }
    }

    async fn check_removal(state: &State, value: &Self) -> Result<(), ApiError> {
        refuse_removal(state, value.node, "volume target deletion").await
    }

    fn taken(field: &str, value: &str) -> String {
        match value.split_once(' ') {
            Some((index, _)) => {
                format!("A volume target with boot index '{index}' for the same node already exists.")
            }
            None => format!("A volume target with {} {value} already exists.", field.to_uppercase()),
        }
    }
}

// === shared ===

async fn node_wanted(
    state: &State,
    context: &Context,
    query: &mut Query,
) -> Result<Option<NodeId>, ApiError> {
    match query.text("node") {
        Some(ident) => Ok(Some(nodes::find(state, context, &ident).await?.uuid)),
        None => Ok(None),
    }
}

/// Volumes change only while the machine is off.
async fn refuse_change(state: &State, node: NodeId, action: &str) -> Result<(), ApiError> {
    let node = state.store.node(&node.to_string()).await?;
    if node.power_state == Some(PowerState::Off) { Ok(()) } else { Err(not_off(&node, action)) }
}

async fn refuse_removal(state: &State, node: NodeId, action: &str) -> Result<(), ApiError> {
    let node = state.store.node(&node.to_string()).await?;
    if node.power_state == Some(PowerState::Off) || node.provision_state.delete_allowed() {
        return Ok(());
    }
    Err(not_off(&node, action))
}

fn not_off(node: &Node, action: &str) -> ApiError {
    ApiError::bad(format!(
        "The requested action \"{action}\" can not be performed on node \"{}\" while it is in state \"{}\".",
        node.uuid,
        node.power_state.map_or("None", PowerState::as_str)
    ))
}

fn parts(context: &Context, path: &str) -> Json<Value> {
    Json(json!({
        "links": context.links(&format!("{path}/")),
        "connectors": context.links(&format!("{path}/connectors")),
        "targets": context.links(&format!("{path}/targets")),
    }))
}

async fn root(context: Context, query: Query) -> Result<Json<Value>, ApiError> {
    query.finish()?;
    Ok(parts(&context, "volume"))
}

async fn root_of_node(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    query.finish()?;
    nodes::find(&state, &context, &ident).await?;
    Ok(parts(&context, &format!("nodes/{ident}/volume")))
}

async fn of_node<R: Served>(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let node = nodes::find(&state, &context, &ident).await?.uuid;
    let scope = Scope { path: format!("nodes/{node}/{}", R::PATH), node: Some(node), detail: false };
    frame::listing::<R>(&state, &context, query, scope).await
}
