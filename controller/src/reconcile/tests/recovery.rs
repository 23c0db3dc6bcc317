use super::{machine::Treatment, *};
use crate::node::BootMode;

/// Kills the controller as soon as the node is at that step.
async fn killed_at(step: &'static str, waits: bool) {
    let mut world = World::new().await;
    world.machine.lock().steps = ["write_image", "set_boot_entry"].map(|s| (s, Treatment::Slow(150))).into();
    let id = world.available().await;
    world.ask(id, Verb::Deploy).await.unwrap();
    let is_there = |node: &Node| {
        let shown = node.deploy_step.get("step").and_then(Value::as_str) == Some(step);
        shown && (node.provision_state == ProvisionState::WaitCallBack) == waits
    };
    world.until(id, |node| is_there(node) || !node.provision_state.is_moving()).await;
    world.kill().await;
    let node = world.reaches(id, ProvisionState::Active).await;
    assert_eq!((node.reservation, node.last_error), (None, None));
    let machine = world.machine.lock();
    for name in ["write_image", "set_boot_entry"] {
        assert_eq!(machine.done.iter().filter(|done| *done == name).count(), 1, "{name} at {step}");
    }
    assert_eq!(machine.cd, None);
}

#[tokio::test]
async fn a_controller_killed_while_the_machine_boots_boots_it_again() {
    killed_at("deploy", false).await;
    killed_at("deploy", true).await;
}

#[tokio::test]
async fn a_machine_whose_boot_media_died_with_the_controller_boots_again() {
    let mut world = World::new().await;
    // Switched on, but the ISO is not read before the controller is gone.
    world.machine.lock().silent = true;
    let id = world.available().await;
    world.ask(id, Verb::Deploy).await.unwrap();
    world.until(id, |node| node.provision_state == ProvisionState::WaitCallBack).await;
    let first = world.store.open_boot(id).await.unwrap().unwrap();
    world.machine.lock().silent = false;
    world.kill().await;
    world.reaches(id, ProvisionState::Active).await;
    assert!(world.store.boot(first.id).await.unwrap().enrolled_key_hash.is_none());
    assert_eq!(world.machine.lock().asked.iter().filter(|asked| *asked == "insert").count(), 2);
}

#[tokio::test]
async fn a_controller_killed_during_the_write_loses_nothing() {
    killed_at("write_image", true).await;
}

#[tokio::test]
async fn a_controller_killed_before_the_config_drive_is_fetched_offers_it_again() {
    let mut world = World::new().await;
    world.machine.lock().steps = [("write_config_drive", Treatment::Slow(400))].into();
    let id = world.available().await;
    let arguments = json!({"configdrive": {"user_data": "x"}});
    world.engine.provision(id, Verb::Deploy, arguments.as_object().unwrap()).await.unwrap();
    let is_there = |node: &Node| {
        let shown = node.deploy_step.get("step").and_then(Value::as_str) == Some("write_config_drive");
        shown && node.provision_state == ProvisionState::WaitCallBack
    };
    world.until(id, |node| is_there(node) || !node.provision_state.is_moving()).await;
    world.kill().await;
    world.reaches(id, ProvisionState::Active).await;
    let machine = world.machine.lock();
    assert!(machine.config_drive.is_some());
    assert_eq!(machine.done.iter().filter(|done| *done == "write_config_drive").count(), 1);
}

#[tokio::test]
async fn a_controller_killed_during_the_boot_entry_loses_nothing() {
    killed_at("prepare_instance_boot", true).await;
}

#[tokio::test]
async fn a_controller_killed_while_the_agent_ends_goes_on() {
    killed_at("tear_down_agent", false).await;
    killed_at("boot_instance", false).await;
}

#[tokio::test]
async fn a_controller_killed_again_and_again_gets_there() {
    let mut world = World::new().await;
    let id = world.available().await;
    world.ask(id, Verb::Deploy).await.unwrap();
    for round in 1..40 {
        tokio::time::sleep(Duration::from_millis(25 * round)).await;
        if !world.node(id).await.provision_state.is_moving() {
            break;
        }
        world.kill().await;
    }
    world.reaches(id, ProvisionState::Active).await;
    let done = world.machine.lock().done.clone();
    assert_eq!(done.iter().filter(|done| *done == "write_image").count(), 1, "{done:?}");
}

