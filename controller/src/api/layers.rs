//! What happens to every request: the microversion, a canonical path.

use std::borrow::Cow;

use axum::{
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::MethodRouter,
};
use http::{HeaderName, HeaderValue, StatusCode, Uri, uri::PathAndQuery};
use tracing::Instrument;

use super::{
    State,
    error::ApiError,
    version::{self, Version},
};

/// Finds out the microversion, refuses with 406, and says in the answer what was used.
pub(super) async fn negotiate_version(mut request: Request, next: Next) -> Response {
    let (mut response, used) = match Version::negotiate(request.headers()) {
        Ok(version) => {
            request.extensions_mut().insert(version);
            (next.run(request).await, Some(version))
        }
        Err(error) => (ApiError::from(error).into_response(), None),
    };
    let headers = response.headers_mut();
    let mut put = |name: HeaderName, text: String| {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    };
    put(version::HEADER_MINIMUM, format!("1.{}", version::MINIMUM));
    put(version::HEADER_MAXIMUM, format!("1.{}", version::MAXIMUM));
    if let Some(version) = used {
        put(version::HEADER, version.to_string());
    }
    response
}

/// `/nodes/`, `/v1/nodes` and `/v1/nodes/` are the same. What Prometheus scrapes is of no version.
pub(super) fn canonical(path: &str) -> Cow<'_, str> {
    match path.trim_end_matches('/') {
        "" => "/".into(),
        path @ "/metrics" => path.into(),
        path if path == "/v1" || path.starts_with("/v1/") => path.into(),
        path => format!("/v1{path}").into(),
    }
}

/// Rewrites the path of a request to its canonical one.
pub(super) fn canonical_path(mut request: Request) -> Request {
    let path = canonical(request.uri().path()).into_owned();
    if path != request.uri().path() {
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        if let Ok(path_and_query) = PathAndQuery::try_from(path + &query) {
            *request.uri_mut() = Uri::from(path_and_query);
        }
    }
    request
}

/// Routes that came with microversion `1.minor`: older clients get 404.
pub(super) fn since(minor: u16, routes: MethodRouter<State>) -> MethodRouter<State> {
    routes.layer(middleware::from_fn(move |request: Request, next: Next| async move {
        match request.extensions().get::<Version>() {
            Some(version) if version.has(minor) => next.run(request).await,
            _ => ApiError::no_such_path().into_response(),
        }
    }))
}

/// The same where Ironic answers 406.
pub(super) fn acceptable_since(minor: u16, routes: MethodRouter<State>) -> MethodRouter<State> {
    routes.layer(middleware::from_fn(move |request: Request, next: Next| async move {
        match request.extensions().get::<Version>() {
            Some(version) if version.has(minor) => next.run(request).await,
            _ => ApiError::minimal(minor).into_response(),
        }
    }))
}

/// Runs work that must not stop half-way when the client hangs up or the deadline of the request passes.
pub(super) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::spawn(work.in_current_span()).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request ended in a panic");
        Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "The request failed; the log tells why."))
    })
}
