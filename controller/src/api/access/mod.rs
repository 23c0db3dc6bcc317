//! Who asks, and what they may do.
//!
//! `gate` lets in who is known (`basic`, `keystone`), `record` notes what they did. `identity` says who they are; `routes` is the table of all routes and the action each of them is; `policy` the table of
//! who may do which action to whose objects; `guard` enforces it in front of every handler. What an answer may show
//! of an object is asked of [`Viewer`].

mod audit;
mod basic;
mod body;
mod cache;
mod gate;
mod guard;
mod identity;
pub mod keystone;
mod large;
mod limits;
mod objects;
mod origin;
mod policy;
mod record;
mod refusals;
mod routes;

use std::{collections::HashSet, sync::Arc};

pub use audit::{Audit, AuditError};
pub use basic::PasswordFileError;
pub(super) use gate::admit;
pub use gate::{AccessError, Gate};
pub(super) use guard::{guard, target};
pub use identity::{Identity, Role, SystemRole};
pub(super) use limits::network;
pub(super) use routes::{ROUTES, Route};

use bessemer_proto::ids::NodeId;
use serde_json::{Map, Value, json};

pub(super) use record::observe;

use self::policy::allows;
use super::{State, error::ApiError};
use crate::{
    node::Node,
    reconcile::Asker,
    store::{NodeFilter, StoreError},
};

/// Fields of a node that tell of its hardware, and Ironic's words in their place.
const REDACTED: &[(&str, &str)] = &[
    ("last_error", "Value Redacted - Requires"),
    ("reservation", "Redacted - requires"),
    ("driver_internal_info", "Redacted - Requires"),
    ("driver_info", "Redacted - requires"),
];

/// Who looks at an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Viewer {
    identity: Arc<Identity>,
    /// Everything of every node is shown.
    sees_all: bool,
}

impl Viewer {
    pub(super) fn new(identity: Arc<Identity>) -> Self {
        let sees_all = allows(&identity, "baremetal:node:list_all", None);
        Self { identity, sees_all }
    }

    /// Who may see everything, for answers to ramdisks: they prove themselves in their own way.
    pub(super) fn everybody() -> Self {
        Self::new(Identity::everybody())
    }

    /// Whom the history names.
    pub(super) fn asker(&self) -> Asker {
        let Identity { user, user_id, project_id, .. } = &*self.identity;
        Asker { user: user_id.clone().or_else(|| user.clone()), project: project_id.clone() }
    }

    /// Whether an action that needs no object may be done.
    pub(super) fn may(&self, action: &str) -> bool {
        allows(&self.identity, action, None)
    }

    /// The owner of what this user makes: what was asked for, else the own project.
    pub(super) fn owner_of_new(&self, asked: Option<String>) -> Option<String> {
        if self.identity.system { asked } else { asked.or_else(|| self.identity.project_id.clone()) }
    }

    /// Whether something of that kind that has an owner is listed.
    pub(super) fn owns_or_sees_all(&self, kind: &str, owner: Option<&str>) -> bool {
        let all = format!("baremetal:{kind}:list_all");
        allows(&self.identity, &all, None)
            || (owner.is_some() && owner == self.identity.project_id.as_deref())
    }

    /// The project whose objects of that kind a listing shows: that of who asks, unless all may be seen; `None` means
    /// all. Who may see only those of one project is refused those of another.
    pub(super) fn project_of_list(
        &self,
        kind: &str,
        asked: Option<String>,
    ) -> Result<Option<String>, ApiError> {
        let all = format!("baremetal:{kind}:list_all");
        if allows(&self.identity, &all, None) {
            return Ok(asked);
        }
        match &self.identity.project_id {
            Some(own) if asked.as_ref().is_none_or(|asked| asked == own) => Ok(Some(own.clone())),
            _ => Err(guard::denied(&all)),
        }
    }

    /// The only project whose nodes may be listed; `None` means all nodes.
    fn only_project(&self) -> Option<String> {
        // An id that no project has, where there is none: nothing is listed.
        (!self.sees_all).then(|| self.identity.project_id.clone().unwrap_or_default())
    }

    /// Whether a node may be seen.
    pub(super) fn sees(&self, node: &Node) -> bool {
        self.sees_all || allows(&self.identity, "baremetal:node:get", Some(&target(node)))
    }

    /// The nodes that may be seen; `None` means all.
    pub(super) async fn nodes(&self, state: &State) -> Result<Option<HashSet<NodeId>>, StoreError> {
        let Some(project) = self.only_project() else { return Ok(None) };
        let filter = NodeFilter { project: Some(project), ..NodeFilter::default() };
        let nodes = state.store.nodes(&filter).await?;
        Ok(Some(nodes.iter().filter(|node| self.sees(node)).map(|node| node.uuid).collect()))
    }

    /// Replaces the fields of a node's document that the viewer may not see.
    pub(super) fn redact(&self, node: &Node, document: &mut Map<String, Value>) {
        if self.sees_all {
            return;
        }
        let target = target(node);
        for (field, hint) in REDACTED {
            let action = format!("baremetal:node:get:{field}");
            let says = document.get(*field).is_some_and(|value| !value.is_null());
            if says && !allows(&self.identity, &action, Some(&target)) {
                let text = format!("** {hint} {action} permission. **");
                let shown = if field.ends_with("_info") { json!({"content": text}) } else { text.into() };
                document.insert((*field).to_owned(), shown);
            }
        }
    }
}
