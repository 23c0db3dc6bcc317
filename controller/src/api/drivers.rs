//! `/v1/drivers`: the hardware types of this controller.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    routing::get,
};
use serde_json::{Map, Value, json};

use super::{State, error::ApiError, links::Context, query::Query, value::shortened, version::Version};
use crate::drivers::{self, Driver};

/// Kinds of interfaces that are newer than the list of interfaces itself.
const NEWER: &[(&str, u16)] = &[("storage", 33), ("rescue", 38), ("bios", 40), ("firmware", 86)];

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
    let detail = query.boolean("detail")?;
    let kind = query.text("type");
    if (detail.is_some() || kind.is_some()) && !context.version.has(30) {
        return Err(ApiError::minimal(30));
    }
    let detail = detail.unwrap_or(false);
    let shown = match kind.as_deref() {
        None | Some("dynamic") => true,
        // There are no classic drivers.
        Some("classic") => false,
        Some(_) => {
            return Err(ApiError::bad(
                "\"type\" filter must be one of \"classic\" or \"dynamic\", if specified.",
            ));
        }
    };
    let fields = asked(&mut query)?;
    if fields.is_some() && detail {
        return Err(ApiError::bad("Can not specify ?detail=True and fields in the same request."));
    }
    query.finish()?;
    let rows: Vec<_> = drivers::all()
        .iter()
        .filter(|_| shown)
        .map(|driver| pick(view(&state, &context, driver, detail || fields.is_some()), fields.as_deref()))
        .collect();
    Ok(Json(json!({"drivers": rows})))
}

async fn show(
    Extract(state): Extract<State>,
    context: Context,
    Path(name): Path<String>,
    mut query: Query,
) -> Result<Json<Map<String, Value>>, ApiError> {
    let fields = asked(&mut query)?;
    query.finish()?;
    Ok(Json(pick(view(&state, &context, find(&name)?, true), fields.as_deref())))
}

async fn properties(Path(name): Path<String>, query: Query) -> Result<Json<Value>, ApiError> {
    query.finish()?;
    let properties = find(&name)?.properties.iter();
    Ok(Json(properties.map(|(name, meaning)| ((*name).to_owned(), Value::from(*meaning))).collect()))
}

/// The driver of that name.
pub(super) fn find(name: &str) -> Result<&'static Driver, ApiError> {
    drivers::get(name).map_err(|error| ApiError::not_found(error.to_string()))
}

/// The fields of `?fields=`; each must be one that a driver can have.
fn asked(query: &mut Query) -> Result<Option<Vec<String>>, ApiError> {
    let Some(names) = query.list("fields") else { return Ok(None) };
    let known = |name: &str| {
        matches!(name, "name" | "hosts" | "links" | "properties" | "type")
            || drivers::KINDS.iter().any(|kind| {
                name == format!("default_{kind}_interface") || name == format!("enabled_{kind}_interfaces")
            })
    };
    match names.iter().find(|name| !known(name)) {
        Some(name) => Err(ApiError::bad(format!("Field(s) \"{}\" are not valid.", shortened(name)))),
        None => Ok(Some(names)),
    }
}

fn pick(mut row: Map<String, Value>, fields: Option<&[String]>) -> Map<String, Value> {
    if let Some(fields) = fields {
        row.retain(|name, _| name == "links" || fields.contains(name));
    }
    row
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
        let known = driver.interfaces.iter().filter(|interface| is_known(interface.kind, context.version));
        for interface in known.filter(|_| detail) {
            let kind = interface.kind;
            view.insert(format!("default_{kind}_interface"), interface.default.into());
            view.insert(format!("enabled_{kind}_interfaces"), json!(interface.enabled));
        }
    }
    view
}

fn is_known(kind: &str, version: Version) -> bool {
    NEWER.iter().find(|(newer, _)| *newer == kind).is_none_or(|(_, since)| version.has(*since))
}
