//! Decides who comes in: not too often, not on behalf of another web site, and only who is known.

use std::{
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{Request, State as Extract},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use serde_json::json;

use super::{
    audit::{Audit, AuditError},
    basic::{PasswordFileError, Passwords, Refusal},
    identity::Identity,
    keystone::{self, Keystone, KeystoneError},
    large::LargeBodies,
    limits::{Limits, TooMany},
    origin,
    refusals::Refusals,
    routes::is_public,
};
use crate::api::{AuthStrategy, Config, State, error::ApiError, layers::canonical, listener::Peer};

const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// How often it is logged that Keystone does not tell.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// How requests are let in. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    strategy: Arc<Strategy>,
    limits: Arc<Limits>,
    /// When it was logged last that Keystone does not tell.
    complained: Arc<Mutex<Option<Instant>>>,
    pub(super) audit: Audit,
    /// Of whom nobody knows, and of users.
    pub(super) refusals: [Refusals; 2],
    pub(super) large: LargeBodies,
}

enum Strategy {
    /// Whoever reaches the API may do everything.
    NoAuth,
    Basic(Box<Passwords>),
    Keystone(Box<Keystone>),
    #[cfg(test)]
    Fixed(Arc<Identity>),
}

/// Where the layers outside of the gate read who came in.
#[derive(Clone, Debug, Default)]
pub(in crate::api) struct Who(pub(in crate::api) Arc<OnceLock<Arc<Identity>>>);

/// Why nobody could be let in.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file of users.
    #[error(transparent)]
    Passwords(#[from] PasswordFileError),
    /// The `[keystone]` section.
    #[error(transparent)]
    Keystone(#[from] KeystoneError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl Default for Gate {
    fn default() -> Self {
        Self::new(Strategy::NoAuth, 0)
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match *self.strategy {
            Strategy::NoAuth => "Gate(noauth)",
            Strategy::Basic(_) => "Gate(http_basic)",
            Strategy::Keystone(_) => "Gate(keystone)",
            #[cfg(test)]
            Strategy::Fixed(_) => "Gate(fixed)",
        })
    }
}

impl Gate {
    fn new(strategy: Strategy, rate_limit: u32) -> Self {
        Self {
            strategy: Arc::new(strategy),
            limits: Arc::new(Limits::new(rate_limit)),
            complained: Arc::default(),
            audit: Audit::default(),
            refusals: Default::default(),
            large: LargeBodies::default(),
        }
    }

    /// As the configuration says; relative paths start at `base`.
    pub fn open(config: &Config, keystone: &keystone::Config, base: &Path) -> Result<Self, AccessError> {
        let strategy = match config.auth_strategy {
            AuthStrategy::Noauth => Strategy::NoAuth,
            AuthStrategy::HttpBasic => Strategy::Basic(Box::new(Passwords::open(
                base.join(&config.http_basic_auth_user_file),
                config.http_basic_user_roles.clone(),
            )?)),
            AuthStrategy::Keystone => Strategy::Keystone(Box::new(Keystone::open(keystone, base)?)),
        };
        let mut gate = Self::new(strategy, config.rate_limit);
        if !config.audit_log.as_os_str().is_empty() {
            gate.audit = Audit::open(base.join(&config.audit_log))?;
        }
        Ok(gate)
    }

    /// Whether the file of users can be used, where there has to be one.
    pub fn check(config: &Config, base: &Path) -> Result<(), AccessError> {
        if config.auth_strategy == AuthStrategy::HttpBasic {
            let path = base.join(&config.http_basic_auth_user_file);
            Passwords::open(path, config.http_basic_user_roles.clone())?;
        }
        Ok(())
    }

    /// Looks at the file of users without waiting for its turn.
    #[cfg(test)]
    pub(crate) fn look_now(&self) {
        if let Strategy::Basic(passwords) = &*self.strategy {
            passwords.look_now();
        }
    }

    /// Everybody is that one.
    #[cfg(test)]
    pub(crate) fn fixed(identity: Identity) -> Self {
        Self::new(Strategy::Fixed(Arc::new(identity)), 0)
    }

