//! `/v1/nodes/X/states`, `/validate`, `/maintenance`: what a node is in, and asking for something else.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use http::{StatusCode, header};
use serde_json::{Map, Value, json};

use super::{
    State,
    error::ApiError,
    fields::{self, NODE},
    json::{JsonBody, LargeJsonBody},
    layers::to_the_end,
    links::Context,
    node_management::nothing_else,
    node_patch::set_maintenance,
    node_view::{Live, view},
    nodes::{edit, find, refuse_protected},
    query::Query,
    value::text,
    version::Version,
};
use crate::node::{Node, PowerTarget, ProvisionState, Verb, runbook::Runbook};

const STATES: &[&str] = &[
    "console_enabled",
    "last_error",
    "power_state",
    "provision_state",
    "target_power_state",
    "target_provision_state",
    "provision_updated_at",
    "raid_config",
    "target_raid_config",
    "boot_mode",
    "secure_boot",
];

/// What `PUT states/provision` takes besides `target`: since when, and with which verbs.
const ARGUMENTS: &[(&str, u16, &[Verb])] = &[
    ("configdrive", 1, &[Verb::Deploy, Verb::Rebuild]),
    ("deploy_steps", 69, &[Verb::Deploy, Verb::Rebuild]),
    ("clean_steps", 15, &[Verb::Clean]),
    ("service_steps", 87, &[Verb::Service]),
    ("rescue_password", 38, &[Verb::Rescue]),
    ("disable_ramdisk", 70, &[Verb::Clean, Verb::Service]),
    ("runbook", 92, &[Verb::Clean, Verb::Service]),
];

pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/v1/nodes/{node}/states", get(states))
        .route("/v1/nodes/{node}/states/provision", put(provision))
        .route("/v1/nodes/{node}/states/power", put(power))
        .route("/v1/nodes/validate", get(validate_by_query))
        .route("/v1/nodes/{node}/validate", get(validate))
        .route("/v1/nodes/{node}/maintenance", put(enter_maintenance).delete(leave_maintenance))
}

async fn states(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&state, &context, &ident).await?;
    let shown = fields::defaults(NODE, STATES, context.version);
    let mut answer = view(&state, &context, &node, &Live::default(), &shown);
    if let Value::Object(map) = &mut answer {
        map.remove("links");
    }
    Ok(Json(answer))
}

/// `/v1/nodes/validate?node=X`: the same as older clients ask for it.
async fn validate_by_query(
    state: Extract<State>,
    context: Context,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let ident = query.text("node");
    let ident = ident.ok_or_else(|| ApiError::bad("Expected a logical name or UUID but received None."))?;
    query.finish()?;
    validate(state, context, Path(ident)).await
}

async fn validate(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&state, &context, &ident).await?;
    let mut answer = Map::new();
    for validation in state.engine.validate(&node) {
        let result = match validation.result {
            Some(Ok(())) => json!({"result": true}),
            Some(Err(reason)) => json!({"result": false, "reason": reason}),
            None => json!({"result": null, "reason": "not supported"}),
        };
        answer.insert(validation.interface.to_owned(), result);
    }
    Ok(Json(answer.into()))
}

// === provision ===

async fn provision(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    LargeJsonBody(body): LargeJsonBody,
) -> Result<Response, ApiError> {
    let mut body = body.object()?;
    let target = target(&mut body)?;
    let node = find(&state, &context, &ident).await?;
    let verb = verb(&target, &node, context.version)?;
    let arguments = arguments(body, verb, context.version)?;
    if let Some(config_drive) = arguments.get("configdrive") {
        refuse_newer_form(config_drive, verb, context.version)?;
    }
    check_runbook(&state, &node, &arguments, context.version).await?;
    if matches!(verb, Verb::Rebuild | Verb::Undeploy) {
        refuse_protected(&node)?;
    }
    let engine = context.engine(&state);
    to_the_end(async move { Ok(engine.provision(node.uuid, verb, &arguments).await?) }).await?;
    Ok(accepted(&context, &ident))
}

fn verb(target: &str, node: &Node, version: Version) -> Result<Verb, ApiError> {
    let (verb, since) =
        Verb::called(target).map_err(|_| invalid_state(target, node, node.provision_state.as_str()))?;
    // An abort came to some states later than to others.
    let since = match (verb, node.provision_state) {
        (Verb::Abort, ProvisionState::InspectWait) => 41,
        (Verb::Abort, ProvisionState::WaitCallBack) => 110,
        _ => since,
    };
    match version.has(since) {
        true => Ok(verb),
        false => Err(ApiError::too_old(&format!("the target {target}"))),
    }
}

fn arguments(
    mut body: Map<String, Value>,
    verb: Verb,
    version: Version,
) -> Result<Map<String, Value>, ApiError> {
    body.retain(|_, value| !value.is_null());
    for name in body.keys() {
        let Some((_, since, verbs)) = ARGUMENTS.iter().find(|(known, ..)| known == name) else {
            return Err(ApiError::bad(format!("Unexpected arguments: {}", super::value::shortened(name))));
        };
        if !version.has(*since) {
            return Err(ApiError::too_old(&format!("the argument {name}")));
        }
        if !verbs.contains(&verb) {
            let verbs: Vec<_> = verbs.iter().map(|verb| verb.as_str()).collect();
            let verbs = verbs.join(" or ");
            return Err(ApiError::bad(match name.as_str() {
                "disable_ramdisk" => {
                    "disable_ramdisk is supported only with manual cleaning or servicing".to_owned()
                }
                name => format!("\"{name}\" is only valid when setting target provision state to {verbs}"),
            }));
        }
        if name == "disable_ramdisk" && verb == Verb::Service && !version.has(108) {
            return Err(ApiError::too_old("disable_ramdisk with the target service"));
        }
    }
    Ok(body)
}

