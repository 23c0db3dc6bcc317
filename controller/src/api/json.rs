//! Request bodies: bounded JSON.

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
};
use http::StatusCode;
use serde_json::{Map, Value};

use super::{State, error::ApiError};

/// Largest request body in bytes.
const MAX_BYTES: usize = 1024 * 1024;
/// How deep JSON may nest.
const MAX_DEPTH: usize = 25;

/// A JSON body; `null` when there is none.
pub(super) struct JsonBody(pub(super) Value);

impl FromRequest<State> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &State) -> Result<Self, ApiError> {
        let bytes = to_bytes(request.into_body(), MAX_BYTES).await.map_err(|error| {
            let inner = std::error::Error::source(&error);
            if inner.is_some_and(|inner| inner.is::<http_body_util::LengthLimitError>()) {
                let sentence = format!("The request body is larger than {MAX_BYTES} bytes.");
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, sentence)
            } else {
                ApiError::bad("The request body ended early.")
            }
        })?;
        parse(&bytes).map(Self)
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

fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
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
    fn takes_no_body_for_null() {
        assert_eq!(parse(b" \n").unwrap(), Value::Null);
        assert!(parse(b"{\"a\":").is_err());
    }
}
