//! What ramdisks of others may tell: Ironic's lookup, heartbeat and continue_inspection. A heartbeat is recorded and
//! no more: only Bessemer's own agent is commanded.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bessemer_proto::ids::NodeId;
use chrono::Utc;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{
    engine::Engine,
    error::{Failure, RequestError},
    inspection, process,
};
use crate::node::{Dictionary, Node, PowerTarget, ProvisionState};

/// In `driver_internal_info`: the SHA-256 of the token that was given to the ramdisk.
const TOKEN: &str = "agent_secret_token";
const URL: &str = "agent_url";
const CERTIFICATE: &str = "agent_verify_ca";
const STATUS: [&str; 2] = ["agent_status", "agent_status_message"];

/// The answer to a heartbeat without the token of its node, also where there is no node.
pub const BAD_TOKEN: &str = "Invalid or missing agent token received.";

/// What a ramdisk says of itself.
#[derive(Clone)]
pub struct Heartbeat {
    /// Where its API is; empty when it has none.
    pub callback_url: String,
    /// Its version.
    pub version: Option<String>,
    /// The token that it was given.
    pub token: String,
    /// The certificate of its API, PEM.
    pub certificate: Option<String>,
    /// `start`, `end` or `error`, and a sentence.
    pub status: [Option<String>; 2],
}

/// Whether a ramdisk may ask which node it is on.
#[must_use]
pub fn lookup_allowed(state: ProvisionState) -> bool {
    use ProvisionState::{
        CleanWait, Cleaning, Deploying, InspectWait, Inspecting, RescueWait, Rescuing, ServiceWait,
        WaitCallBack,
    };
    matches!(
        state,
        Deploying
            | WaitCallBack
            | Cleaning
            | CleanWait
            | Inspecting
            | InspectWait
            | Rescuing
            | RescueWait
            | ServiceWait
    )
}

/// Forgets the ramdisk: it is gone.
pub(super) fn forget(node: &mut Node) {
    for key in [TOKEN, URL, CERTIFICATE, STATUS[0], STATUS[1]] {
        node.driver_internal_info.remove(key);
    }
}

fn hashed(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

fn check_token(node: &Node, beat: &Heartbeat) -> Result<(), RequestError> {
    let known = node.driver_internal_info.get(TOKEN).and_then(Value::as_str).unwrap_or_default();
    let is_right = bool::from(known.as_bytes().ct_eq(hashed(&beat.token).as_bytes()));
    if is_right { Ok(()) } else { Err(bad(BAD_TOKEN)) }
}

fn bad(sentence: &str) -> RequestError {
    RequestError::Invalid(sentence.to_owned())
}

// === impl Engine ===

impl Engine {
    /// A new token for the node's ramdisk; `None` when one was given already.
    pub async fn agent_token(&self, node: NodeId) -> Result<Option<String>, RequestError> {
        let _guard = self.lock(node).await?;
        let mut node = self.inner.cx.store.node(&node.to_string()).await?;
        if node.driver_internal_info.contains_key(TOKEN) {
            return Ok(None);
        }
        if !lookup_allowed(node.provision_state) {
            return Err(RequestError::NotFound);
        }
        let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        node.driver_internal_info.insert(TOKEN.to_owned(), hashed(&token).into());
        self.inner.cx.store.update_node(&mut node, None).await?;
        tracing::info!(node = %node.uuid, "a ramdisk of others was given its token");
        Ok(Some(token))
    }

    /// Records a heartbeat.
    pub async fn heartbeat(&self, node: NodeId, beat: Heartbeat) -> Result<(), RequestError> {
        let ident = node.to_string();
        // Before the lock, which strangers must not take, and before anything that tells of the node.
        check_token(&self.inner.cx.store.node(&ident).await?, &beat)?;
        let _guard = self.lock(node).await?;
        let mut node = self.inner.cx.store.node(&ident).await?;
        check_token(&node, &beat)?;
        let info = &node.driver_internal_info;
        if info.get(URL).and_then(Value::as_str).is_some_and(|known| known != beat.callback_url) {
            return Err(bad("Detected change in ramdisk provided \"callback_url\""));
        }
        if !beat.callback_url.is_empty() && !beat.callback_url.starts_with("https://") {
            return Err(bad("TLS is required by configuration"));
        }
        if let (Some(new), Some(old)) = (&beat.certificate, info.get(CERTIFICATE).and_then(Value::as_str))
            && new.trim() != old.trim()
        {
            return Err(bad("Detected change in ramdisk provided \"agent_verify_ca\""));
        }
        if !lookup_allowed(node.provision_state) {
            tracing::warn!(node = %node.uuid, state = %node.provision_state, "a heartbeat was not expected");
            return Ok(());
        }
        record(&mut node.driver_internal_info, beat);
        Ok(self.inner.cx.store.update_node(&mut node, None).await?)
    }

    /// Takes over what a ramdisk found on a node in `inspect wait`, and ends its inspection.
    pub async fn continue_inspection(
        &self,
        node: NodeId,
        inventory: Dictionary,
        plugin_data: Dictionary,
    ) -> Result<(), RequestError> {
        let guard = self.lock(node).await?;
        let cx = &self.inner.cx;
        let mut node = cx.store.node(&node.to_string()).await?;
        if node.provision_state != ProvisionState::InspectWait {
            return Err(RequestError::NotFound);
        }
        match inspection::take(&mut node, inventory, plugin_data, cx).await {
            Ok(()) => {}
            Err(Failure::Store(error)) => return Err(error.into()),
            Err(Failure::Node(reason)) => {
                // The state fails itself: its way of failing also stops the machine.
                process::fail_soon(&mut node, &reason);
                cx.store.update_node(&mut node, None).await?;
                drop(guard);
                self.poke(node.uuid);
                return Ok(());
            }
        }
        let id = node.uuid;
        let powered_off_after = !node.disable_power_off;
        process::enter(node, ProvisionState::Manageable, None, cx).await?;
        drop(guard);
        if powered_off_after && let Err(error) = self.power(id, PowerTarget::Off).await {
            tracing::warn!(node = %id, %error, "the machine stays on after its inspection");
        }
        self.poke(id);
        Ok(())
    }
}

fn record(info: &mut Dictionary, beat: Heartbeat) {
    info.insert(URL.to_owned(), beat.callback_url.into());
    if let Some(version) = beat.version {
        info.insert("agent_version".to_owned(), version.into());
    }
    let now = Utc::now().naive_utc().format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
    info.insert("agent_last_heartbeat".to_owned(), json!(now));
    if let Some(certificate) = beat.certificate {
        info.insert(CERTIFICATE.to_owned(), certificate.into());
    }
    for (key, value) in STATUS.into_iter().zip(beat.status) {
        if let Some(value) = value {
            info.insert(key.to_owned(), value.into());
        }
    }
}
