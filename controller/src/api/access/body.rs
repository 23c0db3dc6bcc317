//! Rules for what a request's body asks for.

use http::StatusCode;
use serde_json::Value;

use super::{
    guard::{Case, denied, patched, target},
    policy::allows,
    routes::Object,
};
use crate::{
    api::{error::ApiError, value},
    node::{Node, ProvisionState},
};

/// Fields of a node with rules of their own. All others are under `baremetal:node:update`.
const NODE_FIELDS: &[(&str, &str)] = &[
    ("instance_info", "baremetal:node:update_instance_info"),
    ("instance_name", "baremetal:node:update_instance_info"),
    ("extra", "baremetal:node:update_extra"),
    ("driver_info", "baremetal:node:update:driver_info"),
    ("properties", "baremetal:node:update:properties"),
    ("chassis_uuid", "baremetal:node:update:chassis_uuid"),
    ("instance_uuid", "baremetal:node:update:instance_uuid"),
    ("lessee", "baremetal:node:update:lessee"),
    ("owner", "baremetal:node:update:owner"),
    ("driver", "baremetal:node:update:driver_interfaces"),
    ("network_data", "baremetal:node:update:network_data"),
    ("conductor_group", "baremetal:node:update:conductor_group"),
    ("name", "baremetal:node:update:name"),
    ("retired", "baremetal:node:update:retired"),
    ("retired_reason", "baremetal:node:update:retired"),
    ("shard", "baremetal:node:update:shard"),
    ("parent_node", "baremetal:node:update:parent_node"),
    ("disable_power_off", "baremetal:node:update:disable_power_off"),
];

/// What a patch of that field of a node needs.
fn node_field(field: &str) -> &'static str {
    if let Some((_, action)) = NODE_FIELDS.iter().find(|(name, _)| *name == field) {
        return action;
    }
    if field.ends_with("_interface") {
        return "baremetal:node:update:driver_interfaces";
    }
    "baremetal:node:update"
}

/// Whether a patch that gives `automated_clean` that value turns the cleaning of the node off. Nothing is the default
/// of the configuration, and takes something away only where the node says otherwise.
fn disables_cleaning(node: &Node, to: &Value, default: bool) -> bool {
    match to {
        Value::Null => !default && node.automated_clean == Some(true),
        Value::Bool(on) => !on,
        Value::String(word) => value::boolean_word(word) == Some(false),
        // Not the handler's idea of a boolean.
        _ => true,
    }
}

