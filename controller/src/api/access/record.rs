//! What is noted of each request: its id, how it went, and who changed what.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State as Extract},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    audit::{Entry, now},
    gate::Who,
    identity::Identity,
    refusals::{Fate, SUMMARY_AFTER},
};
use crate::api::{State, error::ApiError, layers::canonical, listener::Peer};

const REQUEST_ID: HeaderName = HeaderName::from_static("openstack-request-id");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");
/// What a request is refused with.
const REFUSED: [StatusCode; 3] =
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS];
/// Longest path that is noted.
const MAX_PATH: usize = 1024;

/// A request as it is noted.
struct Noted {
    id: String,
    global_id: Option<String>,
    method: Method,
    path: String,
    peer: Option<SocketAddr>,
    who: Who,
}

/// Gives the request an id, bounds its time, notes how it went.
pub(in crate::api) async fn observe(
    Extract(state): Extract<State>,
    mut request: Request,
    next: Next,
) -> Response {
    let noted = Noted::of(&request);
    request.extensions_mut().insert(noted.who.clone());
    let span = tracing::info_span!(
        "api",
        request_id = noted.id,
        global_request_id = noted.global_id,
        user = tracing::field::Empty
    );
    let limit = Duration::from_secs(state.config.request_timeout);
    async move {
        let start = Instant::now();
        let mut response = tokio::time::timeout(limit, next.run(request)).await.unwrap_or_else(|_| {
            let sentence = format!(
                "The request took longer than {} s; what it asked for may still happen.",
                limit.as_secs()
            );
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, sentence).into_response()
        });
        let (status, milliseconds) = (response.status().as_u16(), start.elapsed().as_millis());
        let (method, path) = (&noted.method, &noted.path);
        let is_quiet = *method == Method::GET && response.status().is_success();
        if is_quiet || !noted.is_written(&state, response.status()) {
            tracing::debug!(%method, path, status, milliseconds, "answered");
        } else {
            tracing::info!(%method, path, status, milliseconds, "answered");
            if noted.is_audited(response.status()) {
                noted.audit(&state, status).await;
            }
        }
        if let Ok(value) = HeaderValue::from_str(&noted.id) {
            response.headers_mut().insert(REQUEST_ID, value.clone());
            response.headers_mut().insert(X_REQUEST_ID, value);
        }
        response
    }
    .instrument(span)
    .await
}

// === impl Noted ===

impl Noted {
    fn of(request: &Request) -> Self {
        Self {
            id: format!("req-{}", Uuid::new_v4()),
            global_id: global_id(request.headers()),
            method: request.method().clone(),
            path: canonical(request.uri().path()).chars().take(MAX_PATH).collect(),
            peer: request.extensions().get::<Peer>().map(|peer| peer.address),
            who: Who::default(),
        }
    }

    /// What changes something, and what somebody was not allowed to do.
    fn is_audited(&self, status: StatusCode) -> bool {
        let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&self.method);
        !reads || REFUSED.contains(&status)
    }

    /// Whether something is written about an answer: of refusals only so many.
    fn is_written(&self, state: &State, status: StatusCode) -> bool {
        let is_known = self.who.0.get().is_some();
        if !(REFUSED.contains(&status) || (!is_known && !status.is_success())) {
            return true;
        }
        let refusals = &state.gate.refusals[usize::from(is_known)];
        let fate = refusals.fate(self.peer.map(|peer| peer.ip()), Instant::now());
        if fate == Fate::First {
            let (refusals, audit) = (refusals.clone(), state.gate.audit.clone());
            tokio::spawn(async move {
                tokio::time::sleep(SUMMARY_AFTER).await;
                for (client, count) in refusals.summary() {
                    audit.write_more(client, count).await;
                }
            });
        }
        fate == Fate::Written
    }

    async fn audit(&self, state: &State, status: u16) {
        let nobody = Arc::new(Identity::default());
        let who = self.who.0.get().unwrap_or(&nobody);
        let mut segments = self.path.split('/').skip(2);
        let node = segments.next().filter(|kind| *kind == "nodes").and_then(|_| segments.next());
        let entry = Entry {
            time: now(),
            request_id: &self.id,
            global_request_id: self.global_id.as_deref(),
            user: who.user.as_deref(),
            user_id: who.user_id.as_deref(),
            project: who.project.as_deref(),
            project_id: who.project_id.as_deref(),
            system: who.system,
            roles: &who.roles,
            address: self.peer.map(|peer| peer.ip().to_canonical().to_string()),
            method: self.method.as_str(),
            path: &self.path,
            node,
            status,
        };
        state.gate.audit.write(&entry).await;
    }
}

/// The id that a client gave to all that belongs together: `req-` and a UUID, nothing else.
fn global_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(X_REQUEST_ID)?.to_str().ok()?;
    let uuid = text.strip_prefix("req-")?;
    let is_plain = uuid.len() == 36 && uuid.parse::<Uuid>().is_ok();
    is_plain.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_global_id_is_taken_only_when_it_is_one() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            global_id(&headers)
        };
        let good = "req-7c7b6d0e-0f5e-4d6a-8a58-5b4a6cf3a001";
        assert_eq!(read(good).as_deref(), Some(good));
        for bad in [
            "",
            "req-",
            "7c7b6d0e-0f5e-4d6a-8a58-5b4a6cf3a001",
            "req-{7c7b6d0e0f5e4d6a8a585b4a6cf3a001}xx",
            "req-7c7b6d0e-0f5e-4d6a-8a58-5b4a6cf3a001 x=1",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
