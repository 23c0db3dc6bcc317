//! A BMC that answers as a recording of `bessemer bmc record` says: reads only, to whoever logs in.

use std::{collections::HashMap, net::SocketAddr, path::Path, sync::Arc};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::LabError;

/// The only format of recordings there is.
const FORMAT: u32 = 1;
/// Sessions are in no recording; whether there are any, is.
const SERVICE: &str = "/redfish/v1/SessionService";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

#[derive(Deserialize)]
struct Index {
    format: u32,
    answers: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    status: u16,
    etag: Option<String>,
    allow: Option<String>,
    file: String,
}

struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Value,
}

/// A running replay. It ends with this value.
pub struct Replay {
    address: SocketAddr,
    _stop: DropGuard,
}

impl Replay {
    /// Serves the recording in a folder.
    pub async fn start(folder: &Path, listen: SocketAddr) -> Result<Self, LabError> {
        let answers = Arc::new(read(folder)?);
        let listener =
            tokio::net::TcpListener::bind(listen).await.map_err(LabError::file("serve", folder))?;
        let address = listener.local_addr().map_err(LabError::file("serve", folder))?;
        let stop = CancellationToken::new();
        let ended = stop.clone();
        let router = Router::new().fallback(answer).with_state(answers);
        let served =
            axum::serve(listener, router).with_graceful_shutdown(async move { ended.cancelled().await });
        tokio::spawn(async move { served.await });
        Ok(Self { address, _stop: stop.drop_guard() })
    }

    /// Its address as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn read(folder: &Path) -> Result<HashMap<String, Answer>, LabError> {
    let text = |path: &Path| std::fs::read_to_string(path).map_err(LabError::file("read", path));
    let wrong = |path: &Path, problem: String| {
        LabError::file("use", path)(std::io::Error::new(std::io::ErrorKind::InvalidData, problem))
    };
    let path = folder.join("recording.json");
    let index: Index =
        serde_json::from_str(&text(&path)?).map_err(|error| wrong(&path, error.to_string()))?;
    if index.format != FORMAT {
        return Err(wrong(&path, format!("its format is {}, known is {FORMAT}", index.format)));
    }
    let mut answers = HashMap::new();
    for entry in index.answers {
        let path = folder.join(&entry.file);
        let body = serde_json::from_str(&text(&path)?).map_err(|error| wrong(&path, error.to_string()))?;
        let header =
            |name: HeaderName, value: Option<String>| Some((name, HeaderValue::from_str(&value?).ok()?));
        let headers = [header(header::ETAG, entry.etag), header(header::ALLOW, entry.allow)];
        let answer = Answer {
            status: StatusCode::from_u16(entry.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers: headers.into_iter().flatten().collect(),
            body,
        };
        answers.insert(entry.path.trim_end_matches('/').to_owned(), answer);
    }
    Ok(answers)
}

async fn answer(State(answers): State<Arc<HashMap<String, Answer>>>, request: Request) -> Response {
    let uri = request.uri();
    let path = uri.path().trim_end_matches('/');
    match *request.method() {
        Method::GET | Method::HEAD => {
            // A query that was not recorded is one for convenience, such as $expand.
            let whole = uri.path_and_query().and_then(|whole| answers.get(whole.as_str()));
            let Some(answer) = whole.or_else(|| answers.get(path)) else {
                return StatusCode::NOT_FOUND.into_response();
            };
            let mut response = (answer.status, Json(&answer.body)).into_response();
            response.headers_mut().extend(answer.headers.iter().cloned());
            response
        }
        Method::POST if path == SESSIONS && answers.contains_key(SERVICE) => {
            let place =
                [("x-auth-token", "replay"), ("location", "/redfish/v1/SessionService/Sessions/replay")];
            (StatusCode::CREATED, place, Json(json!({}))).into_response()
        }
        Method::DELETE if path.starts_with(SESSIONS) => StatusCode::NO_CONTENT.into_response(),
        // Nothing that a recording knows would change.
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}
