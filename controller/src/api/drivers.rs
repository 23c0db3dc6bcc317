//! `/v1/drivers`: the hardware types of this controller.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    routing::get,
};
use serde_json::{Map, Value, json};

use super::{State, error::ApiError, links::Context, query::Query};
use crate::drivers::{self, Driver};

pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/v1/drivers", get(list))
        .route("/v1/drivers/{driver}", get(show))
        .route("/v1/drivers/{driver}/properties", get(properties))
}

async fn list(
    Extract(state): Extract<State>,
    context: Context,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let detail = query.boolean("detail")?.unwrap_or(false);
    let kind = query.text("type");
    if (detail || kind.is_some()) && !context.version.has(30) {
        return Err(ApiError::too_old("the arguments type and detail"));
    }
    let fields = query.list("fields");
    query.finish()?;
    // There are no classic drivers.
    let shown = kind.is_none_or(|kind| kind == "dynamic");
    let rows: Vec<_> = drivers::all()
        .iter()
        .filter(|_| shown)
        .map(|driver| {
            let mut row = view(&state, &context, driver, detail);
            if let Some(fields) = &fields {
                row.retain(|name, _| name == "links" || fields.contains(name));
            }
            row
        })
        .collect();
    Ok(Json(json!({"drivers": rows})))
}

async fn show(
    Extract(state): Extract<State>,
    context: Context,
    Path(name): Path<String>,
    query: Query,
) -> Result<Json<Map<String, Value>>, ApiError> {
    query.finish()?;
    Ok(Json(view(&state, &context, find(&name)?, true)))
}

async fn properties(Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let properties = find(&name)?.properties.iter();
    Ok(Json(properties.map(|(name, meaning)| ((*name).to_owned(), Value::from(*meaning))).collect()))
}

/// The driver of that name.
pub(super) fn find(name: &str) -> Result<&'static Driver, ApiError> {
    drivers::get(name).map_err(|error| ApiError::not_found(error.to_string()))
}

fn view(state: &State, context: &Context, driver: &Driver, detail: bool) -> Map<String, Value> {
    let path = format!("drivers/{}", driver.name);
    let mut view = Map::new();
    view.insert("name".into(), driver.name.into());
    view.insert("hosts".into(), json!([state.hostname]));
    view.insert("links".into(), context.links(&path));
    if context.version.has(14) {
        view.insert("properties".into(), context.links(&format!("{path}/properties")));
    }
    if context.version.has(30) {
        view.insert("type".into(), "dynamic".into());
        for interface in driver.interfaces.iter().filter(|_| detail) {
            let kind = interface.kind;
            view.insert(format!("default_{kind}_interface"), interface.default.into());
            view.insert(format!("enabled_{kind}_interfaces"), json!(interface.enabled));
        }
    }
    view
}
