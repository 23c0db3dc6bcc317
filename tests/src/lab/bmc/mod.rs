//! A virtual BMC: Redfish over HTTP or HTTPS for one machine, as a [`Profile`] dresses it. The plain one has only
//! resources that are real, and the manners of the specification: sessions, ETags, error bodies with extended
//! information, tasks.

mod actions;
mod auth;
mod bios;
mod disguise;
mod documents;
mod error;
mod fault;
mod hardware;
mod media;
pub mod profile;
mod reply;
mod resources;
mod ribcl;
mod service;
mod systems;
mod tasks;
mod tls;
mod wire;

use std::{
    collections::BTreeMap,
    future::IntoFuture,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router, ServiceExt,
    extract::{DefaultBodyLimit, Request},
    middleware,
    routing::post,
};
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Layer;
use url::Url;

use super::{BootMode, Credentials, LabError, MachineDefinition, machine::Handle};
pub use fault::{Call, Fault, FaultKind, Faults};
pub use profile::Profile;

/// The path of the one system of the plain BMC.
const SYSTEM: &str = "/redfish/v1/Systems/1";
const MANAGER: &str = "/redfish/v1/Managers/1";
const CHASSIS: &str = "/redfish/v1/Chassis/1";
const BODY_LIMIT: usize = 64 * 1024;
const FIRMWARE_LIMIT: usize = 16 << 20;
const GRACE: Duration = Duration::from_secs(2);

/// Where a BMC is found.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) url: Url,
    /// The path of the one system.
    pub(super) system: String,
    /// Its certificate in PEM.
    pub(super) certificate: Option<String>,
}

/// What changes in a BMC.
struct State {
    credentials: Credentials,
    wrong_passwords: u32,
    locked_until: Option<Instant>,
    /// What the clock is off by, in seconds.
    clock_offset: i64,
    /// For so many looks full slots are shown though they are empty.
    stale_looks: u32,
    /// So many insertions are answered 503.
    busy: u32,
    /// Names of images that stay, by slot.
    names: BTreeMap<String, String>,
    /// The word of the boot target that was asked for.
    boot_word: String,
    /// Images whose place RIBCL was told, and how they were connected, by device.
    ribcl_urls: BTreeMap<String, String>,
    ribcl_options: BTreeMap<String, String>,
    /// For how long, and what: attributes of the manager.
    boot_attributes: (String, String),
    indicator: bool,
    asset_tag: String,
    /// BIOS settings wait since this many starts.
    bios_since: Option<u64>,
    /// Secure Boot keys: whether there are any, and what waits since how many starts.
    has_keys: bool,
    keys_since: Option<(u64, bool)>,
}

/// What the handlers share.
pub(super) struct Bmc {
    definition: MachineDefinition,
    disks: Vec<PathBuf>,
    handle: Handle,
    sessions: auth::Sessions,
    media: media::Store,
    faults: Faults,
    documents: documents::Documents,
    tasks: tasks::Tasks,
    state: Mutex<State>,
    wire: wire::Wire,
    stop: CancellationToken,
}

type Shared = Arc<Bmc>;

impl Bmc {
    pub(super) fn new(
        definition: MachineDefinition,
        media_folder: PathBuf,
        disks: Vec<PathBuf>,
        handle: Handle,
        faults: &Faults,
    ) -> Result<Self, LabError> {
        let sessions = auth::Sessions::new(definition.bmc.session_limit, definition.bmc.session_timeout);
        let media = media::Store::new(media_folder)?;
        let documents = documents::Documents::default();
        hardware::fill(&documents, &definition);
        bios::fill(&documents, handle.status().mode);
        account(&documents, &definition);
        let state = Mutex::new(State {
            credentials: definition.bmc.credentials.clone(),
            wrong_passwords: 0,
            locked_until: None,
            clock_offset: 0,
            stale_looks: 0,
            busy: 0,
            names: BTreeMap::new(),
            boot_word: "None".into(),
            ribcl_urls: BTreeMap::new(),
            ribcl_options: BTreeMap::new(),
            boot_attributes: ("Disabled".into(), "Normal".into()),
            indicator: false,
            asset_tag: String::new(),
            bios_since: None,
            has_keys: true,
            keys_since: None,
        });
        Ok(Self {
            definition,
            disks,
            handle,
            sessions,
            media,
            faults: faults.clone(),
            documents,
            tasks: tasks::Tasks::default(),
            state,
            wire: wire::Wire::new(),
            stop: CancellationToken::new(),
        })
    }

