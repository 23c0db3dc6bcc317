//! Rules for objects that are not nodes themselves.

use bessemer_proto::ids::NodeId;

use super::{
    guard::{Case, target},
    policy::{Target, allows},
    routes::Object,
};
use crate::{
    api::error::ApiError,
    node::{
        Node,
        allocation::Allocation,
        portgroup::Portgroup,
        runbook::Runbook,
        volume::{VolumeConnector, VolumeTarget},
    },
    store::Resource,
};

impl Case<'_> {
    /// A port, port group, volume connector or volume target: its node decides.
    pub(super) async fn check_part(&self, ident: &str) -> Result<(), ApiError> {
        match self.route.object {
            Object::Port => {
                let node = self.state.store.port(ident).await?.node;
                self.check_part_of("Port", ident, node, self.route.action).await
            }
            Object::Connector => self.check_resource::<VolumeConnector>(ident, self.route.action).await,
            Object::VolumeTarget => self.check_resource::<VolumeTarget>(ident, self.route.action).await,
            _ => self.check_resource::<Portgroup>(ident, self.route.action).await,
        }
    }

    async fn check_resource<R: Resource>(&self, ident: &str, action: &str) -> Result<(), ApiError> {
        match self.state.store.resource::<R>(ident).await?.value.node() {
            Some(node) => self.check_part_of(R::WHAT, ident, node, action).await,
            None => self.demand(action, None),
        }
    }

    async fn check_part_of(
        &self,
        what: &'static str,
        ident: &str,
        node: NodeId,
        action: &str,
    ) -> Result<(), ApiError> {
        let node = self.state.store.node(&node.to_string()).await?;
        let target = target(&node);
        if !allows(self.identity, "baremetal:node:get", Some(&target)) {
            return Err(self.hidden(what, ident, "baremetal:node:get"));
        }
        self.demand(action, Some(&target))
    }

    /// A port group that an argument or a body names must be there for who asks.
    pub(super) async fn check_portgroup(&self, ident: &str) -> Result<(), ApiError> {
        self.check_resource::<Portgroup>(ident, "baremetal:portgroup:get").await
    }

    pub(super) async fn check_allocation(&self, ident: &str) -> Result<(), ApiError> {
        let allocation = self.state.store.resource::<Allocation>(ident).await?.value;
        let target = Target { owner: allocation.owner, lessee: None };
        if !allows(self.identity, "baremetal:allocation:get", Some(&target)) {
            return Err(self.hidden("Allocation", ident, "baremetal:allocation:get"));
        }
        self.demand(self.route.action, Some(&target))
    }

    /// The allocation of a node, where it has one.
    pub(super) async fn allocation_of(&self, node: &Node) -> Result<(), ApiError> {
        match self.state.store.resources::<Allocation>(Some(node.uuid)).await?.first() {
            Some(allocation) => self.check_allocation(&allocation.value.uuid.to_string()).await,
            None => Ok(()),
        }
    }

    /// A public runbook may be seen and run by everybody who may do so at all.
    pub(super) async fn check_runbook(&self, ident: &str, action: &str) -> Result<(), ApiError> {
        let runbook = self.state.store.resource::<Runbook>(ident).await?.value;
        let target = Target { owner: runbook.owner.clone(), lessee: None };
        let may = |action: &str| allows(self.identity, action, Some(&target));
        if runbook.public && matches!(action, "baremetal:runbook:get" | "baremetal:runbook:use") {
            return Ok(());
        }
        if !may("baremetal:runbook:get") && !runbook.public {
            return Err(self.hidden("Runbook", ident, "baremetal:runbook:get"));
        }
        self.demand(action, Some(&target))
    }
}
