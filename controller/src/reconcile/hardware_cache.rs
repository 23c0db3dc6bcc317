//! What the BMC tells of firmware is read when a node becomes manageable, and kept for the API.

use std::time::Duration;

use chrono::Utc;
use tokio::time::timeout;

use super::{context::Context, error::sentence};
use crate::{
    bmc::Bmc,
    drivers,
    node::{Node, hardware_cache::HardwareCache},
    store::{Resource, Store, StoreError, Stored},
};

/// How long a BMC may take to tell it.
const WITHIN: Duration = Duration::from_secs(60);

impl Resource for HardwareCache {
    const KIND: &'static str = "hardware_cache";
    const WHAT: &'static str = "Hardware cache";

    fn uuid(&self) -> uuid::Uuid {
        self.uuid()
    }

    fn node(&self) -> Option<bessemer_proto::ids::NodeId> {
        Some(self.node)
    }
}

/// Reads BIOS settings and firmware versions, as far as the node's interfaces and the BMC have them. Never fails:
/// a machine works without.
pub(crate) async fn refresh(node: &Node, bmc: &Bmc, cx: &Context) {
    match timeout(WITHIN, read(node, bmc, cx)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(node = %node.uuid, error = sentence(&error), "what the BMC tells of firmware is not kept");
        }
        Err(_) => tracing::warn!(node = %node.uuid, "the BMC takes too long to tell of its firmware"),
    }
}

async fn read(node: &Node, bmc: &Bmc, cx: &Context) -> Result<(), StoreError> {
    let has = |kind: &str| node.interfaces.get(kind).is_some_and(|name| !drivers::is_absent(name));
    let mut settings = None;
    if let (Some(bios), true) = (&bmc.bios, has("bios")) {
        match bios.read().await {
            Ok(found) => settings = Some(found),
            Err(error) => tracing::warn!(node = %node.uuid, %error, "the BIOS settings cannot be read"),
        }
    }
    let mut components = None;
    if let (Some(firmware), true) = (&bmc.firmware, has("firmware")) {
        match firmware.components().await {
            Ok(found) => components = Some(found),
            Err(error) => tracing::warn!(node = %node.uuid, %error, "the firmware versions cannot be read"),
        }
    }
    if settings.as_ref().is_none_or(Vec::is_empty) && components.as_ref().is_none_or(Vec::is_empty) {
        return Ok(());
    }
    let mut cache = stored(&cx.store, node).await?;
    let before = cache.value.clone();
    let now = Utc::now();
    if let Some(settings) = settings {
        cache.value.note_bios(settings, now);
    }
    if let Some(components) = components {
        cache.value.note_firmware(components, now);
    }
    if cache.value == before {
        return Ok(());
    }
    cx.store.update_resource(&mut cache).await
}

async fn stored(store: &Store, node: &Node) -> Result<Stored<HardwareCache>, StoreError> {
    match store.resource(&node.uuid.to_string()).await {
        Err(StoreError::NotFound { .. }) => store.create_resource(&HardwareCache::new(node.uuid)).await,
        found => found,
    }
}
