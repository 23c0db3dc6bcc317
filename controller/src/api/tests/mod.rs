//! The router in process, with a real store and a real engine; the only stand-in is a BMC that is not there.

mod access;
mod allocations;
mod basic;
mod console;
mod hardware;
mod keystone;
mod listener;
mod negotiation;
mod node_rules;
mod nodes;
mod openapi;
mod ports;
mod ramdisk;
mod recorded;
mod secrets;
mod states;
mod versions;
mod vifs;

use std::sync::Arc;

use axum::{Router, body::Body, body::to_bytes};
use chrono::Utc;
use http::{HeaderMap, Method, Request, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;
use url::Url;

use super::{Config, State, access::Gate, fields, router, version::Version};
use crate::{
    agents::{self, Authority, Fleet},
    bmc, boot,
    config_drive::ConfigDrives,
    console::{Config as ConsoleConfig, Consoles},
    image::{self, Images},
    node::{Node, ProvisionState},
    reconcile::{self, Deps, Engine, Pokes},
};

/// A controller without listeners.
pub(crate) struct Controller {
    pub(crate) state: State,
    _dir: TempDir,
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Controller {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut reconcile::Config)) -> Self {
        let mut conductor = reconcile::Config::default();
        change(&mut conductor);
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::tests::open_in(dir.path()).await;
        let pokes = Pokes::new();
        let poke = {
            let pokes = pokes.clone();
            Arc::new(move |node| pokes.poke(node))
        };
        let authority = Authority::open(&dir.path().join("ca")).unwrap();
        let fleet =
            Fleet::new(agents::Config::default(), vec!["127.0.0.1:1".into()], store.clone(), authority, poke);
        let nowhere = Url::parse("http://127.0.0.1:1").unwrap();
        let images =
            Images::open(image::Config::default(), dir.path().join("images"), nowhere.clone(), None).unwrap();
        let deps = Deps {
            store: store.clone(),
            fleet: fleet.clone(),
            shelf: boot::MediaShelf::new(boot::Config::default(), nowhere),
            config_drives: ConfigDrives::new(images.clone()),
            images,
            consoles: Consoles::new(
                ConsoleConfig::default(),
                &dir.path().join("consoles"),
                store.clone(),
                Arc::new(bmc::open),
            ),
            open_bmc: Arc::new(bmc::open),
            sensor_data: crate::sensors::Config::default(),
            announcer: crate::notify::Announcer::default(),
            config: conductor,
            ilo: crate::drivers::IloConfig::default(),
            hostname: "localhost.localdomain".into(),
            token_lifetime: std::time::Duration::from_secs(60),
            pokes,
        };
        let engine = Engine::start(deps).await.unwrap();
        let hostname = "localhost.localdomain".to_owned();
        let (gate, config) = (Gate::default(), Config::default());
        let quirks = bmc::quirks::QuirkFolder::open(dir.path().join("quirks")).await;
        let state = State { store, engine, fleet, hostname, started: Utc::now(), quirks, gate, config };
        Self { state, _dir: dir }
    }

    pub(crate) fn router(&self) -> Router {
        router(self.state.clone())
    }

    /// Sends a request at the newest version.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Value) -> Answer {
        self.send_at("1.115", method, path, body).await
    }

    pub(crate) async fn send_at(&self, version: &str, method: Method, path: &str, body: Value) -> Answer {
        self.raw(Self::request(version, method, path, &body)).await
    }

    fn request(version: &str, method: Method, path: &str, body: &Value) -> Request<Body> {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        Request::builder()
            .method(method)
            .uri(path)
            .header("Host", "127.0.0.1:6384")
            .header("X-OpenStack-Ironic-API-Version", version)
            .body(body)
            .unwrap()
    }

    pub(crate) async fn raw(&self, request: Request<Body>) -> Answer {
        Self::answer_of(self.router(), request).await
    }

    async fn answer_of(router: Router, request: Request<Body>) -> Answer {
        let response = router.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let is_text = parts
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/openmetrics-text"));
        let body = match bytes.as_ref() {
            b"" => Value::Null,
            text if is_text => String::from_utf8(text.to_vec()).unwrap().into(),
            json => serde_json::from_slice(json).unwrap(),
        };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, Value::Null).await
    }

    /// A node as the recorded session made it, put into a state.
    pub(crate) async fn node(&self, name: &str, provision_state: ProvisionState) -> Node {
        let answer = self
            .send(
                Method::POST,
                "/v1/nodes",
                json!({
                    "driver": "redfish", "name": name, "resource_class": "baremetal",
                    "driver_info": {
                        "redfish_address": "http://127.0.0.1:1", "redfish_username": "admin",
                        "redfish_password": "hunter2",
                    },
                }),
            )
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        let mut node = self.state.store.node(name).await.unwrap();
        if provision_state != node.provision_state {
            node.provision_state = provision_state;
            self.state.store.update_node(&mut node, None).await.unwrap();
        }
        node
    }
}

impl Answer {
    /// The sentence of an error answer, decoded twice as Ironic's clients do.
    pub(crate) fn fault(&self) -> String {
        let inner: Value = serde_json::from_str(self.body["error_message"].as_str().unwrap()).unwrap();
        inner["faultstring"].as_str().or(inner["description"].as_str()).unwrap().to_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}
