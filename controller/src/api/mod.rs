//! The Ironic-compatible REST API (v1, microversions 1.1 to 1.115). Never touches hardware: it writes wanted
//! state through the engine and reads actual state from the store.

pub mod access;
mod allocations;
mod conductors;
mod connections;
mod console;
mod drivers;
mod error;
mod events;
mod fields;
mod history;
mod json;
mod layers;
mod links;
mod listener;
mod logs;
mod mask;
mod metrics;
mod node_children;
mod node_hardware;
mod node_management;
mod node_patch;
mod node_settings;
mod node_states;
mod node_traits;
mod node_view;
mod node_vifs;
mod nodes;
mod openapi;
mod patch;
mod port_fields;
mod ports;
mod query;
mod quirks;
mod ramdisk;
mod resources;
mod root;
mod shards;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
mod value;
mod vendor;
mod version;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use axum::{Router, middleware, response::IntoResponse};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tower::{ServiceBuilder, util::MapRequestLayer};
use url::Url;

pub use self::{
    listener::serve,
    tls::{Certificate, TlsError},
};
use crate::{agents::Fleet, bmc::quirks::QuirkFolder, reconcile::Engine, store::Store};

/// `[api]` of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port to listen on. Default `127.0.0.1:6385`.
    pub listen: SocketAddr,
    /// Who may use the API: `noauth`, whoever reaches it; `http_basic`, the users of `http_basic_auth_user_file`;
    /// `keystone`, whoever has a token of the Keystone of section `[keystone]`. Default `noauth`.
    pub auth_strategy: AuthStrategy,
    /// File with a line of `htpasswd -nB NAME` for each user (bcrypt only); read again when it changes. A relative
    /// path starts at `state_dir`. Default `htpasswd`.
    pub http_basic_auth_user_file: PathBuf,
    /// What users of that file may do who are no administrators: `{ monitoring = "reader", desk = "member" }`. Users not
    /// named are administrators; a name that is not in the file is refused. Default `{}`, all are.
    pub http_basic_user_roles: BTreeMap<String, access::SystemRole>,
    /// Allows an address that other machines can reach although requests are not authenticated. Default false.
    pub allow_unauthenticated: bool,
    /// Names that clients reach the API by, besides addresses, `localhost`, this machine's name and that of
    /// `public_endpoint`. Others are refused while requests are not authenticated. Default `[]`.
    pub allowed_hosts: Vec<String>,
    /// File with the certificate (PEM, with what it is signed by) that the API is served with by HTTPS; read again
    /// when it changes. A relative path starts at `state_dir`. Default none, served by HTTP.
    pub tls_certificate: Option<PathBuf>,
    /// File with the key (PEM) of `tls_certificate`. Default none.
    pub tls_key: Option<PathBuf>,
    /// Most connections at once; more are refused. One client (an IPv4 address, a /64 of IPv6) gets a quarter of them,
    /// this machine itself three quarters. Default 2048.
    pub max_connections: usize,
    /// Requests a second that one client (an IPv4 address, a /64 of IPv6) may send, and as many at once; more are
    /// answered 429. Default 0, no limit.
    pub rate_limit: u32,
    /// File for a line of JSON about each request that changes something or is refused: who, from where, what, how it
    /// ended. It may be renamed at any time. A relative path starts at `state_dir`; empty for none. Default
    /// `audit.log`.
    pub audit_log: PathBuf,
    /// URL that clients reach the API by, for the links in answers. Default: what the client's request says.
    pub public_endpoint: Option<Url>,
    /// Most nodes or ports in one answer. Default 1000.
    pub max_limit: usize,
    /// Seconds that a request may take. Default 60.
    pub request_timeout: u64,
    /// Whether ramdisks of others may call lookup, heartbeat and continue_inspection, which nobody is authenticated
    /// for. Default false.
    pub enable_ramdisk_endpoints: bool,
}

/// How requests are authenticated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthStrategy {
    /// Not at all.
    #[default]
    Noauth,
    /// By user and password.
    HttpBasic,
    /// By a token of Keystone.
    Keystone,
}

