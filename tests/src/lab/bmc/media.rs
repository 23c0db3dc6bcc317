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
    http::{HeaderMap, StatusCode, header},
    response::Response,
    routing::{get, post},
};
use futures_util::StreamExt;
use reqwest::RequestBuilder;
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt;
use url::Url;

use super::{
    Bmc, MANAGER, SYSTEM, Shared,
    error::RedfishError,
    reply::{self, Allow},
};
use crate::lab::{
    Body, LabError, MachineDefinition, MediaLocation, SecondMedium,
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
            .route("/{slot}", get(show))
            .route("/{slot}/Actions/VirtualMedia.InsertMedia", post(insert))
            .route("/{slot}/Actions/VirtualMedia.EjectMedia", post(eject))
            .layer(Extension(Base(base)));
        Router::new().nest(&format!("{base}/VirtualMedia"), slots)
    };
    match machine.bmc.media_location {
        MediaLocation::System => below(SYSTEM),
        MediaLocation::Manager => below(MANAGER),
        MediaLocation::Both => below(SYSTEM).merge(below(MANAGER)),
    }
}

/// The slots of a machine: Redfish id, slot, media types.
fn slots(machine: &MachineDefinition) -> Vec<(&'static str, Slot, Value)> {
    let mut slots = vec![("Cd", Slot::Cd, json!(["CD", "DVD"]))];
    match machine.second_medium {
        Some(SecondMedium::Floppy) => slots.push(("Floppy", Slot::Second, json!(["Floppy"]))),
        Some(SecondMedium::UsbStick) => slots.push(("UsbStick", Slot::Second, json!(["USBStick"]))),
        None => {}
    }
    slots
}

fn find(bmc: &Bmc, id: &str) -> Result<(&'static str, Slot, Value), RedfishError> {
    let mut all = slots(&bmc.definition).into_iter();
    all.find(|(name, ..)| *name == id).ok_or_else(|| RedfishError::missing("virtual medium", id))
}

fn medium(bmc: &Bmc, slot: Slot) -> Option<Medium> {
    let status = bmc.handle.status();
    if slot == Slot::Cd { status.cd } else { status.second }
}

async fn list(
    State(bmc): State<Shared>,
    Extension(Base(base)): Extension<Base>,
    headers: HeaderMap,
) -> Response {
    let path = format!("{base}/VirtualMedia");
    let members: Vec<Value> = slots(&bmc.definition)
        .iter()
        .map(|(id, ..)| json!({ "@odata.id": format!("{path}/{id}") }))
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

async fn show(
    State(bmc): State<Shared>,
    Extension(Base(base)): Extension<Base>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, RedfishError> {
    let (id, slot, types) = find(&bmc, &id)?;
    let path = format!("{base}/VirtualMedia/{id}");
    let medium = medium(&bmc, slot);
    let name = medium.as_ref().and_then(|medium| medium.image.rsplit('/').next());
    let body = json!({
        "@odata.id": path,
        "@odata.type": "#VirtualMedia.v1_6_0.VirtualMedia",
        "Id": id,
        "Name": format!("Virtual {id}"),
        "MediaTypes": types,
        "Inserted": medium.is_some(),
        "WriteProtected": true,
        "VerifyCertificate": false,
        "Image": medium.as_ref().map(|medium| &medium.image),
        "ImageName": name,
        "ConnectedVia": if medium.is_some() { "URI" } else { "NotConnected" },
        "Actions": {
            "#VirtualMedia.InsertMedia": { "target": format!("{path}/Actions/VirtualMedia.InsertMedia") },
            "#VirtualMedia.EjectMedia": { "target": format!("{path}/Actions/VirtualMedia.EjectMedia") },
        },
    });
    Ok(reply::resource(&headers, body, Allow::Read))
}

async fn insert(
    State(bmc): State<Shared>,
    Path(id): Path<String>,
    request: Bytes,
) -> Result<StatusCode, RedfishError> {
    let (id, slot, types) = find(&bmc, &id)?;
    let mut request = reply::object(&request)?;
    let source = Source::parse(&mut request)?;
    check_manner(&mut request, &types)?;
    reply::nothing_left(&request)?;
    if medium(&bmc, slot).is_some() {
        return Err(RedfishError::in_use());
    }
    let whole = matches!(bmc.definition.body, Body::Qemu);
    let file = bmc.media.fetch(&id.to_lowercase(), &source, whole).await?;
    bmc.handle.insert(slot, Medium { image: source.url.into(), file }).await?;
    Ok(StatusCode::NO_CONTENT)
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
    let (_, slot, _) = find(&bmc, &id)?;
    bmc.handle.eject(slot).await?;
    Ok(StatusCode::NO_CONTENT)
}
