//! Cleanings, services and deploys of fake nodes: their steps, holds, aborts, failures, and kills in between.

use futures_util::{FutureExt as _, future::join_all};

use super::*;
use crate::node::PowerState;

/// A manageable fake node.
async fn fake(world: &World, info: Value) -> NodeId {
    let mut node = Node::new("fake-hardware");
    node.driver_info = info.as_object().unwrap().clone();
    node.provision_state = ProvisionState::Manageable;
    node.power_state = Some(PowerState::Off);
    crate::drivers::complete(&mut node).unwrap();
    world.store.create_node(&node).await.unwrap();
    node.uuid
}

async fn set(world: &World, id: NodeId, change: impl FnOnce(&mut Node)) {
    let mut node = world.node(id).await;
    change(&mut node);
    world.store.update_node(&mut node, None).await.unwrap();
}

async fn ask_with(world: &World, id: NodeId, verb: Verb, arguments: Value) -> Result<(), RequestError> {
    world.engine.provision(id, verb, arguments.as_object().unwrap()).await
}

fn listed(steps: &[&str]) -> Value {
    let step = |label: &&str| {
        let (interface, step) = label.split_once('.').unwrap();
        match step {
            "wait" => json!({"interface": interface, "step": step, "args": {"seconds": 1}}),
            _ => json!({"interface": interface, "step": step}),
        }
    };
    steps.iter().map(step).collect()
}

async fn clean(world: &World, id: NodeId, steps: &[&str]) {
    ask_with(world, id, Verb::Clean, json!({"clean_steps": listed(steps)})).await.unwrap();
}

async fn path(world: &World, id: NodeId) -> Vec<String> {
    let mut path: Vec<_> = world.store.history(id, 100).await.unwrap();
    path.reverse();
    path.iter().map(|event| event.to.to_string()).collect()
}

/// Nothing of a plan is left.
fn is_over(node: &Node) {
    assert!(node.driver_internal_info.is_empty(), "{:?}", node.driver_internal_info);
    assert!(node.clean_step.is_empty() && node.service_step.is_empty() && node.deploy_step.is_empty());
    assert_eq!((&node.reservation, &node.wait_reason, node.wait_until), (&None, &None, None));
}

#[tokio::test]
async fn reserved_steps_really_run() {
    let world = World::new().await;
    let id = fake(&world, json!({})).await;
    clean(
        &world,
        id,
        &["power.power_on", "vendor.log_passthrough", "power.wait", "deploy.hold", "power.power_off"],
    )
    .await;
    let held = world.until(id, |node| node.provision_state == ProvisionState::CleanHold).await;
    assert_eq!(held.power_state, Some(PowerState::On));
    let held = world.until(id, |node| node.wait_reason.is_some()).await;
    assert!(held.wait_reason.unwrap().contains("unhold lets it go on"));
    assert_eq!((held.wait_until, &held.clean_step["step"]), (None, &json!("hold")));
    assert_eq!(held.driver_internal_info["clean_step_index"], 3);
    assert_eq!(held.target_provision_state, Some(ProvisionState::Manageable));
    world.ask(id, Verb::Unhold).await.unwrap();
    let node = world.reaches(id, ProvisionState::Manageable).await;
    assert_eq!((node.power_state, node.maintenance), (Some(PowerState::Off), false));
    is_over(&node);
    let states = ["cleaning", "clean wait", "cleaning", "clean hold", "clean wait", "cleaning", "manageable"];
    assert_eq!(path(&world, id).await, states);
}

#[tokio::test]
async fn a_cleaning_between_two_users_runs_the_drivers_steps() {
    let world = World::with(|config| config.automated_clean = true).await;
    let id = fake(&world, json!({"fake_vendor_delay": 1})).await;
    world.ask(id, Verb::Provide).await.unwrap();
    let waits = world.until(id, |node| node.wait_reason.is_some()).await;
    assert_eq!(waits.provision_state, ProvisionState::CleanWait);
    assert_eq!(waits.clean_step["step"], "log_passthrough");
    let plan = &waits.driver_internal_info["clean_steps"][0];
    assert_eq!(
        (&plan["priority"], &plan["abortable"], &plan["argsinfo"]),
        (&json!(1), &json!(false), &Value::Null)
    );
    assert!(waits.wait_until.is_some());
    is_over(&world.reaches(id, ProvisionState::Available).await);
    // The node's own word wins over the configuration.
    set(&world, id, |node| node.automated_clean = Some(false)).await;
    world.ask(id, Verb::Manage).await.unwrap();
    world.ask(id, Verb::Provide).await.unwrap();
    let node = world.reaches(id, ProvisionState::Available).await;
    assert!(node.last_error.is_none());
}

