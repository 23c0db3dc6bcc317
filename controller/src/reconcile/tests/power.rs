use super::*;
use crate::node::{PowerState, PowerTarget};

#[tokio::test]
async fn power_is_changed_in_the_background_and_shown() {
    let world = World::new().await;
    let id = world.available().await;
    world.machine.lock().slow = Some(("on", Duration::from_millis(300)));
    world.engine.power(id, PowerTarget::On).await.unwrap();
    let node = world.node(id).await;
    assert_eq!(node.target_power_state, Some(PowerTarget::On));
    assert_eq!(node.reservation.as_deref(), Some("controller-1"));
    let settled = |node: &Node| node.target_power_state.is_none();
    let node = world.until(id, settled).await;
    assert_eq!((node.power_state, node.reservation), (Some(PowerState::On), None));

    world.machine.lock().slow = None;
    for (target, asked, state) in [
        (PowerTarget::Reboot, vec!["force off", "on"], PowerState::On),
        (PowerTarget::SoftReboot, vec!["shut down", "on"], PowerState::On),
        (PowerTarget::SoftOff, vec!["shut down"], PowerState::Off),
        (PowerTarget::Off, vec!["force off"], PowerState::Off),
    ] {
        world.machine.lock().asked.clear();
        world.engine.power(id, target).await.unwrap();
        let node = world.until(id, settled).await;
        assert_eq!(node.power_state, Some(state), "{target}");
        let done: Vec<_> =
            world.machine.lock().asked.iter().filter(|asked| *asked != "read power").cloned().collect();
        assert_eq!(done, asked, "{target}");
    }
}

#[tokio::test]
async fn a_power_change_that_fails_says_why() {
    let world = World::new().await;
    let id = world.available().await;
    world.machine.lock().broken = Some("on");
    world.engine.power(id, PowerTarget::On).await.unwrap();
    let node = world.until(id, |node| node.target_power_state.is_none()).await;
    let error = node.last_error.unwrap();
    assert!(error.starts_with("Failed to change the power state to \"power on\". Error: the BMC"), "{error}");
    assert_eq!((node.power_state, node.reservation), (Some(PowerState::Off), None));
}

#[tokio::test]
async fn a_restart_ends_a_power_change_and_says_so() {
    let mut world = World::new().await;
    let id = world.available().await;
    world.machine.lock().slow = Some(("on", Duration::from_secs(60)));
    world.engine.power(id, PowerTarget::On).await.unwrap();
    world.kill().await;
    let node = world.node(id).await;
    assert_eq!((node.target_power_state, node.reservation), (None, None));
    assert!(node.last_error.unwrap().contains("The controller was restarted while"));
}

#[tokio::test]
async fn a_machine_that_may_not_be_off_is_restarted_and_not_powered_off() {
    let world = World::new().await;
    let id = world.available().await;
    let set = |node: &mut Node| {
        node.disable_power_off = true;
        Ok(())
    };
    world.engine.edit(id, set).await.unwrap();
    for target in [PowerTarget::Off, PowerTarget::SoftOff] {
        let refused = world.engine.power(id, target).await.unwrap_err();
        assert!(matches!(refused, RequestError::InUse(_)), "{refused}");
        assert_eq!(refused.to_string(), format!("Failed to set node power state to {target}."));
    }
    world.engine.power(id, PowerTarget::On).await.unwrap();
    world
        .until(id, |node| node.power_state == Some(PowerState::On) && node.target_power_state.is_none())
        .await;
    for target in [PowerTarget::Reboot, PowerTarget::SoftReboot] {
        world.machine.lock().asked.clear();
        world.engine.power(id, target).await.unwrap();
        let node = world.until(id, |node| node.target_power_state.is_none()).await;
        assert_eq!((node.power_state, node.last_error), (Some(PowerState::On), None), "{target}");
        let asked = world.machine.lock().asked.clone();
        assert!(asked.iter().any(|asked| asked == "restart"), "{asked:?}");
        assert!(!asked.iter().any(|asked| asked == "force off" || asked == "shut down"), "{asked:?}");
    }
}

#[tokio::test]
async fn the_end_of_a_change_is_stored_when_the_database_is_back() {
    let world = World::new().await;
    let id = world.available().await;
    // Nobody else writes meanwhile.
    world.machine.lock().slow = Some(("on", Duration::from_millis(300)));
    world.engine.power(id, PowerTarget::On).await.unwrap();
    world.store.fuse().fail_next(3);
    let node = world.until(id, |node| node.target_power_state.is_none()).await;
    assert_eq!((node.power_state, node.reservation), (Some(PowerState::On), None));
    assert_eq!(world.store.fuse().failing(), 0);
    let history = world.store.history(id, 10).await.unwrap();
    let ends = history.iter().filter(|event| event.details.event_type == "power").count();
    assert_eq!(ends, 1);

    world.machine.lock().slow = Some(("boot mode", Duration::from_millis(300)));
    let change = Change::BootMode(crate::node::BootMode::Bios);
    world.engine.change(id, change).await.unwrap();
    world.store.fuse().fail_next(2);
    let node = world.until(id, |node| node.reservation.is_none()).await;
    assert_eq!(node.boot_mode, Some(crate::node::BootMode::Bios));
}

#[tokio::test]
async fn a_controller_that_stops_does_not_wait_for_the_database() {
    let mut world = World::new().await;
    let id = world.available().await;
    world.engine.power(id, PowerTarget::On).await.unwrap();
    world.store.fuse().fail_next(u64::MAX);
    world.until(id, |_| world.machine.lock().on).await;
    tokio::time::timeout(Duration::from_secs(20), world.engine.stop()).await.unwrap();
    world.kill().await;
    let node = world.node(id).await;
    assert_eq!((node.target_power_state, node.reservation), (None, None));
}

#[tokio::test]
async fn work_that_is_abandoned_commands_the_machine_no_more() {
    let world = World::new().await;
    let id = world.available().await;
    world.machine.lock().on = true;
    world.machine.lock().slow = Some(("shut down", Duration::from_millis(200)));
    world.engine.power(id, PowerTarget::SoftReboot).await.unwrap();
    world.engine.abandon().await;
    let asked = world.machine.lock().asked.len();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.machine.lock().asked.len(), asked);
    assert!(world.machine.lock().on);
}