    fn profile(&self) -> &Profile {
        &self.definition.bmc.profile
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves until `stop`.
    pub(super) async fn serve(
        mut self,
        stop: CancellationToken,
        tasks: &TaskTracker,
    ) -> Result<Address, LabError> {
        let address = format!("127.0.0.1:{}", self.definition.bmc.port);
        let listen = |source| LabError::Listen { address: address.clone(), source };
        let listener = tokio::net::TcpListener::bind(&address).await.map_err(listen)?;
        let port = listener.local_addr().map_err(listen)?.port();
        let scheme = if self.definition.bmc.tls { "https" } else { "http" };
        let url = Url::parse(&format!("{scheme}://127.0.0.1:{port}/"))
            .map_err(|error| LabError::Tls(error.to_string()))?;
        let kind = self.definition.bmc.certificate;
        let tls = if self.definition.bmc.tls { Some(tls::self_signed(kind)?) } else { None };
        let (certificate, acceptor) = tls.map(|tls| (tls.certificate, tls.acceptor)).unzip();
        self.stop = stop.clone();
        let bmc = Arc::new(self);
        bmc.faults.belong_to(&bmc);
        let lines = bmc.wire.listen(listener, acceptor, stop.clone()).map_err(listen)?;
        let system = disguise::dressed(&bmc, SYSTEM);
        tasks.spawn(run(lines, bmc, stop));
        Ok(Address { url, system, certificate })
    }
}

fn account(documents: &documents::Documents, definition: &MachineDefinition) {
    let path = "/redfish/v1/AccountService/Accounts/1";
    let body = json!({
        "UserName": definition.bmc.credentials.user, "Password": null, "RoleId": "Administrator", "Enabled": true,
        "Locked": false, "AccountTypes": ["Redfish"],
        "Links": { "Role": { "@odata.id": "/redfish/v1/AccountService/Roles/Administrator" } },
    });
    let body = hardware::resource(path, "ManagerAccount.v1_14_1", "Account", body);
    documents.put(documents::Document::new(body).writable(&["Password"]));
}

/// Serves until `stop`, and a moment more for requests under way.
async fn run(lines: wire::Lines, bmc: Shared, stop: CancellationToken) {
    let dressed = middleware::from_fn_with_state(bmc.clone(), disguise::dress).layer(router(bmc.clone()));
    let service = middleware::from_fn_with_state(bmc, fault::inject).layer(dressed);
    let service = ServiceExt::<Request>::into_make_service_with_connect_info::<wire::Cut>(service);
    let ended = axum::serve(lines, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::select! {
        _ = ended.into_future() => {}
        () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => {}
    }
}

fn router(bmc: Shared) -> Router {
    let protected = Router::new()
        .merge(auth::routes())
        .merge(systems::routes())
        .merge(resources::routes())
        .merge(media::routes(&bmc.definition))
        .route(actions::UPLOAD, post(actions::push).layer(DefaultBodyLimit::max(FIRMWARE_LIMIT)));
    let checked = protected.route_layer(middleware::from_fn_with_state(bmc.clone(), auth::require));
    Router::new()
        .merge(ribcl::routes(&bmc.profile().ribcl))
        .merge(service::open_routes())
        .merge(auth::open_routes())
        .merge(checked)
        .fallback(documents::handle)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(reply::check_version))
        .layer(middleware::map_response(reply::finish))
        .with_state(bmc)
}

/// Redfish's word for a boot mode.
fn mode_word(mode: BootMode) -> &'static str {
    match mode {
        BootMode::Legacy => "Legacy",
        BootMode::Uefi => "UEFI",
    }
}
