//! The Ironic-compatible REST API (v1, microversions 1.1 to 1.115). Never touches hardware: it writes wanted
//! state through the engine and reads actual state from the store.

mod allocations;
mod conductors;
mod drivers;
mod error;
mod events;
mod fields;
mod history;
mod json;
mod layers;
mod links;
mod logs;
mod mask;
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
mod patch;
mod port_fields;
mod ports;
mod query;
mod ramdisk;
mod resources;
mod root;
mod shards;
#[cfg(test)]
pub(crate) mod tests;
mod value;
mod vendor;
mod version;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::{Router, middleware, response::IntoResponse};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tower::{ServiceBuilder, util::MapRequestLayer};
use url::Url;

use crate::{agents::Fleet, reconcile::Engine, store::Store};

/// `[api]` of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port to listen on. Default `127.0.0.1:6385`.
    pub listen: SocketAddr,
    /// Allows an address that other machines can reach although requests are not authenticated. Default false.
    pub allow_unauthenticated: bool,
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

/// Why the API will not be served.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// Anybody could command the machines.
    #[error(
        "the API does not authenticate requests, and api.listen = \"{0}\" lets other machines reach it: \
         listen on 127.0.0.1 or [::1], or set api.allow_unauthenticated = true if the network is trusted"
    )]
    Unauthenticated(SocketAddr),
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
    /// `[api]`.
    pub config: Config,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6385),
            allow_unauthenticated: false,
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
        if !self.listen.ip().to_canonical().is_loopback() && !self.allow_unauthenticated {
            return Err(ConfigError::Unauthenticated(self.listen));
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
        .merge(nodes::routes())
        .merge(node_states::routes())
        .merge(node_settings::routes())
        .merge(node_management::routes())
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
        .fallback(|| async { error::ApiError::no_such_path().into_response() })
        .method_not_allowed_fallback(|| async { error::ApiError::method_not_allowed().into_response() })
        .with_state(state.clone());
    // Paths are rewritten before they are routed, so this cannot be a layer of the router itself.
    let rewritten = ServiceBuilder::new().layer(MapRequestLayer::new(layers::canonical_path)).service(v1);
    Router::new()
        .fallback_service(rewritten)
        .layer(middleware::from_fn(layers::negotiate_version))
        .layer(middleware::from_fn_with_state(state, layers::observe))
}
