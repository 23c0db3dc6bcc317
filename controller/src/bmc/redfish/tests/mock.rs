//! A BMC of one system, with knobs for what BMCs do wrong.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::stream;
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

pub(super) const SYSTEM: &str = "/redfish/v1/Systems/1";
pub(super) const CD: &str = "/redfish/v1/Systems/1/VirtualMedia/Cd";
pub(super) const FLOPPY: &str = "/redfish/v1/Systems/1/VirtualMedia/Floppy";
const MANAGER: &str = "/redfish/v1/Managers/1";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// A running BMC.
#[derive(Clone)]
pub(super) struct Mock {
    pub(super) address: String,
    inner: Arc<Mutex<Model>>,
}

struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
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

/// What it holds and how it behaves.
pub(super) struct Model {
    pub(super) documents: HashMap<String, Value>,
    /// `METHOD path` with the body, in order.
    pub(super) requests: Vec<(String, Value)>,
    pub(super) sessions: HashSet<String>,
    pub(super) knobs: Knobs,
    /// Bodies that are no JSON.
    pub(super) uploads: Vec<Vec<u8>>,
    counter: u32,
}

#[derive(Clone, Default)]
pub(super) struct Knobs {
    /// Answers to give instead of the usual one: (`METHOD path`, status, body, how often).
    pub(super) instead: Vec<(String, u16, Value, u32)>,
    /// 202 with this as what the task says after two looks.
    pub(super) task: Option<Value>,
    /// An insertion changes nothing.
    pub(super) insert_lies: bool,
    /// An ejection changes nothing.
    pub(super) eject_lies: bool,
    /// Parameters of InsertMedia that are refused with 400.
    pub(super) unknown_parameters: Vec<&'static str>,
    /// Changes need `If-Match`.
    pub(super) wants_tag: bool,
    /// Answers after this long.
    pub(super) slow: Option<Duration>,
    /// Answers with bytes without end.
    pub(super) endless: bool,
    /// Power does not follow a reset.
    pub(super) stuck: bool,
    pub(super) no_auth: bool,
}

