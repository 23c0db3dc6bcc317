//! Steps and inspections that the BMC carries out.

use super::*;
use crate::{bmc::Outcome, node::PowerState};

/// A manageable node whose machine is off, in a world that looks often.
pub(super) async fn world() -> (World, NodeId) {
    let world = World::with(|config| config.out_of_band_step_interval = 1).await;
    let id = world.enrolled().await;
    world.ask(id, Verb::Manage).await.unwrap();
    world.reaches(id, ProvisionState::Manageable).await;
    (world, id)
}

pub(super) async fn clean(world: &World, id: NodeId, steps: Value) -> Result<(), RequestError> {
    world.engine.provision(id, Verb::Clean, json!({"clean_steps": steps}).as_object().unwrap()).await
}

/// After a failed cleaning.
pub(super) async fn recover(world: &World, id: NodeId) {
    let lift = |node: &mut Node| {
        node.maintenance = false;
        Ok(())
    };
    world.engine.edit(id, lift).await.unwrap();
    world.ask(id, Verb::Manage).await.unwrap();
    world.reaches(id, ProvisionState::Manageable).await;
}

pub(super) fn step(interface: &str, step: &str, args: Value) -> Value {
    json!([{"interface": interface, "step": step, "args": args}])
}

pub(super) fn asked(world: &World) -> Vec<String> {
    let is_work = |asked: &&String| asked.as_str() != "read power";
    world.machine.lock().asked.iter().filter(is_work).cloned().collect()
}

#[tokio::test]
async fn settings_are_in_force_after_a_restart_and_the_machine_is_off_again() {
    let (world, id) = world().await;
    world.machine.lock().asked.clear();
    let settings =
        json!({"settings": [{"name": "HyperThreading", "value": "Off"}, {"name": "Cores", "value": 4}]});
    clean(&world, id, step("bios", "apply_configuration", settings.clone())).await.unwrap();
    let node = world.reaches(id, ProvisionState::Manageable).await;
    assert_eq!(world.machine.lock().works.bios["Cores"], 4);
    assert_eq!(asked(&world), ["apply settings", "force off", "on", "look at settings", "force off"]);
    assert_eq!((node.power_state, node.driver_internal_info.len()), (Some(PowerState::Off), 0));
    // The second time there is nothing to do, and nothing is restarted.
    world.machine.lock().asked.clear();
    clean(&world, id, step("bios", "apply_configuration", settings)).await.unwrap();
    world.reaches(id, ProvisionState::Manageable).await;
    assert_eq!(asked(&world)[..2], ["apply settings", "look at settings"]);
    assert!(!asked(&world).contains(&"on".to_owned()));
}

#[tokio::test]
async fn a_value_that_the_firmware_refuses_fails_the_step_with_the_reason() {
    let (world, id) = world().await;
    let settings = json!({"settings": [{"name": "A", "value": "x"}]});
    clean(&world, id, step("bios", "apply_configuration", settings)).await.unwrap();
    world.until(id, |node| node.provision_state == ProvisionState::CleanWait).await;
    world.machine.lock().works.bios.clear();
    let node = world.until(id, |node| node.provision_state == ProvisionState::CleanFailed).await;
    let error = node.last_error.unwrap();
    assert!(error.contains("bios.apply_configuration") && error.contains("attribute refused"), "{error}");
    assert_eq!((node.maintenance, node.fault.as_deref()), (true, Some("clean failure")));
}

#[tokio::test]
async fn arguments_that_cannot_be_meant_ask_nothing_of_the_bmc() {
    let (world, id) = world().await;
    world.machine.lock().asked.clear();
    for (interface, name, args, part) in [
        ("bios", "apply_configuration", json!({"settings": [{"name": "A"}]}), "a name and a value"),
        ("bios", "apply_configuration", json!({"settings": []}), "a name and a value"),
        (
            "firmware",
            "update",
            json!({"settings": [{"component": "cpu", "url": "http://x/"}]}),
            "bios, bmc or nic",
        ),
        (
            "firmware",
            "update",
            json!({"settings": [{"component": "bios", "url": "file:///etc"}]}),
            "must be a URL",
        ),
        ("raid", "create_configuration", json!({}), "target_raid_config"),
        ("raid", "create_configuration", json!({"delete_existing": "yes"}), "true or false"),
    ] {
        clean(&world, id, step(interface, name, args)).await.unwrap();
        let node = world.until(id, |node| node.provision_state == ProvisionState::CleanFailed).await;
        assert!(node.last_error.as_ref().unwrap().contains(part), "{part}: {:?}", node.last_error);
        recover(&world, id).await;
    }
    assert!(asked(&world).is_empty(), "{:?}", asked(&world));
}

