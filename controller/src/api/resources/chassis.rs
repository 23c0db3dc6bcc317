//! `/v1/chassis` and `/v1/chassis/X/nodes`.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    routing::get,
};
use http::StatusCode;
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
        links::Context,
        nodes,
        query::Query,
        value::{Wrong, dictionary, text, uuid},
        version::Version,
    },
    frame::{self, Served, part_links},
};
use crate::{
    node::chassis::Chassis,
    store::{Resource, StoreError},
};

pub(super) fn routes() -> Router<State> {
    frame::routes::<Chassis>()
        .merge(frame::detail_route::<Chassis>())
        .route("/v1/chassis/{ident}/nodes", get(nodes_of))
        .route("/v1/chassis/{ident}/nodes/detail", get(nodes_of_detail))
}

impl Resource for Chassis {
    const KIND: &'static str = "chassis";
    const WHAT: &'static str = "Chassis";

    fn uuid(&self) -> Uuid {
        self.uuid
    }
}

impl Served for Chassis {
    const PATH: &'static str = "chassis";
    const LIST: &'static str = "chassis";
    const BODY: &'static str = "chassis";
    const SINCE: u16 = 1;
    const FIELDS: &'static [Field] = &[
        field("uuid", 1, Create),
        field("created_at", 1, Read),
        field("updated_at", 1, Read),
        field("extra", 1, Patch),
        field("description", 1, Patch),
        field("nodes", 1, Read),
        field("links", 1, Read),
    ];
    const DEFAULT: &'static [&'static str] = &["uuid", "description"];
    const UNSORTABLE: &'static [&'static str] = &["extra", "nodes"];
    const REQUIRED: &'static [&'static str] = &[];

    fn blank() -> Self {
        Self { uuid: Uuid::new_v4(), description: None, extra: Map::new() }
    }

    fn set(&mut self, field: &str, value: Value, _: Version) -> Result<(), Wrong> {
        match field {
            "uuid" => self.uuid = uuid(field, value)?.unwrap_or(self.uuid),
            "description" => self.description = text(value, 255)?,
            "extra" => self.extra = dictionary(value)?,
            _ => return Err(format!("{field} cannot be set.").into()),
        }
        Ok(())
    }

    fn finish(context: &Context, document: &mut Map<String, Value>) {
        // A list in a list: so it is in Ironic, and so clients read it.
        let links = part_links(context, document, Self::PATH, "nodes");
        document.insert("nodes".into(), json!([links]));
    }

    async fn check_removal(state: &State, value: &Self) -> Result<(), ApiError> {
        if nodes::any_in_chassis(state, value.uuid).await? {
            return Err(ApiError::bad(format!(
                "Cannot complete the requested action because chassis {} contains nodes.",
                value.uuid
            )));
        }
        Ok(())
    }
}

async fn nodes_of(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let chassis = frame::find::<Chassis>(&state.store, &ident).await?.value.uuid;
    nodes::list_of_chassis(&state, &context, query, chassis, false).await
}

async fn nodes_of_detail(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let chassis = frame::find::<Chassis>(&state.store, &ident).await?.value.uuid;
    nodes::list_of_chassis(&state, &context, query, chassis, true).await
}

/// Whether there is a chassis; what a node says of one must be true.
pub(in super::super) async fn exists(state: &State, uuid: &str) -> Result<(), ApiError> {
    match state.store.resource::<Chassis>(uuid).await {
        Ok(_) => Ok(()),
        Err(StoreError::NotFound { .. }) => {
            Err(ApiError::new(StatusCode::BAD_REQUEST, format!("Chassis {uuid} could not be found.")))
        }
        Err(error) => Err(error.into()),
    }
}
