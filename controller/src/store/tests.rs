mod cases;
mod listing;
mod older;
mod postgres;
mod resources;
mod sqlite;

use bessemer_proto::ids::{BootId, NodeId, StepId};
use serde_json::json;

use super::{db::Sql, *};
use crate::node::{Node, Port, ProvisionState, Verb};

/// Runs each case on a new database of either kind.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $case() {
                let (_guard, store) = crate::store::tests::sqlite::open().await;
                super::$case(store).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $case() {
                let (_guard, store) = crate::store::tests::postgres::open().await;
                super::$case(store).await;
            })*
        }
    };
}
use on_both;

fn node(name: &str) -> Node {
    let mut node = Node::new("redfish");
    node.name = Some(name.into());
    node.driver_info.insert("redfish_password".into(), json!("correct-horse-battery"));
    node.instance_info.insert("configdrive".into(), json!("very-secret-userdata"));
    node
}

fn port(node: NodeId, address: &str) -> Port {
    Port {
        uuid: uuid::Uuid::new_v4(),
        node,
        address: address.into(),
        name: None,
        description: None,
        pxe_enabled: true,
        physical_network: None,
        local_link_connection: Default::default(),
        extra: Default::default(),
        internal_info: Default::default(),
        is_smartnic: false,
        portgroup: None,
        vendor: None,
        category: None,
        available_for_dynamic_portgroup: true,
        created_at: Utc::now(),
        updated_at: None,
    }
}

fn boot(node: NodeId) -> Boot {
    Boot {
        id: BootId::random(),
        node,
        token_hash: vec![7; 32],
        token_expires: Utc::now() + chrono::TimeDelta::hours(1),
        enrolled_key_hash: None,
        created: Utc::now(),
        closed: false,
    }
}

fn step(node: NodeId, boot: BootId) -> StepRow {
    StepRow {
        id: StepId::random(),
        node,
        boot,
        name: "write_image".into(),
        attempt: 1,
        arguments: json!({"authorization": "Bearer step-secret-token"}),
        deadline_seconds: 60,
        outcome: None,
        created: Utc::now(),
    }
}
