//! `/v1/lookup`, `/v1/heartbeat`, `/v1/continue_inspection`: what ramdisks of others call. Nobody is authenticated
//! here, so they are off unless asked for.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bessemer_proto::ids::NodeId;
use http::{StatusCode, Uri};
use serde_json::{Map, Value, json};

use super::{
    State,
    access::Viewer,
    error::ApiError,
    json::{InspectionBody, JsonBody},
    layers::to_the_end,
    links::Context,
    mask::MASK,
    node_management::{nothing_else, word},
    node_view::{Live, view},
    nodes::find,
    query::Query,
    value::shortened,
};
use crate::{
    node::{Node, ProvisionState, inspection::mac},
    reconcile::{BAD_TOKEN, Heartbeat, RequestError, lookup_allowed},
    store::{NodeFilter, StoreError},
};

const SHOWN: &[&str] = &["uuid", "properties", "instance_info", "driver_internal_info"];
const STATUSES: &[&str] = &["start", "end", "error"];
/// Most addresses of one machine.
const MAX_ADDRESSES: usize = 256;
/// Longest certificate, in bytes.
const MAX_CERTIFICATE: usize = 64 * 1024;

pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/v1/lookup", get(lookup))
        .route("/v1/heartbeat/{node}", post(heartbeat))
        .route("/v1/continue_inspection", post(continue_inspection))
}

pub(super) fn refuse_unless_enabled(state: &State, uri: &Uri) -> Result<(), ApiError> {
    if state.config.enable_ramdisk_endpoints {
        return Ok(());
    }
    let sentence = format!("Access was denied to the following resource: {}", shortened(uri.path()));
    Err(ApiError::new(StatusCode::FORBIDDEN, sentence))
}

/// One answer for nodes that are not there and nodes in a wrong state, so that nobody learns which.
fn unknown() -> ApiError {
    ApiError::not_found("Resource could not be found.")
}

// === lookup ===

async fn lookup(
    Extract(state): Extract<State>,
    uri: Uri,
    context: Context,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    refuse_unless_enabled(&state, &uri)?;
    if !context.version.has(22) {
        return Err(unknown());
    }
    let addresses = query.list("addresses").unwrap_or_default();
    let uuid = node_uuid(&mut query)?;
    query.finish()?;
    let addresses: Vec<_> = addresses.iter().take(MAX_ADDRESSES).filter_map(|text| mac(text)).collect();
    if addresses.is_empty() && uuid.is_none() {
        return Err(ApiError::bad("At least one of 'addresses' and 'node_uuid' parameters is required"));
    }
    let node = match uuid {
        Some(uuid) => by_uuid(&state, uuid).await?,
        None => by_addresses(&state, &addresses).await?,
    };
    let node = node.filter(|node| lookup_allowed(node.provision_state)).ok_or_else(unknown)?;
    with_token(&state, &context, node).await
}

fn node_uuid(query: &mut Query) -> Result<Option<NodeId>, ApiError> {
    let Some(text) = query.text("node_uuid") else { return Ok(None) };
    let uuid = text.parse();
    uuid.map(Some).map_err(|_| ApiError::bad(format!("Expected UUID for node_uuid: {}", shortened(&text))))
}