#[tokio::test]
async fn a_deploy_of_a_fake_machine_needs_no_image_and_goes_round() {
    let world = World::new().await;
    let id = fake(&world, json!({})).await;
    world.ask(id, Verb::Provide).await.unwrap();
    world.reaches(id, ProvisionState::Available).await;
    let steps = json!([
        {"interface": "power", "step": "power_on", "args": {}, "priority": 10},
        {"interface": "bios", "step": "apply_configuration", "args": {"settings": []}, "priority": 110},
    ]);
    ask_with(&world, id, Verb::Deploy, json!({"deploy_steps": steps})).await.unwrap();
    let node = world.reaches(id, ProvisionState::Active).await;
    assert_eq!(node.power_state, Some(PowerState::On));
    is_over(&node);
    for verb in [Verb::Rebuild, Verb::Undeploy] {
        world.ask(id, verb).await.unwrap();
        let state = if verb == Verb::Rebuild { ProvisionState::Active } else { ProvisionState::Available };
        world.reaches(id, state).await;
    }
    let twice = json!({"deploy_steps": [{"interface": "bios", "step": "soup", "args": {}, "priority": 1}]});
    let refused = ask_with(&world, id, Verb::Deploy, twice).await.unwrap_err().to_string();
    assert!(refused.contains("does not support this deploy step"), "{refused}");
    assert_eq!(world.node(id).await.provision_state, ProvisionState::Available);
}

#[tokio::test]
async fn steps_that_the_node_lacks_fail_in_ironics_words_and_without_a_fault() {
    let world = World::new().await;
    let id = fake(&world, json!({})).await;
    clean(&world, id, &["raid.delete_configuration"]).await;
    let node = world.reaches(id, ProvisionState::CleanFailed).await;
    assert_eq!(
        node.last_error.as_deref().unwrap(),
        format!(
            "Cannot clean node {id}: node does not support this clean step: {{'interface': 'raid', 'step': \
             'delete_configuration'}}"
        )
    );
    assert_eq!((node.maintenance, &node.fault), (false, &None));
    assert_eq!(node.target_provision_state, Some(ProvisionState::Manageable));
    world.ask(id, Verb::Manage).await.unwrap();
    for arguments in [json!({}), json!({"clean_steps": []}), json!({"clean_steps": [{"step": "x"}]})] {
        let refused = ask_with(&world, id, Verb::Clean, arguments).await.unwrap_err().to_string();
        assert!(refused.contains("clean_steps"), "{refused}");
    }
    set(&world, id, |node| node.maintenance = true).await;
    let refused =
        ask_with(&world, id, Verb::Clean, json!({"clean_steps": listed(&["power.power_on"])})).await;
    assert!(matches!(refused, Err(RequestError::Maintenance { operation: "cleaning", .. })));
}