#[tokio::test]
async fn an_update_survives_a_killed_controller_and_restarts_the_machine_once() {
    let (mut world, id) = world().await;
    let idle = [Outcome::NeedsRestart, Outcome::NeedsRestart, Outcome::NeedsRestart];
    // The end of the BIOS, then the BMC's own firmware, which needs no restart.
    let looks = [&[Outcome::Pending(Some(10))][..], &idle, &[Outcome::Done], &idle].concat();
    world.machine.lock().works.updates = looks.into();
    world.machine.lock().asked.clear();
    let settings = json!([{"component": "bios", "url": "http://files/bios.bin"}, {"component": "bmc", "url": "http://files/bmc"}]);
    clean(&world, id, step("firmware", "update", json!({"settings": settings}))).await.unwrap();
    let waiting =
        world.until(id, |node| node.wait_reason.as_ref().is_some_and(|reason| reason.contains("10 %"))).await;
    assert!(waiting.wait_reason.unwrap().contains("firmware.update"));
    world.kill().await;
    world.reaches(id, ProvisionState::Manageable).await;
    let asked = asked(&world);
    let count = |what: &str| asked.iter().filter(|asked| *asked == what).count();
    assert_eq!((count("update"), count("on")), (2, 1), "{asked:?}");
}

#[tokio::test]
async fn settings_that_were_asked_for_when_the_controller_was_killed_come_into_force() {
    let (mut world, id) = world().await;
    world.machine.lock().slow = Some(("apply settings", Duration::from_secs(600)));
    let settings = json!({"settings": [{"name": "Cores", "value": 4}]});
    clean(&world, id, step("bios", "apply_configuration", settings)).await.unwrap();
    world.until(id, |_| world.machine.lock().slowed > 0).await;
    world.machine.lock().slow = None;
    world.kill().await;
    let node = world.reaches(id, ProvisionState::Manageable).await;
    assert_eq!((node.last_error, &world.machine.lock().works.bios["Cores"]), (None, &json!(4)));
}

#[tokio::test]
async fn a_restart_that_was_under_way_when_the_controller_was_killed_is_not_begun_again() {
    let (mut world, id) = world().await;
    {
        let mut state = world.machine.lock();
        (state.on, state.slow) = (true, Some(("on", Duration::from_secs(600))));
        state.asked.clear();
    }
    let settings = json!({"settings": [{"name": "Cores", "value": 4}]});
    clean(&world, id, step("bios", "apply_configuration", settings)).await.unwrap();
    world.until(id, |_| world.machine.lock().slowed > 0).await;
    // It came on all the same, and writes its firmware now.
    {
        let mut state = world.machine.lock();
        (state.on, state.slow) = (true, None);
        state.works.start();
    }
    world.kill().await;
    world.reaches(id, ProvisionState::Manageable).await;
    assert_eq!(asked(&world).iter().filter(|asked| *asked == "force off").count(), 1, "{:?}", asked(&world));
}

/// An update of the BMC that is asked for when the controller is killed, and what the BMC shows by then.
async fn killed_in_an_update(after: impl FnOnce(&mut works::Works)) -> (World, NodeId) {
    let (mut world, id) = world().await;
    {
        let mut state = world.machine.lock();
        state.works.versions.insert("bmc".into(), "1".into());
        state.slow = Some(("update", Duration::from_secs(600)));
    }
    let settings = json!({"settings": [{"component": "bmc", "url": "http://files/bmc"}]});
    clean(&world, id, step("firmware", "update", settings)).await.unwrap();
    world.until(id, |_| world.machine.lock().slowed > 0).await;
    {
        let mut state = world.machine.lock();
        state.slow = None;
        after(&mut state.works);
    }
    world.kill().await;
    (world, id)
}

#[tokio::test]
async fn an_update_that_may_be_under_way_is_looked_for_and_never_asked_for_twice() {
    let (world, id) = killed_in_an_update(|works| works.has_task = true).await;
    world.reaches(id, ProvisionState::Manageable).await;
    assert!(asked(&world).contains(&"look at update".to_owned()));
    assert_eq!(world.machine.lock().works.flashed.len(), 1);

    let (world, id) =
        killed_in_an_update(|works| drop(works.versions.insert("bmc".into(), "2".into()))).await;
    world.reaches(id, ProvisionState::Manageable).await;
    assert_eq!(world.machine.lock().works.flashed.len(), 1);

    let (world, id) = killed_in_an_update(|_| ()).await;
    let node = world.until(id, |node| node.provision_state == ProvisionState::CleanFailed).await;
    let error = node.last_error.unwrap();
    assert!(error.contains("may be under way"), "{error}");
    assert_eq!(world.machine.lock().works.flashed.len(), 1);
}