impl Mock {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(format!("http://{}", listener.local_addr().unwrap()), listener)
    }

    /// With a TLS configuration.
    pub(super) async fn start_tls(config: rustls::ServerConfig) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}", tcp.local_addr().unwrap());
        Self::on(address, TlsListener { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    fn on<L>(address: String, listener: L) -> Self
    where
        L: axum::serve::Listener,
        L::Addr: std::fmt::Debug,
    {
        let model = Model {
            documents: documents(),
            requests: Vec::new(),
            sessions: HashSet::new(),
            knobs: Knobs::default(),
            uploads: Vec::new(),
            counter: 0,
        };
        let mock = Self { address, inner: Arc::new(Mutex::new(model)) };
        let router = Router::new().fallback(serve).with_state(mock.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        mock
    }

    pub(super) fn model(&self) -> MutexGuard<'_, Model> {
        self.inner.lock().unwrap()
    }

    /// How often a request was made.
    pub(super) fn count(&self, request: &str) -> usize {
        self.model().requests.iter().filter(|(what, _)| what == request).count()
    }

    /// The bodies of a request.
    pub(super) fn bodies(&self, request: &str) -> Vec<Value> {
        let model = self.model();
        model.requests.iter().filter(|(what, _)| what == request).map(|(_, body)| body.clone()).collect()
    }

    pub(super) fn set(&self, path: &str, pointer: &str, value: Value) {
        let mut model = self.model();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let target = model.documents.get_mut(path).unwrap().pointer_mut(parent).unwrap();
        target.as_object_mut().unwrap().insert(key.to_owned(), value);
    }

    /// Adds documents: an object of paths.
    pub(super) fn add(&self, documents: Value) {
        let Value::Object(documents) = documents else { panic!("no object") };
        self.model().documents.extend(documents);
    }

    pub(super) fn unset(&self, path: &str, pointer: &str) {
        let mut model = self.model();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let target = model.documents.get_mut(path).unwrap().pointer_mut(parent).unwrap();
        target.as_object_mut().unwrap().remove(key);
    }

    pub(super) fn at(&self, path: &str, pointer: &str) -> Value {
        self.model().documents[path].pointer(pointer).cloned().unwrap_or(Value::Null)
    }

    pub(super) fn instead(&self, request: &str, status: u16, body: Value, times: u32) {
        self.model().knobs.instead.push((request.to_owned(), status, body, times));
    }
}

fn documents() -> HashMap<String, Value> {
    let link = |path: &str| json!({"@odata.id": path});
    let collection =
        |members: &[&str]| json!({"Members": members.iter().map(|m| link(m)).collect::<Vec<_>>()});
    let slot = |path: &str, types: &[&str]| {
        json!({
            "MediaTypes": types, "Inserted": false, "Image": null, "WriteProtected": true,
            "Actions": {
                "#VirtualMedia.InsertMedia": {"target": format!("{path}/Actions/VirtualMedia.InsertMedia")},
                "#VirtualMedia.EjectMedia": {"target": format!("{path}/Actions/VirtualMedia.EjectMedia")},
            }
        })
    };
    let system = json!({
        "PowerState": "Off", "Manufacturer": "Contoso",
        "Boot": {
            "BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None",
            "BootSourceOverrideMode": "UEFI",
            "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe", "Cd", "Hdd"],
        },
        "SecureBoot": link("/redfish/v1/Systems/1/SecureBoot"),
        "VirtualMedia": link("/redfish/v1/Systems/1/VirtualMedia"),
        "Links": {"ManagedBy": [link(MANAGER)]},
        "Actions": {"#ComputerSystem.Reset": {
            "target": "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset",
            "ResetType@Redfish.AllowableValues": ["On", "ForceOff", "GracefulShutdown"],
        }},
    });
    let root = json!({
        "Systems": link("/redfish/v1/Systems"), "Managers": link("/redfish/v1/Managers"),
        "SessionService": link("/redfish/v1/SessionService"), "Links": {"Sessions": link(SESSIONS)},
    });
    [
        ("/redfish/v1/", root),
        ("/redfish/v1/Systems", collection(&[SYSTEM])),
        ("/redfish/v1/Managers", collection(&[MANAGER])),
        (SYSTEM, system),
        (MANAGER, json!({"ManagerType": "BMC"})),
        ("/redfish/v1/Systems/1/SecureBoot", json!({"SecureBootEnable": false})),
        ("/redfish/v1/Systems/1/VirtualMedia", collection(&[FLOPPY, CD])),
        (CD, slot(CD, &["CD", "DVD"])),
        (FLOPPY, slot(FLOPPY, &["Floppy", "USBStick"])),
    ]
    .into_iter()
    .map(|(path, value)| (path.to_owned(), value))
    .collect()
}

/// A string is sent as it is, other values as JSON.
fn answer(status: u16, body: &Value) -> Response {
    let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
    Response::builder().status(StatusCode::from_u16(status).unwrap()).body(Body::from(text)).unwrap()
}

fn refusal(status: u16, message: &str) -> Response {
    answer(status, &json!({"error": {"@Message.ExtendedInfo": [{"Message": message}]}}))
}

async fn serve(
    State(mock): State<Mock>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let slow = mock.model().knobs.slow;
    if let Some(slow) = slow {
        tokio::time::sleep(slow).await;
    }
    let parsed = serde_json::from_slice(&body);
    let request = format!("{method} {}", uri.path());
    let mut model = mock.model();
    if parsed.is_err() && !body.is_empty() {
        model.uploads.push(body.to_vec());
    }
    let body: Value = parsed.unwrap_or(Value::Null);
    model.requests.push((request.clone(), body.clone()));
    if model.knobs.endless {
        let chunks = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 65536])));
        return Response::new(Body::from_stream(chunks));
    }
    if let Some((_, status, body, times)) =
        model.knobs.instead.iter_mut().find(|(what, _, _, times)| *what == request && *times > 0)
    {
        *times -= 1;
        return answer(*status, &body.clone());
    }
    if !model.admits(&request, &headers) {
        return refusal(401, "wrong user name or password");
    }
    model.act(&method, &uri, &headers, &body)
}

impl Model {
    fn admits(&self, request: &str, headers: &HeaderMap) -> bool {
        let open = matches!(request, "GET /redfish/v1/" | "POST /redfish/v1/SessionService/Sessions");
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
        let basic = format!("Basic {}", STANDARD.encode("root:secret"));
        open || self.knobs.no_auth
            || header("authorization") == Some(&basic)
            || header("x-auth-token").is_some_and(|token| self.sessions.contains(token))
    }

