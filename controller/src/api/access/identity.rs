//! Who asks.

use std::sync::Arc;

/// What a role lets its holder do, in Keystone's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything.
    Admin,
    /// Between admin and member.
    Manager,
    /// Changes.
    Member,
    /// Looks.
    Reader,
    /// Another service, such as Nova.
    Service,
}

/// Who sent a request, as far as it was proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// How the user calls itself.
    pub user: Option<String>,
    /// Keystone's id of the user.
    pub user_id: Option<String>,
    /// Name of the project that the token is for.
    pub project: Option<String>,
    /// Keystone's id of it: what `owner` and `lessee` are compared with.
    pub project_id: Option<String>,
    /// Names of roles, as Keystone says them.
    pub roles: Vec<String>,
    /// The roles are for the whole system.
    pub system: bool,
    /// The project is the one that services of the cloud work in.
    pub in_service_project: bool,
}

// === impl Role ===

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Admin, Self::Manager, Self::Member, Self::Reader, Self::Service];

    /// Keystone's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Manager => "manager",
            Self::Member => "member",
            Self::Reader => "reader",
            Self::Service => "service",
        }
    }
}

// === impl Identity ===

impl Identity {
    /// A user of the whole system with a role and those it implies.
    #[must_use]
    pub fn system(user: Option<&str>, role: SystemRole) -> Self {
        let roles: &[Role] = match role {
            SystemRole::Admin => &[Role::Admin, Role::Manager, Role::Member, Role::Reader],
            SystemRole::Member => &[Role::Member, Role::Reader],
            SystemRole::Reader => &[Role::Reader],
        };
        Self {
            user: user.map(str::to_owned),
            roles: roles.iter().map(|role| role.name().to_owned()).collect(),
            system: true,
            ..Self::default()
        }
    }

    /// Nobody in particular, who may do everything: no authentication is configured.
    #[must_use]
    pub fn everybody() -> Arc<Self> {
        static ADMIN: std::sync::LazyLock<Arc<Identity>> =
            std::sync::LazyLock::new(|| Arc::new(Identity::system(None, SystemRole::Admin)));
        Arc::clone(&ADMIN)
    }

    pub(super) fn has(&self, role: Role) -> bool {
        self.roles.iter().any(|name| name.eq_ignore_ascii_case(role.name()))
    }
}

/// What a user of the password file may do, on all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SystemRole {
    /// Everything.
    Admin,
    /// What an operator does day by day; enrols and deletes no nodes.
    Member,
    /// Looks.
    Reader,
}
