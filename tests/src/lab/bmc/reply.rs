//! The frame of every answer: ETags, headers, JSON bodies read strictly.

use axum::{
    body::Bytes,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Bmc, error::RedfishError};

/// What may be done to a resource, as the Allow header says it.
#[derive(Clone, Copy)]
pub(super) enum Allow {
    Read,
    Patch,
    Post,
    Delete,
}

impl Allow {
    fn methods(self) -> &'static str {
        match self {
            Self::Read => "GET, HEAD",
            Self::Patch => "GET, HEAD, PATCH",
            Self::Post => "GET, HEAD, POST",
            Self::Delete => "GET, HEAD, DELETE",
        }
    }
}

/// The weak ETag of a resource's content.
pub(super) fn etag(body: &Value) -> String {
    let digest = Sha256::digest(body.to_string().as_bytes());
    format!("W/\"{}\"", hex::encode(digest.get(..8).unwrap_or_default()))
}

/// A resource with its ETag, or "not modified".
pub(super) fn resource(headers: &HeaderMap, mut body: Value, allow: Allow) -> Response {
    let tag = etag(&body);
    let value = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("W/\"\""));
    let link = HeaderValue::from_str(&described_by(&body)).unwrap_or(HeaderValue::from_static(""));
    if names(headers, header::IF_NONE_MATCH, &tag) == Some(true) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, value)]).into_response();
    }
    if let Some(object) = body.as_object_mut() {
        object.insert("@odata.etag".into(), tag.into());
    }
    let allow = HeaderValue::from_static(allow.methods());
    ([(header::ETAG, value), (header::ALLOW, allow), (header::LINK, link)], axum::Json(body)).into_response()
}

/// The Link header that names the schema of a resource.
fn described_by(body: &Value) -> String {
    let kind = body.get("@odata.type").and_then(Value::as_str).unwrap_or_default();
    let schema = kind.trim_start_matches('#').rsplit_once('.').map_or("", |(schema, _)| schema);
    format!("<http://redfish.dmtf.org/schemas/v1/{schema}.json>; rel=describedby")
}

/// Refuses a change that was meant for another version of the resource.
pub(super) fn check_if_match(bmc: &Bmc, headers: &HeaderMap, body: &Value) -> Result<(), RedfishError> {
    match names(headers, header::IF_MATCH, &etag(body)) {
        Some(false) => Err(RedfishError::precondition()),
        None if bmc.profile().answers.needs_if_match => {
            Err(RedfishError::own(StatusCode::PRECONDITION_REQUIRED, "PreconditionRequired"))
        }
        Some(true) | None => Ok(()),
    }
}

/// Whether a conditional header names `tag`; `None` without the header. Weak comparison.
fn names(headers: &HeaderMap, name: header::HeaderName, tag: &str) -> Option<bool> {
    let value = headers.get(name)?.to_str().unwrap_or_default();
    let bare = |text: &str| text.trim().trim_start_matches("W/").to_owned();
    Some(value.trim() == "*" || value.split(',').any(|one| bare(one) == bare(tag)))
}

/// The request's body, which must be one JSON object.
pub(super) fn object(body: &Bytes) -> Result<Map<String, Value>, RedfishError> {
    serde_json::from_slice(body).map_err(|_| RedfishError::malformed())
}

/// Takes an optional text out of a request's object.
pub(super) fn take_text(object: &mut Map<String, Value>, name: &str) -> Result<Option<String>, RedfishError> {
    match object.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(RedfishError::bad_value(name, &other)),
    }
}

/// Refuses what is left of a request's object. Annotations are allowed anywhere.
pub(super) fn nothing_left(object: &Map<String, Value>) -> Result<(), RedfishError> {
    match object.keys().find(|name| !name.contains('@')) {
        Some(name) => Err(RedfishError::unknown_property(name)),
        None => Ok(()),
    }
}

/// Refuses clients that speak another version of OData.
pub(super) async fn check_version(request: Request, next: Next) -> Response {
    match request.headers().get("OData-Version") {
        Some(version) if version != "4.0" => RedfishError::precondition().into_response(),
        _ => next.run(request).await,
    }
}

/// Headers of every answer.
pub(super) async fn finish(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert("OData-Version", HeaderValue::from_static("4.0"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
