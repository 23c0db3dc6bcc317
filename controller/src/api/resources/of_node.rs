//! Filters of ports and port groups: by the node they belong to, by shard, by conductor group, by address.

use std::collections::HashSet;

use bessemer_proto::ids::NodeId;

use super::super::{
    State,
    error::ApiError,
    links::Context,
    nodes,
    query::Query,
    value::{mac_address, shortened},
};
use crate::store::NodeFilter;

/// Whose ports or port groups a listing shows. One filter at a time, as in Ironic.
#[derive(Debug, Default)]
pub(in super::super) struct NodesWanted {
    nodes: Option<HashSet<NodeId>>,
    address: Option<String>,
}

impl NodesWanted {
    /// Reads `node`, `address`, `shard` (since `shard_since`), `conductor_groups`.
    pub(in super::super) async fn read(
        state: &State,
        context: &Context,
        query: &mut Query,
        shard_since: u16,
    ) -> Result<Self, ApiError> {
        let node = query.text("node").filter(|text| !text.is_empty());
        let address = query.text("address").filter(|text| !text.is_empty());
        let shards = query.list("shard").filter(|list| !list.is_empty());
        if shards.is_some() && !context.version.has(shard_since) {
            return Err(ApiError::minimal(shard_since));
        }
        let groups = query.list("conductor_groups").filter(|list| !list.is_empty());
        let given = [node.is_some(), address.is_some(), shards.is_some(), groups.is_some()];
        if given.iter().filter(|given| **given).count() > 1 {
            return Err(ApiError::bad(
                "Filtering by node, address, or shard simultaneously is not supported.",
            ));
        }
        let mut wanted = Self::default();
        if let Some(ident) = node {
            let node = nodes::find(state, context, &ident).await?.uuid;
            wanted.nodes = Some(HashSet::from([node]));
        }
        if let Some(text) = address {
            let address = mac_address("address", &text.as_str().into()).map_err(|_| {
                ApiError::bad(format!("Expected valid MAC address for address: {}", shortened(&text)))
            })?;
            wanted.address = Some(address);
        }
        if shards.is_some() || groups.is_some() {
            let within = |list: &Option<Vec<String>>, text: Option<&str>| {
                list.as_ref().is_none_or(|list| text.is_some_and(|text| list.iter().any(|item| item == text)))
            };
            let all = state.store.nodes(&NodeFilter::default()).await?;
            let found = all.iter().filter(|node| {
                within(&shards, node.shard.as_deref()) && within(&groups, Some(&node.conductor_group))
            });
            wanted.nodes = Some(found.map(|node| node.uuid).collect());
        }
        Ok(wanted)
    }

    /// The node, when it is one.
    pub(in super::super) fn only_node(&self) -> Option<NodeId> {
        let nodes = self.nodes.as_ref()?;
        nodes.iter().next().copied().filter(|_| nodes.len() == 1)
    }

    /// The address, when it is asked for.
    pub(in super::super) fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// Whether a port or port group is asked for.
    pub(in super::super) fn matches(&self, node: NodeId, address: Option<&str>) -> bool {
        self.nodes.as_ref().is_none_or(|nodes| nodes.contains(&node))
            && self.address.as_deref().is_none_or(|wanted| address == Some(wanted))
    }
}
