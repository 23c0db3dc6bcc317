//! Allocations over restarts and undeploys.

use super::*;
use crate::node::allocation::{Allocation, AllocationState};

fn allocation() -> Allocation {
    Allocation {
        uuid: uuid::Uuid::new_v4(),
        name: None,
        state: AllocationState::Allocating,
        resource_class: Some("baremetal".into()),
        traits: Vec::new(),
        candidate_nodes: Vec::new(),
        owner: None,
        extra: Map::new(),
        last_error: None,
        node: None,
    }
}

impl World {
    async fn free(&self) -> NodeId {
        let id = self.available().await;
        let free = |node: &mut Node| {
            node.instance_uuid = None;
            node.resource_class = Some("baremetal".into());
            Ok(())
        };
        self.engine.edit(id, free).await.unwrap();
        id
    }

    async fn allocation(&self, uuid: uuid::Uuid) -> Allocation {
        let found = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let found = self.store.resource::<Allocation>(&uuid.to_string()).await.unwrap().value;
                if found.state != AllocationState::Allocating {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        found.await.unwrap()
    }
}

#[tokio::test]
async fn an_allocation_that_was_answered_is_processed_by_the_next_life() {
    let mut world = World::new().await;
    let id = world.free().await;
    // As it is when the controller is killed right after the answer.
    let asked = allocation();
    world.store.create_resource(&asked).await.unwrap();
    world.kill().await;
    assert_eq!(world.allocation(asked.uuid).await.node, Some(id));
    assert_eq!(world.node(id).await.allocation_uuid, Some(asked.uuid));
}

#[tokio::test]
async fn a_node_that_was_taken_just_before_the_kill_is_the_one_of_the_allocation() {
    let mut world = World::new().await;
    let (first, _second) = (world.free().await, world.free().await);
    let asked = allocation();
    world.store.create_resource(&asked).await.unwrap();
    let mut node = world.node(first).await;
    node.instance_uuid = Some(asked.uuid.to_string());
    node.allocation_uuid = Some(asked.uuid);
    world.store.update_node(&mut node, None).await.unwrap();
    world.kill().await;
    assert_eq!(world.allocation(asked.uuid).await.node, Some(first));
}

#[tokio::test]
async fn undeploying_gives_the_node_back_and_removes_the_allocation() {
    let world = World::new().await;
    let id = world.free().await;
    let asked = allocation();
    world.engine.allocate(asked.clone(), None).await.unwrap();
    world.allocation(asked.uuid).await;
    let info = world.instance_info();
    let fill = |node: &mut Node| {
        node.instance_info = info;
        node.instance_info.insert("project_id".into(), json!("p1"));
        Ok(())
    };
    world.engine.edit(id, fill).await.unwrap();
    world.ask(id, Verb::Deploy).await.unwrap();
    let node = world.reaches(id, ProvisionState::Active).await;
    assert_eq!(node.lessee.as_deref(), Some("p1"));
    assert!(matches!(world.engine.release(asked.uuid).await, Err(RequestError::InUse(_))));
    world.ask(id, Verb::Undeploy).await.unwrap();
    let node = world.reaches(id, ProvisionState::Available).await;
    assert_eq!((node.allocation_uuid, node.instance_uuid, node.lessee), (None, None, None));
    assert!(world.store.resources::<Allocation>(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_allocation_removed_while_it_is_processed_leaves_the_node_free() {
    let world = World::new().await;
    let id = world.free().await;
    for _ in 0..20 {
        let asked = allocation();
        world.engine.allocate(asked.clone(), None).await.unwrap();
        world.engine.release(asked.uuid).await.unwrap();
        world.until(id, |node| node.allocation_uuid.is_none()).await;
        assert!(world.store.resources::<Allocation>(None).await.unwrap().is_empty());
    }
    let node = world.until(id, |node| node.instance_uuid.is_none()).await;
    assert_eq!(node.provision_state, ProvisionState::Available);
}

#[tokio::test]
async fn a_node_taken_for_an_allocation_that_was_removed_is_free_after_a_restart() {
    let mut world = World::new().await;
    let id = world.free().await;
    let removed = uuid::Uuid::new_v4();
    world
        .engine
        .edit(id, move |node| {
            node.instance_uuid = Some(removed.to_string());
            node.allocation_uuid = Some(removed);
            Ok(())
        })
        .await
        .unwrap();
    world.kill().await;
    let node = world.until(id, |node| node.allocation_uuid.is_none()).await;
    assert_eq!(node.instance_uuid, None);
}

#[tokio::test]
async fn a_node_that_loses_its_instance_keeps_nothing_of_the_allocation() {
    let world = World::new().await;
    let id = world.free().await;
    let has_trait = |node: &mut Node| {
        node.traits = vec!["CUSTOM_GPU".into()];
        Ok(())
    };
    world.engine.edit(id, has_trait).await.unwrap();
    let asked = Allocation { traits: vec!["CUSTOM_GPU".into()], ..allocation() };
    world.engine.allocate(asked.clone(), None).await.unwrap();
    assert_eq!(world.allocation(asked.uuid).await.node, Some(id));
    assert_eq!(world.node(id).await.instance_info["traits"], json!(["CUSTOM_GPU"]));
    let without = |node: &mut Node| {
        node.instance_uuid = None;
        Ok(())
    };
    world.engine.edit(id, without).await.unwrap();
    let node = world.node(id).await;
    // The traits would choose the deploy templates of whoever gets the node next.
    assert_eq!((node.allocation_uuid, node.instance_info.get("traits")), (None, None));
    assert!(world.store.resources::<Allocation>(None).await.unwrap().is_empty());
}
