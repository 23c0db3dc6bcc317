//! Keystone tokens, validated by Keystone itself.

mod login;
mod wire;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use reqwest::{Client, RequestBuilder, StatusCode, redirect};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde::Deserialize;
use tokio::sync::Semaphore;
use url::Url;

use self::{
    login::Login,
    wire::{ServiceProject, TokenBody},
};
use super::{
    cache::Cache,
    identity::Identity,
    limits::{Attempts, TooMany},
};

const SUBJECT_TOKEN: &str = "x-subject-token";
/// Largest answer that is read: no catalogue is asked for.
const MAX_ANSWER: usize = 1024 * 1024;
/// Longest token that is asked about.
const MAX_TOKEN: usize = 8 * 1024;
const MAX_REMEMBERED: usize = 10_000;
/// Most questions to Keystone at once.
const MAX_ASKING: usize = 32;

/// `[keystone]`: how tokens are validated with `api.auth_strategy = "keystone"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// URL of Keystone, such as `https://keystone.example:5000`; `/v3` is added where it is not there.
    /// Default none.
    pub auth_url: Option<Url>,
    /// URL of Keystone that clients are told of when they come without a token. Default `auth_url`.
    pub www_authenticate_uri: Option<Url>,
    /// Name of the controller's own user, who validates tokens. Default `ironic`.
    pub username: String,
    /// Domain of that user. Default `Default`.
    pub user_domain_name: String,
    /// Project of that user. Default `service`.
    pub project_name: String,
    /// Domain of that project. Default `Default`.
    pub project_domain_name: String,
    /// File with that user's password. A relative path starts at `state_dir`. Default none.
    pub password_file: Option<PathBuf>,
    /// Application credential to log in with instead of a password. Default none.
    pub application_credential_id: Option<String>,
    /// File with its secret. A relative path starts at `state_dir`. Default none.
    pub application_credential_secret_file: Option<PathBuf>,
    /// File with the certificates (PEM) of the authorities that Keystone's is signed by, instead of the public ones.
    /// Default none.
    pub ca_file: Option<PathBuf>,
    /// Seconds that Keystone may take for an answer. Default 10.
    pub timeout: u64,
    /// Seconds that a validated token is believed without asking again: so long a revoked one still works.
    /// Default 60.
    pub token_cache_time: u64,
    /// Project whose users with the role `service` may do what other services of the cloud need. Default `service`.
    pub service_project_name: String,
    /// Id of the domain that this project must be in: a project of that name in another domain is any project.
    /// Default `default`.
    pub service_project_domain_id: String,
    /// Name of that domain, which then counts instead of its id. Default none.
    pub service_project_domain_name: Option<String>,
}

/// Why Keystone cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum KeystoneError {
    /// A key without which nothing can be asked.
    #[error("{0}")]
    Missing(&'static str),
    /// A file with a secret or with certificates.
    #[error("{key}: {path} cannot be used", path = path.display())]
    File {
        /// The configuration key.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// TLS could not be set up.
    #[error("TLS to Keystone cannot be set up")]
    Tls(#[source] rustls::Error),
    /// No HTTP client could be made.
    #[error("the HTTP client for Keystone cannot be set up")]
    Client(#[source] reqwest::Error),
    /// No randomness.
    #[error("the system has no random numbers")]
    Random,
}

/// Why a request is not somebody's.
#[derive(Debug)]
pub(super) enum Refusal {
    /// 401: no token, or one that Keystone does not know (any more).
    Invalid,
    /// 503: Keystone does not tell.
    Unavailable(Problem),
}

/// What is wrong with Keystone, or with this controller's account there.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("Keystone at {url} cannot be reached")]
    Unreachable {
        url: Url,
        #[source]
        source: reqwest::Error,
    },
    #[error("Keystone answered {0}")]
    Status(StatusCode),
    #[error(
        "Keystone refuses this controller's user: check [keystone] username, project_name and the password file"
    )]
    Refused,
    #[error(
        "Keystone does not let this controller's user validate tokens: give it the role service or admin"
    )]
    Forbidden,
    #[error("Keystone's answer cannot be understood")]
    Strange(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("too many tokens are being validated")]
    Busy,
    #[error("{path} cannot be read", path = path.display())]
    Secret {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// A Keystone, and what it said lately.
pub(super) struct Keystone {
    client: Client,
    tokens: Url,
    login: Login,
    asking: Semaphore,
    known: Cache<Arc<Identity>>,
    cache_time: Duration,
    service_project: ServiceProject,
    www_authenticate: String,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            auth_url: None,
            www_authenticate_uri: None,
            username: "ironic".into(),
            user_domain_name: "Default".into(),
            project_name: "service".into(),
            project_domain_name: "Default".into(),
            password_file: None,
            application_credential_id: None,
            application_credential_secret_file: None,
            ca_file: None,
            timeout: 10,
            token_cache_time: 60,
            service_project_name: "service".into(),
            service_project_domain_id: "default".into(),
            service_project_domain_name: None,
        }
    }
}

// === impl Keystone ===

