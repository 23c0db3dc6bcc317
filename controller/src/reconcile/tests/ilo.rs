//! Cleanings of nodes of hardware type `ilo`: its steps, and what a restart of the controller does to them.

use super::*;
use crate::node::PowerState;

/// A manageable node of our machine.
async fn ilo(world: &World, more: Value) -> NodeId {
    let mut info = json!({"redfish_address": "http://bmc.test", "ilo_password": "old"});
    info.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut node = Node::new("agent_ilo");
    node.driver_info = info.as_object().unwrap().clone();
    node.provision_state = ProvisionState::Manageable;
    node.power_state = Some(PowerState::Off);
    crate::drivers::complete(&mut node).unwrap();
    world.store.create_node(&node).await.unwrap();
    node.uuid
}

async fn clean(world: &World, id: NodeId, step: &str) {
    let steps = json!({"clean_steps": [{"interface": "management", "step": step}]});
    world.engine.provision(id, Verb::Clean, steps.as_object().unwrap()).await.unwrap();
}

fn count(world: &World, what: &str) -> usize {
    world.machine.lock().asked.iter().filter(|asked| *asked == what).count()
}

#[tokio::test]
async fn an_automated_cleaning_runs_the_steps_in_their_order_and_leaves_out_what_the_machine_lacks() {
    let world = World::with(|config| {
        config.automated_clean = true;
        config.automated_clean_without_erasing = true;
    })
    .await;
    let id = ilo(&world, json!({"ilo_change_password": "new"})).await;
    world.machine.lock().lacks_bios = true;
    world.ask(id, Verb::Provide).await.unwrap();
    let node = world.reaches(id, ProvisionState::Available).await;
    assert_eq!(node.driver_info["ilo_password"], "new");
    assert!(!node.driver_info.contains_key("ilo_change_password"));
    // The machine has no settings of the firmware: that step is left out.
    let asked: Vec<_> =
        world.machine.lock().asked.iter().filter(|asked| *asked != "read power").cloned().collect();
    assert_eq!(asked, ["secure boot keys", "password", "secure boot keys", "reset BMC"]);
    assert!(!node.driver_internal_info.contains_key("ilo_step_begun"));
}

#[tokio::test]
async fn an_inspection_waits_for_what_is_essential_and_fails_without_it() {
    let world = World::with(|config| config.out_of_band_step_interval = 1).await;
    let id = ilo(&world, json!({})).await;
    let mut lacking = works::found();
    lacking.properties.remove("memory_mb");
    {
        let works = &mut world.machine.lock().works;
        (works.found, works.needs_power) = (works::found(), true);
        works.found.properties.insert("cpu_arch".into(), json!("x86_64"));
        lacking.properties.insert("cpu_arch".into(), json!("x86_64"));
        works.found_first = [lacking.clone()].into();
    }
    world.ask(id, Verb::Inspect).await.unwrap();
    let node = world.reaches(id, ProvisionState::Manageable).await;
    assert_eq!((&node.properties["memory_mb"], count(&world, "inspect")), (&json!(4096), 2));
    // A machine that was on all along has told what there is.
    {
        let mut state = world.machine.lock();
        (state.on, state.works.found) = (true, lacking);
    }
    world.ask(id, Verb::Inspect).await.unwrap();
    let node = world.until(id, |node| node.provision_state == ProvisionState::InspectFailed).await;
    assert!(node.last_error.unwrap().contains("essential properties memory_mb"));
}

#[tokio::test]
async fn steps_that_erase_nothing_are_not_called_a_cleaning() {
    let world = World::with(|config| config.automated_clean = true).await;
    let id = ilo(&world, json!({})).await;
    let refused = world.ask(id, Verb::Provide).await.unwrap_err().to_string();
    assert!(refused.contains("conductor.automated_clean_without_erasing"), "{refused}");
    // A node that became unclean before the operator wanted it clean.
    let mut node = world.node(id).await;
    node.provision_state = ProvisionState::Active;
    world.store.update_node(&mut node, None).await.unwrap();
    world.ask(id, Verb::Undeploy).await.unwrap();
    let node = world.until(id, |node| !node.provision_state.is_moving()).await;
    assert_eq!(node.provision_state, ProvisionState::CleanFailed);
    assert!(node.last_error.unwrap().contains("none of this node's clean steps erases its disks"));
    assert_eq!(count(&world, "reset BMC"), 0);
}

#[tokio::test]
async fn priorities_of_section_ilo_are_not_those_of_other_hardware() {
    let world = World::with(|config| {
        config.automated_clean = true;
        config.automated_clean_without_erasing = true;
    })
    .await;
    let id = world.enrolled().await;
    let mut node = world.node(id).await;
    node.provision_state = ProvisionState::Active;
    world.store.update_node(&mut node, None).await.unwrap();
    world.ask(id, Verb::Undeploy).await.unwrap();
    let node = world.until(id, |node| !node.provision_state.is_moving()).await;
    assert!(node.last_error.unwrap().contains("there are no clean steps for this node"));
    assert_eq!(count(&world, "secure boot keys"), 0);
}

#[tokio::test]
async fn a_step_that_is_asked_for_and_cannot_be_done_fails() {
    let world = World::new().await;
    let id = ilo(&world, json!({})).await;
    world.machine.lock().lacks_bios = true;
    clean(&world, id, "reset_bios_to_default").await;
    let node = world.until(id, |node| !node.provision_state.is_moving()).await;
    assert_eq!(node.provision_state, ProvisionState::CleanFailed);
    assert!(node.last_error.unwrap().contains("reset_bios_to_default failed: the BMC cannot"));
}

