//! Redfish error answers: one message of the Base registry with its arguments.

use axum::{
    Json,
    extract::OriginalUri,
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::lab::LabError;

/// An error as a client sees it.
#[derive(Debug)]
pub(super) struct RedfishError {
    status: StatusCode,
    /// The message's name in the Base registry.
    key: &'static str,
    /// Another message instead.
    id: Option<String>,
    message: String,
    arguments: Vec<String>,
    resolution: &'static str,
}

impl RedfishError {
    /// What has no message of its own.
    pub(super) fn general(status: StatusCode, message: impl Into<String>) -> Self {
        let resolution = "See the message for what to do.";
        Self {
            status,
            key: "GeneralError",
            id: None,
            message: message.into(),
            arguments: Vec::new(),
            resolution,
        }
    }

    pub(super) fn unauthorized() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            key: "NoValidSession",
            id: None,
            message: "There is no valid session established with the implementation.".into(),
            arguments: Vec::new(),
            resolution: "Establish a session before attempting any operations.",
        }
    }

    pub(super) fn session_limit() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            key: "SessionLimitExceeded",
            id: None,
            message: "The session establishment failed due to the number of simultaneous sessions exceeding \
                      the limit of the implementation."
                .into(),
            arguments: Vec::new(),
            resolution: "Reduce the number of other sessions before trying to establish the session.",
        }
    }

    pub(super) fn missing(what: &str, name: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            key: "ResourceMissingAtURI",
            id: None,
            message: format!("The {what} '{name}' was not found."),
            arguments: vec![name.into()],
            resolution: "Request a resource that is linked from the service root.",
        }
    }

    pub(super) fn malformed() -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            key: "MalformedJSON",
            id: None,
            message:
                "The request body submitted was malformed JSON and could not be parsed by the receiving \
                      service."
                    .into(),
            arguments: Vec::new(),
            resolution: "Send one JSON object of at most 64 KiB with the Content-Type application/json.",
        }
    }

    pub(super) fn unknown_property(name: &str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            key: "PropertyUnknown",
            id: None,
            message: format!("The property {name} is not in the list of valid properties for the resource."),
            arguments: vec![name.into()],
            resolution: "Remove the unknown property from the request body.",
        }
    }

    pub(super) fn missing_property(name: &str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            key: "PropertyMissing",
            id: None,
            message: format!(
                "The property {name} is a required property and must be included in the request."
            ),
            arguments: vec![name.into()],
            resolution: "Ensure that the property is in the request body and has a valid value.",
        }
    }

    pub(super) fn bad_value(name: &str, value: &Value) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            key: "PropertyValueNotInList",
            id: None,
            message: format!(
                "The value {value} for the property {name} is not in the list of acceptable values."
            ),
            arguments: vec![value.to_string(), name.into()],
            resolution: "Choose a value from the resource's list of allowable values.",
        }
    }

    pub(super) fn in_use() -> Self {
        Self {
            status: StatusCode::CONFLICT,
            key: "ResourceInUse",
            id: None,
            message: "The change to the requested resource failed because the resource is in use or in \
                      transition."
                .into(),
            arguments: Vec::new(),
            resolution: "Eject the inserted medium first.",
        }
    }

    pub(super) fn precondition() -> Self {
        Self {
            status: StatusCode::PRECONDITION_FAILED,
            key: "PreconditionFailed",
            id: None,
            message: "The ETag or protocol version supplied did not match what this resource requires."
                .into(),
            arguments: Vec::new(),
            resolution: "Get the resource and try again with its present ETag and OData-Version 4.0.",
        }
    }

    pub(super) fn no_connection(url: &str, problem: &str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            key: "CouldNotEstablishConnection",
            id: None,
            message: format!("The service failed to establish a connection with the URI '{url}': {problem}"),
            arguments: vec![url.into()],
            resolution: "Ensure that the URI contains a valid and reachable node name, protocol and port.",
        }
    }

    pub(super) fn protocol(url: &str, scheme: &str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            key: "SourceDoesNotSupportProtocol",
            id: None,
            message: format!(
                "The other end of the connection at '{url}' does not support the protocol {scheme}."
            ),
            arguments: vec![url.into(), scheme.into()],
            resolution: "Use http or https.",
        }
    }
}

impl From<LabError> for RedfishError {
    fn from(error: LabError) -> Self {
        Self::general(StatusCode::INTERNAL_SERVER_ERROR, anyhow::Error::new(error).to_string())
    }
}

impl RedfishError {
    /// A message of the maker's own registry, or of the Base registry when the id has no dot.
    pub(super) fn own(status: StatusCode, id: &str) -> Self {
        Self { id: Some(id.to_owned()), ..Self::general(status, format!("The request was refused: {id}.")) }
    }

    /// With the name of what it is about.
    pub(super) fn saying(mut self, name: &str) -> Self {
        self.message = format!("{} ({name})", self.message);
        self.arguments = vec![name.to_owned()];
        self
    }

    /// The answer's body.
    pub(super) fn body(&self) -> Value {
        let id = match &self.id {
            Some(id) if id.contains('.') => id.clone(),
            Some(key) => format!("Base.1.18.0.{key}"),
            None => format!("Base.1.18.0.{}", self.key),
        };
        json!({ "error": {
            "code": id,
            "message": self.message,
            "@Message.ExtendedInfo": [{
                "@odata.type": "#Message.v1_1_1.Message",
                "MessageId": id,
                "Message": self.message,
                "MessageArgs": self.arguments,
                "Severity": "Critical",
                "Resolution": self.resolution,
            }],
        }})
    }
}

impl IntoResponse for RedfishError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = header::HeaderValue::from_static("Basic realm=\"Redfish\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

pub(super) async fn method_not_allowed(method: Method, OriginalUri(uri): OriginalUri) -> RedfishError {
    not_allowed(&method, uri.path())
}

pub(super) fn not_allowed(method: &Method, path: &str) -> RedfishError {
    let message = format!("The resource {path} does not support {method}.");
    RedfishError::general(StatusCode::METHOD_NOT_ALLOWED, message)
}
