//! Calls of vendor methods.

use bessemer_proto::ids::NodeId;

use super::{engine::Engine, error::RequestError, hardware::Change};
use crate::drivers::vendor::{Call, Done, Work};

// === impl Engine ===

impl Engine {
    /// Calls a vendor method. The node is locked first where the method asks for it.
    pub async fn vendor(&self, node: NodeId, call: Call) -> Result<Done, RequestError> {
        match call.work {
            Work::Eject(kinds) => self.change(node, Change::Detach(kinds)).await.map(|()| Done::Accepted),
            Work::Say(answer) => {
                if call.method.locks {
                    drop(self.lock(node).await?);
                }
                Ok(if call.method.in_background { Done::Accepted } else { Done::Answer(answer) })
            }
        }
    }
}