impl Case<'_> {
    pub(super) fn check_node_patch(&self, node: &Node, patch: &Value) -> Result<(), ApiError> {
        let target = target(node);
        let fields = patched(patch);
        if fields.is_empty() {
            return self.demand(self.route.action, Some(&target));
        }
        for (field, to) in &fields {
            let cleans = || self.state.engine.automated_clean();
            let action = match *field {
                "automated_clean" if disables_cleaning(node, to, cleans()) => {
                    "baremetal:node:disable_cleaning"
                }
                field => node_field(field),
            };
            self.demand(action, Some(&target))?;
        }
        let gives_away = fields.iter().any(|(field, _)| *field == "owner");
        if gives_away
            && node.provision_state == ProvisionState::Active
            && !allows(self.identity, "baremetal:node:update_owner_provisioned", Some(&target))
        {
            return Err(ApiError::conflict(format!(
                "Cannot update owner of node \"{}\" while it is in state \"active\".",
                node.uuid
            )));
        }
        Ok(())
    }

    pub(super) async fn check_provision(&self, ident: &str, body: &Value) -> Result<(), ApiError> {
        if let Some(runbook) = body.get("runbook").and_then(Value::as_str) {
            return self.check_runbook(runbook, "baremetal:runbook:use").await;
        }
        let node = self.visible_node(ident).await?;
        for steps in ["clean_steps", "service_steps"] {
            if body.get(steps).is_some_and(|steps| !steps.is_null()) {
                let action = format!("baremetal:node:set_provision_state:{steps}");
                self.demand(&action, Some(&target(&node)))?;
            }
        }
        Ok(())
    }

    /// What is to be.
    pub(super) async fn check_new(&self, body: &Value) -> Result<(), ApiError> {
        match self.route.object {
            Object::OnNode => self.check_on_node(body).await,
            Object::NewAllocation => self.check_new_allocation(body).await,
            Object::NewRunbook => self.check_new_runbook(body),
            _ => self.check_new_node(body).await,
        }
    }

    async fn check_new_node(&self, body: &Value) -> Result<(), ApiError> {
        if !allows(self.identity, self.route.action, None) {
            if self.identity.project_id.is_none()
                || !allows(self.identity, "baremetal:node:create:self_owned_node", None)
            {
                return Err(denied(self.route.action));
            }
            let owner = body.get("owner").and_then(Value::as_str);
            if owner.is_some() && owner != self.identity.project_id.as_deref() {
                return Err(ApiError::bad(
                    "Cannot create a node as a project scoped admin with an owner other than your own project.",
                ));
            }
        }
        match body.get("parent_node").and_then(Value::as_str) {
            Some(parent) => self.visible_node(parent).await.map(drop).map_err(wrong_body),
            None => Ok(()),
        }
    }

    /// Ports and the like are added to a node that the body names.
    async fn check_on_node(&self, body: &Value) -> Result<(), ApiError> {
        match body.get("node_uuid").and_then(Value::as_str) {
            Some(ident) => self.node(ident, self.route.action).await.map(drop).map_err(wrong_body),
            None => self.demand(self.route.action, None),
        }
    }

    /// Ports and the like may be moved to another node only by who may change both.
    pub(super) async fn check_moved(&self, patch: &Value) -> Result<(), ApiError> {
        for (field, to) in patched(patch) {
            let Some(to) = to.as_str() else { continue };
            match field {
                "node_uuid" => {
                    self.node(to, self.route.action).await.map_err(wrong_body)?;
                }
                "portgroup_uuid" => self.check_portgroup(to).await.map_err(wrong_body)?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn check_new_allocation(&self, body: &Value) -> Result<(), ApiError> {
        self.demand(self.route.action, None)?;
        if allows(self.identity, "baremetal:allocation:create_restricted", None) {
            return Ok(());
        }
        let owner = body.get("owner").and_then(Value::as_str);
        if owner.is_some() && owner != self.identity.project_id.as_deref() {
            let sentence = "Cannot create an allocation with an owner other than your own project.";
            return Err(ApiError::new(StatusCode::FORBIDDEN, sentence));
        }
        let candidates = body.get("candidate_nodes").and_then(Value::as_array);
        let named = candidates.into_iter().flatten().chain(body.get("node"));
        for ident in named.filter_map(Value::as_str) {
            self.visible_node(ident).await.map_err(wrong_body)?;
        }
        Ok(())
    }

    /// As Ironic: a project's runbooks are its own, and not everybody's.
    fn check_new_runbook(&self, body: &Value) -> Result<(), ApiError> {
        self.demand(self.route.action, None)?;
        if self.identity.system {
            return Ok(());
        }
        let owner = body.get("owner").and_then(Value::as_str).filter(|owner| !owner.is_empty());
        if owner.is_some() && owner != self.identity.project_id.as_deref() {
            return Err(ApiError::bad(
                "Cannot create a runbook as a project scoped admin with an owner other than your own project.",
            ));
        }
        let public = match body.get("public") {
            Some(Value::Bool(on)) => *on,
            Some(Value::String(word)) => value::boolean_word(word) == Some(true),
            _ => false,
        };
        match public {
            true => Err(ApiError::bad("Cannot create a public runbook as a project scoped admin.")),
            false => Ok(()),
        }
    }

    pub(super) async fn check_runbook_patch(&self, ident: &str, patch: &Value) -> Result<(), ApiError> {
        let fields = patched(patch);
        if fields.is_empty() {
            return self.check_runbook(ident, self.route.action).await;
        }
        for (field, _) in fields {
            let action = match field {
                "owner" => "baremetal:runbook:update:owner",
                "public" => "baremetal:runbook:update:public",
                _ => self.route.action,
            };
            self.check_runbook(ident, action).await?;
        }
        Ok(())
    }
}

/// The path of the request was right, what its body names is not there.
fn wrong_body(error: ApiError) -> ApiError {
    if error.status() == StatusCode::NOT_FOUND { error.with_status(StatusCode::BAD_REQUEST) } else { error }
}
