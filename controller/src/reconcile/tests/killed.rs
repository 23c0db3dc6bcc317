//! The controller is killed at every write of a whole lifecycle, one after the other, and the node always arrives.

use super::*;
use crate::node::PowerState;

/// What is asked for, and where it ends.
const LIFECYCLE: &[(Verb, ProvisionState)] = &[
    (Verb::Manage, ProvisionState::Manageable),
    (Verb::Inspect, ProvisionState::Manageable),
    (Verb::Provide, ProvisionState::Available),
    (Verb::Deploy, ProvisionState::Active),
    (Verb::Rescue, ProvisionState::Rescue),
    (Verb::Unrescue, ProvisionState::Active),
    (Verb::Undeploy, ProvisionState::Available),
];

impl World {
    /// A node that is deployed by its agent, and inspected and rescued by fake interfaces.
    async fn whole(&self) -> NodeId {
        let id = self.enrolled().await;
        let mut node = self.node(id).await;
        for kind in ["inspect", "rescue"] {
            node.interfaces.insert(kind.into(), "fake".into());
            node.driver_info.insert(format!("fake_{kind}_delay"), json!(0.02));
        }
        self.store.update_node(&mut node, None).await.unwrap();
        id
    }
}

/// What was answered with success stays so: true when the request was taken, also when the answer was lost.
async fn asked(world: &World, id: NodeId, verb: Verb) -> bool {
    let arguments = match verb {
        Verb::Rescue => json!({"rescue_password": "pa55"}),
        _ => json!({}),
    };
    tokio::select! {
        biased;
        () = world.store.fuse().blown() => false,
        answer = world.engine.provision(id, verb, arguments.as_object().unwrap()) => {
            answer.unwrap();
            true
        }
    }
}

/// Moves of the node, as its history tells.
async fn moves(world: &World, id: NodeId) -> usize {
    let history = world.store.history(id, 300).await.unwrap();
    history.iter().filter(|event| event.from != event.to).count()
}

/// Runs the lifecycle and kills the controller when it wants to write for the `n`th time. False when there are fewer.
async fn killed_at(n: u64) -> bool {
    let mut world = World::new().await;
    let id = world.whole().await;
    world.store.fuse().blow_after(n);
    let mut killed = false;
    for (verb, target) in LIFECYCLE {
        let before = moves(&world, id).await;
        if !asked(&world, id, *verb).await {
            world.kill().await;
            killed = true;
            // Not answered: it happened or it did not, and if not it can be asked for again.
            if moves(&world, id).await == before {
                assert!(asked(&world, id, *verb).await, "{verb} at write {n}");
            }
        } else if !killed {
            let moving = world.until(id, |node| !node.provision_state.is_moving());
            let blown = tokio::select! {
                _ = moving => false,
                () = world.store.fuse().blown() => true,
            };
            if blown {
                world.kill().await;
                killed = true;
                assert!(moves(&world, id).await > before, "{verb} was answered and is lost at write {n}");
            }
        }
        let node = world.reaches(id, *target).await;
        assert_eq!((node.reservation, node.maintenance), (None, false), "{verb} at write {n}");
        assert_eq!(node.last_error, None, "{verb} at write {n}");
    }
    let node = world.node(id).await;
    assert_eq!((node.power_state, node.instance_info.len()), (Some(PowerState::Off), 0));
    killed
}

#[tokio::test]
async fn a_node_arrives_wherever_in_its_life_the_controller_is_killed() {
    const AT_ONCE: u64 = 4;
    let mut writes = 0;
    loop {
        let killed = futures_util::future::join_all((writes..writes + AT_ONCE).map(killed_at)).await;
        writes += killed.iter().filter(|killed| **killed).count() as u64;
        if killed.contains(&false) {
            break;
        }
    }
    assert!(writes > 30, "only {writes} writes: the lifecycle cannot be complete");
}
