//! What clients can do besides power, boot and media: settings, keys, firmware, volumes, events, accounts, the BMC.

use std::time::Duration;

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bessemer_proto::secret::Secret;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use super::{
    Bmc, MANAGER, SYSTEM, Shared, bios, documents::Document, error, error::RedfishError, hardware::resource,
    reply, tasks,
};
use crate::lab::{BootOverride, BootTarget, OverrideEnabled, Slot};

const SELF_RESET: Duration = Duration::from_secs(2);
const VOLUMES: &str = "/redfish/v1/Systems/1/Storage/1/Volumes";
const SUBSCRIPTIONS: &str = "/redfish/v1/EventService/Subscriptions";
/// Where firmware images are pushed to.
pub(super) const UPLOAD: &str = "/redfish/v1/UpdateService/upload";
const EVENT_WITHIN: Duration = Duration::from_secs(5);

/// The BMC's clock.
pub(super) fn now(bmc: &Bmc) -> String {
    time(bmc).to_rfc3339_opts(SecondsFormat::Secs, true)
}

pub(super) fn time(bmc: &Bmc) -> DateTime<Utc> {
    Utc::now() + TimeDelta::seconds(bmc.state().clock_offset)
}

/// What became due by a start of the machine.
pub(super) async fn settle(bmc: &Bmc) {
    bios::settle(bmc);
    let starts = bmc.handle.status().starts;
    let mut state = bmc.state();
    if state.keys_since.is_some_and(|(since, _)| starts > since) {
        state.has_keys = state.keys_since.take().is_none_or(|(_, keys)| keys);
    }
}

pub(super) fn monitor(bmc: &Bmc, method: &Method, path: &str) -> Option<Response> {
    if *method == Method::GET { tasks::look(bmc, path) } else { None }
}

pub(super) async fn post(bmc: &Shared, path: &str, body: &Bytes) -> Result<Response, RedfishError> {
    let request = reply::object(body)?;
    let done = || Ok(StatusCode::NO_CONTENT.into_response());
    match path.rsplit('/').next().unwrap_or_default() {
        "Bios.ResetBios" => {
            let defaults = bios::defaults(crate::lab::BootMode::Uefi);
            bios::prepare(bmc, &defaults).await?;
            bmc.documents.change(bios::SETTINGS, |body| body["Attributes"] = Value::Object(defaults));
            done()
        }
        "SecureBoot.ResetKeys" => reset_keys(bmc, request).and(done()),
        "UpdateService.SimpleUpdate" => simple_update(bmc, request),
        "Manager.Reset" => {
            bmc.restart(SELF_RESET).await;
            done()
        }
        "LogService.ClearLog" => {
            bmc.documents.clear(&format!("{MANAGER}/LogServices/Sel/Entries"));
            done()
        }
        "EventService.SubmitTestEvent" => {
            send_event(bmc, "TestEvent", "A test event was asked for.");
            done()
        }
        "Volumes" if path == VOLUMES => create_volume(bmc, request),
        "Subscriptions" if path == SUBSCRIPTIONS => subscribe(bmc, request),
        _ if bmc.documents.get(path).is_some() => Err(error::not_allowed(&Method::POST, path)),
        _ => Err(RedfishError::missing("resource", path)),
    }
}

fn reset_keys(bmc: &Bmc, mut request: Map<String, Value>) -> Result<(), RedfishError> {
    let name = "ResetKeysType";
    let kind = reply::take_text(&mut request, name)?.ok_or_else(|| RedfishError::missing_property(name))?;
    reply::nothing_left(&request)?;
    let keys = match kind.as_str() {
        "ResetAllKeysToDefault" => true,
        "DeleteAllKeys" | "DeletePK" => false,
        _ => return Err(RedfishError::bad_value(name, &kind.into())),
    };
    bmc.state().keys_since = Some((bmc.handle.status().starts, keys));
    Ok(())
}

/// A change of attributes boots the virtual CD once.
pub(super) async fn boot_attributes(bmc: &Bmc, body: &Bytes) -> Result<Response, RedfishError> {
    let mut request = reply::object(body)?;
    let Some(Value::Object(attributes)) = request.remove("Attributes") else {
        return Err(RedfishError::missing_property("Attributes"));
    };
    let Some(rules) = &bmc.profile().boot.attributes else { return Err(RedfishError::malformed()) };
    let text = |name: &String| attributes.get(name).and_then(Value::as_str);
    if let Some(name) = attributes.keys().find(|name| **name != rules.once && **name != rules.device) {
        return Err(RedfishError::unknown_property(name));
    }
    let (mut once, mut device) = bmc.state().boot_attributes.clone();
    once = text(&rules.once).map_or(once, str::to_owned);
    device = text(&rules.device).map_or(device, str::to_owned);
    bmc.state().boot_attributes = (once.clone(), device.clone());
    if device == rules.virtual_cd {
        let enabled = if once == "Enabled" { OverrideEnabled::Once } else { OverrideEnabled::Continuous };
        bmc.handle.boot(Some(BootOverride { enabled, target: Some(BootTarget::Cd) }), None).await?;
    }
    Ok(StatusCode::OK.into_response())
}

