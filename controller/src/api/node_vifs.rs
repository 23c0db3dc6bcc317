//! `/v1/nodes/X/vifs`: which virtual interfaces of a network service go on which ports of a node.
//!
//! The `noop` network interface leaves networks alone: it takes requests and keeps nothing, as in Ironic. Others keep
//! the VIF at a free port or port group.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    routing::get,
};
use bessemer_proto::ids::NodeId;
use chrono::Utc;
use http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    State,
    error::ApiError,
    json::JsonBody,
    layers::{since, to_the_end},
    links::Context,
    nodes::find,
    value::{shortened, uuid},
};
use crate::{
    node::{
        Node, Port,
        portgroup::Portgroup,
        vif::{self, KEY},
    },
    store::Stored,
};

/// The network interface that does nothing.
const NOOP: &str = "noop";

pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/v1/nodes/{node}/vifs", since(28, get(list).post(attach)))
        .route("/v1/nodes/{node}/vifs/{vif}", since(28, axum::routing::delete(detach)))
}

/// What a VIF can go on.
#[derive(Clone, Debug)]
enum Place {
    Port(Box<Port>),
    Group(Box<Stored<Portgroup>>),
}

/// All places of a node.
struct Places(Vec<Place>);

// === impl Place ===

impl Place {
    fn uuid(&self) -> Uuid {
        match self {
            Self::Port(port) => port.uuid,
            Self::Group(group) => group.value.uuid,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Port(_) => "port",
            Self::Group(_) => "portgroup",
        }
    }

    fn vif(&self) -> Option<&str> {
        vif::held(match self {
            Self::Port(port) => &port.internal_info,
            Self::Group(group) => &group.value.internal_info,
        })
    }

    fn info(&mut self) -> &mut Map<String, Value> {
        match self {
            Self::Port(port) => &mut port.internal_info,
            Self::Group(group) => &mut group.value.internal_info,
        }
    }

    async fn write(mut self, state: &State) -> Result<(), ApiError> {
        match &mut self {
            Self::Port(port) => {
                port.updated_at = Some(Utc::now());
                state.store.update_port(port).await?;
            }
            Self::Group(group) => state.store.update_resource(group).await?,
        }
        Ok(())
    }
}

// === impl Places ===

impl Places {
    async fn of(state: &State, node: NodeId) -> Result<Self, ApiError> {
        let groups = state.store.resources::<Portgroup>(Some(node)).await?;
        let ports = state.store.ports(Some(node), None).await?;
        let groups = groups.into_iter().map(|group| Place::Group(Box::new(group)));
        Ok(Self(groups.chain(ports.into_iter().map(|port| Place::Port(Box::new(port)))).collect()))
    }

    fn holder(&self, vif: &str) -> Option<&Place> {
        self.0.iter().find(|place| place.vif() == Some(vif))
    }

    /// Port groups come first, then ports that boot over the network, then others.
    fn first_free(&self) -> Option<&Place> {
        let rank = |place: &&Place| match place {
            Place::Group(_) => 0,
            Place::Port(port) if port.pxe_enabled => 1,
            Place::Port(_) => 2,
        };
        self.0.iter().filter(|place| self.is_free(place)).min_by_key(rank)
    }

    fn is_free(&self, place: &Place) -> bool {
        if place.vif().is_some() {
            return false;
        }
        match place {
            // A group is of use when it has ports and none of them is used alone.
            Place::Group(group) => {
                let mut members = self.members(group.value.uuid).peekable();
                members.peek().is_some() && members.all(|port| !port.internal_info.contains_key(KEY))
            }
            Place::Port(port) => port.portgroup.is_none_or(|group| {
                self.0.iter().any(|place| match place {
                    Place::Group(held) => {
                        held.value.uuid == group
                            && held.value.standalone_ports_supported
                            && place.vif().is_none()
                    }
                    Place::Port(_) => false,
                })
            }),
        }
    }

    fn members(&self, group: Uuid) -> impl Iterator<Item = &Port> {
        self.0.iter().filter_map(move |place| match place {
            Place::Port(port) if port.portgroup == Some(group) => Some(port.as_ref()),
            _ => None,
        })
    }

