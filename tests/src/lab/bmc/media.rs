//! Virtual media: an image is fetched whole when it is inserted, then lies in the machine's drive.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::Response,
    routing::{get, post},
};
use futures_util::StreamExt;
use reqwest::RequestBuilder;
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt;
use url::Url;

use super::{
    Bmc, MANAGER, SYSTEM, Shared, error,
    error::RedfishError,
    profile::{InsertBy, MediaLocation, SlotRules, Takes},
    reply::{self, Allow},
};
use crate::lab::{
    Body, BootOverride, BootTarget, LabError, MachineDefinition, OverrideEnabled, SecondMedium,
    machine::{Medium, Slot},
};

const IMAGE_LIMIT: u64 = 8 << 30;
/// What a BMC reads at first: up to the volume descriptors of an ISO, and a few more.
const BEGINNING: u64 = 64 * 1024;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(30);
const DOWNLOAD_WITHIN: Duration = Duration::from_secs(600);

/// Where the media are shown: below the system or below the manager.
#[derive(Clone, Copy)]
struct Base(&'static str);

/// Fetches images into the machine's folder.
pub(super) struct Store {
    folder: PathBuf,
    client: reqwest::Client,
    next: AtomicU64,
}

impl Store {
    pub(super) fn new(folder: PathBuf) -> Result<Self, LabError> {
        // The first caller in the process wins; all want the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .read_timeout(SILENCE)
            .timeout(DOWNLOAD_WITHIN)
            // VerifyCertificate is false: the resource says so.
            .tls_danger_accept_invalid_certs(true)
            .no_proxy()
            .build()
            .map_err(|error| LabError::Tls(error.to_string()))?;
        Ok(Self { folder, client, next: AtomicU64::new(1) })
    }

    /// What else the BMC asks others with.
    pub(super) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Reads a file to its end and answers its length.
    pub(super) async fn read_through(&self, url: &str) -> Result<u64, RedfishError> {
        let failed =
            |error: reqwest::Error| RedfishError::no_connection(url, &error.without_url().to_string());
        let answer = self.client.get(url).send().await.and_then(reqwest::Response::error_for_status);
        let mut body = answer.map_err(failed)?.bytes_stream();
        let mut bytes = 0;
        while let Some(chunk) = body.next().await {
            bytes += chunk.map_err(failed)?.len() as u64;
        }
        Ok(bytes)
    }

    /// Asks for the image's head, then for all of it, or only for its beginning when no guest will read more.
    async fn fetch(&self, slot: &str, source: &Source, whole: bool) -> Result<PathBuf, RedfishError> {
        let url = source.url.as_str();
        let failed = |error: reqwest::Error| {
            RedfishError::no_connection(url, &anyhow::Error::new(error.without_url()).to_string())
        };
        let refused = |status: StatusCode| {
            RedfishError::general(
                StatusCode::BAD_REQUEST,
                format!("The image server answered {status} for '{url}'."),
            )
        };
        let head = source.request(self.client.head(url)).send().await.map_err(failed)?;
        if !head.status().is_success() {
            return Err(refused(head.status()));
        }
        let mut request = source.request(self.client.get(url));
        if !whole {
            request = request.header(header::RANGE, format!("bytes=0-{}", BEGINNING - 1));
        }
        let answer = request.send().await.map_err(failed)?;
        if !answer.status().is_success() {
            return Err(refused(answer.status()));
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{slot}-{number}.img"));
        let result = store(answer, &path, if whole { IMAGE_LIMIT } else { BEGINNING }).await;
        if result.is_err() {
            let _ = tokio::fs::remove_file(&path).await;
        }
        result.map(|()| path)
    }
}

async fn store(answer: reqwest::Response, path: &std::path::Path, limit: u64) -> Result<(), RedfishError> {
    let internal = |error: std::io::Error| LabError::file("write", path)(error);
    let mut file = tokio::fs::File::create(path).await.map_err(internal)?;
    let mut body = answer.bytes_stream();
    let mut size = 0_u64;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| {
            RedfishError::general(
                StatusCode::BAD_REQUEST,
                format!("The image broke off after {size} bytes: {error}"),
            )
        })?;
        size += chunk.len() as u64;
        if size > limit {
            let message = format!("The image server sent more than {limit} bytes.");
            return Err(RedfishError::general(StatusCode::BAD_REQUEST, message));
        }
        file.write_all(&chunk).await.map_err(internal)?;
    }
    file.flush().await.map_err(internal)?;
    Ok(())
}