/// Why the API will not be served.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// Anybody could command the machines.
    #[error(
        "the API does not authenticate requests, and api.listen = \"{0}\" lets other machines reach it: \
         listen on 127.0.0.1 or [::1], set api.auth_strategy, or set api.allow_unauthenticated = true if the \
         network is trusted"
    )]
    Unauthenticated(SocketAddr),
    /// A certificate without its key, or a key without its certificate.
    #[error("api.tls_certificate and api.tls_key belong together: set both or none")]
    Tls,
    /// A limit that lets nothing through.
    #[error("api.{0} must be at least 1")]
    Zero(&'static str),
}

/// What the API needs of the rest of the controller.
#[derive(Clone)]
pub struct State {
    /// Actual state.
    pub store: Store,
    /// Takes requests.
    pub engine: Engine,
    /// Live progress.
    pub fleet: Fleet,
    /// This controller's name: Ironic's `conductor`.
    pub hostname: String,
    /// When this controller started.
    pub started: DateTime<Utc>,
    /// The operator's rules about BMCs.
    pub quirks: QuirkFolder,
    /// Who is let in.
    pub gate: access::Gate,
    /// `[api]`.
    pub config: Config,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6385),
            auth_strategy: AuthStrategy::default(),
            http_basic_auth_user_file: "htpasswd".into(),
            http_basic_user_roles: BTreeMap::new(),
            allow_unauthenticated: false,
            allowed_hosts: Vec::new(),
            tls_certificate: None,
            tls_key: None,
            max_connections: 2048,
            rate_limit: 0,
            audit_log: "audit.log".into(),
            public_endpoint: None,
            max_limit: 1000,
            request_timeout: 60,
            enable_ramdisk_endpoints: false,
        }
    }
}

impl Config {
    /// Refuses what must not be served.
    pub fn check(&self) -> Result<(), ConfigError> {
        let open = self.auth_strategy == AuthStrategy::Noauth && !self.allow_unauthenticated;
        if open && !self.listen.ip().to_canonical().is_loopback() {
            return Err(ConfigError::Unauthenticated(self.listen));
        }
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            return Err(ConfigError::Tls);
        }
        if self.max_connections == 0 {
            return Err(ConfigError::Zero("max_connections"));
        }
        if self.max_limit == 0 {
            return Err(ConfigError::Zero("max_limit"));
        }
        if self.request_timeout == 0 {
            return Err(ConfigError::Zero("request_timeout"));
        }
        Ok(())
    }
}

// === router ===

/// The whole API, to be served at the root of a listener.
pub fn router(state: State) -> Router {
    let v1 = Router::new()
        .merge(root::routes())
        .merge(openapi::routes())
        .merge(nodes::routes())
        .merge(node_states::routes())
        .merge(node_settings::routes())
        .merge(node_management::routes())
        .merge(console::routes())
        .merge(node_hardware::routes())
        .merge(vendor::routes())
        .merge(ramdisk::routes())
        .merge(history::routes())
        .merge(allocations::routes())
        .merge(logs::routes())
        .merge(ports::routes())
        .merge(drivers::routes())
        .merge(conductors::routes())
        .merge(resources::routes())
        .merge(node_children::routes())
        .merge(node_traits::routes())
        .merge(node_vifs::routes())
        .merge(shards::routes())
        .merge(events::routes())
        .merge(quirks::routes())
        .merge(metrics::routes())
        .route_layer(middleware::from_fn_with_state(state.clone(), access::guard))
        .fallback(|| async { error::ApiError::no_such_path().into_response() })
        .method_not_allowed_fallback(|| async { error::ApiError::method_not_allowed().into_response() })
        .with_state(state.clone());
    // Paths are rewritten before they are routed, so this cannot be a layer of the router itself.
    let rewritten = ServiceBuilder::new().layer(MapRequestLayer::new(layers::canonical_path)).service(v1);
    Router::new()
        .fallback_service(rewritten)
        .layer(middleware::from_fn(layers::negotiate_version))
        .layer(middleware::from_fn_with_state(state.clone(), access::admit))
        .layer(middleware::from_fn_with_state(state, access::observe))
}
