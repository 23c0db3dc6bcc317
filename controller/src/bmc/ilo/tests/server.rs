//! An iLO 4 in the same process: RIBCL, and the JSON documents that a test puts into it. It speaks TLS 1.2, as old as the
//! real ones.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::ribcl_model::Machine;

const LOGIN: &str = "POST /redfish/v1/SessionService/Sessions";
const TOKEN: &str = "a-token";

/// A running iLO.
#[derive(Clone)]
pub(super) struct Ilo {
    pub(super) port: u16,
    inner: Arc<Mutex<Model>>,
}

/// What it holds and how it behaves.
pub(super) struct Model {
    pub(super) machine: Machine,
    pub(super) documents: HashMap<String, Value>,
    /// `METHOD path` or the name of a RIBCL command, with the body, in order.
    pub(super) requests: Vec<(String, Value)>,
    /// Answers to give instead of the usual one: what, status, body, how often.
    pub(super) instead: Vec<(String, u16, String, u32)>,
    /// Bodies are sent as gzip.
    pub(super) gzip: bool,
    pub(super) password: String,
    /// Wrong passwords that were tried.
    pub(super) wrong: u32,
    /// Also the service roots want a password.
    pub(super) closed_roots: bool,
}

struct Listener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (tcp, address) = self.tcp.accept().await.unwrap();
            if let Ok(tls) = self.acceptor.accept(tcp).await {
                return (tls, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

fn acceptor() -> TlsAcceptor {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

impl Ilo {
    /// One that speaks nothing but RIBCL.
    pub(super) async fn start() -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = tcp.local_addr().unwrap().port();
        let model = Model {
            machine: Machine::default(),
            documents: HashMap::new(),
            requests: Vec::new(),
            instead: Vec::new(),
            gzip: false,
            password: "secret".to_owned(),
            wrong: 0,
            closed_roots: false,
        };
        let ilo = Self { port, inner: Arc::new(Mutex::new(model)) };
        let router = Router::new().fallback(serve).with_state(ilo.clone());
        let listener = Listener { tcp, acceptor: acceptor() };
        tokio::spawn(async move { axum::serve(listener, router).await });
        ilo
    }

    pub(super) fn model(&self) -> MutexGuard<'_, Model> {
        self.inner.lock().unwrap()
    }

    pub(super) fn put(&self, path: &str, document: Value) {
        self.model().documents.insert(path.to_owned(), document);
    }

    pub(super) fn instead(&self, request: &str, status: u16, body: impl Into<String>, times: u32) {
        self.model().instead.push((request.to_owned(), status, body.into(), times));
    }

    /// What was asked, without what only reads.
    pub(super) fn changes(&self) -> Vec<String> {
        let model = self.model();
        let what = model.requests.iter().map(|(what, _)| what.as_str());
        what.filter(|what| !what.starts_with("GET")).map(str::to_owned).collect()
    }

    pub(super) fn count(&self, request: &str) -> usize {
        self.model().requests.iter().filter(|(what, _)| what == request).count()
    }

    pub(super) fn bodies(&self, request: &str) -> Vec<Value> {
        let model = self.model();
        model.requests.iter().filter(|(what, _)| what == request).map(|(_, body)| body.clone()).collect()
    }

    pub(super) fn at(&self, path: &str, pointer: &str) -> Value {
        self.model().documents[path].pointer(pointer).cloned().unwrap_or(Value::Null)
    }

    pub(super) fn set(&self, path: &str, change: &Value) {
        merge(self.model().documents.get_mut(path).unwrap(), change);
    }
}

async fn serve(
    State(ilo): State<Ilo>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut model = ilo.model();
    if uri.path() == "/ribcl" {
        let text = String::from_utf8(body.to_vec()).unwrap();
        return model.ribcl(&text);
    }
    let request = format!("{method} {}", uri.path());
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    model.requests.push((request.clone(), body.clone()));
    if let Some(found) = model.instead_of(&request) {
        return found;
    }
    let path = uri.path().trim_end_matches('/').to_owned();
    let is_open =
        (matches!(path.as_str(), "/rest/v1" | "/redfish/v1") && !model.closed_roots) || request == LOGIN;
    if !is_open && !model.admits(&headers) {
        return answer(401, b"{}".to_vec());
    }
    if request == LOGIN {
        return model.log_in(&body);
    }
    model.act(&method, &path, &body)
}

fn answer(status: u16, body: Vec<u8>) -> Response {
    Response::builder().status(StatusCode::from_u16(status).unwrap()).body(Body::from(body)).unwrap()
}

impl Model {
    fn instead_of(&mut self, request: &str) -> Option<Response> {
        let found = self.instead.iter_mut().find(|(what, _, _, times)| what == request && *times > 0)?;
        found.3 -= 1;
        Some(answer(found.1, found.2.clone().into_bytes()))
    }

    fn ribcl(&mut self, text: &str) -> Response {
        let command = super::ribcl_model::Asked::of(text);
        self.requests.push((command.name.clone(), json!(text)));
        if let Some(found) = self.instead_of(&command.name) {
            return found;
        }
        if command.password != self.password || command.user != "Administrator" {
            self.wrong += 1;
            return answer(
                200,
                super::ribcl_model::documents(&[super::ribcl_model::LOGIN_FAILED]).into_bytes(),
            );
        }
        if let Some(password) = command.new_password() {
            self.password = password;
        }
        answer(200, self.machine.run(&command).into_bytes())
    }

    /// iLOs answer a wrong password with 400.
    fn log_in(&mut self, body: &Value) -> Response {
        if body["Password"] != self.password.as_str() || body["UserName"] != "Administrator" {
            self.wrong += 1;
            let said = json!({"error": {"@Message.ExtendedInfo": [{"MessageId": "iLO.2.14.UnauthorizedLoginAttempt"}]}});
            return answer(400, said.to_string().into_bytes());
        }
        let mut made = answer(201, b"{}".to_vec());
        made.headers_mut().insert("x-auth-token", TOKEN.parse().unwrap());
        made
    }

    fn admits(&mut self, headers: &HeaderMap) -> bool {
        if headers.get("x-auth-token").is_some_and(|token| token == TOKEN) {
            return true;
        }
        let expected = format!("Basic {}", STANDARD.encode(format!("Administrator:{}", self.password)));
        let is_right = headers.get("authorization").is_some_and(|value| value == expected.as_str());
        self.wrong += u32::from(!is_right);
        is_right
    }

    fn act(&mut self, method: &Method, path: &str, body: &Value) -> Response {
        if let (&Method::POST, Some((owner, action))) = (method, path.split_once("/Actions/Oem/")) {
            let drive = self.documents.get_mut(owner).unwrap();
            match action {
                "Insert" if self.machine.insert_lies => {}
                "Insert" => merge(drive, &json!({"Image": body["Image"], "Inserted": true})),
                _ => merge(drive, &json!({"Image": "", "Inserted": false})),
            }
            return answer(200, b"{}".to_vec());
        }
        let Some(document) = self.documents.get_mut(path) else { return answer(404, b"{}".to_vec()) };
        if method == Method::GET {
            let text = document.to_string().into_bytes();
            return answer(200, if self.gzip { gzip(&text) } else { text });
        }
        let is_drive = document.get("MediaTypes").is_some();
        if method == Method::PATCH {
            merge(document, body);
            // The real thing sets Inserted itself.
            if let (true, Some(image), false) = (is_drive, body.get("Image"), self.machine.insert_lies) {
                document["Inserted"] = json!(!image.is_null());
            }
            if let Some(password) = body.get("Password").and_then(Value::as_str) {
                self.password = password.to_owned();
            }
        }
        if method == Method::POST && body["Action"] == "Reset" && body.get("ResetType").is_some() {
            document["Power"] = json!(if body["ResetType"] == "ForceOff" { "Off" } else { "On" });
        }
        answer(200, b"{}".to_vec())
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