    fn act(&mut self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Value) -> Response {
        let path = uri.path();
        match (method, path) {
            (&Method::POST, SESSIONS) => return self.log_in(body),
            (&Method::DELETE, _) => return self.remove(path),
            (&Method::GET, "/redfish/v1/Tasks/1/Monitor") => return self.monitor(),
            (&Method::GET, _) => {
                let whole = uri.path_and_query().and_then(|whole| self.documents.get(whole.as_str()));
                let Some(document) = whole.or_else(|| self.documents.get(path)) else {
                    return refusal(404, "no such resource");
                };
                let mut found = answer(200, document);
                found.headers_mut().insert("etag", "W/\"7\"".parse().unwrap());
                return found;
            }
            _ => {}
        }
        if self.knobs.wants_tag
            && method == Method::PATCH
            && headers.get("if-match").is_none_or(|t| t != "\"7\"")
        {
            return refusal(412, "the entity tag does not match");
        }
        let made = self.make(method, path, body);
        if let (Some(made), None) = (&made, &self.knobs.task) {
            let mut created = answer(201, &json!({}));
            created.headers_mut().insert("location", made.parse().unwrap());
            return created;
        }
        if let Some(refused) = self.change(method, path, body) {
            return refused;
        }
        if self.knobs.task.is_some() {
            let mut accepted = answer(202, &json!({}));
            let monitor = "https://bmc.example/redfish/v1/Tasks/1/Monitor";
            accepted.headers_mut().insert("location", monitor.parse().unwrap());
            return accepted;
        }
        answer(204, &Value::Null)
    }

    fn log_in(&mut self, body: &Value) -> Response {
        if body != &json!({"UserName": "root", "Password": "secret"}) {
            return refusal(401, "the password is wrong");
        }
        self.counter += 1;
        let token = format!("token{}", self.counter);
        let mut made = answer(201, &json!({}));
        made.headers_mut().insert("x-auth-token", token.parse().unwrap());
        made.headers_mut().insert("location", format!("{SESSIONS}/{token}").parse().unwrap());
        self.sessions.insert(token);
        made
    }

    /// A member of a collection.
    fn make(&mut self, method: &Method, path: &str, body: &Value) -> Option<String> {
        self.counter += 1;
        let id = self.counter.to_string();
        let members = self.documents.get_mut(path)?.get_mut("Members")?.as_array_mut();
        let members = members.filter(|_| method == Method::POST)?;
        let link = format!("{path}/{id}");
        members.push(json!({"@odata.id": link}));
        let mut made = body.clone();
        merge(&mut made, &json!({"Id": id, "@odata.id": link}));
        self.documents.insert(link.clone(), made);
        Some(link)
    }

    fn remove(&mut self, path: &str) -> Response {
        let (collection, id) = path.rsplit_once('/').unwrap();
        if collection == SESSIONS {
            self.sessions.remove(id);
            return answer(204, &Value::Null);
        }
        if self.documents.remove(path).is_none() {
            return refusal(404, "no such resource");
        }
        let members = self.documents.get_mut(collection).and_then(|c| c.get_mut("Members")?.as_array_mut());
        members.into_iter().for_each(|members| members.retain(|member| member["@odata.id"] != path));
        answer(204, &Value::Null)
    }

    fn monitor(&mut self) -> Response {
        self.counter += 1;
        match &self.knobs.task {
            Some(end) if self.counter > 3 => answer(200, end),
            _ => answer(202, &json!({"PercentComplete": 30})),
        }
    }

    fn change(&mut self, method: &Method, path: &str, body: &Value) -> Option<Response> {
        if method == Method::PATCH {
            let document = self.documents.get_mut(path)?;
            merge(document, body);
            return None;
        }
        let (owner, action) = path.split_once("/Actions/")?;
        let knobs = self.knobs.clone();
        let document = self.documents.get_mut(owner)?;
        match action {
            "ComputerSystem.Reset" if !knobs.stuck => {
                let on = body["ResetType"] == "On";
                document["PowerState"] = json!(if on { "On" } else { "Off" });
            }
            "VirtualMedia.InsertMedia" => {
                if knobs.unknown_parameters.iter().any(|unknown| body.get(unknown).is_some()) {
                    return Some(refusal(400, "a parameter is not known"));
                }
                if !knobs.insert_lies {
                    merge(document, &json!({"Image": body["Image"], "Inserted": true}));
                }
            }
            "VirtualMedia.EjectMedia" if !knobs.eject_lies => {
                merge(document, &json!({"Image": null, "Inserted": false}));
            }
            _ => {}
        }
        None
    }
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
