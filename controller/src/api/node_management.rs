//! `/v1/nodes/X/management`, `/vmedia`: what is asked of a machine's BMC.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    response::IntoResponse,
    routing::{get, put},
};
use http::StatusCode;
use serde_json::{Map, Value, json};
use url::Url;

use super::{
    State,
    error::ApiError,
    json::JsonBody,
    layers::{since, to_the_end},
    links::Context,
    nodes::find,
    query::Query,
    value::{boolean_word, shortened},
};
use crate::{
    bmc::{Indicator, MediaKind},
    reconcile::Change,
};

/// Schemes of images that a BMC may be told to fetch.
const MEDIA_SCHEMES: &[&str] = &["http", "https", "nfs", "cifs"];
const MEDIA_DEVICES: &str = "disk, cdrom, floppy";

pub(super) fn routes() -> Router<State> {
    let indicator = "/v1/nodes/{node}/management/indicators/{indicator}";
    Router::new()
        .route("/v1/nodes/{node}/management/boot_device", get(boot_device).put(set_boot_device))
        .route("/v1/nodes/{node}/management/boot_device/supported", get(supported_boot_devices))
        .route("/v1/nodes/{node}/management/inject_nmi", since(29, put(inject_nmi)))
        .route("/v1/nodes/{node}/management/indicators", since(63, get(indicators)))
        .route(indicator, since(63, get(show_indicator).put(set_indicator)))
        .route("/v1/nodes/{node}/vmedia", since(89, get(media).post(attach).delete(detach)))
}

// === boot device ===

async fn boot_device(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&state, &context, &ident).await?;
    let found = state.engine.boot_device(&node).await?;
    let (device, persistent) = found.map(|(source, always)| (source.as_str(), always)).unzip();
    Ok(Json(json!({"boot_device": device, "persistent": persistent})))
}

async fn supported_boot_devices(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&state, &context, &ident).await?;
    let devices = state.engine.boot_devices(&node).await?;
    let devices: Vec<_> = devices.into_iter().map(crate::bmc::BootSource::as_str).collect();
    Ok(Json(json!({"supported_boot_devices": devices})))
}