#[tokio::test]
async fn a_step_that_fails_after_it_began_leaves_a_fault() {
    let world = World::new().await;
    let id = fake(&world, json!({"fake_fail_step": "bios.factory_reset"})).await;
    clean(&world, id, &["power.power_on", "bios.factory_reset"]).await;
    let node = world.reaches(id, ProvisionState::CleanFailed).await;
    let error = node.last_error.clone().unwrap();
    assert!(error.starts_with("Clean step bios.factory_reset failed: fake_fail_step"), "{error}");
    assert_eq!((node.maintenance, node.fault.as_deref()), (true, Some("clean failure")));
    assert_eq!(node.maintenance_reason, node.last_error);
    is_over(&node);

    let id = fake(&world, json!({"fake_fail_step": "bios.factory_reset"})).await;
    set(&world, id, |node| node.provision_state = ProvisionState::Active).await;
    let steps = json!({"service_steps": listed(&["bios.factory_reset"])});
    ask_with(&world, id, Verb::Service, steps).await.unwrap();
    let node = world.reaches(id, ProvisionState::ServiceFailed).await;
    assert_eq!((node.maintenance, node.fault.as_deref()), (true, Some("service failure")));
    let refused = world.ask(id, Verb::Abort).await;
    assert!(matches!(refused, Err(RequestError::InUse(_))), "who repaired it says so first");
    set(&world, id, |node| node.maintenance = false).await;
    world.ask(id, Verb::Abort).await.unwrap();
    let node = world.node(id).await;
    assert_eq!((node.provision_state, node.target_provision_state), (ProvisionState::Active, None));

    let id = fake(&world, json!({"fake_fail_step": "deploy.deploy"})).await;
    world.ask(id, Verb::Provide).await.unwrap();
    world.reaches(id, ProvisionState::Available).await;
    world.ask(id, Verb::Deploy).await.unwrap();
    let node = world.reaches(id, ProvisionState::DeployFailed).await;
    assert_eq!((node.maintenance, &node.fault), (false, &None));
}

#[tokio::test]
async fn abort_stops_a_step_or_comes_after_it() {
    let world = World::new().await;
    let id = fake(&world, json!({"fake_vendor_delay": 1})).await;
    // This step may not be interrupted: the next one never runs.
    clean(&world, id, &["vendor.log_passthrough", "power.power_on"]).await;
    world.until(id, |node| node.wait_reason.is_some()).await;
    world.ask(id, Verb::Abort).await.unwrap();
    assert_eq!(world.node(id).await.driver_internal_info["clean_steps"][0]["abort_after"], true);
    let node = world.reaches(id, ProvisionState::CleanFailed).await;
    assert!(node.last_error.as_ref().unwrap().starts_with("Cleaning aborted by user after step vendor."));
    assert_eq!((node.maintenance, node.power_state), (false, Some(PowerState::Off)));
    is_over(&node);

    set(&world, id, |node| node.provision_state = ProvisionState::Active).await;
    let steps = json!({"service_steps": listed(&["vendor.trigger_servicewait"])});
    ask_with(&world, id, Verb::Service, steps).await.unwrap();
    let waits = world.until(id, |node| node.wait_reason.is_some()).await;
    assert_eq!(waits.provision_state, ProvisionState::ServiceWait);
    world.ask(id, Verb::Abort).await.unwrap();
    let node = world.reaches(id, ProvisionState::ServiceFailed).await;
    assert_eq!((node.last_error.as_deref(), node.maintenance), (Some("Service aborted by user"), false));

    let steps = json!({"service_steps": listed(&["power.hold", "power.power_on"])});
    ask_with(&world, id, Verb::Service, steps).await.unwrap();
    world.until(id, |node| node.provision_state == ProvisionState::ServiceHold).await;
    // A service that is held can be replaced by another.
    let steps = json!({"service_steps": listed(&["power.hold"])});
    loop {
        match ask_with(&world, id, Verb::Service, steps.clone()).await {
            Err(RequestError::Locked { .. }) => {}
            done => break done.unwrap(),
        }
    }
    world
        .until(id, |node| node.provision_state == ProvisionState::ServiceHold && node.wait_reason.is_some())
        .await;
    world.ask(id, Verb::Abort).await.unwrap();
    let node = world.reaches(id, ProvisionState::ServiceFailed).await;
    assert_eq!((node.maintenance, node.power_state), (false, Some(PowerState::Off)));
}

#[tokio::test]
async fn a_service_that_waits_in_vain_ends_at_its_deadline() {
    let world = World::with(|config| config.service_callback_timeout = 1).await;
    let id = fake(&world, json!({})).await;
    set(&world, id, |node| node.provision_state = ProvisionState::Active).await;
    let steps = json!({"service_steps": listed(&["vendor.trigger_servicewait"])});
    ask_with(&world, id, Verb::Service, steps).await.unwrap();
    let node = world.reaches(id, ProvisionState::ServiceFailed).await;
    let error = node.last_error.unwrap();
    assert!(
        error.starts_with("Timed out in state \"service wait\", step trigger_servicewait after"),
        "{error}"
    );
    assert_eq!(node.fault.as_deref(), Some("service failure"));
}