/// What a PATCH of a document does besides changing it, and whether it may.
pub(super) async fn before_change(
    bmc: &Bmc,
    path: &str,
    change: &Map<String, Value>,
) -> Result<(), RedfishError> {
    if path == bios::SETTINGS {
        let none = Map::new();
        let attributes = match change.get("Attributes") {
            None => &none,
            Some(Value::Object(attributes)) => attributes,
            Some(other) => return Err(RedfishError::bad_value("Attributes", other)),
        };
        bios::check(attributes)?;
        return bios::prepare(bmc, attributes).await;
    }
    if path.starts_with("/redfish/v1/AccountService/Accounts/")
        && let Some(password) = change.get("Password")
    {
        let text = password.as_str().filter(|text| text.len() >= 8);
        let text = text.ok_or_else(|| RedfishError::bad_value("Password", &"(hidden)".into()))?;
        set_password(bmc, text);
    }
    Ok(())
}

pub(super) fn set_password(bmc: &Bmc, password: &str) {
    bmc.state().credentials.password = Secret::new(password);
}

/// Answers at once, fetches the image for real, and ends its task when the image was read to its end.
fn simple_update(bmc: &Shared, mut request: Map<String, Value>) -> Result<Response, RedfishError> {
    let url = reply::take_text(&mut request, "ImageURI")?
        .ok_or_else(|| RedfishError::missing_property("ImageURI"))?;
    reply::take_text(&mut request, "TransferProtocol")?;
    let targets = request.remove("Targets").unwrap_or_default();
    reply::nothing_left(&request)?;
    let number = tasks::begin(bmc, "Firmware update", None);
    let shared = bmc.clone();
    let work = async move {
        let end = match shared.media.read_through(&url).await {
            Ok(bytes) => {
                updated(&shared, &url, &targets, bytes);
                Ok(())
            }
            Err(error) => Err(error.body()),
        };
        tasks::finish(&shared, number, end);
    };
    tokio::spawn(bmc.stop.clone().run_until_cancelled_owned(work));
    Ok(tasks::accepted(bmc, number))
}

/// The version is the first number in the image's name.
fn updated(bmc: &Bmc, name: &str, targets: &Value, bytes: u64) {
    let file = name.rsplit('/').next().unwrap_or_default();
    let version: String = file
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    let version =
        if version.is_empty() { bytes.to_string() } else { version.trim_end_matches('.').to_owned() };
    let base = "/redfish/v1/UpdateService/FirmwareInventory/";
    let target = targets.get(0).and_then(Value::as_str).filter(|path| path.starts_with(base));
    let path = target.map_or_else(|| format!("{base}BMC"), str::to_owned);
    bmc.documents.change(&path, |body| body["Version"] = version.into());
}

