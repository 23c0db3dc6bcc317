//! Request bodies: bounded JSON.

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
};
use http::StatusCode;
use serde_json::{Map, Value};

use super::{State, error::ApiError};

/// Largest request body in bytes.
pub(super) const MAX_BYTES: usize = 1024 * 1024;
/// The same where a config drive may come: 64 MiB that gzip could not shrink, in base64.
pub(super) const MAX_BYTES_WITH_CONFIG_DRIVE: usize = 100 * 1024 * 1024;
/// The same for what an inspection found.
const MAX_BYTES_OF_INSPECTION: usize = 16 * 1024 * 1024;
/// Most values in a body, as many as fit into a small one: in memory each takes far more than on the wire.
const MAX_VALUES: usize = MAX_BYTES / 2;
/// How deep JSON may nest.
const MAX_DEPTH: usize = 25;

/// A JSON body; `null` when there is none.
pub(super) struct JsonBody(pub(super) Value);

/// A JSON body that may hold a config drive.
pub(super) struct LargeJsonBody(pub(super) JsonBody);

/// A JSON body with what an inspection found.
pub(super) struct InspectionBody(pub(super) JsonBody);

impl FromRequest<State> for InspectionBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        // Nothing is read for nothing.
        super::ramdisk::refuse_unless_enabled(state, request.uri())?;
        read(request, MAX_BYTES_OF_INSPECTION).await.map(|value| Self(JsonBody(value)))
    }
}

impl FromRequest<State> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &State) -> Result<Self, ApiError> {
        read(request, MAX_BYTES).await.map(Self)
    }
}

impl FromRequest<State> for LargeJsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &State) -> Result<Self, ApiError> {
        read(request, MAX_BYTES_WITH_CONFIG_DRIVE).await.map(|value| Self(JsonBody(value)))
    }
}

async fn read(request: Request, most: usize) -> Result<Value, ApiError> {
    let bytes = to_bytes(request.into_body(), most).await.map_err(|error| unreadable(&error, most))?;
    parse(&bytes)
}

/// Why a body of at most `most` bytes could not be read.
pub(super) fn unreadable(error: &axum::Error, most: usize) -> ApiError {
    let inner = std::error::Error::source(error);
    if inner.is_some_and(|inner| inner.is::<http_body_util::LengthLimitError>()) {
        let sentence = format!("The request body is larger than {most} bytes.");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, sentence)
    } else {
        ApiError::bad("The request body ended early.")
    }
}

impl JsonBody {
    /// The body as an object; no body is an empty one.
    pub(super) fn object(self) -> Result<Map<String, Value>, ApiError> {
        match self.0 {
            Value::Object(map) => Ok(map),
            Value::Null => Ok(Map::new()),
            _ => Err(ApiError::bad("The request body must be a JSON object.")),
        }
    }
}

/// The value that a body says; `null` when it says nothing.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    if more_values_than(bytes, MAX_VALUES) {
        return Err(ApiError::bad(format!("The request body has more than {MAX_VALUES} values.")));
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        ApiError::bad(format!(
            "The request body is not valid JSON (line {}, column {}).",
            error.line(),
            error.column()
        ))
    })?;
    if deeper_than(&value, MAX_DEPTH) {
        return Err(ApiError::bad(format!("The request body nests deeper than {MAX_DEPTH} levels.")));
    }
    Ok(value)
}

/// Counts what separates and opens values, outside of strings.
fn more_values_than(bytes: &[u8], most: usize) -> bool {
    let (mut values, mut in_string, mut escaped) = (0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => values += 1,
            _ => {}
        }
    }
    values > most
}

/// The recursion is bounded by the JSON parser's own limit of 128 levels.
fn deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| deeper_than(item, levels - 1)),
        Value::Object(map) => levels == 0 || map.values().any(|item| deeper_than(item, levels - 1)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_depth() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(parse(nested(25).as_bytes()).is_ok());
        assert!(parse(nested(26).as_bytes()).is_err());
        assert!(parse(nested(100_000).as_bytes()).is_err());
    }

    #[test]
    fn bounds_the_number_of_values_but_not_what_strings_hold() {
        let zeros = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        assert!(parse(zeros(MAX_VALUES).as_bytes()).is_ok());
        assert!(parse(zeros(MAX_VALUES + 2).as_bytes()).is_err());
        let text = Value::from(zeros(MAX_VALUES + 2) + "\"[,").to_string();
        assert!(parse(text.as_bytes()).is_ok());
    }

    #[test]
    fn takes_no_body_for_null() {
        assert_eq!(parse(b" \n").unwrap(), Value::Null);
        assert!(parse(b"{\"a\":").is_err());
    }
}