async fn set_boot_device(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    body: JsonBody,
) -> Result<StatusCode, ApiError> {
    let mut body = body.object()?;
    let device = word(&mut body, "boot_device")?;
    let persistent = boolean(&mut body, "persistent")?.unwrap_or(false);
    nothing_else(&body)?;
    let node = find(&state, &context, &ident).await?;
    let engine = state.engine.clone();
    to_the_end(async move { Ok(engine.set_boot_device(node.uuid, &device, persistent).await?) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

// === NMI ===

async fn inject_nmi(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    body: JsonBody,
) -> Result<StatusCode, ApiError> {
    nothing_else(&body.object()?)?;
    let node = find(&state, &context, &ident).await?;
    let engine = state.engine.clone();
    to_the_end(async move { Ok(engine.inject_nmi(node.uuid).await?) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

// === indicators ===

async fn indicators(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&state, &context, &ident).await?;
    let lights = state.engine.indicators(&node).await?;
    let rows: Vec<_> = lights.iter().map(|light| indicator_view(&context, &ident, light)).collect();
    Ok(Json(json!({"indicators": rows})))
}

fn indicator_view(context: &Context, ident: &str, light: &Indicator) -> Value {
    let name = format!("{}@{}", light.id, light.component);
    let states: Vec<_> = light.states.iter().map(|state| state.as_str()).collect();
    json!({
        "name": name,
        "component": light.component,
        "readonly": light.read_only,
        "states": states,
        "links": context.links(&format!("nodes/{ident}/management/indicators/{name}")),
    })
}

async fn show_indicator(
    Extract(state): Extract<State>,
    context: Context,
    Path((ident, indicator)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let (id, component) = indicator_name(&indicator)?;
    let node = find(&state, &context, &ident).await?;
    let light = state.engine.indicator(&node, component, id).await?;
    Ok(Json(json!({"state": light.as_str()})))
}

async fn set_indicator(
    Extract(state): Extract<State>,
    context: Context,
    Path((ident, indicator)): Path<(String, String)>,
    body: JsonBody,
) -> Result<StatusCode, ApiError> {
    let mut body = body.object()?;
    let word = word(&mut body, "state")?;
    nothing_else(&body)?;
    let light = word.to_ascii_uppercase().parse();
    let light = light.map_err(|_| ApiError::bad(format!("Invalid indicator state {}.", shortened(&word))))?;
    indicator_name(&indicator)?;
    let node = find(&state, &context, &ident).await?;
    let engine = state.engine.clone();
    to_the_end(async move {
        let (id, component) = indicator_name(&indicator)?;
        Ok(engine.set_indicator(node.uuid, component, id, light).await?)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `ID@COMPONENT`.
fn indicator_name(name: &str) -> Result<(&str, &str), ApiError> {
    name.split_once('@')
        .ok_or_else(|| ApiError::bad(format!("Malformed indicator name \"{}\"", shortened(name))))
}

// === virtual media ===

async fn media(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    if !context.version.has(93) {
        return Err(ApiError::no_such_path());
    }
    let node = find(&state, &context, &ident).await?;
    let mut slots = state.engine.media(&node).await?;
    for slot in &mut slots {
        // URLs carry signatures and passwords.
        slot.image = super::mask::shown_url(&slot.image);
    }
    Ok(Json(slots))
}

async fn attach(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    body: JsonBody,
) -> Result<StatusCode, ApiError> {
    let mut body = body.object()?;
    let kind = media_kind(&word(&mut body, "device_type")?)?;
    let url = image_url(body.remove("image_url"))?;
    match body.remove("image_download_source").as_ref().and_then(Value::as_str) {
        None | Some("http") => {}
        Some("local" | "swift") => {
            return Err(ApiError::bad(
                "image_download_source must be http here: the BMC fetches the image from image_url itself.",
            ));
        }
        Some(other) => {
            let sentence = format!("Invalid image_download_source {}: http is known.", shortened(other));
            return Err(ApiError::bad(sentence));
        }
    }
    nothing_else(&body)?;
    change(&state, &context, &ident, Change::Attach(kind, url)).await
}

async fn detach(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    mut query: Query,
) -> Result<StatusCode, ApiError> {
    let kinds = match query.list("device_types") {
        None => vec![MediaKind::Cd, MediaKind::Floppy],
        Some(words) if words.is_empty() => vec![MediaKind::Cd, MediaKind::Floppy],
        Some(words) => words.iter().map(|word| media_kind(word)).collect::<Result<_, _>>()?,
    };
    query.finish()?;
    change(&state, &context, &ident, Change::Detach(kinds)).await
}

async fn change(
    state: &State,
    context: &Context,
    ident: &str,
    change: Change,
) -> Result<StatusCode, ApiError> {
    let node = find(state, context, ident).await?;
    let engine = state.engine.clone();
    to_the_end(async move { Ok(engine.change(node.uuid, change).await?) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `disk` is a USB stick.
fn media_kind(word: &str) -> Result<MediaKind, ApiError> {
    match word {
        "cdrom" => Ok(MediaKind::Cd),
        "floppy" | "disk" => Ok(MediaKind::Floppy),
        _ => {
            let word = shortened(word);
            Err(ApiError::bad(format!("Invalid device type(s) {word} (valid are {MEDIA_DEVICES})")))
        }
    }
}

fn image_url(value: Option<Value>) -> Result<Url, ApiError> {
    let text = match value {
        Some(Value::String(text)) if text.len() <= 4096 => text,
        Some(_) => return Err(ApiError::bad("image_url must be a string of at most 4096 characters.")),
        None => return Err(ApiError::bad("'image_url' is a required property")),
    };
    let unusable =
        |scheme: &str| ApiError::bad(format!("Unsupported or missing URL scheme: {}", shortened(scheme)));
    let url: Url = text.parse().map_err(|_| unusable(""))?;
    if MEDIA_SCHEMES.contains(&url.scheme()) && url.has_host() {
        Ok(url)
    } else {
        Err(unusable(url.scheme()))
    }
}

// === bodies ===

/// A word of a body that must be there.
pub(super) fn word(body: &mut Map<String, Value>, name: &str) -> Result<String, ApiError> {
    match body.remove(name) {
        Some(Value::String(text)) if text.len() <= 255 => Ok(text),
        Some(_) => Err(ApiError::bad(format!("{name} must be a string of at most 255 characters."))),
        None => Err(ApiError::bad(format!("Missing mandatory parameters: {name}"))),
    }
}

/// A boolean of a body, also as a word, as Ironic takes it.
pub(super) fn boolean(body: &mut Map<String, Value>, name: &str) -> Result<Option<bool>, ApiError> {
    let unusable = || ApiError::bad(format!("Invalid input for {name}: a boolean is expected."));
    match body.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(flag)),
        Some(Value::String(text)) => boolean_word(&text).map(Some).ok_or_else(unusable),
        Some(_) => Err(unusable()),
    }
}

/// Refuses what nobody took.
pub(super) fn nothing_else(body: &Map<String, Value>) -> Result<(), ApiError> {
    match body.keys().next() {
        None => Ok(()),
        Some(name) => Err(ApiError::bad(format!("Unexpected arguments: {}", shortened(name)))),
    }
}
