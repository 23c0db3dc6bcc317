//! Inspection by the BMC: what it tells becomes properties, capabilities, ports and the inventory of the node. Nothing is
//! booted.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::take;
use crate::{
    bmc::{Bmc, BmcError, Found, Inventory},
    node::{Node, PowerState, capabilities},
    reconcile::{context::Context, error::Failure, machine},
};

/// How long a BMC may take to tell it all.
const WITHIN: Duration = Duration::from_secs(900);
/// In `driver_internal_info`: the inspection that switched the machine on.
const WOKEN: &str = "inspection_woke_machine";
const ESSENTIAL: [&str; 3] = ["memory_mb", "cpus", "cpu_arch"];

/// Looks at the machine. A machine that must be on for that and is off is switched on meanwhile.
pub(crate) async fn inspect(node: &mut Node, cx: &Context) -> Result<(), Failure> {
    let bmc = cx.bmc(node)?;
    let inventory = bmc.inventory.clone().ok_or_else(|| {
        Failure::Node(format!("the BMC of driver {} cannot tell what the machine is made of", node.driver))
    })?;
    // The state first: some BMCs are known only when they were asked something.
    let is_off = bmc.power.state().await? == PowerState::Off;
    // A controller that was killed meanwhile left it on.
    let was_woken = node.driver_internal_info.get(WOKEN).is_some_and(|since| *since == life_of(node));
    let is_woken = inventory.needs_power() && (is_off || was_woken);
    if is_woken {
        node.driver_internal_info.insert(WOKEN.to_owned(), life_of(node));
        machine::power_on(node, &bmc, cx).await?;
    }
    let found = look(node, cx, &*inventory, is_woken).await;
    if is_woken {
        let slept = machine::power_off(node, &bmc, cx).await;
        node.driver_internal_info.remove(WOKEN);
        slept?;
    }
    take_over(node, found?, &bmc, cx).await
}

/// Names this inspection.
fn life_of(node: &Node) -> Value {
    json!(node.inspection_started_at)
}

async fn look(
    node: &mut Node,
    cx: &Context,
    inventory: &dyn Inventory,
    is_woken: bool,
) -> Result<Found, Failure> {
    cx.doing(node, "waiting for the BMC to tell what the machine is made of", WITHIN).await?;
    let mut missing = Vec::new();
    let looks = async {
        loop {
            let found = inventory.look().await?;
            missing = missing_of(node, &found);
            // A machine that has just been switched on has yet to find out what it has.
            if missing.is_empty() || !is_woken {
                return Ok::<_, BmcError>(found);
            }
            tokio::time::sleep(cx.config.out_of_band_interval()).await;
        }
    };
    let found = timeout(WITHIN, looks).await;
    if !missing.is_empty() && !matches!(found, Ok(Err(_))) {
        return Err(Failure::Node(format!(
            "the BMC does not tell the essential properties {}: start the machine once with its firmware's self-test, and \
             look at what the BMC shows",
            missing.join(", ")
        )));
    }
    match found {
        Ok(found) => Ok(found?),
        Err(_) => Err(Failure::Node(format!(
            "the BMC did not tell what the machine is made of within {} s",
            WITHIN.as_secs()
        ))),
    }
}

/// As Ironic's interface `ilo` has it. Without volumes there is no `local_gb`: that is no failure.
fn missing_of(node: &Node, found: &Found) -> Vec<&'static str> {
    if node.interfaces.get("inspect").is_none_or(|name| name != "ilo") {
        return Vec::new();
    }
    let is_told = |name: &&str| found.properties.get(*name).is_some_and(|value| *value != json!(0));
    ESSENTIAL.into_iter().filter(|name| !is_told(name)).collect()
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