impl Keystone {
    /// Nothing is asked yet: Keystone may start later. Relative paths start at `base`.
    pub(super) fn open(config: &Config, base: &Path) -> Result<Self, KeystoneError> {
        const NO_URL: &str = "api.auth_strategy = \"keystone\" needs keystone.auth_url";
        let auth_url = config.auth_url.clone().ok_or(KeystoneError::Missing(NO_URL))?;
        if !matches!(auth_url.scheme(), "http" | "https") {
            return Err(KeystoneError::Missing("keystone.auth_url must start with http:// or https://"));
        }
        let login = Login::open(config, base)?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls(config.ca_file.as_ref().map(|path| base.join(path)))?)
            .timeout(Duration::from_secs(config.timeout.max(1)))
            .connect_timeout(Duration::from_secs(config.timeout.clamp(1, 10)))
            .redirect(redirect::Policy::none())
            .user_agent(concat!("bessemer/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(KeystoneError::Client)?;
        let public = config.www_authenticate_uri.as_ref().unwrap_or(&auth_url);
        let www_authenticate = format!("Keystone uri=\"{}\"", public.as_str().trim_end_matches('/'));
        Ok(Self {
            client,
            tokens: tokens_url(auth_url),
            login,
            asking: Semaphore::new(MAX_ASKING),
            known: Cache::new(MAX_REMEMBERED).map_err(|_| KeystoneError::Random)?,
            cache_time: Duration::from_secs(config.token_cache_time),
            service_project: ServiceProject {
                name: config.service_project_name.clone(),
                domain_id: config.service_project_domain_id.clone(),
                domain_name: config.service_project_domain_name.clone(),
            },
            www_authenticate,
        })
    }

    /// `WWW-Authenticate` of a refusal.
    pub(super) fn www_authenticate(&self) -> &str {
        &self.www_authenticate
    }

    /// Whose token it is. `attempts` of the client count only when Keystone has to be asked.
    pub(super) async fn authenticate(
        &self,
        token: Option<&[u8]>,
        attempts: &Attempts<'_>,
    ) -> Result<Result<Arc<Identity>, Refusal>, TooMany> {
        let token = token.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let Some(token) = token.filter(|token| !token.is_empty() && token.len() <= MAX_TOKEN) else {
            return Ok(Err(Refusal::Invalid));
        };
        let tag = self.known.tag(&[token.as_bytes()]);
        if let Some(identity) = self.known.get(&tag) {
            return Ok(Ok(identity));
        }
        attempts.may()?;
        let Ok(_turn) = self.asking.acquire().await else {
            return Ok(Err(Refusal::Unavailable(Problem::Busy)));
        };
        // Another request may have asked meanwhile.
        if let Some(identity) = self.known.get(&tag) {
            return Ok(Ok(identity));
        }
        attempts.begin()?;
        let answer = self.validate(token).await;
        let left = |body: &TokenBody| (body.token.expires_at - Utc::now()).to_std().ok();
        let (body, left) = match answer {
            Ok(body) => match body.and_then(|body| left(&body).map(|left| (body, left))) {
                Some(valid) => valid,
                None => return Ok(Err(Refusal::Invalid)),
            },
            Err(problem) => {
                attempts.was_right();
                return Ok(Err(Refusal::Unavailable(problem)));
            }
        };
        attempts.was_right();
        let identity = Arc::new(body.identity(&self.service_project));
        self.known.put(tag, Arc::clone(&identity), Instant::now() + left.min(self.cache_time));
        Ok(Ok(identity))
    }

    /// What Keystone says of a token; `None` when it does not know it.
    async fn validate(&self, token: &str) -> Result<Option<TokenBody>, Problem> {
        let mut own = self.login.token(self, None).await?;
        for is_last in [false, true] {
            let request = self
                .client
                .get(self.tokens.clone())
                .header("x-auth-token", own.reveal())
                .header(SUBJECT_TOKEN, token);
            let (status, _, bytes) = self.ask(request).await?;
            match status {
                StatusCode::OK => {
                    let body = serde_json::from_slice(&bytes);
                    return body.map(Some).map_err(|error| Problem::Strange(Box::new(error)));
                }
                StatusCode::NOT_FOUND => return Ok(None),
                StatusCode::UNAUTHORIZED if is_last => return Err(Problem::Refused),
                // Our own token was revoked, or Keystone's keys were rotated.
                StatusCode::UNAUTHORIZED => own = self.login.token(self, Some(&own)).await?,
                StatusCode::FORBIDDEN => return Err(Problem::Forbidden),
                other => return Err(Problem::Status(other)),
            }
        }
        Err(Problem::Refused)
    }

    /// Sends a request; the answer's status, subject token and body.
    async fn ask(&self, request: RequestBuilder) -> Result<(StatusCode, Option<String>, Vec<u8>), Problem> {
        let unreachable = |error: reqwest::Error| {
            let mut url = self.tokens.clone();
            url.set_password(None).ok();
            url.set_query(None);
            Problem::Unreachable { url, source: error.without_url() }
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let subject = response.headers().get(SUBJECT_TOKEN).and_then(|value| value.to_str().ok());
        let subject = subject.map(str::to_owned);
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER {
                return Err(Problem::Strange("an endless answer".into()));
            }
        }
        Ok((response.status(), subject, bytes))
    }
}

/// `/v3/auth/tokens` below the URL of Keystone, with or without the version.
fn tokens_url(mut url: Url) -> Url {
    let path = url.path().trim_end_matches('/').trim_end_matches("/v3").to_owned();
    url.set_path(&format!("{path}/v3/auth/tokens"));
    // The catalogue of services would be the largest part of each answer.
    url.set_query(Some("nocatalog=true"));
    url.set_fragment(None);
    url
}

fn tls(ca_file: Option<PathBuf>) -> Result<ClientConfig, KeystoneError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let wrong = |source| KeystoneError::File { key: "keystone.ca_file", path: path.clone(), source };
            let pem = std::fs::read(&path).map_err(wrong)?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(std::io::Error::other).map_err(wrong)?;
                roots.add(certificate).map_err(std::io::Error::other).map_err(wrong)?;
            }
            if roots.is_empty() {
                return Err(wrong(std::io::Error::other("it holds no certificate")));
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(KeystoneError::Tls)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