struct Source {
    url: Url,
    user: Option<String>,
    password: Option<String>,
}

impl Source {
    fn request(&self, builder: RequestBuilder) -> RequestBuilder {
        match &self.user {
            Some(user) => builder.basic_auth(user, self.password.as_deref()),
            None => builder,
        }
    }

    fn parse(request: &mut Map<String, Value>) -> Result<Self, RedfishError> {
        let image =
            reply::take_text(request, "Image")?.ok_or_else(|| RedfishError::missing_property("Image"))?;
        let url = Url::parse(&image).map_err(|_| RedfishError::bad_value("Image", &image.clone().into()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(RedfishError::protocol(&image, url.scheme()));
        }
        let user = reply::take_text(request, "UserName")?;
        let password = reply::take_text(request, "Password")?;
        Ok(Self { url, user, password })
    }
}

pub(super) fn routes(machine: &MachineDefinition) -> Router<Shared> {
    let below = |base: &'static str| {
        let slots = Router::new()
            .route("/", get(list))
            .route("/{slot}", get(show).patch(change))
            .route("/{slot}/Actions/VirtualMedia.InsertMedia", post(insert))
            .route("/{slot}/Actions/VirtualMedia.EjectMedia", post(eject))
            .layer(Extension(Base(base)));
        Router::new().nest(&format!("{base}/VirtualMedia"), slots)
    };
    match machine.bmc.profile.media.location {
        MediaLocation::System => below(SYSTEM),
        MediaLocation::Manager => below(MANAGER),
        MediaLocation::Both => below(SYSTEM).merge(below(MANAGER)),
    }
}

/// The slots of a machine.
pub(super) fn slots(machine: &MachineDefinition) -> Vec<SlotRules> {
    let slot = |id: &str, types: &[&str], takes| SlotRules {
        id: id.into(),
        types: types.iter().map(|kind| (*kind).to_owned()).collect(),
        takes,
        by: InsertBy::Action,
    };
    let mut slots = machine.bmc.profile.media.slots.clone();
    if slots.is_empty() {
        slots.push(slot("Cd", &["CD", "DVD"], Takes::Cd));
        match machine.second_medium {
            Some(SecondMedium::Floppy) => slots.push(slot("Floppy", &["Floppy"], Takes::Second)),
            Some(SecondMedium::UsbStick) => slots.push(slot("UsbStick", &["USBStick"], Takes::Second)),
            None => {}
        }
    }
    slots.retain(|slot| slot.takes != Takes::Second || machine.second_medium.is_some());
    slots
}

fn find(bmc: &Bmc, id: &str) -> Result<SlotRules, RedfishError> {
    let mut all = slots(&bmc.definition).into_iter();
    all.find(|slot| slot.id == id).ok_or_else(|| RedfishError::missing("virtual medium", id))
}

fn place(takes: Takes) -> Option<Slot> {
    match takes {
        Takes::Cd => Some(Slot::Cd),
        Takes::Second => Some(Slot::Second),
        Takes::Nothing => None,
    }
}

fn medium(bmc: &Bmc, slot: &SlotRules) -> Option<Medium> {
    let status = bmc.handle.status();
    match slot.takes {
        Takes::Cd => status.cd,
        Takes::Second => status.second,
        Takes::Nothing => None,
    }
}

async fn list(
    State(bmc): State<Shared>,
    Extension(Base(base)): Extension<Base>,
    headers: HeaderMap,
) -> Response {
    let path = format!("{base}/VirtualMedia");
    let members: Vec<Value> = slots(&bmc.definition)
        .iter()
        .map(|slot| json!({ "@odata.id": format!("{path}/{}", slot.id) }))
        .collect();
    let body = json!({
        "@odata.id": path,
        "@odata.type": "#VirtualMediaCollection.VirtualMediaCollection",
        "Name": "Virtual Media",
        "Members@odata.count": members.len(),
        "Members": members,
    });
    reply::resource(&headers, body, Allow::Read)
}

