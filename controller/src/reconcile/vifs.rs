//! VIFs go with the instance that they were attached for.

use bessemer_proto::ids::NodeId;
use chrono::Utc;

use super::context::Context;
use crate::{
    node::{portgroup::Portgroup, vif::KEY},
    store::StoreError,
};

/// No port and no port group of the node holds a VIF any more.
pub(super) async fn forget(cx: &Context, node: NodeId) -> Result<(), StoreError> {
    for mut port in cx.store.ports(Some(node), None).await? {
        if port.internal_info.remove(KEY).is_some() {
            port.updated_at = Some(Utc::now());
            cx.store.update_port(&port).await?;
        }
    }
    for mut group in cx.store.resources::<Portgroup>(Some(node)).await? {
        if group.value.internal_info.remove(KEY).is_some() {
            cx.store.update_resource(&mut group).await?;
        }
    }
    Ok(())
}
