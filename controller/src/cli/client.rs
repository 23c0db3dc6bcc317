//! A client of the REST API.

use std::{path::Path, sync::Arc, time::Duration};

use bessemer_proto::secret::Secret;
use reqwest::{Method, StatusCode};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde_json::Value;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use url::Url;

use super::socket::{self, Socket};

/// Newest microversion: this client comes with its server.
const VERSION: &str = "1.115";
/// Seconds until a request without answer is given up.
const TIMEOUT: Duration = Duration::from_secs(90);
/// Largest answer that is read.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// One controller.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    /// The same that `http` uses.
    tls: Arc<ClientConfig>,
    credentials: Option<Credentials>,
}

/// How a client proves who it is.
#[derive(Clone, Debug)]
pub(super) enum Credentials {
    /// A user and its password.
    Password(String, Secret),
    /// A token of Keystone.
    Token(Secret),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Not a URL of an API.
    #[error(
        "\"{0}\" is no URL of a controller: set --url or BESSEMER_URL to something like http://host:6385"
    )]
    Url(String),
    /// The CA file.
    #[error("the CA certificates in {path} cannot be used")]
    Ca {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// TLS could not be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// No HTTP client could be made.
    #[error("the HTTP client cannot be set up")]
    Setup(#[source] reqwest::Error),
    /// No connection, or no answer.
    #[error(
        "the controller at {url} cannot be reached (is `bessemer serve` running there, and is --url or \
         BESSEMER_URL right?)"
    )]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// An error answer, in the controller's words.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// A sentence.
        message: String,
    },
    /// Something that is not a controller.
    #[error("{url} answered with something that no controller says ({problem}): is the URL right?")]
    Strange {
        /// Where.
        url: String,
        /// What is odd.
        problem: String,
    },
}

impl ClientError {
    /// Trying again may help: the controller may be restarting.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => status.is_server_error(),
            _ => false,
        }
    }
}

impl Client {
    /// A client of the controller at `url`.
    pub(super) fn new(url: &str, ca: Option<&Path>) -> Result<Self, ClientError> {
        let base: Url = url.parse().map_err(|_| ClientError::Url(url.to_owned()))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(ClientError::Url(url.to_owned()));
        }
        let tls = Arc::new(tls(ca)?);
        let mut builder = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(Duration::from_secs(10))
            .user_agent(concat!("bessemer/", env!("CARGO_PKG_VERSION")));
        builder = builder.tls_backend_preconfigured((*tls).clone());
        // A controller on this machine is not behind a proxy.
        if base.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]")) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(ClientError::Setup)?;
        Ok(Self { http, base, tls, credentials: None })
    }

    /// The same client, with credentials.
    pub(super) fn with_credentials(self, credentials: Credentials) -> Self {
        Self { credentials: Some(credentials), ..self }
    }

    /// `GET`.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value, ClientError> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(Method::GET, url, None).await
    }

    /// `POST`.
    pub(super) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, ClientError> {
        self.send(Method::POST, self.url(path)?, Some(body)).await
    }

    /// `PUT`.
    pub(super) async fn put(&self, path: &[&str], body: &Value) -> Result<Value, ClientError> {
        self.send(Method::PUT, self.url(path)?, Some(body)).await
    }

    /// `PATCH`.
    pub(super) async fn patch(&self, path: &[&str], body: &Value) -> Result<Value, ClientError> {
        self.send(Method::PATCH, self.url(path)?, Some(body)).await
    }

    /// `DELETE`.
    pub(super) async fn delete(&self, path: &[&str]) -> Result<Value, ClientError> {
        self.send(Method::DELETE, self.url(path)?, None).await
    }

    /// All items of a listing, page after page. The next page is asked of the same controller, whatever host
    /// its link names.
    pub(super) async fn list(
        &self,
        resource: &str,
        mut query: Vec<(&str, String)>,
    ) -> Result<Vec<Value>, ClientError> {
        let mut items = Vec::new();
        loop {
            let mut page = self.get(&[resource], &query).await?;
            let more = page.get("next").is_some_and(|next| !next.is_null());
            let Some(Value::Array(rows)) = page.get_mut(resource).map(Value::take) else {
                let problem = format!("an answer without {resource}");
                return Err(ClientError::Strange { url: self.base.to_string(), problem });
            };
            let marker = rows.last().and_then(|row| row["uuid"].as_str()).map(str::to_owned);
            items.extend(rows);
            match marker {
                Some(marker) if more => {
                    query.retain(|(name, _)| *name != "marker");
                    query.push(("marker", marker));
                }
                _ => return Ok(items),
            }
        }
    }

    /// The WebSocket that a link of an answer leads to; of the same controller, whatever host the link names.
    pub(super) async fn socket(&self, link: &Url, config: WebSocketConfig) -> anyhow::Result<Socket> {
        let path: Vec<_> =
            link.path_segments().into_iter().flatten().skip_while(|part| *part != "v1").collect();
        let mut url = self.url(path.get(1..).unwrap_or_default())?;
        url.set_query(link.query());
        socket::open(url, Arc::clone(&self.tls), config).await
    }

    fn url(&self, path: &[&str]) -> Result<Url, ClientError> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| ClientError::Url(self.base.to_string()))?
            .pop_if_empty()
            .push("v1")
            .extend(path);
        Ok(url)
    }

    async fn send(&self, method: Method, url: Url, body: Option<&Value>) -> Result<Value, ClientError> {
        let shown = self.base.to_string();
        let unreachable = |error: reqwest::Error| ClientError::Unreachable {
            url: shown.clone(),
            source: error.without_url(),
        };
        let mut request = self.http.request(method, url).header("X-OpenStack-Ironic-API-Version", VERSION);
        request = match &self.credentials {
            Some(Credentials::Password(user, password)) => request.basic_auth(user, Some(password.reveal())),
            Some(Credentials::Token(token)) => request.header("X-Auth-Token", token.reveal()),
            None => request,
        };
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER {
                let problem = "an endless answer".to_owned();
                return Err(ClientError::Strange { url: shown, problem });
            }
        }
        if !status.is_success() {
            let message =
                error_message(&bytes).unwrap_or_else(|| format!("the controller answered {status}"));
            return Err(ClientError::Refused { status, message });
        }
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| ClientError::Strange { url: shown, problem: format!("no JSON: {error}") })
    }
}

