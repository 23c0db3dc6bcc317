//! `/v1/nodes/X/states/…`: boot mode, Secure Boot, RAID and console.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::{
    State, console,
    error::ApiError,
    json::JsonBody,
    layers::to_the_end,
    links::Context,
    node_management::{boolean, nothing_else, word},
    nodes::find,
    value::shortened,
};
use crate::{
    node::BootMode,
    reconcile::{Change, RequestError},
};

pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/v1/nodes/{node}/states/boot_mode", put(boot_mode))
        .route("/v1/nodes/{node}/states/secure_boot", put(secure_boot))
        .route("/v1/nodes/{node}/states/raid", put(raid))
        .route("/v1/nodes/{node}/states/console", get(get_console).put(set_console))
}

async fn boot_mode(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    came_with_76(&context)?;
    let mut body = body.object()?;
    let target = word(&mut body, "target")?;
    nothing_else(&body)?;
    let mode: BootMode = target.parse().map_err(|_| {
        let mode = shortened(&target);
        ApiError::bad(format!(
            "Invalid boot mode {mode} requested for node. Allowed boot modes are: uefi, bios"
        ))
    })?;
    change(&state, &context, &ident, Change::BootMode(mode), "states").await
}

async fn secure_boot(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    came_with_76(&context)?;
    let mut body = body.object()?;
    let target = boolean(&mut body, "target")?;
    nothing_else(&body)?;
    let target = target.ok_or_else(|| {
        ApiError::bad(
            "Invalid secure_boot None requested for node. Allowed secure_boot states are: True, False",
        )
    })?;
    change(&state, &context, &ident, Change::SecureBoot(target), "states").await
}

fn came_with_76(context: &Context) -> Result<(), ApiError> {
    if context.version.has(76) {
        return Ok(());
    }
    Err(ApiError::not_found("This endpoint is supported starting with the API version 1.76"))
}

async fn raid(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    body: JsonBody,
) -> Result<StatusCode, ApiError> {
    if !context.version.has(12) {
        return Err(ApiError::too_old("target_raid_config"));
    }
    let config = body.object()?;
    let node = find(&state, &context, &ident).await?;
    let engine = state.engine.clone();
    to_the_end(async move {
        engine.set_target_raid_config(node.uuid, config).await.map_err(|error| match error {
            RequestError::Unsupported { .. } => ApiError::from(error).with_status(StatusCode::NOT_FOUND),
            error => error.into(),
        })
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

// === console ===

async fn get_console(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&state, &context, &ident).await?;
    let info = console::info(&state, &context, &node);
    Ok(Json(json!({"console_enabled": node.console_enabled, "console_info": info})))
}

async fn set_console(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let mut body = body.object()?;
    let enabled = boolean(&mut body, "enabled")?;
    nothing_else(&body)?;
    let enabled = enabled.ok_or_else(|| ApiError::bad("Missing mandatory parameters: enabled"))?;
    change(&state, &context, &ident, Change::Console(enabled), "states/console").await
}

async fn change(
    state: &State,
    context: &Context,
    ident: &str,
    change: Change,
    path: &str,
) -> Result<Response, ApiError> {
    let node = find(state, context, ident).await?;
    let engine = state.engine.clone();
    to_the_end(async move { Ok(engine.change(node.uuid, change).await?) }).await?;
    let location = context.url(&format!("nodes/{ident}/{path}"));
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)]).into_response())
}
