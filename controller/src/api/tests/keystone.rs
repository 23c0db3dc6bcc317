//! Keystone tokens, against a Keystone that speaks its wire: what a real one was seen to answer.

use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use axum::{
    Json, Router,
    extract::State as Extract,
    response::{IntoResponse, Response},
    routing::get,
};
use chrono::{TimeDelta, Utc};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{Answer, Controller};
use crate::api::{
    self, AuthStrategy,
    access::{AccessError, Gate, keystone::Config},
};

/// Keystone's side.
#[derive(Default)]
struct Fake {
    /// Bodies of tokens that are valid.
    tokens: Mutex<HashMap<String, Value>>,
    /// Our own tokens that are valid.
    own: Mutex<Vec<String>>,
    logins: AtomicUsize,
    validations: AtomicUsize,
    broken: AtomicBool,
}

struct Cloud {
    fake: Arc<Fake>,
    controller: Controller,
    gate: Gate,
    config: Config,
    _dir: TempDir,
}

async fn log_in(Extract(fake): Extract<Arc<Fake>>, Json(body): Json<Value>) -> Response {
    if body["auth"]["identity"]["password"]["user"]["password"] != "hunter2" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let token = format!("own-{}", fake.logins.fetch_add(1, SeqCst));
    fake.own.lock().unwrap().push(token.clone());
    (
        StatusCode::CREATED,
        [("X-Subject-Token", token)],
        Json(token_of("ironic", "service", &["service"], false)),
    )
        .into_response()
}

async fn validate(Extract(fake): Extract<Arc<Fake>>, headers: HeaderMap) -> Response {
    fake.validations.fetch_add(1, SeqCst);
    if fake.broken.load(SeqCst) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let own = headers["x-auth-token"].to_str().unwrap().to_owned();
    if !fake.own.lock().unwrap().contains(&own) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let found = fake.tokens.lock().unwrap().get(headers["x-subject-token"].to_str().unwrap()).cloned();
    found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |body| Json(body).into_response())
}

/// A token as Keystone describes it.
fn token_of(user: &str, project: &str, roles: &[&str], system: bool) -> Value {
    let roles: Vec<_> = roles.iter().map(|role| json!({"id": format!("id-{role}"), "name": role})).collect();
    let mut token = json!({
        "methods": ["password"], "audit_ids": ["x"], "is_domain": false,
        "issued_at": "2026-11-21T18:00:00.000000Z", "expires_at": (Utc::now() + TimeDelta::hours(1)).to_rfc3339(),
        "user": {"id": format!("id-{user}"), "name": user, "domain": {"id": "default", "name": "Default"},
                 "password_expires_at": null},
        "roles": roles,
    });
    if system {
        token["system"] = json!({"all": true});
    } else {
        token["project"] = json!({"id": format!("id-{project}"), "name": project, "domain": {"id": "default", "name": "Default"}});
    }
    json!({"token": token})
}

impl Cloud {
    async fn start(cache_time: u64) -> Self {
        let fake = Arc::<Fake>::default();
        let app =
            Router::new().route("/v3/auth/tokens", get(validate).post(log_in)).with_state(Arc::clone(&fake));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v3", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("password"), "hunter2\n").unwrap();
        let config = Config {
            auth_url: Some(url.parse().unwrap()),
            password_file: Some("password".into()),
            token_cache_time: cache_time,
            ..Config::default()
        };
        let gate = open(&config, &dir).unwrap();
        Self { fake, controller: Controller::start().await, gate, config, _dir: dir }
    }

    fn knows(&self, token: &str, body: Value) {
        self.fake.tokens.lock().unwrap().insert(token.to_owned(), body);
    }

    async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        let mut request =
            http::Request::builder().uri(path).header("X-OpenStack-Ironic-API-Version", "1.115");
        if let Some(token) = token {
            request = request.header("X-Auth-Token", token);
        }
        let mut state = self.controller.state.clone();
        state.gate = self.gate.clone();
        Controller::answer_of(api::router(state), request.body(axum::body::Body::empty()).unwrap()).await
    }
}

fn open(config: &Config, dir: &TempDir) -> Result<Gate, AccessError> {
    let api =
        api::Config { auth_strategy: AuthStrategy::Keystone, audit_log: "".into(), ..api::Config::default() };
    Gate::open(&api, config, dir.path())
}

