//! Who may ask: HTTP Basic, and sessions with tokens that end by deletion or by silence.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bessemer_proto::secret::Secret;
use rand::Rng;
use serde_json::{Value, json};

use super::{
    Bmc, Shared, error,
    error::RedfishError,
    reply::{self, Allow},
};

const SERVICE: &str = "/redfish/v1/SessionService";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
const TOKEN: &str = "X-Auth-Token";

struct Session {
    user: String,
    token: Secret,
    used: Instant,
}

/// The open sessions.
pub(super) struct Sessions {
    open: Mutex<BTreeMap<u64, Session>>,
    next_id: AtomicU64,
    limit: usize,
    timeout: Duration,
    pretends_full: AtomicBool,
}

impl Sessions {
    pub(super) fn new(limit: usize, timeout: Duration) -> Self {
        let pretends_full = AtomicBool::new(false);
        Self { open: Mutex::default(), next_id: AtomicU64::new(1), limit, timeout, pretends_full }
    }

    /// Whether there is room for no more, however few there are.
    pub(super) fn pretend_full(&self, full: bool) {
        self.pretends_full.store(full, Ordering::Relaxed);
    }

    /// Ends all.
    pub(super) fn forget(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The sessions that have not timed out at `now`.
    fn alive(&self, now: Instant) -> MutexGuard<'_, BTreeMap<u64, Session>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| now.duration_since(session.used) < self.timeout);
        open
    }

    fn create(&self, user: &str, now: Instant) -> Result<(u64, Secret), RedfishError> {
        let mut open = self.alive(now);
        if open.len() >= self.limit || self.pretends_full.load(Ordering::Relaxed) {
            return Err(RedfishError::session_limit());
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let token = Secret::new(hex::encode(rand::rng().random::<[u8; 16]>()));
        open.insert(id, Session { user: user.into(), token: token.clone(), used: now });
        Ok((id, token))
    }

    /// Whether a token is valid; using it keeps its session alive.
    fn accepts(&self, token: &str, now: Instant) -> bool {
        let token = Secret::new(token);
        let mut open = self.alive(now);
        let session = open.values_mut().find(|session| session.token == token);
        session.map(|session| session.used = now).is_some()
    }

    fn delete(&self, id: &str) -> Option<()> {
        self.alive(Instant::now()).remove(&id.parse().ok()?).map(drop)
    }
}

/// Lets a request pass that carries a valid token or the right password.
pub(super) async fn require(State(bmc): State<Shared>, request: Request, next: Next) -> Response {
    match check(&bmc, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Whether a request carries a valid token or the right password.
pub(super) fn check(bmc: &Bmc, headers: &HeaderMap) -> Result<(), RedfishError> {
    if bmc.faults.refuses_credentials() {
        return Err(RedfishError::unauthorized());
    }
    if let Some(token) = headers.get(TOKEN) {
        let valid = token.to_str().is_ok_and(|token| bmc.sessions.accepts(token, Instant::now()));
        return if valid { Ok(()) } else { Err(RedfishError::unauthorized()) };
    }
    let basic = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match basic.and_then(parse_basic) {
        Some((user, password)) => log_on(bmc, &user, password),
        None => Err(RedfishError::unauthorized()),
    }
}

/// Judges a password; wrong ones lock the account where the profile says so.
pub(super) fn log_on(bmc: &Bmc, user: &str, password: String) -> Result<(), RedfishError> {
    let rules = &bmc.profile().access;
    let now = Instant::now();
    let mut state = bmc.state();
    if state.locked_until.is_some_and(|until| now < until) {
        let status = rules.lock_status.and_then(|status| StatusCode::from_u16(status).ok());
        return Err(match status {
            Some(status) => RedfishError::own(status, "ResourceInUse"),
            None => RedfishError::unauthorized(),
        });
    }
    let right = Secret::new(password) == state.credentials.password && user == state.credentials.user;
    if right && !bmc.faults.refuses_credentials() {
        state.wrong_passwords = 0;
        return Ok(());
    }
    state.wrong_passwords += 1;
    if rules.lock_after > 0 && state.wrong_passwords >= rules.lock_after {
        state.wrong_passwords = 0;
        state.locked_until = Some(now + Duration::from_secs(rules.lock_seconds));
    }
    Err(RedfishError::unauthorized())
}

fn parse_basic(value: &str) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.into(), password.into()))
}

