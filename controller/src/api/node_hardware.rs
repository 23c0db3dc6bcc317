//! `/v1/nodes/X/bios`, `/firmware`, `/inventory`: what is known of a machine's inside.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    routing::get,
};
use bessemer_proto::ids::NodeId;
use serde_json::{Map, Value, json};

use super::{
    State, error::ApiError, layers::since, links::Context, node_view::timestamp, nodes::find, query::Query,
    value::shortened,
};
use crate::{
    node::{
        hardware::BiosSetting,
        hardware_cache::{Cached, Firmware, HardwareCache},
        inventory::Inventory,
    },
    store::StoreError,
};

const BIOS: &[&str] = &["name", "value"];
const BIOS_DETAIL: &[&str] = &[
    "name",
    "value",
    "attribute_type",
    "allowable_values",
    "lower_bound",
    "max_length",
    "min_length",
    "read_only",
    "reset_required",
    "unique",
    "upper_bound",
];
const FIRMWARE: &[&str] = &["component", "initial_version", "current_version", "last_version_flashed"];
const FIRMWARE_IDENTITY: &[&str] = &["vendor", "model", "serial_number"];
/// Shown whatever is asked for.
const ALWAYS: &[&str] = &["created_at", "updated_at"];

pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/v1/nodes/{node}/bios", since(40, get(bios)))
        .route("/v1/nodes/{node}/bios/{setting}", since(40, get(bios_setting)))
        .route("/v1/nodes/{node}/firmware", since(86, get(firmware)))
        .route("/v1/nodes/{node}/inventory", since(81, get(inventory)))
}

// === BIOS ===

async fn bios(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let detail = query.boolean("detail")?;
    let fields = query.list("fields");
    query.finish()?;
    if !context.version.has(74) {
        if let Some(detail) = detail {
            return Err(ApiError::bad(format!("Invalid query parameter ?detail={detail} received.")));
        }
        if fields.is_some() {
            return Err(ApiError::bad("Invalid query parameter ?fields received."));
        }
    }
    let columns = match (&fields, detail.unwrap_or(false)) {
        (Some(_), true) => {
            return Err(ApiError::bad("Can not specify ?detail=True and fields in the same request."));
        }
        (Some(names), false) => chosen(names, BIOS_DETAIL)?,
        (None, true) => BIOS_DETAIL.to_vec(),
        (None, false) => BIOS.to_vec(),
    };
    let node = find(&state, &context, &ident).await?;
    let rows: Vec<_> = cache(&state, node.uuid)
        .await?
        .bios
        .iter()
        .map(|setting| bios_view(&context, &ident, setting, &columns))
        .collect();
    Ok(Json(json!({"bios": rows})))
}

async fn bios_setting(
    Extract(state): Extract<State>,
    context: Context,
    Path((ident, name)): Path<(String, String)>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    query.finish()?;
    let node = find(&state, &context, &ident).await?;
    let known = cache(&state, node.uuid).await?.bios;
    let setting = known.iter().find(|setting| setting.value.name == name).ok_or_else(|| {
        let name = shortened(&name);
        ApiError::not_found(format!("Node {} doesn't have a BIOS setting '{name}'", node.uuid))
    })?;
    let columns = if context.version.has(74) { BIOS_DETAIL } else { BIOS };
    let view = bios_view(&context, &node.uuid.to_string(), setting, columns);
    Ok(Json(Value::Object(Map::from_iter([(name, view)]))))
}

fn bios_view(context: &Context, ident: &str, setting: &Cached<BiosSetting>, columns: &[&str]) -> Value {
    let mut row = row(json!(setting.value), setting, columns);
    let links = context.links(&format!("nodes/{ident}/bios/{}", setting.value.name));
    row.insert("links".to_owned(), links);
    row.into()
}

// === firmware ===

async fn firmware(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let fields = query.list("fields");
    query.finish()?;
    let has_identity = context.version.has(114);
    let all = [FIRMWARE, if has_identity { FIRMWARE_IDENTITY } else { &[] }].concat();
    let columns = match &fields {
        None => all,
        Some(names) if !has_identity && names.iter().any(|n| FIRMWARE_IDENTITY.contains(&n.as_str())) => {
            let mut disallowed: Vec<_> =
                names.iter().map(String::as_str).filter(|name| FIRMWARE_IDENTITY.contains(name)).collect();
            disallowed.sort_unstable();
            return Err(ApiError::bad(format!(
                "Fields {} are not allowed in this API version. They require at least API version 1.114.",
                disallowed.join(", ")
            )));
        }
        Some(names) => chosen(names, &all)?,
    };
    let node = find(&state, &context, &ident).await?;
    let known = cache(&state, node.uuid).await?.firmware;
    let rows: Vec<_> = known.iter().map(|found| firmware_view(found, &columns)).collect();
    Ok(Json(json!({"firmware": rows})))
}

fn firmware_view(found: &Cached<Firmware>, columns: &[&str]) -> Value {
    let mut value = json!(found.value.component);
    value["initial_version"] = json!(found.value.initial_version);
    value["last_version_flashed"] = json!(found.value.last_version_flashed);
    row(value, found, columns).into()
}

// === inventory ===

async fn inventory(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&state, &context, &ident).await?;
    let found = state.store.resource::<Inventory>(&node.uuid.to_string()).await;
    let found = found.map_err(|error| match error {
        StoreError::NotFound { .. } => {
            ApiError::not_found(format!("Node inventory record for node {} could not be found.", node.uuid))
        }
        error => error.into(),
    })?;
    Ok(Json(json!({"inventory": found.value.inventory, "plugin_data": found.value.plugin_data})))
}

// === shared ===

/// What the BMC told; nothing when it was never asked.
async fn cache(state: &State, node: NodeId) -> Result<HardwareCache, ApiError> {
    match state.store.resource::<HardwareCache>(&node.to_string()).await {
        Ok(found) => Ok(found.value),
        Err(StoreError::NotFound { .. }) => Ok(HardwareCache::new(node)),
        Err(error) => Err(error.into()),
    }
}

fn row<T>(value: Value, of: &Cached<T>, columns: &[&str]) -> Map<String, Value> {
    let mut row = match value {
        Value::Object(row) => row,
        _ => Map::new(),
    };
    row.insert("created_at".to_owned(), timestamp(of.created_at).into());
    row.insert("updated_at".to_owned(), of.updated_at.map(timestamp).into());
    row.retain(|name, _| ALWAYS.contains(&name.as_str()) || columns.contains(&name.as_str()));
    row
}

fn chosen(names: &[String], known: &[&'static str]) -> Result<Vec<&'static str>, ApiError> {
    names
        .iter()
        .map(|name| {
            known
                .iter()
                .find(|known| *known == name)
                .copied()
                .ok_or_else(|| ApiError::bad(format!("Field(s) \"{}\" are not valid", shortened(name))))
        })
        .collect()
}
