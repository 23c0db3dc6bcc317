//! `/v1/conductors`: the controllers.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    routing::get,
};
use chrono::Utc;
use serde_json::{Map, Value, json};

use super::{
    State,
    error::ApiError,
    fields::{self, Access::Read, Field, field},
    layers::since,
    links::Context,
    node_view::{pick, timestamp},
    query::Query,
};
use crate::drivers;

/// The version that conductors came with.
const SINCE: u16 = 49;

const FIELDS: &[Field] = &[
    field("created_at", SINCE, Read),
    field("updated_at", SINCE, Read),
    field("hostname", SINCE, Read),
    field("conductor_group", SINCE, Read),
    field("drivers", SINCE, Read),
    field("links", SINCE, Read),
    field("alive", SINCE, Read),
];
const DEFAULT: &[&str] = &["hostname", "conductor_group", "alive"];

pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/v1/conductors", since(SINCE, get(list)))
        .route("/v1/conductors/{hostname}", since(SINCE, get(show)))
}

async fn list(
    Extract(state): Extract<State>,
    context: Context,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let columns = query.columns(FIELDS, DEFAULT, context.version, false)?;
    let page =
        query.page(state.config.max_limit, &["hostname", "conductor_group", "created_at", "updated_at"])?;
    let mut arguments = query.finish()?;
    if columns.are_default {
        arguments.push(("fields", columns.names.join(",")));
    }
    let text = |row: &Map<String, Value>, name: &str| row.get(name).cloned().unwrap_or_default();
    let name = |_: &Map<String, Value>| state.hostname.clone();
    let (rows, full) = page
        .cut(vec![conductor(&state, &context)], name, text, |_| true)
        .map_err(|marker| missing(&marker))?;
    let shown: Vec<_> = rows.into_iter().map(|row| pick(row, &columns.names)).collect();
    let mut answer = json!({"conductors": shown});
    if full {
        answer["next"] = page.next(&context, "conductors", &arguments, &state.hostname).into();
    }
    Ok(Json(answer))
}

async fn show(
    Extract(state): Extract<State>,
    context: Context,
    Path(hostname): Path<String>,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let columns = match query.list("fields") {
        Some(names) => fields::requested(FIELDS, &names, context.version)?,
        None => fields::known(FIELDS, context.version),
    };
    query.finish()?;
    if hostname != state.hostname {
        return Err(missing(&hostname));
    }
    Ok(Json(pick(conductor(&state, &context), &columns)))
}

fn missing(hostname: &str) -> ApiError {
    ApiError::not_found(format!("Conductor {} could not be found.", super::value::shortened(hostname)))
}

fn conductor(state: &State, context: &Context) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("created_at".into(), timestamp(state.started).into());
    row.insert("updated_at".into(), timestamp(Utc::now()).into());
    row.insert("hostname".into(), state.hostname.clone().into());
    row.insert("conductor_group".into(), state.engine.conductor_group().into());
    row.insert("drivers".into(), drivers::all().iter().map(|driver| driver.name).collect());
    row.insert("links".into(), context.links(&format!("conductors/{}", state.hostname)));
    row.insert("alive".into(), true.into());
    row
}
