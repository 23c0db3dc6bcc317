//! Calls of vendor methods.

use bessemer_proto::ids::NodeId;
use serde_json::{Value, json};

use super::{
    engine::Engine,
    error::RequestError,
    hardware::{Change, answer, unsupported},
};
use crate::{
    bmc::Subscription,
    drivers::vendor::{Call, Done, Events, Work},
    node::ProvisionState,
};

// === impl Engine ===

impl Engine {
    /// Calls a vendor method. The node is locked first where the method asks for it.
    pub async fn vendor(&self, node: NodeId, call: Call) -> Result<Done, RequestError> {
        match call.work {
            Work::Eject(kinds) => self.change(node, Change::Detach(kinds)).await.map(|()| Done::Accepted),
            Work::Events(work) => self.events(node, call.method.name, work).await.map(Done::Answer),
            Work::Raw(bytes) => {
                let answer = self.send_raw(node, &bytes).await?;
                Ok(Done::Answer(json!({"data": hex::encode(answer)})))
            }
            Work::Reset { warm } => {
                self.change(node, Change::ResetBmc { warm }).await.map(|()| Done::Accepted)
            }
            Work::BootIso(url) => {
                let known = self.inner.cx.store.node(&node.to_string()).await?;
                if known.provision_state != ProvisionState::Manageable && !known.maintenance {
                    return Err(RequestError::Invalid(format!(
                        "The requested action 'boot_into_iso' can not be performed on node {node} while it is in state \
                         {}: it must be manageable, or in maintenance.",
                        known.provision_state
                    )));
                }
                self.change(node, Change::BootIso(url)).await.map(|()| Done::Accepted)
            }
            Work::Say(answer) => {
                if call.method.locks {
                    drop(self.lock(node).await?);
                }
                Ok(if call.method.in_background { Done::Accepted } else { Done::Answer(answer) })
            }
        }
    }

    async fn events(&self, node: NodeId, method: &'static str, work: Events) -> Result<Value, RequestError> {
        let (_guard, node) = self.locked(node).await?;
        let events = self.managed(&node)?.events.ok_or_else(|| unsupported(&node, method))?;
        match work {
            Events::List => {
                let all = answer(events.list()).await?;
                Ok(json!({
                    "Members@odata.count": all.len(),
                    "Members": all.iter().map(view).collect::<Vec<_>>(),
                }))
            }
            Events::Get(id) => {
                let all = answer(events.list()).await?;
                all.iter().find(|one| one.id == id).map(view).ok_or(RequestError::NotFound)
            }
            Events::Create { destination, types, context, headers } => {
                let made = events.create(&destination, &types, context.as_deref(), &headers);
                Ok(view(&answer(made).await?))
            }
            Events::Delete(id) => answer(events.delete(&id)).await.map(|_| Value::Null),
        }
    }
}

/// With Redfish's names, as Ironic shows it.
fn view(one: &Subscription) -> Value {
    json!({
        "@odata.id": format!("/redfish/v1/EventService/Subscriptions/{}", one.id),
        "Id": one.id,
        "Destination": one.destination,
        "EventTypes": one.event_types,
        "Context": one.context,
        "Protocol": one.protocol,
    })
}
