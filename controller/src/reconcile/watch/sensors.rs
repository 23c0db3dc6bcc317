//! One look at the sensors of one node.

use bessemer_proto::ids::NodeId;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::{
    bmc::{Sensor, Sensors},
    node::{Node, ProvisionState},
    reconcile::{context::Context, engine::Inner, error::sentence},
    sensors::{self, Readings},
    store::StoreError,
};

/// What waits of it for a receiver that takes nothing: the newest only.
const TOPIC: &str = "sensors";

/// Reads them, keeps them for `/metrics`, and tells whoever wants notifications of them.
pub(super) async fn watch(inner: &Inner, id: NodeId) -> Result<(), StoreError> {
    let cx = &inner.cx;
    let node = cx.store.node(&id.to_string()).await?;
    let (true, Some(bmc)) = (is_wanted(cx, &node), sensors_of(cx, &node)) else {
        cx.sensors.forget(id);
        return Ok(());
    };
    let within = cx.sensor_data.wait_timeout();
    let read = match timeout(within, bmc.sensors()).await {
        Ok(read) => read.map_err(|error| sentence(&error)),
        Err(_) => Err(format!("the BMC took longer than {} s", within.as_secs())),
    };
    match read {
        Ok(sensors) => take(cx, &node, sensors).await,
        Err(reason) => {
            warn!(node = %id, reason, "the sensors cannot be read");
            cx.sensors.fail(&node);
            Ok(())
        }
    }
}

fn is_wanted(cx: &Context, node: &Node) -> bool {
    let has_instance = node.instance_uuid.is_some() || node.provision_state == ProvisionState::Active;
    let is_used = has_instance || cx.sensor_data.enable_for_undeployed_nodes;
    is_used && !node.maintenance && node.provision_state != ProvisionState::Enroll
}

fn sensors_of(cx: &Context, node: &Node) -> Option<std::sync::Arc<dyn Sensors>> {
    let bmc =
        (cx.open_bmc)(node).inspect_err(|error| debug!(node = %node.uuid, error = sentence(error), "no BMC"));
    bmc.ok()?.sensors
}

async fn take(cx: &Context, node: &Node, mut sensors: Vec<Sensor>) -> Result<(), StoreError> {
    sensors.retain(|sensor| cx.sensor_data.keeps(sensor.kind));
    let readings = Readings::of(node, sensors);
    cx.sensors.put(readings.clone());
    let kind = sensors::kind_of(&node.driver);
    let messages = cx.announcer.to_each(&kind, node.uuid, |id| sensors::body_of(id, &readings).to_string());
    cx.store.leave_newest(TOPIC, messages).await
}