/// A multipart push (DSP0266): the part `UpdateFile` is the image.
pub(super) async fn push(
    State(bmc): State<Shared>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, RedfishError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("multipart/form-data") {
        let message = "The image must be sent as multipart/form-data.";
        return Err(RedfishError::general(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let text = String::from_utf8_lossy(&body);
    for part in ["name=\"UpdateParameters\"", "name=\"UpdateFile\""] {
        if !text.contains(part) {
            return Err(RedfishError::missing_property(part));
        }
    }
    let file = text.split("filename=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    updated(&bmc, file, &Value::Null, body.len() as u64);
    Ok(tasks::accepted(&bmc, tasks::begin(&bmc, "Firmware update", Some(Ok(())))))
}

fn create_volume(bmc: &Bmc, mut request: Map<String, Value>) -> Result<Response, RedfishError> {
    let level = reply::take_text(&mut request, "RAIDType")?
        .ok_or_else(|| RedfishError::missing_property("RAIDType"))?;
    let drives =
        request.get("Links").and_then(|links| links.get("Drives")).and_then(Value::as_array).cloned();
    let drives = drives.ok_or_else(|| RedfishError::missing_property("Links/Drives"))?;
    let mut smallest = u64::MAX;
    for drive in &drives {
        let path = drive.get("@odata.id").and_then(Value::as_str).unwrap_or_default();
        let path = super::disguise::plain(bmc, path.trim_end_matches('/')).unwrap_or_default();
        let found = bmc.documents.get(&path).ok_or_else(|| RedfishError::missing("drive", &path))?;
        smallest = smallest.min(found.body.get("CapacityBytes").and_then(Value::as_u64).unwrap_or_default());
    }
    let count = drives.len() as u64;
    let (least, data) = match level.as_str() {
        "RAID0" => (1, count),
        "RAID1" => (2, 1),
        "RAID5" => (3, count.saturating_sub(1)),
        "RAID6" => (4, count.saturating_sub(2)),
        "RAID10" => (4, count / 2),
        _ => return Err(RedfishError::bad_value("RAIDType", &level.into())),
    };
    let most = smallest.saturating_mul(data);
    let wanted = request.get("CapacityBytes").and_then(Value::as_u64).unwrap_or(most);
    if count < least || wanted > most {
        return Err(RedfishError::bad_value("CapacityBytes", &wanted.into()));
    }
    let number = bmc.documents.number();
    let path = format!("{VOLUMES}/{number}");
    let name = reply::take_text(&mut request, "Name")?.unwrap_or_else(|| format!("Volume {number}"));
    let body = json!({
        "RAIDType": level, "CapacityBytes": wanted, "Status": { "State": "Enabled", "Health": "OK" },
        "Links": { "Drives": drives },
    });
    let body = resource(&path, "Volume.v1_10_2", &name, body);
    bmc.documents.put(Document { deletable: true, ..Document::new(body.clone()) });
    Ok(created(&path, body))
}

fn created(path: &str, body: Value) -> Response {
    let place = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::CREATED, [(header::LOCATION, place)], Json(body)).into_response()
}

fn subscribe(bmc: &Bmc, mut request: Map<String, Value>) -> Result<Response, RedfishError> {
    for name in ["Destination", "Protocol"] {
        if !request.get(name).is_some_and(Value::is_string) {
            return Err(RedfishError::missing_property(name));
        }
    }
    request.entry("Context").or_insert("".into());
    request.entry("SubscriptionType").or_insert("RedfishEvent".into());
    let path = format!("{SUBSCRIPTIONS}/{}", bmc.documents.number());
    let body = resource(&path, "EventDestination.v1_17_0", "Subscription", Value::Object(request));
    bmc.documents.put(Document { deletable: true, ..Document::new(body.clone()) });
    Ok(created(&path, body))
}

/// Tells all subscribers, and writes it into the log.
pub(super) fn send_event(bmc: &Shared, id: &str, message: &str) {
    let number = bmc.documents.number();
    let path = format!("{MANAGER}/LogServices/Sel/Entries/{number}");
    let body = json!({
        "EntryType": "Event", "Severity": "OK", "Message": message, "Created": now(bmc),
        "MessageId": format!("ResourceEvent.1.4.{id}"),
    });
    bmc.documents.put(Document::new(resource(&path, "LogEntry.v1_21_0", &format!("Entry {number}"), body)));
    let members = bmc.documents.shown(SUBSCRIPTIONS).and_then(|body| body.get("Members").cloned());
    for member in members.as_ref().and_then(Value::as_array).into_iter().flatten() {
        let path = member.get("@odata.id").and_then(Value::as_str).unwrap_or_default();
        let Some(subscription) = bmc.documents.get(path) else { continue };
        let text =
            |name: &str| subscription.body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let event = json!({
            "@odata.type": "#Event.v1_7_0.Event", "Id": number.to_string(), "Name": "Event", "Context": text("Context"),
            "Events": [{
                "EventType": "Alert", "MemberId": "0", "EventId": number.to_string(), "Message": message,
                "MessageId": format!("ResourceEvent.1.4.{id}"), "EventTimestamp": now(bmc),
                "OriginOfCondition": { "@odata.id": super::disguise::dressed(bmc, SYSTEM) },
            }],
        });
        let request = bmc.media.client().post(text("Destination")).json(&event).timeout(EVENT_WITHIN);
        tokio::spawn(bmc.stop.clone().run_until_cancelled_owned(async move {
            if let Err(error) = request.send().await {
                tracing::info!(%error, "an event was not delivered");
            }
        }));
    }
}

impl Bmc {
    /// Starts the BMC itself again: no connections for `down`, sessions and media are lost.
    pub(super) async fn restart(&self, down: Duration) {
        self.wire.restart(down);
        self.sessions.forget();
        self.state().ribcl_urls.clear();
        self.state().ribcl_options.clear();
        for slot in [Slot::Cd, Slot::Second] {
            // It may have none.
            let _ = self.handle.eject(slot).await;
        }
    }
}