fn body(bmc: &Bmc, base: &str, slot: &SlotRules) -> Value {
    let path = format!("{base}/VirtualMedia/{}", slot.id);
    let medium = medium(bmc, slot);
    let mut state = bmc.state();
    let is_stale = medium.is_none() && state.stale_looks > 0;
    if is_stale {
        state.stale_looks -= 1;
    }
    let image = medium.map(|medium| medium.image);
    let left = state.names.get(&slot.id).cloned().filter(|_| is_stale || bmc.profile().media.keeps_name);
    let inserted = image.is_some() || is_stale;
    let image = image.or(left);
    let name = image.as_ref().and_then(|image| image.rsplit('/').next());
    let mut body = json!({
        "@odata.id": path,
        "@odata.type": "#VirtualMedia.v1_6_0.VirtualMedia",
        "Id": slot.id,
        "Name": format!("Virtual {}", slot.id),
        "MediaTypes": slot.types,
        "Inserted": inserted,
        "WriteProtected": true,
        "VerifyCertificate": false,
        "Image": image,
        "ImageName": name,
        "ConnectedVia": if inserted { "URI" } else { "NotConnected" },
    });
    if slot.has_actions() {
        body["Actions"] = json!({
            "#VirtualMedia.InsertMedia": { "target": format!("{path}/Actions/VirtualMedia.InsertMedia") },
            "#VirtualMedia.EjectMedia": { "target": format!("{path}/Actions/VirtualMedia.EjectMedia") },
        });
    }
    body
}