/// Since 1.112 a runbook names the traits of the nodes that it is for; to older clients its name is one.
async fn check_runbook(
    state: &State,
    node: &Node,
    arguments: &Map<String, Value>,
    version: Version,
) -> Result<(), ApiError> {
    let Some(ident) = arguments.get("runbook").and_then(Value::as_str) else { return Ok(()) };
    let runbook = state.store.resource::<Runbook>(ident).await?.value;
    let wanted = if version.has(112) { runbook.traits } else { vec![runbook.name] };
    if wanted.is_empty() {
        return Err(ApiError::bad(format!(
            "Runbook {} has no traits configured. Please ask an administrator to add traits to the runbook.",
            runbook.uuid
        )));
    }
    if wanted.iter().any(|name| node.traits.contains(name)) {
        return Ok(());
    }
    Err(ApiError::bad(format!(
        "This runbook has not been approved for use on this node {}. The node does not have any of its traits ({}): ask \
         an administrator to add one to the node.",
        node.uuid,
        wanted.join(", ")
    )))
}

/// Which config drives a client of that version may send; Ironic answers 400.
fn refuse_newer_form(config_drive: &Value, verb: Verb, version: Version) -> Result<(), ApiError> {
    let (since, what) = match config_drive {
        Value::Object(parts) if parts.contains_key("vendor_data") => (59, "vendor_data in a configdrive"),
        Value::Object(_) => (56, "a configdrive that is a JSON object"),
        _ if verb == Verb::Rebuild => (35, "a configdrive for a rebuild"),
        _ => (1, ""),
    };
    if version.has(since) {
        return Ok(());
    }
    Err(ApiError::bad(format!(
        "The requested API version {version} does not know {what}: use 1.{since} or newer."
    )))
}

// === power ===

async fn power(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let mut body = body.object()?;
    let target = target(&mut body)?;
    let timeout = timeout(&mut body, context.version)?;
    nothing_else(&body)?;
    let node = find(&state, &context, &ident).await?;
    let power = target.parse::<PowerTarget>().map_err(|_| {
        invalid_state(&target, &node, node.power_state.map_or("None", |power_state| power_state.as_str()))
    })?;
    if matches!(power, PowerTarget::SoftOff | PowerTarget::SoftReboot) && !context.version.has(27) {
        return Err(ApiError::too_old(&format!("the target {target}")));
    }
    if matches!(node.provision_state, ProvisionState::Cleaning | ProvisionState::CleanWait) {
        return Err(invalid_state(&target, &node, node.provision_state.as_str()));
    }
    let engine = context.engine(&state);
    to_the_end(async move { Ok(engine.power_within(node.uuid, power, timeout).await?) }).await?;
    Ok(accepted(&context, &ident))
}

/// Hypervisors that move their guests away first take hours.
const LONGEST_POWER_TIMEOUT: u32 = 6 * 3600;

/// How long the machine may take, since 1.27.
fn timeout(body: &mut Map<String, Value>, version: Version) -> Result<Option<Duration>, ApiError> {
    let seconds = match body.remove("timeout") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_i64(),
    };
    if !version.has(27) {
        return Err(ApiError::too_old("the argument timeout"));
    }
    match seconds.map(u32::try_from) {
        // The node is reserved meanwhile.
        Some(Ok(seconds)) if seconds > LONGEST_POWER_TIMEOUT => {
            Err(ApiError::bad(format!("timeout has to be at most {LONGEST_POWER_TIMEOUT} seconds")))
        }
        Some(Ok(seconds @ 1..)) => Ok(Some(Duration::from_secs(seconds.into()))),
        _ => Err(ApiError::bad("timeout has to be positive integer")),
    }
}

// === maintenance ===

async fn enter_maintenance(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    body: JsonBody,
) -> Result<StatusCode, ApiError> {
    let reason = body.object()?.remove("reason").unwrap_or_default();
    let reason = text(reason, 4096).map_err(ApiError::bad)?;
    let node = find(&state, &context, &ident).await?;
    edit(&state, &context, node.uuid, move |node| {
        set_maintenance(node, true, reason);
        Ok(())
    })
    .await?;
    Ok(StatusCode::ACCEPTED)
}

async fn leave_maintenance(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let node = find(&state, &context, &ident).await?;
    edit(&state, &context, node.uuid, |node| {
        set_maintenance(node, false, None);
        Ok(())
    })
    .await?;
    Ok(StatusCode::ACCEPTED)
}

// === shared ===

fn target(body: &mut Map<String, Value>) -> Result<String, ApiError> {
    match body.remove("target") {
        Some(Value::String(target)) if target.len() <= 64 => Ok(target),
        Some(_) => Err(ApiError::bad("target must be a string of at most 64 characters.")),
        None => Err(ApiError::bad("Missing mandatory parameter: target")),
    }
}

fn invalid_state(action: &str, node: &Node, state: &str) -> ApiError {
    ApiError::bad(format!(
        "The requested action \"{action}\" can not be performed on node \"{}\" while it is in state \"{state}\".",
        node.uuid
    ))
}

fn accepted(context: &Context, ident: &str) -> Response {
    (StatusCode::ACCEPTED, [(header::LOCATION, context.url(&format!("nodes/{ident}/states")))])
        .into_response()
}
