//! The controller's own account at Keystone.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bessemer_proto::secret::Secret;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{Config, Keystone, KeystoneError, Problem, wire::TokenBody};

/// Our token is renewed so long before it ends.
const RENEW_BEFORE: TimeDelta = TimeDelta::seconds(120);

/// How to log in, and the token that came of it.
pub(super) struct Login {
    account: Account,
    /// File with the password or the secret; read at each login, so that a changed one is used.
    secret: PathBuf,
    token: Mutex<Option<(Secret, DateTime<Utc>)>>,
}

enum Account {
    Password { user: String, user_domain: String, project: String, project_domain: String },
    ApplicationCredential { id: String },
}

// === impl Login ===

impl Login {
    pub(super) fn open(config: &Config, base: &Path) -> Result<Self, KeystoneError> {
        const ONE: &str = "api.auth_strategy = \"keystone\" needs either keystone.password_file or \
                           keystone.application_credential_id with keystone.application_credential_secret_file";
        let id = config.application_credential_id.clone();
        let (key, secret, account) =
            match (&config.password_file, id, &config.application_credential_secret_file) {
                (Some(file), None, None) => {
                    let account = Account::Password {
                        user: config.username.clone(),
                        user_domain: config.user_domain_name.clone(),
                        project: config.project_name.clone(),
                        project_domain: config.project_domain_name.clone(),
                    };
                    ("keystone.password_file", base.join(file), account)
                }
                (None, Some(id), Some(file)) => {
                    let key = "keystone.application_credential_secret_file";
                    (key, base.join(file), Account::ApplicationCredential { id })
                }
                _ => return Err(KeystoneError::Missing(ONE)),
            };
        read(&secret).map_err(|source| KeystoneError::File { key, path: secret.clone(), source })?;
        Ok(Self { account, secret, token: Mutex::default() })
    }

    /// A token of our own that is not `unusable`. One request logs in, the others wait for it.
    pub(super) async fn token(
        &self,
        keystone: &Keystone,
        unusable: Option<&Secret>,
    ) -> Result<Secret, Problem> {
        let mut token = self.token.lock().await;
        if let Some((token, expires_at)) = &*token
            && unusable != Some(token)
            && *expires_at - RENEW_BEFORE > Utc::now()
        {
            return Ok(token.clone());
        }
        *token = None;
        let (fresh, expires_at) = self.log_in(keystone).await?;
        *token = Some((fresh.clone(), expires_at));
        Ok(fresh)
    }

    async fn log_in(&self, keystone: &Keystone) -> Result<(Secret, DateTime<Utc>), Problem> {
        let secret =
            read(&self.secret).map_err(|source| Problem::Secret { path: self.secret.clone(), source })?;
        let request =
            keystone.client.post(keystone.tokens.clone()).json(&json!({"auth": self.account.auth(&secret)}));
        let (status, subject, bytes) = keystone.ask(request).await?;
        match status {
            StatusCode::CREATED => {}
            StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => return Err(Problem::Refused),
            other => return Err(Problem::Status(other)),
        }
        let token = subject.ok_or_else(|| Problem::Strange("a login without a token".into()))?;
        let body: TokenBody =
            serde_json::from_slice(&bytes).map_err(|error| Problem::Strange(Box::new(error)))?;
        tracing::debug!(expires_at = %body.token.expires_at, "logged in to Keystone");
        Ok((Secret::new(token), body.token.expires_at))
    }
}

impl Account {
    fn auth(&self, secret: &Secret) -> Value {
        match self {
            Self::Password { user, user_domain, project, project_domain } => json!({
                "identity": {
                    "methods": ["password"],
                    "password": {
                        "user": {"name": user, "domain": {"name": user_domain}, "password": secret.reveal()},
                    },
                },
                "scope": {"project": {"name": project, "domain": {"name": project_domain}}},
            }),
            Self::ApplicationCredential { id } => json!({
                "identity": {
                    "methods": ["application_credential"],
                    "application_credential": {"id": id, "secret": secret.reveal()},
                },
            }),
        }
    }
}

/// The first line of a file with a secret.
fn read(path: &Path) -> io::Result<Secret> {
    let text = zeroize::Zeroizing::new(fs::read_to_string(path)?);
    match text.lines().next() {
        Some(line) if !line.is_empty() && line.len() <= 4096 => Ok(Secret::new(line)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "its first line is empty or too long")),
    }
}