#[tokio::test]
async fn a_failure_is_cleaned_up_after_a_kill() {
    let mut world = World::new().await;
    world.machine.lock().steps = [("write_image", Treatment::Fail)].into();
    let id = world.available().await;
    world.ask(id, Verb::Deploy).await.unwrap();
    world.machine.lock().slow = Some(("eject", Duration::from_millis(400)));
    world.until(id, |node| node.driver_internal_info.contains_key("failing")).await;
    world.kill().await;
    world.machine.lock().slow = None;
    let node = world.reaches(id, ProvisionState::DeployFailed).await;
    assert!(node.last_error.unwrap().contains("the body was short"));
    let machine = world.machine.lock();
    assert_eq!((machine.on, &machine.cd), (false, &None));
}

#[tokio::test]
async fn an_agent_that_is_away_is_named_in_the_reason() {
    let mut world = World::new().await;
    world.machine.lock().steps = [("write_image", Treatment::Hang)].into();
    let id = world.available().await;
    world.ask(id, Verb::Deploy).await.unwrap();
    let connected =
        |node: &Node| node.wait_reason.as_deref() == Some("waiting for the agent to end write_image");
    world.until(id, connected).await;
    // The controller is away for the agent: its port answers no more.
    world.servers.cancel();
    let away = |node: &Node| {
        node.wait_reason.as_ref().is_some_and(|reason| reason.contains("has not been heard of since 2"))
    };
    world.until(id, away).await;
    world.kill().await;
    world.until(id, connected).await;
}

#[tokio::test]
async fn a_panic_fails_its_node_and_no_other() {
    let world = World::new().await;
    let (first, second) = (world.available().await, world.available().await);
    world.machine.lock().bug = Some("insert");
    world.ask(first, Verb::Deploy).await.unwrap();
    let node = world.reaches(first, ProvisionState::DeployFailed).await;
    assert!(node.last_error.unwrap().starts_with("internal error of the controller in state \"deploying\""));
    world.machine.lock().bug = None;
    world.ask(second, Verb::Deploy).await.unwrap();
    world.reaches(second, ProvisionState::Active).await;
}

#[tokio::test]
async fn many_nodes_are_worked_on_at_once() {
    let world = World::with(|config| config.workers_pool_size = 4).await;
    world.machine.lock().slow = Some(("read power", Duration::from_millis(200)));
    let mut nodes = Vec::new();
    for _ in 0..12 {
        nodes.push(world.enrolled().await);
    }
    let started = std::time::Instant::now();
    for id in &nodes {
        world.ask(*id, Verb::Manage).await.unwrap();
    }
    for id in nodes {
        world.reaches(id, ProvisionState::Manageable).await;
    }
    let elapsed = started.elapsed();
    assert!(elapsed >= Duration::from_millis(600), "more than four at once: {elapsed:?}");
    assert!(elapsed < Duration::from_millis(2300), "one after the other: {elapsed:?}");
}

#[tokio::test]
async fn a_hardware_change_that_was_accepted_is_made_after_a_kill() {
    let mut world = World::new().await;
    let id = world.available().await;
    world.machine.lock().slow = Some(("boot mode", Duration::from_secs(3600)));
    world.engine.change(id, Change::BootMode(BootMode::Bios)).await.unwrap();
    world.until(id, |node| node.reservation.is_some()).await;
    world.machine.lock().slow = None;
    world.kill().await;
    let node = world.until(id, |node| node.boot_mode == Some(BootMode::Bios)).await;
    assert_eq!(node.last_error, None);
    assert_eq!(world.machine.lock().mode, Some(BootMode::Bios));
    let node = world.until(id, |node| node.reservation.is_none()).await;
    assert_eq!(node.provision_state, ProvisionState::Available);
}
