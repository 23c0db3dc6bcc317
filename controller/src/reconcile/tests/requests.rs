use super::{machine::Treatment, *};
use crate::store::StoreError;

fn sentence_of(result: Result<(), RequestError>) -> String {
    result.unwrap_err().to_string()
}

#[tokio::test]
async fn a_bmc_that_does_not_answer_leaves_the_node_in_enroll_with_the_reason() {
    let world = World::new().await;
    let id = world.enrolled().await;
    world.machine.lock().broken = Some("read power");
    world.ask(id, Verb::Manage).await.unwrap();
    let node = world.reaches(id, ProvisionState::Enroll).await;
    assert!(node.last_error.unwrap().contains("read power with status 503: out of order"));
    assert_eq!(node.target_provision_state, None);
    world.machine.lock().broken = None;
    world.ask(id, Verb::Manage).await.unwrap();
    let node = world.reaches(id, ProvisionState::Manageable).await;
    assert_eq!((node.last_error, node.power_state), (None, Some(crate::node::PowerState::Off)));
}

#[tokio::test]
async fn what_a_deploy_lacks_is_said_at_once() {
    let world = World::new().await;
    let id = world.available().await;
    let edit = async |change: fn(&mut Node)| {
        let changed = world.engine.edit(id, |node| {
            node.instance_info = world.instance_info();
            node.properties.clear();
            node.maintenance = false;
            node.driver_info.insert("redfish_address".into(), json!("x"));
            change(node);
            Ok(())
        });
        changed.await.unwrap();
        sentence_of(world.ask(id, Verb::Deploy).await)
    };
    let error = edit(|node| drop(node.instance_info.remove("image_source"))).await;
    assert!(error.starts_with("Failed to validate deploy or power info for node"), "{error}");
    assert!(error.ends_with("Missing are: image_source"), "{error}");
    let error = edit(|node| drop(node.driver_info.remove("redfish_address"))).await;
    assert!(error.contains("redfish_address is missing"), "{error}");
    let error = edit(|node| drop(node.properties.insert("capabilities".into(), json!("boot_mode:x")))).await;
    assert!(error.contains("capability boot_mode:x is not known"), "{error}");
    let error = edit(|node| node.maintenance = true).await;
    assert!(error.contains("provisioning operation can't be performed"), "{error}");
    let well = |node: &mut Node| {
        node.maintenance = false;
        Ok(())
    };
    world.engine.edit(id, well).await.unwrap();
    let arguments = json!({"configdrive": {"user_data": "x"}, "deploy_steps": [{}]});
    let refused = world.engine.provision(id, Verb::Deploy, arguments.as_object().unwrap()).await;
    assert!(sentence_of(refused).starts_with("Invalid deploy_steps: step 1: interface must be"));
    let off = |step: &str| json!({"interface": "deploy", "step": step, "args": {}, "priority": 0});
    let arguments = json!({"deploy_steps": [off("write_image"), off("prepare_instance_boot")]});
    let refused = world.engine.provision(id, Verb::Deploy, arguments.as_object().unwrap()).await;
    assert!(sentence_of(refused).contains("write_image is switched off"));
    let arguments = json!({"configdrive": "H4sI"});
    let refused = world.engine.provision(id, Verb::Deploy, arguments.as_object().unwrap()).await;
    assert!(sentence_of(refused).contains("not of whole gzip data"));
    assert!(!world.node(id).await.instance_info.contains_key("configdrive"));
    assert_eq!(world.node(id).await.provision_state, ProvisionState::Available);
    assert!(!world.machine.lock().asked.contains(&"on".to_owned()));
}

#[tokio::test]
async fn a_verb_in_the_wrong_state_is_refused_in_ironics_words() {
    let world = World::new().await;
    let id = world.enrolled().await;
    assert_eq!(
        sentence_of(world.ask(id, Verb::Deploy).await),
        format!(
            "The requested action \"active\" can not be performed on node \"{id}\" while it is in state \"enroll\"."
        )
    );
    let missing = world.ask(NodeId::random(), Verb::Manage).await;
    assert!(matches!(missing, Err(RequestError::Store(StoreError::NotFound { .. }))));
}

#[tokio::test]
async fn cleaning_that_would_erase_nothing_is_refused() {
    let world = World::new().await;
    let id = world.enrolled().await;
    let clean = |node: &mut Node| {
        node.automated_clean = Some(true);
        Ok(())
    };
    let refused = world.engine.edit(id, clean).await.map(drop);
    assert!(sentence_of(refused).contains("there are no clean steps for this node"));
    assert_eq!(world.node(id).await.automated_clean, None);
    let mut node = world.node(id).await;
    node.automated_clean = Some(true);
    node.provision_state = ProvisionState::Manageable;
    world.store.update_node(&mut node, None).await.unwrap();
    assert!(
        sentence_of(world.ask(id, Verb::Provide).await).contains("there are no clean steps for this node")
    );
}

#[tokio::test]
async fn a_node_that_is_worked_on_is_locked() {
    let world = World::new().await;
    let id = world.available().await;
    world.machine.lock().slow = Some(("force off", Duration::from_secs(60)));
    world.ask(id, Verb::Deploy).await.unwrap();
    world.until(id, |node| node.wait_reason.is_some()).await;
    let started = std::time::Instant::now();
    let refused = world.engine.edit(id, |_| Ok(())).await.map(drop);
    assert!(started.elapsed() >= Duration::from_secs(3));
    assert_eq!(
        sentence_of(refused),
        format!(
            "Node {id} is locked by host controller-1, please retry after the current operation is completed."
        )
    );
    assert_eq!(world.node(id).await.reservation.as_deref(), Some("controller-1"));
}