    async fn identity(&self, headers: &HeaderMap, client: Option<IpAddr>) -> Result<Arc<Identity>, Response> {
        let attempts = self.limits.attempts(client);
        match &*self.strategy {
            Strategy::NoAuth => Ok(Identity::everybody()),
            Strategy::Basic(passwords) => {
                let header = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
                let proven = passwords.authenticate(header, &attempts).await;
                let proven = proven.map_err(TooMany::into_response)?;
                proven.map(Arc::new).map_err(|refusal| basic_refusal(&refusal))
            }
            Strategy::Keystone(keystone) => {
                let token = headers.get(AUTH_TOKEN).map(HeaderValue::as_bytes);
                let known = keystone.authenticate(token, &attempts).await.map_err(TooMany::into_response)?;
                known.map_err(|refusal| self.keystone_refusal(&refusal, keystone))
            }
            #[cfg(test)]
            Strategy::Fixed(identity) => Ok(Arc::clone(identity)),
        }
    }

    /// What Ironic answers with Keystone.
    fn keystone_refusal(&self, refusal: &keystone::Refusal, keystone: &Keystone) -> Response {
        match refusal {
            keystone::Refusal::Invalid => {
                let message = "The request you have made requires authentication.";
                let body = json!({"error": {"code": 401, "title": "Unauthorized", "message": message}});
                let header = [(header::WWW_AUTHENTICATE, keystone.www_authenticate())];
                (StatusCode::UNAUTHORIZED, header, Json(body)).into_response()
            }
            keystone::Refusal::Unavailable(problem) => {
                // Anybody can send tokens while Keystone is away.
                let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
                if complained.is_none_or(|at| at.elapsed() > COMPLAIN_EVERY) {
                    *complained = Some(Instant::now());
                    tracing::error!(error = problem as &dyn std::error::Error, "tokens cannot be validated");
                }
                unavailable(&format!("The token cannot be validated: {problem}."))
            }
        }
    }

    /// Who sends a request; `None` on public paths.
    async fn admit(&self, parts: &Parts, state: &State) -> Result<Option<Arc<Identity>>, Response> {
        let client = parts.extensions.get::<Peer>().map(|peer| peer.address.ip());
        if let Some(client) = client {
            self.limits.request(client).map_err(TooMany::into_response)?;
        }
        if parts.headers.get_all(header::HOST).iter().nth(1).is_some() {
            return Err(ApiError::bad("The request has several Host headers.").into_response());
        }
        if let Some(refusal) = origin::refusal(&parts.headers, &state.config, &state.hostname) {
            return Err(refusal.into_response());
        }
        if is_public(&canonical(parts.uri.path())) {
            return Ok(None);
        }
        self.identity(&parts.headers, client).await.map(Some)
    }
}

/// Says who asks, or refuses. Public paths need nobody.
pub(in crate::api) async fn admit(Extract(state): Extract<State>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match state.gate.admit(&parts, &state).await {
        Ok(None) => {}
        Ok(Some(identity)) => {
            if let Some(user) = &identity.user {
                tracing::Span::current().record("user", user);
            }
            if let Some(who) = parts.extensions.get::<Who>() {
                who.0.set(Arc::clone(&identity)).ok();
            }
            parts.extensions.insert(identity);
        }
        Err(refusal) => return refusal,
    }
    next.run(Request::from_parts(parts, body)).await
}

/// What Ironic answers with HTTP basic.
fn basic_refusal(refusal: &Refusal) -> Response {
    let (status, message) = match refusal {
        Refusal::Missing => (StatusCode::UNAUTHORIZED, "Authorization required"),
        Refusal::Wrong => (StatusCode::UNAUTHORIZED, "Incorrect username or password"),
        Refusal::Malformed(problem) => (StatusCode::BAD_REQUEST, *problem),
        Refusal::Busy => return unavailable("Too many passwords are being checked: try again in a moment."),
        Refusal::NoFile => {
            return unavailable("The file of users cannot be used; the controller's log tells why.");
        }
    };
    let body = Json(json!({"error": {"message": message, "code": status.as_u16()}}));
    match status {
        StatusCode::UNAUTHORIZED => {
            let realm = [(header::WWW_AUTHENTICATE, "Basic realm=\"Baremetal API\"")];
            (status, realm, body).into_response()
        }
        _ => (status, body).into_response(),
    }
}

fn unavailable(sentence: &str) -> Response {
    let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, sentence);
    ([(header::RETRY_AFTER, "1")], error).into_response()
}
