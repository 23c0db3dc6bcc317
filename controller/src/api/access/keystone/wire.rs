//! What Keystone says of a token.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::api::access::Identity;

/// The body of `GET` and `POST /v3/auth/tokens`.
#[derive(Debug, Deserialize)]
pub(super) struct TokenBody {
    pub(super) token: Token,
}

#[derive(Debug, Deserialize)]
pub(super) struct Token {
    pub(super) expires_at: DateTime<Utc>,
    user: Named,
    project: Option<Named>,
    #[serde(default)]
    roles: Vec<Named>,
    system: Option<System>,
}

#[derive(Debug, Deserialize)]
struct Named {
    #[serde(default)]
    id: Option<String>,
    name: String,
}

/// `{"all": true}`.
#[derive(Debug, Deserialize)]
struct System {
    #[serde(default)]
    all: bool,
}

impl TokenBody {
    pub(super) fn identity(self, service_project: &str) -> Identity {
        let token = self.token;
        let (project, project_id) = token.project.map_or((None, None), |named| (Some(named.name), named.id));
        Identity {
            user: Some(token.user.name),
            user_id: token.user.id,
            in_service_project: project.as_deref() == Some(service_project),
            project,
            project_id,
            roles: token.roles.into_iter().map(|role| role.name).collect(),
            system: token.system.is_some_and(|system| system.all),
        }
    }
}