async fn by_uuid(state: &State, uuid: NodeId) -> Result<Option<Node>, ApiError> {
    match state.store.node(&uuid.to_string()).await {
        Ok(node) => Ok(Some(node)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The one node that has ports with these addresses.
async fn by_addresses(state: &State, addresses: &[String]) -> Result<Option<Node>, ApiError> {
    let mut found: Option<NodeId> = None;
    for address in addresses {
        for port in state.store.ports(None, Some(address)).await? {
            if found.is_some_and(|node| node != port.node) {
                tracing::warn!(address, "the addresses of a ramdisk belong to several nodes");
                return Err(unknown());
            }
            found = Some(port.node);
        }
    }
    match found {
        Some(node) => by_uuid(state, node).await,
        None => Ok(None),
    }
}

/// The answer to a ramdisk that is on `node`. The token is shown once.
async fn with_token(state: &State, context: &Context, node: Node) -> Result<Json<Value>, ApiError> {
    let mut token = Value::Null;
    if context.version.has(62) {
        let engine = state.engine.clone();
        let given = to_the_end(async move { Ok(engine.agent_token(node.uuid).await?) }).await?;
        token = given.map_or_else(|| MASK.into(), Value::from);
    }
    let node = by_uuid(state, node.uuid).await?.ok_or_else(unknown)?;
    let context = &Context { viewer: Viewer::everybody(), ..context.clone() };
    let shown = view(state, context, &node, &Live::default(), SHOWN);
    Ok(Json(json!({"node": shown, "config": config(&node, token)})))
}

/// What Ironic tells a ramdisk by default.
fn config(node: &Node, token: Value) -> Value {
    json!({
        "metrics": {
            "backend": "noop", "prepend_host": false, "prepend_uuid": false, "prepend_host_reverse": true,
            "global_prefix": null,
        },
        "metrics_statsd": {"statsd_host": "localhost", "statsd_port": 8125},
        "heartbeat_timeout": 300,
        "agent_containers": {
            "allow_arbitrary_containers": false, "allowed_containers": [],
            "container_steps_file": "/etc/ironic-python-agent.d/mysteps.yaml", "runner": "podman",
            "pull_options": [], "run_options": ["--rm", "--network=host"],
        },
        "agent_token": token,
        "agent_token_required": true,
        "agent_md5_checksum_enable": false,
        "disable_deep_image_inspection": false,
        "permitted_image_formats": ["raw", "gpt", "qcow2", "iso"],
        "agent_skip_bmc_detect": node.interfaces.get("management").is_some_and(|name| name == "redfish"),
        "enable_bios_bootloader_install": false,
        "tls_min_version": "1.3",
        "tls_cipher_suites": null,
    })
}

// === heartbeat ===

async fn heartbeat(
    Extract(state): Extract<State>,
    uri: Uri,
    context: Context,
    Path(ident): Path<String>,
    body: JsonBody,
) -> Result<StatusCode, ApiError> {
    refuse_unless_enabled(&state, &uri)?;
    if !context.version.has(22) {
        return Err(unknown());
    }
    let mut body = body.object()?;
    let callback_url = callback_url(&mut body)?;
    let version = optional(&mut body, "agent_version", 255)?;
    let token = optional(&mut body, "agent_token", 255)?;
    let certificate = optional(&mut body, "agent_verify_ca", MAX_CERTIFICATE)?;
    let status =
        [optional(&mut body, "agent_status", 255)?, optional(&mut body, "agent_status_message", 4096)?];
    nothing_else(&body)?;
    if version.is_some() && !context.version.has(36) {
        return Err(ApiError::bad("Field \"agent_version\" not recognised"));
    }
    if status.iter().any(Option::is_some) && !context.version.has(72) {
        return Err(ApiError::bad("Fields \"agent_status\" and \"agent_status_message\" not recognised."));
    }
    if certificate.is_some() && !context.version.has(68) {
        return Err(ApiError::bad("Field \"agent_verify_ca\" not recognised in this version"));
    }
    let token = token.ok_or_else(|| ApiError::bad("Agent token is required for heartbeat processing."))?;
    if status[0].as_ref().is_some_and(|status| !STATUSES.contains(&status.as_str())) {
        return Err(ApiError::bad("Agent status is invalid. Valid states are start,end,error."));
    }
    if version.is_none() && status[0].is_none() {
        return Err(ApiError::bad(
            "Agent did not transmit a version, and a version is required. Please update the agent being used.",
        ));
    }
    // Who has no token does not learn which nodes there are.
    let node = find(&state, &context, &ident).await.map_err(|error| match error.status() {
        StatusCode::NOT_FOUND => RequestError::Invalid(BAD_TOKEN.to_owned()).into(),
        _ => error,
    })?;
    let beat = Heartbeat { callback_url, version, token, certificate, status };
    let engine = state.engine.clone();
    to_the_end(async move { Ok(engine.heartbeat(node.uuid, beat).await?) }).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Empty for a ramdisk that only tells.
fn callback_url(body: &mut Map<String, Value>) -> Result<String, ApiError> {
    let text = word(body, "callback_url")?;
    let is_good = text.is_empty()
        || url::Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    match is_good {
        true => Ok(text),
        false => Err(ApiError::bad("An issue with the supplied \"callback_url\" has been detected.")),
    }
}

fn optional(body: &mut Map<String, Value>, name: &str, longest: usize) -> Result<Option<String>, ApiError> {
    match body.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= longest => Ok(Some(text)),
        Some(_) => Err(ApiError::bad(format!("{name} must be a string of at most {longest} characters."))),
    }
}

// === inspection ===

async fn continue_inspection(
    Extract(state): Extract<State>,
    uri: Uri,
    context: Context,
    mut query: Query,
    InspectionBody(body): InspectionBody,
) -> Result<Response, ApiError> {
    refuse_unless_enabled(&state, &uri)?;
    let uuid = node_uuid(&mut query)?;
    query.finish()?;
    // 1.1 is what clients of ironic-inspector send.
    let is_new = context.version.has(84);
    if !is_new && (context.version.has(2) || uuid.is_some()) {
        return Err(ApiError::not_found("API version 1.84 or newer is required"));
    }
    let mut data = body.object()?;
    let inventory = match data.remove("inventory") {
        Some(Value::Object(inventory)) => inventory,
        Some(_) => return Err(ApiError::bad("inventory must be a JSON object.")),
        None => return Err(ApiError::bad("'inventory' is a required property")),
    };
    let addresses = mac_addresses(&inventory)?;
    let bmcs: Vec<&str> = ["bmc_address", "bmc_v6address"]
        .into_iter()
        .filter_map(|key| inventory.get(key)?.as_str().filter(|text| !text.is_empty()))
        .collect();
    if addresses.is_empty() && bmcs.is_empty() && uuid.is_none() {
        return Err(ApiError::bad("No lookup information provided"));
    }
    let node = inspected(&state, uuid, &addresses, &bmcs).await?.ok_or_else(unknown)?;
    let (id, engine) = (node.uuid, state.engine.clone());
    let answer = match is_new {
        true => with_token(&state, &context, node).await?,
        false => Json(json!({"uuid": id.to_string()})),
    };
    to_the_end(async move { Ok(engine.continue_inspection(id, inventory, data).await?) }).await?;
    Ok((StatusCode::ACCEPTED, answer).into_response())
}

fn mac_addresses(inventory: &Map<String, Value>) -> Result<Vec<String>, ApiError> {
    let interfaces = match inventory.get("interfaces") {
        Some(Value::Array(interfaces)) if !interfaces.is_empty() => interfaces,
        Some(Value::Array(_)) => return Err(ApiError::bad("inventory: interfaces is empty.")),
        _ => return Err(ApiError::bad("inventory: 'interfaces' is a required property")),
    };
    let mut addresses = Vec::new();
    for interface in interfaces.iter().take(MAX_ADDRESSES) {
        let text = interface.get("mac_address").and_then(Value::as_str);
        let text = text.ok_or_else(|| ApiError::bad("inventory: 'mac_address' is a required property"))?;
        addresses.extend(mac(text));
    }
    Ok(addresses)
}

/// The node in `inspect wait` that these data are of. When they contradict each other, it is none.
async fn inspected(
    state: &State,
    uuid: Option<NodeId>,
    addresses: &[String],
    bmcs: &[&str],
) -> Result<Option<Node>, ApiError> {
    let named = match uuid {
        Some(uuid) => Some(by_uuid(state, uuid).await?.ok_or_else(unknown)?),
        None => None,
    };
    let with_ports = by_addresses(state, addresses).await?;
    let node = match (named, with_ports) {
        (Some(named), Some(other)) if named.uuid != other.uuid => return Err(unknown()),
        (named, with_ports) => with_ports.or(named),
    };
    if node.as_ref().is_some_and(|node| node.provision_state != ProvisionState::InspectWait) {
        return Err(unknown());
    }
    if bmcs.is_empty() {
        return Ok(node);
    }
    let waiting = NodeFilter { provision_states: vec![ProvisionState::InspectWait], ..NodeFilter::default() };
    let mut behind: Vec<Node> = state.store.nodes(&waiting).await?;
    behind.retain(|node| bmc_address(node).is_some_and(|address| bmcs.contains(&address.as_str())));
    match node {
        Some(node) if behind.is_empty() || behind.iter().any(|other| other.uuid == node.uuid) => {
            Ok(Some(node))
        }
        Some(_) => Err(unknown()),
        None if behind.len() > 1 => Err(unknown()),
        None => Ok(behind.pop()),
    }
}

/// The host of the BMC's address.
fn bmc_address(node: &Node) -> Option<String> {
    let text = node.driver_info.get("redfish_address")?.as_str()?.trim();
    let url = url::Url::parse(text).or_else(|_| url::Url::parse(&format!("https://{text}"))).ok()?;
    Some(url.host_str()?.trim_matches(['[', ']']).to_owned())
}