/// TLS with the public authorities, or with those of a file.
fn tls(ca: Option<&Path>) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => read_ca(path, &mut roots)
            .map_err(|source| ClientError::Ca { path: path.display().to_string(), source })?,
    }
    let builder = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Tls)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn read_ca(path: &Path, roots: &mut RootCertStore) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.add(certificate?)?;
    }
    if roots.is_empty() { Err("it holds no certificate".into()) } else { Ok(()) }
}

/// The sentence inside an Ironic error body: JSON in JSON.
pub(super) fn error_message(body: &[u8]) -> Option<String> {
    let outer: Value = serde_json::from_slice(body).ok()?;
    // What refuses credentials speaks differently.
    if let Some(message) = outer.pointer("/error/message").and_then(Value::as_str) {
        return Some(format!("{message} (see --user, --password-file and --token-file)"));
    }
    let inner = match outer.get("error_message")? {
        Value::String(text) => serde_json::from_str(text).ok()?,
        other => other.clone(),
    };
    let text = |name: &str| inner.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text("faultstring").or_else(|| text("description")).or_else(|| text("title")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_ironic_errors() {
        let body = br#"{"error_message": "{\"faultcode\": \"Client\", \"faultstring\": \"Node x could not be found.\", \"debuginfo\": null}"}"#;
        assert_eq!(error_message(body).as_deref(), Some("Node x could not be found."));
        let body =
            br#"{"error_message": "{\"code\": 404, \"title\": \"Not Found\", \"description\": \"\"}"}"#;
        assert_eq!(error_message(body).as_deref(), Some("Not Found"));
        let body = br#"{"error": {"message": "Authorization required", "code": 401}}"#;
        assert!(error_message(body).unwrap().starts_with("Authorization required (see --user"));
        assert_eq!(error_message(b"<html>"), None);
    }

    #[test]
    fn refuses_what_is_no_url() {
        for bad in ["", "host:6385", "ftp://host", "data:text/plain,x"] {
            assert!(matches!(Client::new(bad, None), Err(ClientError::Url(_))), "{bad}");
        }
    }
}
