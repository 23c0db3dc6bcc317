//! The store on its own; and the database that the tests of the other rooms use.

mod cases;
mod listing;
mod older;
mod postgres;
mod resources;
mod sqlite;

use std::path::Path;

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

/// The database of a controller's state folder: `bessemer.db` in it, or with `BESSEMER_TEST_STORE=postgresql` one of its own
/// in PostgreSQL, so that the same tests run on both. Opened again, it is the same.
pub(crate) async fn open_in(folder: &Path) -> Store {
    match std::env::var("BESSEMER_TEST_STORE").as_deref() {
        Err(_) | Ok("sqlite") => Store::open(&folder.join("bessemer.db")).await.unwrap(),
        Ok("postgresql") => postgres::open_in(folder).await,
        Ok(other) => panic!("BESSEMER_TEST_STORE is {other:?}: it may be sqlite or postgresql"),
    }
}

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
