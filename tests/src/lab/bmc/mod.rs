//! A virtual BMC: Redfish over HTTP or HTTPS for one machine. It has only resources that are real, and the manners
//! of the specification: sessions, ETags, error bodies with extended information.

mod auth;
mod error;
mod fault;
mod media;
mod reply;
mod resources;
mod service;
mod systems;
mod tls;

use std::{future::IntoFuture, path::PathBuf, sync::Arc, time::Duration};

use axum::{Router, extract::DefaultBodyLimit, middleware, serve::Listener};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use super::{LabError, MachineDefinition, machine::Handle};
pub use fault::{Fault, FaultKind, Faults};

/// The path of the one system.
pub(super) const SYSTEM: &str = "/redfish/v1/Systems/1";
const MANAGER: &str = "/redfish/v1/Managers/1";
const CHASSIS: &str = "/redfish/v1/Chassis/1";
const BODY_LIMIT: usize = 64 * 1024;
const GRACE: Duration = Duration::from_secs(2);

/// Where a BMC is found.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) url: Url,
    /// Its certificate in PEM.
    pub(super) certificate: Option<String>,
}

/// What the handlers share.
pub(super) struct Bmc {
    definition: MachineDefinition,
    disks: Vec<PathBuf>,
    handle: Handle,
    sessions: auth::Sessions,
    media: media::Store,
    faults: Faults,
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
        Ok(Self { definition, disks, handle, sessions, media, faults: faults.clone() })
    }

    /// Serves until `stop`.
    pub(super) async fn serve(
        self,
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
        let tls = if self.definition.bmc.tls { Some(tls::self_signed()?) } else { None };
        let router = router(Arc::new(self));
        let certificate = tls.as_ref().map(|tls| tls.certificate.clone());
        match tls {
            None => drop(tasks.spawn(run(listener, router, stop))),
            Some(tls) => drop(tasks.spawn(run(tls.listen(listener, stop.clone()), router, stop))),
        }
        Ok(Address { url, certificate })
    }
}

/// Serves until `stop`, and a moment more for requests under way.
async fn run<L>(listener: L, router: Router, stop: CancellationToken)
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    let ended = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
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
        .merge(media::routes(&bmc.definition));
    let checked = protected.route_layer(middleware::from_fn_with_state(bmc.clone(), auth::require));
    Router::new()
        .merge(service::open_routes())
        .merge(auth::open_routes())
        .merge(checked)
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(bmc.clone(), fault::inject))
        .layer(middleware::from_fn(reply::check_version))
        .layer(middleware::map_response(reply::finish))
        .with_state(bmc)
}