/// A step that restarts the BMC, killed before the request left or before its answer came.
async fn killed_while_it_restarts() -> (World, NodeId) {
    let mut world = World::new().await;
    let id = ilo(&world, json!({})).await;
    world.machine.lock().slow = Some(("reset BMC", Duration::from_secs(600)));
    clean(&world, id, "reset_ilo").await;
    world.until(id, |node| node.driver_internal_info.contains_key("ilo_step_begun")).await;
    world.kill().await;
    assert_eq!(count(&world, "reset BMC"), 0);
    (world, id)
}

#[tokio::test]
async fn a_restart_of_the_bmc_that_was_never_asked_for_is_asked_for_after_a_kill() {
    let (world, id) = killed_while_it_restarts().await;
    world.machine.lock().slow = None;
    world.reaches(id, ProvisionState::Manageable).await;
    assert_eq!(count(&world, "reset BMC"), 1);
}

#[tokio::test]
async fn a_bmc_that_is_seen_away_after_a_kill_is_not_restarted_again() {
    let (mut world, id) = killed_while_it_restarts().await;
    world.machine.lock().broken = Some("read power");
    world.kill().await;
    let before = count(&world, "read power");
    while count(&world, "read power") == before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.machine.lock().broken = None;
    world.reaches(id, ProvisionState::Manageable).await;
    assert_eq!(count(&world, "reset BMC"), 0);
}

#[tokio::test]
async fn a_password_that_the_bmc_took_is_kept_although_the_bmc_is_busy_since() {
    let world = World::new().await;
    let id = ilo(&world, json!({"ilo_change_password": "new"})).await;
    world.machine.lock().broken = Some("read power");
    clean(&world, id, "reset_ilo_credential").await;
    let tried = async || {
        while count(&world, "read power") < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), tried()).await.unwrap();
    world.machine.lock().broken = None;
    let node = world.reaches(id, ProvisionState::Manageable).await;
    assert_eq!((&node.driver_info["ilo_password"], count(&world, "wrong password")), (&json!("new"), 0));
}

#[tokio::test]
async fn a_password_survives_a_kill_between_the_bmc_and_the_node() {
    let mut world = World::new().await;
    let id = ilo(&world, json!({"ilo_change_password": "new"})).await;
    world.machine.lock().password = Some("old".to_owned());
    world.machine.lock().slow = Some(("password", Duration::from_secs(600)));
    clean(&world, id, "reset_ilo_credential").await;
    world.until(id, |node| node.driver_internal_info.contains_key("ilo_step_begun")).await;
    while world.machine.lock().password.as_deref() != Some("new") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.kill().await;
    world.machine.lock().slow = None;
    let node = world.reaches(id, ProvisionState::Manageable).await;
    assert_eq!(node.driver_info["ilo_password"], "new");
    assert!(!node.driver_info.contains_key("ilo_change_password"));
    assert_eq!(count(&world, "wrong password"), 0);
}

#[tokio::test]
async fn a_password_that_was_changed_by_an_attempt_that_failed_is_found_with_one_wrong_try() {
    let world = World::new().await;
    let id = ilo(&world, json!({"ilo_change_password": "new"})).await;
    world.machine.lock().password = Some("old".to_owned());
    world.machine.lock().broken = Some("password");
    clean(&world, id, "reset_ilo_credential").await;
    let node = world.until(id, |node| node.provision_state == ProvisionState::CleanFailed).await;
    assert_eq!((&node.driver_info["ilo_password"], count(&world, "wrong password")), (&json!("old"), 0));
    let mut node = world.node(id).await;
    node.maintenance = false;
    world.store.update_node(&mut node, None).await.unwrap();
    world.machine.lock().broken = None;
    world.ask(id, Verb::Manage).await.unwrap();
    let manageable = world.until(id, |node| node.provision_state == ProvisionState::Manageable).await;
    assert_eq!(manageable.last_error, None);
    clean(&world, id, "reset_ilo_credential").await;
    let node = world.reaches(id, ProvisionState::Manageable).await;
    assert_eq!((&node.driver_info["ilo_password"], count(&world, "wrong password")), (&json!("new"), 1));
}

#[tokio::test]
async fn an_iso_that_cannot_be_booted_costs_no_running_machine() {
    let world = World::new().await;
    let id = ilo(&world, json!({})).await;
    let boot = || async {
        world.machine.lock().asked.clear();
        let url = "http://files/rescue.iso".parse().unwrap();
        world.engine.change(id, crate::reconcile::Change::BootIso(url)).await.unwrap();
        world.until(id, |node| node.reservation.is_none()).await
    };
    world.machine.lock().on = true;
    for broken in ["insert", "boot once"] {
        world.machine.lock().broken = Some(broken);
        let node = boot().await;
        assert!(node.last_error.unwrap().contains("out of order"), "{broken}");
        let state = world.machine.lock();
        assert!(state.on && state.cd.is_none(), "{broken}");
        assert!(!state.asked.contains(&"force off".to_owned()), "{broken}");
    }
    world.machine.lock().broken = None;
    boot().await;
    let state = world.machine.lock();
    let asked: Vec<_> = state.asked.iter().filter(|asked| *asked != "read power").cloned().collect();
    assert_eq!(asked, ["ready", "insert", "boot once", "force off", "on"]);
    assert!(state.on);
}
