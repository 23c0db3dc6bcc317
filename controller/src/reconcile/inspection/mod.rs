//! What an inspection found is made part of the node: hooks, inspection rules, ports, the inventory itself.

pub(crate) mod out_of_band;

use bessemer_proto::ids::NodeId;
use chrono::Utc;
use serde_json::Map;
use uuid::Uuid;

use super::{context::Context, error::Failure, rules};
use crate::{
    node::{
        Dictionary, Node, Port,
        inspection::{self, FoundPort},
        inventory::Inventory,
    },
    store::{Resource, StoreError},
};

impl Resource for Inventory {
    const KIND: &'static str = "inventory";
    const WHAT: &'static str = "Node inventory";

    fn uuid(&self) -> Uuid {
        self.uuid()
    }

    fn node(&self) -> Option<NodeId> {
        Some(self.node)
    }
}

/// Takes over what was found: changes `node` (the caller persists it), its ports and its inventory. Idempotent.
pub(crate) async fn take(
    node: &mut Node,
    inventory: Dictionary,
    mut plugin_data: Dictionary,
    cx: &Context,
) -> Result<(), Failure> {
    let findings = inspection::look(&inventory, &mut plugin_data).map_err(|problem| {
        Failure::Node(format!("Inventory for node {} is invalid: {problem}", node.uuid))
    })?;
    add_ports(node, &findings.ports, cx).await?;
    update_ports(node, &findings.all, cx).await?;
    if let Some(arch) = findings.cpu_arch {
        node.properties.insert("cpu_arch".to_owned(), arch.into());
    }
    let plugin_data = rules::apply(node, &inventory, plugin_data, cx).await?;
    node.inspection_finished_at = Some(Utc::now());
    Ok(store(node.uuid, inventory, plugin_data, cx).await?)
}

/// The end of an inspection that looks at no machine: inspection rules are applied to the node as it is.
pub(crate) async fn take_nothing(node: &mut Node, cx: &Context) -> Result<(), Failure> {
    rules::apply(node, &Dictionary::new(), Dictionary::new(), cx).await?;
    node.inspection_finished_at = Some(Utc::now());
    Ok(())
}

async fn add_ports(node: &Node, found: &[FoundPort], cx: &Context) -> Result<(), StoreError> {
    for found in found {
        let mut extra = Map::new();
        if let Some(client_id) = &found.client_id {
            extra.insert("client-id".to_owned(), client_id.clone().into());
        }
        let mut port = Port::new(node.uuid, found.address.clone());
        port.pxe_enabled = found.pxe_enabled;
        port.extra = extra;
        match cx.store.create_port(&port).await {
            Ok(()) => tracing::info!(node = %node.uuid, address = found.address, "inspection made a port"),
            Err(StoreError::Duplicate { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Ports of interfaces that were not found are kept, as Ironic does by default.
async fn update_ports(node: &Node, found: &[FoundPort], cx: &Context) -> Result<(), StoreError> {
    for mut port in cx.store.ports(Some(node.uuid), None).await? {
        let known = found.iter().find(|found| found.address == port.address);
        let pxe_enabled = known.is_some_and(|found| found.pxe_enabled);
        if port.pxe_enabled != pxe_enabled && found.iter().any(|found| found.pxe_enabled) {
            port.pxe_enabled = pxe_enabled;
            cx.store.update_port(&port).await?;
        }
    }
    Ok(())
}

async fn store(
    node: NodeId,
    inventory: Dictionary,
    plugin_data: Dictionary,
    cx: &Context,
) -> Result<(), StoreError> {
    let new = Inventory { node, inventory, plugin_data };
    match cx.store.resource::<Inventory>(&node.to_string()).await {
        Ok(mut stored) => {
            stored.value = new;
            cx.store.update_resource(&mut stored).await
        }
        Err(StoreError::NotFound { .. }) => cx.store.create_resource(&new).await.map(drop),
        Err(error) => Err(error),
    }
}