/// What needs no log-in: logging in.
pub(super) fn open_routes() -> Router<Shared> {
    Router::new().route(SESSIONS, post(log_in)).route(&format!("{SESSIONS}/Members"), post(log_in))
}

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route(SERVICE, get(service))
        .route(SESSIONS, get(sessions))
        .route("/redfish/v1/SessionService/Sessions/{id}", get(session).delete(log_out))
}

async fn service(State(bmc): State<Shared>, headers: HeaderMap) -> Response {
    let body = json!({
        "@odata.id": SERVICE,
        "@odata.type": "#SessionService.v1_1_9.SessionService",
        "Id": "SessionService",
        "Name": "Session Service",
        "ServiceEnabled": true,
        "SessionTimeout": bmc.sessions.timeout.as_secs(),
        "Status": { "State": "Enabled", "Health": "OK" },
        "Sessions": { "@odata.id": SESSIONS },
    });
    reply::resource(&headers, body, Allow::Read)
}

async fn sessions(State(bmc): State<Shared>, headers: HeaderMap) -> Response {
    let members: Vec<Value> = bmc
        .sessions
        .alive(Instant::now())
        .keys()
        .map(|id| json!({ "@odata.id": format!("{SESSIONS}/{id}") }))
        .collect();
    let body = json!({
        "@odata.id": SESSIONS,
        "@odata.type": "#SessionCollection.SessionCollection",
        "Name": "Sessions",
        "Members@odata.count": members.len(),
        "Members": members,
    });
    reply::resource(&headers, body, Allow::Post)
}

fn session_body(id: &str, user: &str) -> Value {
    json!({
        "@odata.id": format!("{SESSIONS}/{id}"),
        "@odata.type": "#Session.v1_7_2.Session",
        "Id": id,
        "Name": format!("Session {id}"),
        "UserName": user,
    })
}

async fn session(
    State(bmc): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, RedfishError> {
    let open = bmc.sessions.alive(Instant::now());
    let found = id.parse().ok().and_then(|number: u64| open.get(&number));
    let session = found.ok_or_else(|| RedfishError::missing("session", &id))?;
    Ok(reply::resource(&headers, session_body(&id, &session.user), Allow::Delete))
}

async fn log_in(State(bmc): State<Shared>, body: Bytes) -> Result<Response, RedfishError> {
    let mut request = reply::object(&body)?;
    let mut field = |name: &str| {
        reply::take_text(&mut request, name)?.ok_or_else(|| RedfishError::missing_property(name))
    };
    let (user, password) = (field("UserName")?, field("Password")?);
    reply::nothing_left(&request)?;
    if bmc.profile().access.no_sessions {
        return Err(error::not_allowed(&Method::POST, SESSIONS));
    }
    log_on(&bmc, &user, password)?;
    let (id, token) = bmc.sessions.create(&user, Instant::now())?;
    let body = session_body(&id.to_string(), &user);
    let mut response = (StatusCode::CREATED, axum::Json(body)).into_response();
    for (name, value) in [(TOKEN, token.reveal()), ("Location", &format!("{SESSIONS}/{id}"))] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

async fn log_out(State(bmc): State<Shared>, Path(id): Path<String>) -> Result<StatusCode, RedfishError> {
    bmc.sessions.delete(&id).ok_or_else(|| RedfishError::missing("session", &id))?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_is_parsed_strictly() {
        let text = |plain: &str| format!("Basic {}", BASE64_STANDARD.encode(plain));
        assert_eq!(parse_basic(&text("admin:a:b")), Some(("admin".into(), "a:b".into())));
        for wrong in [text("admin"), "Bearer YTpi".into(), "Basic".into(), "Basic ****".into()] {
            assert_eq!(parse_basic(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sessions_end_by_silence_and_by_deletion_and_are_limited() {
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let sessions = Sessions::new(2, minute);
        let (first, token) = sessions.create("admin", start).unwrap();
        sessions.create("admin", start).unwrap();
        assert!(sessions.create("admin", start).is_err(), "a third");
        assert!(sessions.accepts(token.reveal(), start + minute / 2), "in use");
        assert!(sessions.accepts(token.reveal(), start + minute), "use keeps it alive");
        assert!(sessions.create("admin", start + minute).is_ok(), "the silent one made room");
        assert!(sessions.delete(&first.to_string()).is_some());
        assert!(!sessions.accepts(token.reveal(), start + minute), "deleted");
        assert!(sessions.delete("x").is_none());
    }
}