    fn chosen(&self, node: &Node, vif: &str, wanted: Option<Uuid>) -> Result<Place, ApiError> {
        if let Some(place) = self.holder(vif) {
            return Err(ApiError::conflict(format!(
                "Unable to attach VIF because VIF {vif} is already attached to Ironic {} {}",
                place.kind(),
                place.uuid()
            )));
        }
        let Some(wanted) = wanted else {
            return self.first_free().cloned().ok_or_else(|| {
                ApiError::bad(format!(
                    "Unable to attach VIF {vif}, not enough free physical ports on node {}.",
                    node.uuid
                ))
            });
        };
        let place =
            self.0.iter().find(|place| place.uuid() == wanted).ok_or_else(|| {
                ApiError::bad(format!("Node {} has no port or portgroup {wanted}.", node.uuid))
            })?;
        if self.is_free(place) {
            return Ok(place.clone());
        }
        Err(ApiError::conflict(format!("Unable to attach VIF {vif}: {} {wanted} is not free.", place.kind())))
    }
}

/// The VIF of a port, if it has one and its node cares.
pub(super) fn vif_of<'a>(node: &Node, port: &'a Port) -> Option<&'a str> {
    vif::held(&port.internal_info).filter(|_| !is_noop(node))
}

fn is_noop(node: &Node) -> bool {
    node.interfaces.get("network").is_none_or(|name| name == NOOP)
}

// === handlers ===

async fn list(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&state, &context, &ident).await?;
    let places = if is_noop(&node) { Places(Vec::new()) } else { Places::of(&state, node.uuid).await? };
    let vifs: Vec<_> =
        places.0.iter().filter_map(|place| place.vif()).map(|vif| json!({"id": vif})).collect();
    Ok(Json(json!({"vifs": vifs})))
}

async fn attach(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    body: JsonBody,
) -> Result<StatusCode, ApiError> {
    let mut body = body.object()?;
    let vif = match body.remove("id") {
        Some(Value::String(vif)) if is_ident(&vif) => vif,
        Some(Value::String(vif)) => {
            return Err(ApiError::bad(format!("Expected UUID or name for id: {}", shortened(&vif))));
        }
        Some(_) => return Err(ApiError::bad("Schema error for vif: 'id' must be a string")),
        None => return Err(ApiError::bad("Schema error for vif: 'id' is a required property")),
    };
    let mut place = |name: &str| match body.remove(name) {
        Some(value) => uuid(name, value).map_err(ApiError::bad),
        None => Ok(None),
    };
    let (port, group) = (place("port_uuid")?, place("portgroup_uuid")?);
    if port.is_some() && group.is_some() {
        return Err(ApiError::bad("Cannot specify both port_uuid and portgroup_uuid"));
    }
    // Before 1.67 clients could not choose.
    let wanted = port.or(group).filter(|_| context.version.has(67));
    let node = find(&state, &context, &ident).await?;
    if is_noop(&node) {
        return Ok(StatusCode::NO_CONTENT);
    }
    to_the_end(async move {
        let _guard = state.engine.hold(node.uuid).await?;
        let mut place = Places::of(&state, node.uuid).await?.chosen(&node, &vif, wanted)?;
        place.info().insert(KEY.to_owned(), vif.into());
        place.write(&state).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn detach(
    Extract(state): Extract<State>,
    context: Context,
    Path((ident, vif)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let node = find(&state, &context, &ident).await?;
    if is_noop(&node) {
        return Ok(StatusCode::NO_CONTENT);
    }
    to_the_end(async move {
        let _guard = state.engine.hold(node.uuid).await?;
        let places = Places::of(&state, node.uuid).await?;
        let mut place = places.holder(&vif).cloned().ok_or_else(|| {
            ApiError::bad(format!(
                "Unable to detach VIF {} from node {} because it is not attached to it.",
                shortened(&vif),
                node.uuid
            ))
        })?;
        place.info().remove(KEY);
        place.write(&state).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn is_ident(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
    (1..=255).contains(&text.len()) && text.chars().all(allowed)
}
