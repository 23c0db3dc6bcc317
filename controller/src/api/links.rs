//! Links in answers, and what every handler needs to know of a request.

use std::{convert::Infallible, sync::Arc};

use axum::extract::FromRequestParts;
use http::{HeaderValue, header, request::Parts, uri::Authority};
use serde_json::{Value, json};

use super::{
    State,
    access::{Identity, Viewer},
    version::{MINIMUM, Version},
};
use crate::reconcile::Engine;

/// The version a request is answered in, and the URL its client reaches us by.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// Microversion.
    pub version: Version,
    /// Such as `http://127.0.0.1:6385`, no slash at the end.
    pub base: String,
    /// Who asks.
    pub viewer: Viewer,
}

impl FromRequestParts<State> for Context {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Infallible> {
        let version = parts.extensions.get::<Version>().copied().unwrap_or(Version(MINIMUM));
        let base = match &state.config.public_endpoint {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None if state.config.tls_certificate.is_some() => format!("https://{}", host(parts, state)),
            None => format!("http://{}", host(parts, state)),
        };
        // Without an identity nothing is shown.
        let identity = parts.extensions.get::<Arc<Identity>>().cloned().unwrap_or_default();
        Ok(Self { version, base, viewer: Viewer::new(identity) })
    }
}

/// The host the client asked for, when it is one.
fn host(parts: &Parts, state: &State) -> String {
    parts
        .headers
        .get(header::HOST)
        .map(HeaderValue::as_bytes)
        .and_then(|bytes| Authority::try_from(bytes).ok())
        .filter(|authority| !authority.as_str().contains('@'))
        .map_or_else(|| state.config.listen.to_string(), |authority| authority.to_string())
}

impl Context {
    /// The engine, asked by who sent the request.
    pub(super) fn engine(&self, state: &State) -> Engine {
        state.engine.on_behalf_of(self.viewer.asker())
    }

    /// URL of an API path below `/v1/`.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/v1/{path}", self.base)
    }

    /// The pair of links that every object has; `path` is without `/v1/`.
    pub(super) fn links(&self, path: &str) -> Value {
        json!([
            {"href": self.url(path), "rel": "self"},
            {"href": format!("{}/{path}", self.base), "rel": "bookmark"},
        ])
    }
}