#[tokio::test]
async fn a_change_that_is_refused_changes_nothing() {
    let world = World::new().await;
    let id = world.enrolled().await;
    let refused = world.engine.edit(id, |node| {
        node.description = Some("x".into());
        Err(RequestError::Invalid("no".into()))
    });
    assert_eq!(sentence_of(refused.await.map(drop)), "no");
    assert_eq!(world.node(id).await.description, None);
}

#[tokio::test]
async fn only_a_node_at_rest_is_removed() {
    let world = World::new().await;
    let id = world.available().await;
    assert!(sentence_of(world.engine.delete(id).await).contains("is associated with instance"));
    let free = |node: &mut Node| {
        node.instance_uuid = None;
        node.protected = true;
        Ok(())
    };
    world.engine.edit(id, free).await.unwrap();
    assert!(sentence_of(world.engine.delete(id).await).contains("is protected"));
    let unprotect = |node: &mut Node| {
        node.protected = false;
        Ok(())
    };
    world.engine.edit(id, unprotect).await.unwrap();
    world.machine.lock().steps = [("write_image", Treatment::Hang)].into();
    world.ask(id, Verb::Deploy).await.unwrap();
    world.until(id, |node| node.provision_state == ProvisionState::WaitCallBack).await;
    let refused = world.engine.delete(id).await;
    assert!(matches!(refused, Err(RequestError::InvalidState { .. } | RequestError::Locked { .. })));
    world.ask_until_free(id, Verb::Undeploy).await;
    world.reaches(id, ProvisionState::Available).await;
    world.engine.delete(id).await.unwrap();
    assert!(world.store.node(&id.to_string()).await.is_err());
}

#[tokio::test]
async fn validation_says_what_works_and_why_the_rest_does_not() {
    let world = World::new().await;
    let id = world.enrolled().await;
    let mut node = world.node(id).await;
    let reasons = |node: &Node| -> Vec<(&'static str, Option<String>)> {
        let all = world.engine.validate(node).into_iter();
        all.map(|found| (found.interface, found.result.unwrap().err())).collect()
    };
    let works: Vec<_> = reasons(&node).into_iter().filter(|(_, reason)| reason.is_none()).collect();
    let works: Vec<_> = works.into_iter().map(|(kind, _)| kind).collect();
    let expected = [
        "boot",
        "deploy",
        "management",
        "network",
        "power",
        "bios",
        "firmware",
        "inspect",
        "raid",
        "storage",
    ];
    assert_eq!(works, expected);
    assert_eq!(reasons(&node).len(), 12);
    node.instance_info.clear();
    node.driver_info.clear();
    let reason = |kind| reasons(&node).into_iter().find(|(k, _)| *k == kind).unwrap().1.unwrap();
    assert!(reason("deploy").contains("Missing are: image_source"));
    assert!(reason("power").contains("redfish_address is missing"));
    assert_eq!(reason("rescue"), "Driver redfish does not support rescue (disabled or not implemented).");
    assert!(reason("raid").contains("redfish_address is missing"));
}

impl World {
    /// Repeats while the node is locked, as clients do.
    async fn ask_until_free(&self, id: NodeId, verb: Verb) {
        loop {
            match self.ask(id, verb).await {
                Err(RequestError::Locked { .. }) => {}
                done => return done.unwrap(),
            }
        }
    }
}

/// A fake node that was put into a state by hand.
async fn put(world: &World, state: ProvisionState) -> NodeId {
    let mut node = Node::new("fake-hardware");
    crate::drivers::complete(&mut node).unwrap();
    node.provision_state = state;
    node.target_provision_state = state.row().target;
    world.store.create_node(&node).await.unwrap();
    node.uuid
}

#[tokio::test]
async fn each_verb_does_in_each_state_what_the_table_says_and_nothing_else() {
    let world = World::with(|config| {
        config.check_provision_state_interval = 3600;
        config.max_concurrent_clean = 1000;
        config.max_concurrent_deploy = 1000;
    })
    .await;
    let steps = json!([{"interface": "bios", "step": "factory_reset"}]);
    for (state, verb) in ProvisionState::ALL.iter().flat_map(|s| Verb::ALL.iter().map(move |v| (*s, *v))) {
        let id = put(&world, state).await;
        let mut arguments = json!({});
        match verb {
            Verb::Clean => arguments["clean_steps"] = steps.clone(),
            Verb::Service => arguments["service_steps"] = steps.clone(),
            Verb::Rescue => arguments["rescue_password"] = json!("x"),
            _ => {}
        }
        let said = world.engine.provision(id, verb, arguments.as_object().unwrap()).await;
        let Some(transition) = state.next(verb, state.row().target) else {
            let sentence = sentence_of(said);
            let action = format!("The requested action \"{verb}\" can not be performed on node \"{id}\"");
            assert_eq!(sentence, format!("{action} while it is in state \"{state}\"."));
            assert_eq!(world.node(id).await.provision_state, state);
            continue;
        };
        let has_work =
            |state: ProvisionState| crate::reconcile::states::of(state).is_some() || !state.is_moving();
        if !has_work(state) && verb == Verb::Abort {
            // No node comes here, so nobody carries the abort out.
            continue;
        }
        if !has_work(transition.next) {
            assert!(matches!(said, Err(RequestError::Unsupported { .. })), "{state} {verb}");
            continue;
        }
        said.unwrap_or_else(|error| panic!("{state} {verb}: {error}"));
        // How it goes on there is tested elsewhere.
        let went = |events: &[crate::store::HistoryEvent]| {
            events.iter().any(|event| event.from == state && event.to == transition.next)
        };
        let found = tokio::time::timeout(Duration::from_secs(20), async {
            while !went(&world.store.history(id, 100).await.unwrap()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(found.await.is_ok(), "{state} {verb}: {:?}", world.node(id).await);
    }
}
