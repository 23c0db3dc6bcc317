use super::{machine::Treatment, *};
use crate::{bmc::BootSource, node::PowerState};

/// After a failure nothing of the deploy is left, and it can be tried again.
async fn is_given_up(world: &World, id: NodeId) {
    let node = world.node(id).await;
    assert_eq!(node.reservation, None);
    assert_eq!(node.target_provision_state, Some(ProvisionState::Active));
    assert_eq!(node.wait_reason, None);
    assert!(node.deploy_step.is_empty());
    assert!(node.driver_internal_info.is_empty(), "{:?}", node.driver_internal_info);
    // Added by the request, where there was one.
    let mut info = node.instance_info.clone();
    info.remove("image_type");
    assert_eq!(info, world.instance_info());
    assert!(world.store.open_boot(id).await.unwrap().is_none());
    {
        let machine = world.machine.lock();
        assert!(!machine.on);
        assert_eq!(machine.cd, None);
    }
    let history = world.store.history(id, 1).await.unwrap();
    assert_eq!(history[0].to, ProvisionState::DeployFailed);
    assert_eq!(history[0].error, node.last_error);
}

#[tokio::test]
async fn a_deploy_goes_from_enroll_to_active() {
    let world = World::new().await;
    let id = world.active().await;
    let node = world.node(id).await;
    assert_eq!(node.power_state, Some(PowerState::On));
    assert_eq!(node.instance_info["image_type"], "whole-disk");
    assert_eq!((node.last_error, node.reservation, node.target_provision_state), (None, None, None));
    let last = &node.driver_internal_info["last_deploy"];
    assert_eq!(last["receipt"]["device"]["name"], "/dev/sda");
    assert_eq!(node.driver_internal_info.len(), 1);
    assert!(world.store.open_boot(id).await.unwrap().is_none());

    let mut path: Vec<_> = world.store.history(id, 100).await.unwrap();
    path.reverse();
    let path: Vec<_> = path.iter().map(|event| event.to.as_str()).collect();
    let wait = ["wait call-back", "deploying"];
    let expected =
        [&["verifying", "manageable", "cleaning", "available", "deploying"][..], &wait, &wait, &wait];
    let expected: Vec<_> = expected.concat().into_iter().chain(["active"]).collect();
    assert_eq!(path, expected);

    let machine = world.machine.lock();
    assert_eq!(machine.done, ["write_image", "set_boot_entry", "power_off"]);
    assert_eq!((&machine.cd, &machine.floppy, machine.on), (&None, &None, true));
    assert_eq!(machine.always, Some(BootSource::Disk));
    let asked: Vec<_> = machine.asked.iter().filter(|asked| *asked != "read power").collect();
    let boot = ["ready", "force off", "eject", "eject", "insert", "boot once", "on"];
    let end = ["boot always", "eject", "eject", "on"];
    assert_eq!(asked, boot.iter().chain(&end).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_plan_that_wrote_no_image_is_no_success() {
    let world = World::new().await;
    let id = world.available().await;
    let mut node = world.node(id).await;
    node.provision_state = ProvisionState::Deploying;
    node.target_provision_state = Some(ProvisionState::Active);
    let step = json!({"interface": "deploy", "step": "boot_instance", "priority": 20});
    node.driver_internal_info.insert("deploy_steps".into(), json!([step]));
    node.driver_internal_info.insert("deploy_step_index".into(), json!(0));
    world.store.update_node(&mut node, None).await.unwrap();
    world.engine.poke(id);
    let node = world.reaches(id, ProvisionState::DeployFailed).await;
    assert!(node.last_error.unwrap().contains("none wrote an image"));
    is_given_up(&world, id).await;
}

#[tokio::test]
async fn capabilities_set_the_firmware_before_the_boot() {
    let world = World::new().await;
    let id = world.available().await;
    let capabilities = json!("boot_mode:uefi,secure_boot:true");
    world
        .engine
        .edit(id, |node| {
            node.instance_info.insert("capabilities".into(), capabilities);
            Ok(())
        })
        .await
        .unwrap();
    world.ask(id, Verb::Deploy).await.unwrap();
    let node = world.reaches(id, ProvisionState::Active).await;
    assert_eq!(node.secure_boot, Some(true));
    let asked = world.machine.lock().asked.clone();
    let place = |what: &str| asked.iter().position(|asked| asked == what).unwrap();
    assert!(place("force off") < place("boot mode"));
    assert!(place("boot mode") < place("secure boot") && place("secure boot") < place("on"));
}

#[tokio::test]
async fn what_the_agent_reports_is_the_reason() {
    let world = World::new().await;
    for step in ["write_image", "set_boot_entry"] {
        world.machine.lock().steps = [(step, Treatment::Fail)].into();
        let id = world.available().await;
        world.ask(id, Verb::Deploy).await.unwrap();
        let node = world.reaches(id, ProvisionState::DeployFailed).await;
        let error = node.last_error.unwrap();
        assert!(error.contains(&format!("the agent's {step}: the body was short")), "{error}");
        is_given_up(&world, id).await;
    }
}

#[tokio::test]
async fn each_refusal_of_the_bmc_fails_the_deploy_with_its_reason() {
    let world = World::new().await;
    for (what, step) in [
        ("force off", "deploy.deploy"),
        ("insert", "deploy.deploy"),
        ("boot once", "deploy.deploy"),
        ("on", "deploy.deploy"),
        ("boot always", "deploy.prepare_instance_boot"),
    ] {
        let id = world.available().await;
        world.machine.lock().broken = Some(what);
        world.ask(id, Verb::Deploy).await.unwrap();
        let node = world.reaches(id, ProvisionState::DeployFailed).await;
        let error = node.last_error.unwrap();
        assert!(error.starts_with(&format!("Deploy step {step} failed: the BMC at bmc.test")), "{error}");
        assert!(error.contains("out of order"), "{error}");
        world.machine.lock().broken = None;
        world.machine.cut_power();
        is_given_up(&world, id).await;
    }
}

#[tokio::test]
async fn a_silent_machine_fails_at_the_deadline_with_what_was_waited_for() {
    let world = World::with(|config| config.deploy_callback_timeout = 2).await;
    let id = world.available().await;
    world.machine.lock().silent = true;
    world.ask(id, Verb::Deploy).await.unwrap();
    let waiting = world.until(id, |node| node.wait_reason.is_some() && node.reservation.is_none()).await;
    assert_eq!(waiting.provision_state, ProvisionState::WaitCallBack);
    assert!(waiting.wait_until.is_some());
    let node = world.reaches(id, ProvisionState::DeployFailed).await;
    let error = node.last_error.unwrap();
    assert!(error.starts_with("Timed out in state \"wait call-back\", step deploy after"), "{error}");
    let reason = "the machine was started with the deploy ISO, of which nothing was read";
    assert!(error.contains(reason), "{error}");
    is_given_up(&world, id).await;
}

#[tokio::test]
async fn a_machine_that_loses_power_during_the_write_fails_early() {
    let world = World::new().await;
    world.machine.lock().steps = [("write_image", Treatment::LosePower)].into();
    let id = world.available().await;
    world.ask(id, Verb::Deploy).await.unwrap();
    let node = world.reaches(id, ProvisionState::DeployFailed).await;
    let error = node.last_error.unwrap();
    assert!(error.contains("powered off, but the agent's write_image had not ended"), "{error}");
    is_given_up(&world, id).await;
}

#[tokio::test]
async fn a_missing_image_and_a_missing_iso_fail_before_the_machine_is_touched() {
    let world = World::new().await;
    let id = world.available().await;
    let change = |node: &mut Node| {
        node.instance_info.insert("image_source".into(), json!(format!("http://{}/gone", world.source)));
        Ok(())
    };
    world.engine.edit(id, change).await.unwrap();
    world.ask(id, Verb::Deploy).await.unwrap();
    let node = world.reaches(id, ProvisionState::DeployFailed).await;
    assert!(node.last_error.as_ref().unwrap().contains("404"), "{:?}", node.last_error);
    assert!(!world.machine.lock().asked.contains(&"insert".to_owned()));

    std::fs::remove_file(world.folder.path().join("deploy.iso")).unwrap();
    let id = world.available().await;
    world.ask(id, Verb::Deploy).await.unwrap();
    let node = world.reaches(id, ProvisionState::DeployFailed).await;
    assert!(node.last_error.as_ref().unwrap().contains("deploy.iso cannot be read"), "{:?}", node.last_error);
}

#[tokio::test]
async fn abort_stops_the_machine() {
    let world = World::new().await;
    world.machine.lock().steps = [("write_image", Treatment::Hang)].into();
    let id = world.available().await;
    assert!(matches!(world.ask(id, Verb::Abort).await, Err(RequestError::InvalidState { .. })));
    world.ask(id, Verb::Deploy).await.unwrap();
    let in_write = |node: &Node| {
        node.provision_state == ProvisionState::WaitCallBack && node.deploy_step["step"] == "write_image"
    };
    world.until(id, in_write).await;
    world.ask(id, Verb::Abort).await.unwrap();
    let node = world.reaches(id, ProvisionState::DeployFailed).await;
    assert_eq!(node.last_error.as_deref(), Some("Deploy aborted by user"));
    is_given_up(&world, id).await;
    world.machine.lock().steps.clear();
    world.ask(id, Verb::Rebuild).await.unwrap();
    world.reaches(id, ProvisionState::Active).await;
}

#[tokio::test]
async fn undeploy_forgets_the_instance_and_the_machine_is_free() {
    let world = World::new().await;
    let id = world.active().await;
    world.ask(id, Verb::Undeploy).await.unwrap();
    let node = world.reaches(id, ProvisionState::Available).await;
    assert!(node.instance_info.is_empty() && node.driver_internal_info.len() <= 1);
    assert_eq!((node.instance_uuid, node.power_state), (None, Some(PowerState::Off)));
    assert!(!world.machine.lock().on);
}

#[tokio::test]
async fn undeploy_out_of_a_running_deploy_shuts_the_agent_out() {
    let world = World::new().await;
    world.machine.lock().steps = [("write_image", Treatment::Hang)].into();
    let id = world.available().await;
    world.ask(id, Verb::Deploy).await.unwrap();
    world.until(id, |node| node.provision_state == ProvisionState::WaitCallBack).await;
    world.ask(id, Verb::Undeploy).await.unwrap();
    let node = world.reaches(id, ProvisionState::Available).await;
    assert!(node.instance_info.is_empty() && node.deploy_step.is_empty());
    assert!(world.store.open_boot(id).await.unwrap().is_none());
    let machine = world.machine.lock();
    assert_eq!((machine.on, &machine.cd), (false, &None));
}

#[tokio::test]
async fn an_undeploy_that_cannot_reach_the_bmc_ends_in_error_without_the_instance() {
    let world = World::new().await;
    let id = world.active().await;
    world.machine.lock().broken = Some("force off");
    world.ask(id, Verb::Undeploy).await.unwrap();
    let node = world.reaches(id, ProvisionState::Error).await;
    assert!(node.last_error.unwrap().contains("out of order"));
    assert!(node.instance_info.is_empty() && node.instance_uuid.is_none());
    world.machine.lock().broken = None;
    world.ask(id, Verb::Undeploy).await.unwrap();
    let node = world.reaches(id, ProvisionState::Available).await;
    assert_eq!(node.last_error, None);
}

#[tokio::test]
async fn a_config_drive_is_written_after_the_image_and_not_offered_for_longer() {
    let world = World::new().await;
    let id = world.available().await;
    let arguments = json!({"configdrive": config_drive::tests::packed(&config_drive::tests::iso())});
    world.engine.provision(id, Verb::Deploy, arguments.as_object().unwrap()).await.unwrap();
    let node = world.reaches(id, ProvisionState::Active).await;
    assert_eq!(node.instance_info["configdrive"], arguments["configdrive"]);
    assert_eq!(node.driver_internal_info["last_deploy"]["config_drive"]["partition"], 3);
    {
        let machine = world.machine.lock();
        assert_eq!(machine.done, ["write_image", "write_config_drive", "set_boot_entry", "power_off"]);
        assert!(machine.config_drive.as_deref() == Some(&config_drive::tests::iso()));
    }
    assert!(!world.engine.inner.cx.config_drives.has(id));
    // A rebuild that names none keeps it, and it goes with the instance.
    world.machine.lock().config_drive = None;
    world.ask(id, Verb::Rebuild).await.unwrap();
    world.reaches(id, ProvisionState::Active).await;
    assert!(world.machine.lock().config_drive.is_some());
    world.ask(id, Verb::Undeploy).await.unwrap();
    let node = world.reaches(id, ProvisionState::Available).await;
    assert!(node.instance_info.is_empty());
}

#[tokio::test]
async fn a_config_drive_that_fails_is_not_offered_for_longer() {
    let world = World::new().await;
    let id = world.available().await;
    world.machine.lock().steps = [("write_config_drive", Treatment::Fail)].into();
    let arguments = json!({"configdrive": {"user_data": "x"}});
    world.engine.provision(id, Verb::Deploy, arguments.as_object().unwrap()).await.unwrap();
    let node = world.reaches(id, ProvisionState::DeployFailed).await;
    assert!(node.last_error.unwrap().contains("the agent's write_config_drive: the body was short"));
    assert!(!world.engine.inner.cx.config_drives.has(id));
}

#[tokio::test]
async fn a_lessee_set_by_hand_outlives_the_instance() {
    let world = World::new().await;
    let with_project = async |id| {
        let project = |node: &mut Node| {
            node.instance_info.insert("project_id".into(), json!("automatic"));
            Ok(())
        };
        world.engine.edit(id, project).await.unwrap();
        world.ask(id, Verb::Deploy).await.unwrap();
        world.reaches(id, ProvisionState::Active).await
    };
    for (by_hand, afterwards) in [(None, None), (Some("by-hand"), Some("by-hand"))] {
        let id = world.available().await;
        assert_eq!(with_project(id).await.lessee.as_deref(), Some("automatic"));
        if by_hand.is_some() {
            let lease = |node: &mut Node| {
                node.lessee = by_hand.map(Into::into);
                Ok(())
            };
            world.engine.edit(id, lease).await.unwrap();
        }
        world.ask(id, Verb::Undeploy).await.unwrap();
        let node = world.reaches(id, ProvisionState::Available).await;
        assert_eq!(node.lessee.as_deref(), afterwards);
    }
}
