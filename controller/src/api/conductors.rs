//! `/v1/conductors`: the controllers.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    routing::get,
};
use chrono::Utc;
use serde_json::{Value, json};

use super::{State, error::ApiError, layers::since, links::Context, node_view::timestamp, query::Query};
use crate::drivers;

const COLUMNS: &[&str] = &["hostname", "conductor_group", "alive", "links"];

pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/v1/conductors", since(49, get(list)))
        .route("/v1/conductors/{hostname}", since(49, get(show)))
}

async fn list(
    Extract(state): Extract<State>,
    context: Context,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let detail = query.boolean("detail")?.unwrap_or(false);
    let fields = query.list("fields");
    query.page(state.config.max_limit, &["hostname", "conductor_group", "created_at", "updated_at"])?;
    query.finish()?;
    let mut conductor = conductor(&state, &context);
    if let Value::Object(map) = &mut conductor
        && !detail
    {
        let wanted = |name: &str| match &fields {
            Some(fields) => name == "links" || fields.iter().any(|field| field == name),
            None => COLUMNS.contains(&name),
        };
        map.retain(|name, _| wanted(name));
    }
    Ok(Json(json!({"conductors": [conductor]})))
}

async fn show(
    Extract(state): Extract<State>,
    context: Context,
    Path(hostname): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    query.finish()?;
    if hostname != state.hostname {
        return Err(ApiError::not_found(format!("Conductor {hostname} could not be found.")));
    }
    Ok(Json(conductor(&state, &context)))
}

fn conductor(state: &State, context: &Context) -> Value {
    json!({
        "created_at": timestamp(state.started),
        "updated_at": timestamp(Utc::now()),
        "hostname": state.hostname,
        "conductor_group": "",
        "drivers": drivers::all().iter().map(|driver| driver.name).collect::<Vec<_>>(),
        "links": context.links(&format!("conductors/{}", state.hostname)),
        "alive": true,
    })
}