#[tokio::test]
async fn one_node_more_than_allowed_at_once_is_refused() {
    let world = World::with(|config| {
        config.max_concurrent_deploy = 1;
        config.max_concurrent_clean = 1;
    })
    .await;
    let slow = json!({"fake_deploy_delay": 3600, "fake_vendor_delay": 3600});
    let (first, second) = (fake(&world, slow.clone()).await, fake(&world, slow.clone()).await);
    clean(&world, first, &["vendor.log_passthrough"]).await;
    let refused = ask_with(&world, second, Verb::Provide, json!({})).await.unwrap_err();
    assert!(matches!(refused, RequestError::Crowded { task: "cleaning" }));
    let (first, second) = (fake(&world, slow.clone()).await, fake(&world, slow).await);
    for id in [first, second] {
        set(&world, id, |node| node.provision_state = ProvisionState::Available).await;
    }
    world.ask(first, Verb::Deploy).await.unwrap();
    assert!(matches!(
        world.ask(second, Verb::Deploy).await,
        Err(RequestError::Crowded { task: "deployment" })
    ));
    world.until(first, |node| node.wait_reason.is_some() && node.reservation.is_none()).await;
    world.ask(first, Verb::Abort).await.unwrap();
    world.reaches(first, ProvisionState::DeployFailed).await;
    world.ask(second, Verb::Deploy).await.unwrap();
}

/// A controller that is killed as soon as this is so goes on, and every step has its effect.
async fn killed_when(verb: Verb, is_so: impl Fn(&Node) -> bool) {
    let mut world = World::new().await;
    let id = fake(&world, json!({"fake_bios_delay": 0.3, "fake_power_delay": 0.1})).await;
    let (steps, target) = match verb {
        Verb::Clean => ("clean_steps", ProvisionState::Manageable),
        _ => ("service_steps", ProvisionState::Active),
    };
    set(&world, id, |node| node.provision_state = target).await;
    let list = listed(&["power.power_on", "bios.factory_reset", "power.hold", "power.wait", "power.reboot"]);
    ask_with(&world, id, verb, json!({steps: list})).await.unwrap();
    let holds =
        |node: &Node| matches!(node.provision_state, ProvisionState::CleanHold | ProvisionState::ServiceHold);
    if world.until(id, |node| is_so(node) || holds(node)).await.provision_state.is_moving() {
        world.kill().await;
    }
    world.until(id, holds).await;
    loop {
        match world.ask(id, Verb::Unhold).await {
            Err(RequestError::Locked { .. }) => {}
            done => break done.unwrap(),
        }
    }
    if world
        .until(id, |node| is_so(node) || !node.provision_state.is_moving())
        .await
        .provision_state
        .is_moving()
    {
        world.kill().await;
    }
    let node = world.reaches(id, target).await;
    assert_eq!(
        (node.power_state, node.last_error.as_ref(), node.maintenance),
        (Some(PowerState::On), None, false)
    );
    is_over(&node);
}

type StepField = fn(&Node) -> &Map<String, Value>;

#[tokio::test]
async fn a_controller_killed_at_each_step_of_a_cleaning_or_service_goes_on() {
    for verb in [Verb::Clean, Verb::Service] {
        let (key, field): (_, StepField) = match verb {
            Verb::Clean => ("clean_step_index", |node| &node.clean_step),
            _ => ("service_step_index", |node| &node.service_step),
        };
        let places = (0..5).map(|at| {
            killed_when(verb, move |node| node.driver_internal_info.get(key) == Some(&json!(at))).boxed()
        });
        let steps = ["power_on", "factory_reset", "hold", "wait", "reboot"]
            .into_iter()
            .map(|step| killed_when(verb, move |node| field(node).get("step") == Some(&json!(step))).boxed());
        join_all(places.chain(steps)).await;
    }
}

