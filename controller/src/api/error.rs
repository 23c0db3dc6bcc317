//! Errors as Ironic writes them: `{"error_message": "<JSON text>"}`, the inner JSON encoded twice.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::json;

use crate::{reconcile::RequestError, store::StoreError};

use super::version::VersionError;

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// `{faultcode, faultstring, debuginfo}`: errors of the API.
    Fault(String),
    /// `{code, title, description}`: errors of routing and negotiation.
    Routing(String),
}

impl ApiError {
    /// An error with that status and sentence.
    pub(super) fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self { status, body: Body::Fault(sentence.into()) }
    }

    /// 400: the request is wrong.
    pub(super) fn bad(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence)
    }

    /// 409: the request does not fit the present state.
    pub(super) fn conflict(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, sentence)
    }

    /// 404: no such thing.
    pub(super) fn not_found(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, sentence)
    }

    /// 406: the request needs a newer microversion.
    pub(super) fn too_old(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            format!("Request not acceptable. The requested API version does not know {what}."),
        )
    }

    /// 406: the request needs `1.minor`.
    pub(super) fn minimal(minor: u16) -> Self {
        let sentence =
            format!("Request not acceptable. The minimal required API version should be 1.{minor}");
        Self::new(StatusCode::NOT_ACCEPTABLE, sentence)
    }

    /// 404 of an unknown path, and of one that the asked version does not know.
    pub(super) fn no_such_path() -> Self {
        Self { status: StatusCode::NOT_FOUND, body: Body::Routing(String::new()) }
    }

    /// 405.
    pub(super) fn method_not_allowed() -> Self {
        Self { status: StatusCode::METHOD_NOT_ALLOWED, body: Body::Routing(String::new()) }
    }

    /// The status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The same error with another status.
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let inner = match self.body {
            Body::Fault(text) => {
                let code = if self.status.is_server_error() { "Server" } else { "Client" };
                json!({"faultcode": code, "faultstring": text, "debuginfo": null})
            }
            Body::Routing(text) => json!({
                "code": self.status.as_u16(),
                "title": self.status.canonical_reason().unwrap_or_default(),
                "description": text,
            }),
        };
        (self.status, Json(json!({"error_message": inner.to_string()}))).into_response()
    }
}

impl From<VersionError> for ApiError {
    fn from(error: VersionError) -> Self {
        Self { status: StatusCode::NOT_ACCEPTABLE, body: Body::Routing(error.to_string()) }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::NotFound { .. } => StatusCode::NOT_FOUND,
            StoreError::Duplicate { .. } | StoreError::Conflict { .. } => StatusCode::CONFLICT,
            StoreError::Overtaken { .. } => StatusCode::SERVICE_UNAVAILABLE,
            // Whatever else goes wrong with a database is not the client's fault.
            _ => {
                tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, sentence(&error))
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        let status = match error {
            RequestError::Store(error) => return error.into(),
            RequestError::Locked { .. } | RequestError::InUse(_) => StatusCode::CONFLICT,
            RequestError::Crowded { .. } => StatusCode::SERVICE_UNAVAILABLE,
            RequestError::Hardware(_) => StatusCode::INTERNAL_SERVER_ERROR,
            RequestError::NotFound => StatusCode::NOT_FOUND,
            RequestError::InvalidState { .. }
            | RequestError::Maintenance { .. }
            | RequestError::Unsupported { .. }
            | RequestError::Invalid(_) => StatusCode::BAD_REQUEST,
        };
        Self::new(status, sentence(&error))
    }
}

/// The error as a sentence with its full stop.
fn sentence(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    if text.ends_with('.') { text } else { text + "." }
}
