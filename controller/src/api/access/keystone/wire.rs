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
    project: Option<Project>,
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

#[derive(Debug, Deserialize)]
struct Project {
    #[serde(default)]
    id: Option<String>,
    name: String,
    domain: Option<Domain>,
}

#[derive(Debug, Deserialize)]
struct Domain {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

/// The project of the cloud's other services. Whoever may make projects in a domain of their own may call one the same.
pub(super) struct ServiceProject {
    pub(super) name: String,
    pub(super) domain_id: String,
    /// Counts instead of the id.
    pub(super) domain_name: Option<String>,
}

impl ServiceProject {
    fn is(&self, project: &Project) -> bool {
        let Some(domain) = &project.domain else { return false };
        let is_domain = match &self.domain_name {
            Some(name) => domain.name.as_ref() == Some(name),
            None => domain.id.as_ref() == Some(&self.domain_id),
        };
        is_domain && project.name == self.name
    }
}

/// `{"all": true}`.
#[derive(Debug, Deserialize)]
struct System {
    #[serde(default)]
    all: bool,
}

impl TokenBody {
    pub(super) fn identity(self, service_project: &ServiceProject) -> Identity {
        let token = self.token;
        let in_service_project = token.project.as_ref().is_some_and(|project| service_project.is(project));
        let (project, project_id) =
            token.project.map_or((None, None), |project| (Some(project.name), project.id));
        Identity {
            user: Some(token.user.name),
            user_id: token.user.id,
            in_service_project,
            project,
            project_id,
            roles: token.roles.into_iter().map(|role| role.name).collect(),
            system: token.system.is_some_and(|system| system.all),
        }
    }
}