#[tokio::test]
async fn tokens_are_validated_once_and_their_roles_count() {
    let cloud = Cloud::start(60).await;
    cloud.knows("sys", token_of("root", "", &["admin", "manager", "member", "reader"], true));
    cloud.knows("blue", token_of("ann", "blue", &["member", "reader"], false));
    cloud.knows("svc", token_of("nova", "service", &["service"], false));
    cloud.controller.node("node", crate::node::ProvisionState::Available).await;
    for _ in 0..3 {
        let answer = cloud.get("/v1/nodes", Some("sys")).await;
        assert_eq!(answer.body["nodes"].as_array().unwrap().len(), 1, "{answer:?}");
    }
    assert_eq!((cloud.fake.logins.load(SeqCst), cloud.fake.validations.load(SeqCst)), (1, 1));
    assert_eq!(cloud.get("/v1/nodes", Some("blue")).await.body["nodes"], json!([]));
    assert_eq!(cloud.get("/v1/nodes/node", Some("blue")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(cloud.get("/v1/nodes/node", Some("svc")).await.status, StatusCode::OK);
    // The node of the project by its id, not by its name.
    let mut node = cloud.controller.state.store.node("node").await.unwrap();
    node.owner = Some("id-blue".into());
    cloud.controller.state.store.update_node(&mut node, None).await.unwrap();
    assert_eq!(cloud.get("/v1/nodes/node", Some("blue")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_project_called_service_in_another_domain_is_any_project() {
    let cloud = Cloud::start(60).await;
    cloud.controller.node("node", crate::node::ProvisionState::Available).await;
    let mut foreign = token_of("mallory", "service", &["service"], false);
    foreign["token"]["project"]["domain"] = json!({"id": "4f3c", "name": "customer"});
    cloud.knows("foreign", foreign.clone());
    let mut homeless = foreign.clone();
    homeless["token"]["project"]["domain"].take();
    cloud.knows("homeless", homeless);
    for token in ["foreign", "homeless"] {
        let answer = cloud.get("/v1/nodes/node", Some(token)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{token}");
    }
    // Unless that is the domain of the services, by name.
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("password"), "hunter2\n").unwrap();
    let config = Config { service_project_domain_name: Some("customer".into()), ..cloud.config.clone() };
    let cloud = Cloud { gate: open(&config, &dir).unwrap(), ..cloud };
    assert_eq!(cloud.get("/v1/nodes/node", Some("foreign")).await.status, StatusCode::OK);
    cloud.knows("usual", token_of("nova", "service", &["service"], false));
    assert_eq!(cloud.get("/v1/nodes/node", Some("usual")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn without_a_valid_token_it_is_401_as_ironic_says_it() {
    let cloud = Cloud::start(60).await;
    let mut expired = token_of("ann", "blue", &["reader"], false);
    expired["token"]["expires_at"] = "2020-01-01T00:00:00.000000Z".into();
    cloud.knows("expired", expired);
    let long = "x".repeat(20_000);
    for token in [None, Some(""), Some("nope"), Some("expired"), Some(long.as_str())] {
        let answer = cloud.get("/v1/nodes", token).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{token:?}");
        assert_eq!(answer.body["error"]["message"], "The request you have made requires authentication.");
        assert!(answer.header("www-authenticate").starts_with("Keystone uri=\"http://127.0.0.1:"));
    }
    assert_eq!(cloud.get("/v1", None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_revoked_token_is_refused_when_it_is_not_remembered_any_more() {
    let cloud = Cloud::start(0).await;
    cloud.knows("sys", token_of("root", "", &["admin"], true));
    assert_eq!(cloud.get("/v1/nodes", Some("sys")).await.status, StatusCode::OK);
    cloud.fake.tokens.lock().unwrap().clear();
    assert_eq!(cloud.get("/v1/nodes", Some("sys")).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_own_token_that_was_revoked_is_replaced() {
    let cloud = Cloud::start(0).await;
    cloud.knows("sys", token_of("root", "", &["admin"], true));
    assert_eq!(cloud.get("/v1/nodes", Some("sys")).await.status, StatusCode::OK);
    cloud.fake.own.lock().unwrap().clear();
    assert_eq!(cloud.get("/v1/nodes", Some("sys")).await.status, StatusCode::OK);
    assert_eq!(cloud.fake.logins.load(SeqCst), 2);
}

#[tokio::test]
async fn a_keystone_that_does_not_answer_is_503_with_the_reason() {
    let cloud = Cloud::start(0).await;
    cloud.fake.broken.store(true, SeqCst);
    let answer = cloud.get("/v1/nodes", Some("sys")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.fault().contains("Keystone answered 500"), "{}", answer.fault());
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("password"), "wrong").unwrap();
    let url = Some("http://127.0.0.1:1".parse().unwrap());
    let config = Config { auth_url: url, password_file: Some("password".into()), ..Config::default() };
    let down = Cloud { gate: open(&config, &dir).unwrap(), ..cloud };
    let answer = down.get("/v1/nodes", Some("sys")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.fault().contains("cannot be reached"), "{}", answer.fault());
    assert!(!answer.fault().contains("wrong"));
}

#[test]
fn an_account_must_be_whole() {
    let dir = tempfile::tempdir().unwrap();
    let url = Some("https://keystone.example:5000".parse().unwrap());
    let config = Config { auth_url: url.clone(), ..Config::default() };
    assert!(open(&Config::default(), &dir).unwrap_err().to_string().contains("keystone.auth_url"));
    assert!(open(&config, &dir).unwrap_err().to_string().contains("keystone.password_file"));
    let missing = Config { password_file: Some("nope".into()), ..config };
    assert!(open(&missing, &dir).unwrap_err().to_string().contains("keystone.password_file"));
}