#[tokio::test]
async fn templates_and_runbooks_run_on_nodes_with_their_traits() {
    let world = World::new().await;
    let id = fake(&world, json!({"fake_bios_delay": 2})).await;
    let template = json!({
        "uuid": uuid::Uuid::new_v4(), "name": "CUSTOM_RESET",
        "steps": [{"interface": "bios", "step": "factory_reset", "args": {}, "priority": 150}],
    });
    let template: crate::node::deploy_template::DeployTemplate = serde_json::from_value(template).unwrap();
    world.store.create_resource(&template).await.unwrap();
    let runbook = json!({
        "uuid": uuid::Uuid::new_v4(), "name": "CUSTOM_BOOK", "traits": ["CUSTOM_BOOK"],
        "steps": [
            {"interface": "power", "step": "power_off", "args": {}, "order": 2},
            {"interface": "power", "step": "power_on", "args": {}, "order": 1},
        ],
    });
    let runbook: crate::node::runbook::Runbook = serde_json::from_value(runbook).unwrap();
    world.store.create_resource(&runbook).await.unwrap();

    let book = json!({"runbook": "CUSTOM_BOOK"});
    let refused = ask_with(&world, id, Verb::Clean, book.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("has not been approved"), "{refused}");
    let gone = ask_with(&world, id, Verb::Clean, json!({"runbook": "CUSTOM_GONE"})).await;
    assert!(matches!(gone, Err(RequestError::Store(crate::store::StoreError::NotFound { .. }))));
    set(&world, id, |node| node.traits = vec!["CUSTOM_BOOK".to_owned()]).await;
    let both = json!({"runbook": "CUSTOM_BOOK", "clean_steps": listed(&["power.power_on"])});
    assert!(ask_with(&world, id, Verb::Clean, both).await.unwrap_err().to_string().contains("not both"));
    ask_with(&world, id, Verb::Clean, book).await.unwrap();
    let node = world.reaches(id, ProvisionState::Manageable).await;
    assert_eq!(node.power_state, Some(PowerState::Off));

    world.ask(id, Verb::Provide).await.unwrap();
    world.reaches(id, ProvisionState::Available).await;
    let wants = |node: &mut Node| drop(node.instance_info.insert("traits".into(), json!(["CUSTOM_RESET"])));
    set(&world, id, wants).await;
    let refused = world.ask(id, Verb::Deploy).await.unwrap_err().to_string();
    assert!(refused.ends_with("is missing traits CUSTOM_RESET"), "{refused}");
    set(&world, id, |node| node.traits.push("CUSTOM_RESET".to_owned())).await;
    world.ask(id, Verb::Deploy).await.unwrap();
    let is_resetting = |node: &Node| node.deploy_step.get("step") == Some(&json!("factory_reset"));
    let waits = world.until(id, is_resetting).await;
    assert_eq!(waits.driver_internal_info["deploy_steps"][1]["step"], "deploy");
    world.reaches(id, ProvisionState::Active).await;
}

#[tokio::test]
async fn an_accepted_abort_is_not_taken_back() {
    // The engine looks at nodes when it is poked only.
    let world = World::with(|config| config.check_provision_state_interval = 3600).await;
    for (verb, held, failed) in [
        (Verb::Unhold, ProvisionState::CleanHold, ProvisionState::CleanFailed),
        (Verb::Unhold, ProvisionState::DeployHold, ProvisionState::DeployFailed),
        (Verb::Unhold, ProvisionState::ServiceHold, ProvisionState::ServiceFailed),
        (Verb::Service, ProvisionState::ServiceHold, ProvisionState::ServiceFailed),
    ] {
        let id = fake(&world, json!({})).await;
        // As `abort` leaves it, before the engine looks.
        let aborted = |node: &mut Node| {
            node.provision_state = held;
            crate::reconcile::steps::note_abort(node);
            crate::reconcile::process::fail_soon(node, "Aborted by user");
        };
        set(&world, id, aborted).await;
        let arguments = json!({"service_steps": listed(&["power.power_on"])});
        let arguments = if verb == Verb::Service { arguments } else { json!({}) };
        let refused = ask_with(&world, id, verb, arguments).await;
        assert!(matches!(&refused, Err(RequestError::InUse(_))), "{held}: {refused:?}");
        world.engine.poke(id);
        let node = world.reaches(id, failed).await;
        assert_eq!(node.last_error.as_deref(), Some("Aborted by user"));
    }
}