#[tokio::test]
async fn an_image_that_was_for_another_component_is_no_success() {
    let (world, id) = world().await;
    {
        let works = &mut world.machine.lock().works;
        works.versions = [("bios", "1"), ("bmc", "1")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        works.image = Some(("bmc", "2"));
    }
    let settings = json!({"settings": [{"component": "bios", "url": "http://files/bmc"}]});
    clean(&world, id, step("firmware", "update", settings)).await.unwrap();
    let node = world.until(id, |node| node.provision_state == ProvisionState::CleanFailed).await;
    let error = node.last_error.unwrap();
    assert!(error.contains("was one for bmc, which it changed from version 1 to 2"), "{error}");
}

#[tokio::test]
async fn a_bmc_that_never_takes_the_request_does_not_hold_the_node_for_ever() {
    let change = |config: &mut Config| {
        (config.out_of_band_step_interval, config.out_of_band_step_timeout) = (1, 2);
    };
    let world = World::with(change).await;
    let id = world.enrolled().await;
    world.ask(id, Verb::Manage).await.unwrap();
    world.reaches(id, ProvisionState::Manageable).await;
    world.machine.lock().slow = Some(("update", Duration::from_secs(600)));
    let settings = json!({"settings": [{"component": "bmc", "url": "http://files/bmc"}]});
    clean(&world, id, step("firmware", "update", settings)).await.unwrap();
    let node = world.until(id, |node| node.provision_state == ProvisionState::CleanFailed).await;
    assert!(node.last_error.unwrap().contains("could not be asked for within 2 s"));
}

#[tokio::test]
async fn a_bmc_that_is_away_while_it_works_is_waited_for_but_not_for_ever() {
    let (world, id) = {
        let change = |config: &mut Config| {
            (config.out_of_band_step_interval, config.out_of_band_step_timeout) = (1, 3);
        };
        let world = World::with(change).await;
        let id = world.enrolled().await;
        world.ask(id, Verb::Manage).await.unwrap();
        world.reaches(id, ProvisionState::Manageable).await;
        (world, id)
    };
    world.machine.lock().broken = Some("look at update");
    let args = json!({"settings": [{"component": "bmc", "url": "http://files/bmc"}]});
    clean(&world, id, step("firmware", "update", args)).await.unwrap();
    let node = world.until(id, |node| node.provision_state == ProvisionState::CleanFailed).await;
    let error = node.last_error.unwrap();
    assert!(error.contains("not done after 3 s") && error.contains("out of order"), "{error}");
}

#[tokio::test]
async fn a_machine_that_an_inspection_switched_on_is_switched_off_also_after_a_kill() {
    let (mut world, id) = world().await;
    {
        let mut state = world.machine.lock();
        (state.works.found, state.works.needs_power) = (works::found(), true);
        state.slow = Some(("inspect", Duration::from_secs(600)));
    }
    world.ask(id, Verb::Inspect).await.unwrap();
    world.until(id, |_| world.machine.lock().slowed > 0).await;
    world.machine.lock().slow = None;
    assert!(world.machine.lock().on);
    world.kill().await;
    let node = world.reaches(id, ProvisionState::Manageable).await;
    assert!(!world.machine.lock().on && node.driver_internal_info.is_empty());
}

#[tokio::test]
async fn an_inspection_by_the_bmc_fills_the_node_and_leaves_the_machine_off() {
    let (world, id) = world().await;
    {
        let mut state = world.machine.lock();
        (state.works.found, state.works.needs_power) = (works::found(), true);
        state.asked.clear();
    }
    world
        .engine
        .edit(id, |node| {
            node.properties.insert("capabilities".into(), json!("boot_mode:uefi"));
            Ok(())
        })
        .await
        .unwrap();
    world.ask(id, Verb::Inspect).await.unwrap();
    let node = world.reaches(id, ProvisionState::Manageable).await;
    assert_eq!(asked(&world), ["on", "inspect", "force off"]);
    assert_eq!(node.properties["capabilities"], "boot_mode:uefi,server_model:DL360");
    assert_eq!(
        (&node.properties["memory_mb"], &node.properties["cpu_arch"]),
        (&json!(4096), &json!("x86_64"))
    );
    let ports = world.store.ports(Some(id), None).await.unwrap();
    assert_eq!(ports[0].address, "52:54:00:00:00:0a");
    assert!(node.inspection_finished_at.is_some() && node.inspection_started_at.is_none());
    world.machine.lock().broken = Some("inspect");
    world.ask(id, Verb::Inspect).await.unwrap();
    let node = world.until(id, |node| node.provision_state == ProvisionState::InspectFailed).await;
    assert!(node.last_error.unwrap().contains("out of order"));
    assert!(!world.machine.lock().on);
}