async fn show(
    State(bmc): State<Shared>,
    Extension(Base(base)): Extension<Base>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, RedfishError> {
    let slot = find(&bmc, &id)?;
    let allow = if slot.takes_patch() { Allow::Patch } else { Allow::Read };
    Ok(reply::resource(&headers, body(&bmc, base, &slot), allow))
}

async fn insert(
    State(bmc): State<Shared>,
    Path(id): Path<String>,
    request: Bytes,
) -> Result<StatusCode, RedfishError> {
    let slot = find(&bmc, &id)?;
    if !slot.has_actions() {
        return Err(error::not_allowed(&Method::POST, "VirtualMedia.InsertMedia"));
    }
    take(&bmc, &slot, reply::object(&request)?).await
}

/// Inserts what a request names.
async fn take(
    bmc: &Bmc,
    slot: &SlotRules,
    mut request: Map<String, Value>,
) -> Result<StatusCode, RedfishError> {
    let rules = &bmc.profile().media;
    if let Some(id) = &rules.licence_missing {
        return Err(RedfishError::own(StatusCode::BAD_REQUEST, id));
    }
    if let Some(name) = rules.needs.iter().find(|name| !request.contains_key(*name)) {
        return Err(RedfishError::own(StatusCode::BAD_REQUEST, "ActionParameterMissing").saying(name));
    }
    if let Some(name) = rules.refuses.iter().find(|name| request.contains_key(*name)) {
        return Err(RedfishError::own(StatusCode::BAD_REQUEST, "ActionParameterNotSupported").saying(name));
    }
    let source = Source::parse(&mut request)?;
    check_manner(&mut request, &json!(slot.types))?;
    reply::nothing_left(&request)?;
    let Some(place) = place(slot.takes) else {
        return Err(RedfishError::general(StatusCode::BAD_REQUEST, "This slot takes no media by Redfish."));
    };
    if medium(bmc, slot).is_some() {
        return Err(RedfishError::in_use());
    }
    if bmc.state().busy > 0 {
        bmc.state().busy -= 1;
        let message = "The virtual medium is still being detached.";
        return Err(RedfishError::general(StatusCode::SERVICE_UNAVAILABLE, message));
    }
    insert_image(bmc, place, &slot.id, &source.url, source.user.as_deref().zip(source.password.as_deref()))
        .await?;
    bmc.state().names.insert(slot.id.clone(), source.url.into());
    Ok(StatusCode::NO_CONTENT)
}

/// Fetches an image and puts it into a drive of the machine.
pub(super) async fn insert_image(
    bmc: &Bmc,
    place: Slot,
    name: &str,
    url: &Url,
    account: Option<(&str, &str)>,
) -> Result<(), RedfishError> {
    let (user, password) = account.map(|(user, password)| (user.to_owned(), password.to_owned())).unzip();
    let source = Source { url: url.clone(), user, password };
    let whole = matches!(bmc.definition.body, Body::Qemu);
    let file = bmc.media.fetch(&name.to_lowercase(), &source, whole).await?;
    bmc.handle.insert(place, Medium { image: source.url.into(), file }).await?;
    Ok(())
}

/// Insertion, ejection and boot-once by PATCH.
async fn change(
    State(bmc): State<Shared>,
    Extension(Base(base)): Extension<Base>,
    Path(id): Path<String>,
    headers: HeaderMap,
    request: Bytes,
) -> Result<StatusCode, RedfishError> {
    let slot = find(&bmc, &id)?;
    let mut request = reply::object(&request)?;
    let boot_once = bmc
        .profile()
        .media
        .boot_once
        .as_ref()
        .and_then(|pointer| Value::Object(request.clone()).pointer(pointer).and_then(Value::as_bool));
    if let Some(once) = boot_once {
        let target = if once { Some(BootTarget::Cd) } else { None };
        let enabled = if once { OverrideEnabled::Once } else { OverrideEnabled::Disabled };
        bmc.handle.boot(Some(BootOverride { enabled, target }), None).await?;
        request.remove("Oem");
        if request.is_empty() {
            return Ok(StatusCode::NO_CONTENT);
        }
    }
    if !slot.takes_patch() {
        return Err(error::not_allowed(&Method::PATCH, &format!("{base}/VirtualMedia/{id}")));
    }
    reply::check_if_match(&bmc, &headers, &body(&bmc, base, &slot))?;
    let ejects =
        request.get("Image") == Some(&Value::Null) || request.get("Inserted") == Some(&Value::Bool(false));
    if ejects { empty(&bmc, &slot).await } else { take(&bmc, &slot, request).await }
}

/// Refuses what cannot be honoured: writable media, a reservation without a medium, another kind of medium.
fn check_manner(request: &mut Map<String, Value>, types: &Value) -> Result<(), RedfishError> {
    for name in ["Inserted", "WriteProtected"] {
        match request.remove(name) {
            None | Some(Value::Null | Value::Bool(true)) => {}
            Some(other) => return Err(RedfishError::bad_value(name, &other)),
        }
    }
    if let Some(kind) = reply::take_text(request, "MediaType")?
        && !types.as_array().is_some_and(|types| types.contains(&kind.clone().into()))
    {
        return Err(RedfishError::bad_value("MediaType", &kind.into()));
    }
    // How the image travels is told by its URL, and it is always fetched whole.
    reply::take_text(request, "TransferProtocolType")?;
    reply::take_text(request, "TransferMethod")?;
    Ok(())
}

async fn eject(State(bmc): State<Shared>, Path(id): Path<String>) -> Result<StatusCode, RedfishError> {
    let slot = find(&bmc, &id)?;
    if !slot.has_actions() {
        return Err(error::not_allowed(&Method::POST, "VirtualMedia.EjectMedia"));
    }
    empty(&bmc, &slot).await
}

async fn empty(bmc: &Bmc, slot: &SlotRules) -> Result<StatusCode, RedfishError> {
    let rules = &bmc.profile().media;
    let was_full = medium(bmc, slot).is_some();
    if !was_full && rules.refuses_empty_eject {
        return Err(RedfishError::general(StatusCode::BAD_REQUEST, "No medium is inserted."));
    }
    if let Some(place) = place(slot.takes) {
        bmc.handle.eject(place).await?;
    }
    if was_full {
        let mut state = bmc.state();
        state.stale_looks = state.stale_looks.max(rules.stale_looks);
        state.busy = rules.busy_after_eject;
    }
    Ok(StatusCode::NO_CONTENT)
}
