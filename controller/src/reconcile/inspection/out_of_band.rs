//! Inspection by the BMC: what it tells becomes properties, capabilities, ports and the inventory of the node. Nothing is
//! booted.

use std::time::Duration;

use tokio::time::timeout;

use super::take;
use crate::{
    bmc::{Bmc, Found, Inventory},
    node::{Node, PowerState, capabilities},
    reconcile::{context::Context, error::Failure, machine},
};

/// How long a BMC may take to tell it all.
const WITHIN: Duration = Duration::from_secs(600);

/// Looks at the machine. A machine that must be on for that and is off is switched on meanwhile.
pub(crate) async fn inspect(node: &mut Node, cx: &Context) -> Result<(), Failure> {
    let bmc = cx.bmc(node)?;
    let inventory = bmc.inventory.clone().ok_or_else(|| {
        Failure::Node(format!("the BMC of driver {} cannot tell what the machine is made of", node.driver))
    })?;
    let is_woken = inventory.needs_power() && bmc.power.state().await? == PowerState::Off;
    if is_woken {
        machine::power_on(node, &bmc, cx).await?;
    }
    let found = look(node, cx, &*inventory).await;
    if is_woken {
        machine::power_off(node, &bmc, cx).await?;
    }
    take_over(node, found?, &bmc, cx).await
}

async fn look(node: &mut Node, cx: &Context, inventory: &dyn Inventory) -> Result<Found, Failure> {
    cx.doing(node, "waiting for the BMC to tell what the machine is made of", WITHIN).await?;
    match timeout(WITHIN, inventory.look()).await {
        Ok(found) => Ok(found?),
        Err(_) => Err(Failure::Node(format!(
            "the BMC did not tell what the machine is made of within {} s",
            WITHIN.as_secs()
        ))),
    }
}

async fn take_over(node: &mut Node, found: Found, bmc: &Bmc, cx: &Context) -> Result<(), Failure> {
    let Found { inventory, properties, capabilities: new, plugin_data } = found;
    node.properties.extend(properties);
    if !new.is_empty() {
        let old = node.properties.get("capabilities");
        let all = capabilities::with(old, new);
        node.properties.insert("capabilities".to_owned(), all);
    }
    machine::read_vendor(node, bmc).await;
    take(node, inventory, plugin_data, cx).await
}
