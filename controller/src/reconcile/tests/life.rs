//! Inspection, adoption, rescue and retirement of fake machines.

use super::*;
use crate::node::{PowerState, inspection_rule::InspectionRule};

impl World {
    async fn fake_node(&self, info: Value) -> NodeId {
        let mut node = Node::new("fake-hardware");
        node.driver_info = info.as_object().unwrap().clone();
        crate::drivers::complete(&mut node).unwrap();
        self.store.create_node(&node).await.unwrap();
        self.ask(node.uuid, Verb::Manage).await.unwrap();
        self.reaches(node.uuid, ProvisionState::Manageable).await;
        node.uuid
    }

    async fn rescue(&self, id: NodeId) -> Result<(), RequestError> {
        let arguments = json!({"rescue_password": "pa55"});
        self.engine.provision(id, Verb::Rescue, arguments.as_object().unwrap()).await
    }

    async fn path(&self, id: NodeId) -> Vec<ProvisionState> {
        let mut history = self.store.history(id, 100).await.unwrap();
        history.reverse();
        history.iter().filter(|event| event.from != event.to).map(|event| event.to).collect()
    }
}

#[tokio::test]
async fn an_inspection_takes_its_time_and_says_when_it_was() {
    let world = World::new().await;
    let id = world.fake_node(json!({"fake_inspect_delay": 0.1})).await;
    world.ask(id, Verb::Inspect).await.unwrap();
    let waiting = world.until(id, |node| node.provision_state == ProvisionState::InspectWait).await;
    assert!(waiting.inspection_started_at.is_some());
    let node = world.reaches(id, ProvisionState::Manageable).await;
    assert!(node.inspection_finished_at.is_some() && node.inspection_started_at.is_none());
    use ProvisionState as S;
    let path = world.path(id).await;
    assert_eq!(path[2..], [S::Inspecting, S::InspectWait, S::Inspecting, S::Manageable]);
}

impl World {
    async fn rule(&self, rule: Value) {
        let mut rule = rule;
        rule["uuid"] = json!(uuid::Uuid::new_v4());
        rule["phase"] = json!("main");
        let rule: InspectionRule = serde_json::from_value(rule).unwrap();
        self.store.create_resource(&rule).await.unwrap();
    }
}

#[tokio::test]
async fn a_fake_inspection_finds_what_it_is_told_and_applies_the_rules() {
    let world = World::new().await;
    let found = json!({
        "interfaces": [{"name": "eth0", "mac_address": "52:54:00:00:00:77"}],
        "cpu": {"architecture": "x86_64", "count": 2},
    });
    let is_small = json!({"op": "lt", "args": {"values": ["{inventory[cpu][count]}", 4]}});
    let size =
        |value: &str| json!({"op": "set-attribute", "args": {"path": "properties/size", "value": value}});
    world.rule(json!({"priority": 1, "conditions": [is_small], "actions": [size("small")]})).await;
    world.rule(json!({"priority": 9, "conditions": [], "actions": [size("any")]})).await;
    let id = world.fake_node(json!({"fake_inventory": found})).await;
    world.ask(id, Verb::Inspect).await.unwrap();
    let node = world.reaches(id, ProvisionState::Manageable).await;
    assert_eq!((&node.properties["size"], &node.properties["cpu_arch"]), (&json!("small"), &json!("x86_64")));
    assert_eq!(world.store.ports(Some(id), None).await.unwrap()[0].address, "52:54:00:00:00:77");
    // A machine that nothing is found of: the condition names what is not there.
    let bare = world.fake_node(json!({})).await;
    world.ask(bare, Verb::Inspect).await.unwrap();
    let node = world.reaches(bare, ProvisionState::InspectFailed).await;
    let reason = node.last_error.unwrap();
    assert!(reason.contains("condition 1") && reason.contains("{inventory[cpu][count]}"), "{reason}");
}

#[tokio::test]
async fn a_rule_fails_an_inspection_and_a_sensitive_one_does_not_say_why() {
    let world = World::new().await;
    let id = world.fake_node(json!({})).await;
    let rule = json!({
        "conditions": [{"op": "eq", "args": {"values": ["{node.driver}", "fake-hardware"]}}],
        "actions": [{"op": "fail", "args": {"msg": "no {node.driver} here"}}],
    });
    world.rule(rule.clone()).await;
    world.ask(id, Verb::Inspect).await.unwrap();
    let node = world.reaches(id, ProvisionState::InspectFailed).await;
    let reason = "Failed to inspect hardware. Reason: no fake-hardware here";
    assert!(node.last_error.as_deref().is_some_and(|error| error.contains(reason)), "{:?}", node.last_error);
    let mut sensitive = rule;
    (sensitive["sensitive"], sensitive["priority"]) = (json!(true), json!(5));
    world.rule(sensitive).await;
    world.ask(id, Verb::Inspect).await.unwrap();
    world.until(id, |node| node.last_error.as_ref().is_some_and(|error| error.contains("not shown"))).await;
    let node = world.reaches(id, ProvisionState::InspectFailed).await;
    assert!(!node.last_error.unwrap().contains("no fake-hardware"));
}

#[tokio::test]
async fn a_rule_does_not_give_a_node_the_name_of_another() {
    let world = World::new().await;
    world
        .rule(json!({"actions": [{"op": "set-attribute", "args": {"path": "name", "value": "the-one"}}]}))
        .await;
    let first = world.fake_node(json!({})).await;
    world.ask(first, Verb::Inspect).await.unwrap();
    let node = world.until(first, |node| node.inspection_finished_at.is_some()).await;
    assert_eq!(node.name.as_deref(), Some("the-one"));
    let second = world.fake_node(json!({})).await;
    world.ask(second, Verb::Inspect).await.unwrap();
    let node = world.reaches(second, ProvisionState::InspectFailed).await;
    assert!(node.last_error.unwrap().contains("a name that another node has"));
}

#[tokio::test]
async fn an_inspection_fails_on_demand_and_can_be_aborted() {
    let world = World::new().await;
    let id = world.fake_node(json!({"fake_fail_step": "inspect.inspect_hardware"})).await;
    world.ask(id, Verb::Inspect).await.unwrap();
    let node = world.reaches(id, ProvisionState::InspectFailed).await;
    assert!(node.last_error.unwrap().contains("inspect.inspect_hardware failed"));
    let slow = world.fake_node(json!({"fake_inspect_delay": 3000})).await;
    world.ask(slow, Verb::Inspect).await.unwrap();
    world.until(slow, |node| node.provision_state == ProvisionState::InspectWait).await;
    world.ask(slow, Verb::Abort).await.unwrap();
    world.reaches(slow, ProvisionState::InspectFailed).await;
    world.ask(slow, Verb::Manage).await.unwrap();
    let node = world.reaches(slow, ProvisionState::Manageable).await;
    assert!(!node.driver_internal_info.contains_key("fake_work_until"));
}

#[tokio::test]
async fn what_the_driver_does_not_have_is_refused() {
    let world = World::new().await;
    let id = world.active().await;
    for refused in [world.rescue(id).await, world.ask(id, Verb::Rescue).await] {
        refused.unwrap_err();
    }
    let error = world.rescue(id).await.unwrap_err().to_string();
    assert_eq!(error, "Driver redfish does not support rescue (disabled or not implemented).");
    assert_eq!(world.node(id).await.provision_state, ProvisionState::Active);
}

#[tokio::test]
async fn a_running_machine_is_adopted_as_it_is() {
    let world = World::new().await;
    let id = world.fake_node(json!({"fake_power_delay": 0})).await;
    world.engine.power(id, crate::node::PowerTarget::On).await.unwrap();
    world.until(id, |node| node.target_power_state.is_none()).await;
    world.ask(id, Verb::Adopt).await.unwrap();
    let node = world.reaches(id, ProvisionState::Active).await;
    assert_eq!(node.power_state, Some(PowerState::On));

    let broken = world.fake_node(json!({})).await;
    let fail = |node: &mut Node| {
        node.driver_info.insert("fake_fail".into(), json!("power_state"));
        Ok(())
    };
    world.engine.edit(broken, fail).await.unwrap();
    world.ask(broken, Verb::Adopt).await.unwrap();
    let node = world.reaches(broken, ProvisionState::AdoptFailed).await;
    assert_eq!(node.power_state, None);
    assert!(node.last_error.is_some());
}

#[tokio::test]
async fn a_rescue_keeps_the_hash_of_its_password_as_long_as_it_lasts() {
    let world = World::new().await;
    let id = world.fake_node(json!({"fake_rescue_delay": 0.05})).await;
    world.ask(id, Verb::Adopt).await.unwrap();
    world.reaches(id, ProvisionState::Active).await;
    let hash = |node: &Node| node.instance_info.get("hashed_rescue_password").cloned();
    world.rescue(id).await.unwrap();
    let node = world.reaches(id, ProvisionState::Rescue).await;
    assert!(hash(&node).unwrap().as_str().unwrap().starts_with("$6$"));
    assert!(!serde_json::to_string(&node).unwrap().contains("pa55"));
    world.ask(id, Verb::Unrescue).await.unwrap();
    let node = world.reaches(id, ProvisionState::Active).await;
    assert_eq!(hash(&node), None);

    let fail = |node: &mut Node| {
        node.driver_info.insert("fake_fail_step".into(), json!("rescue.rescue,rescue.unrescue"));
        Ok(())
    };
    world.engine.edit(id, fail).await.unwrap();
    world.rescue(id).await.unwrap();
    let node = world.reaches(id, ProvisionState::RescueFailed).await;
    assert_eq!(hash(&node), None);
    world.ask(id, Verb::Unrescue).await.unwrap();
    world.reaches(id, ProvisionState::UnrescueFailed).await;
    world.ask(id, Verb::Undeploy).await.unwrap();
    world.reaches(id, ProvisionState::Available).await;
}

#[tokio::test]
async fn a_node_in_maintenance_is_neither_provided_nor_rescued() {
    let world = World::new().await;
    let id = world.fake_node(json!({})).await;
    let maintenance = |on: bool| {
        move |node: &mut Node| {
            node.maintenance = on;
            Ok(())
        }
    };
    world.engine.edit(id, maintenance(true)).await.unwrap();
    let error = world.ask(id, Verb::Provide).await.unwrap_err().to_string();
    assert!(error.starts_with("The providing operation can't be performed"), "{error}");
    world.ask(id, Verb::Adopt).await.unwrap();
    world.reaches(id, ProvisionState::Active).await;
    let error = world.rescue(id).await.unwrap_err().to_string();
    assert!(error.starts_with("The rescuing operation can't be performed"), "{error}");
    world.engine.edit(id, maintenance(false)).await.unwrap();
    world.rescue(id).await.unwrap();
    world.reaches(id, ProvisionState::Rescue).await;
}

#[tokio::test]
async fn a_retired_node_that_is_undeployed_stays_manageable() {
    let world = World::new().await;
    let id = world.fake_node(json!({})).await;
    world.ask(id, Verb::Adopt).await.unwrap();
    world.reaches(id, ProvisionState::Active).await;
    let retire = |node: &mut Node| {
        node.retired = true;
        Ok(())
    };
    world.engine.edit(id, retire).await.unwrap();
    world.ask(id, Verb::Undeploy).await.unwrap();
    world.reaches(id, ProvisionState::Manageable).await;
    let error = world.ask(id, Verb::Provide).await.unwrap_err().to_string();
    assert!(error.contains("because it is retired"), "{error}");
}

#[tokio::test]
async fn the_vifs_of_an_instance_go_with_it_whether_its_end_succeeds_or_not() {
    let world = World::new().await;
    for broken in [None, Some("force off")] {
        let id = world.active().await;
        let vif = json!({"tenant_vif_port_id": "vif-1", "other": 1}).as_object().unwrap().clone();
        let mut port = crate::node::Port::new(id, format!("52:54:00:00:00:{:02x}", id.0.as_bytes()[0]));
        port.internal_info = vif.clone();
        world.store.create_port(&port).await.unwrap();
        let group: crate::node::portgroup::Portgroup = serde_json::from_value(json!({
            "uuid": uuid::Uuid::new_v4(), "node_uuid": id, "mode": "active-backup",
            "standalone_ports_supported": true, "internal_info": vif,
        }))
        .unwrap();
        world.store.create_resource(&group).await.unwrap();
        world.machine.lock().broken = broken;
        world.ask(id, Verb::Undeploy).await.unwrap();
        let end = if broken.is_some() { ProvisionState::Error } else { ProvisionState::Available };
        world.reaches(id, end).await;
        world.machine.lock().broken = None;
        let port = world.store.port(&port.uuid.to_string()).await.unwrap();
        assert_eq!(Value::Object(port.internal_info), json!({"other": 1}), "{broken:?}");
        let groups = world.store.resources::<crate::node::portgroup::Portgroup>(Some(id)).await.unwrap();
        assert_eq!(Value::Object(groups[0].value.internal_info.clone()), json!({"other": 1}), "{broken:?}");
    }
}

#[tokio::test]
async fn machines_that_never_call_back_are_given_up_at_the_deadline_of_their_state() {
    let world = World::with(|config| {
        config.inspect_wait_timeout = 1;
        config.rescue_callback_timeout = 1;
        config.clean_callback_timeout = 1;
    })
    .await;
    let slow = json!({"fake_inspect_delay": 60, "fake_rescue_delay": 60, "fake_vendor_delay": 60});
    let steps = json!({"clean_steps": [{"interface": "vendor", "step": "log_passthrough"}]});
    let password = json!({"rescue_password": "letmein"});
    for (verb, arguments, from, failed) in [
        (Verb::Inspect, json!({}), ProvisionState::Manageable, ProvisionState::InspectFailed),
        (Verb::Clean, steps, ProvisionState::Manageable, ProvisionState::CleanFailed),
        (Verb::Rescue, password, ProvisionState::Active, ProvisionState::RescueFailed),
    ] {
        let id = world.fake_node(slow.clone()).await;
        let mut node = world.node(id).await;
        node.provision_state = from;
        world.store.update_node(&mut node, None).await.unwrap();
        world.engine.provision(id, verb, arguments.as_object().unwrap()).await.unwrap();
        let waits = world.until(id, |node| node.wait_until.is_some()).await;
        let left = waits.wait_until.unwrap() - chrono::Utc::now();
        assert!(left.num_seconds() <= 1, "{verb}: {left}");
        let node = world.reaches(id, failed).await;
        assert!(node.last_error.as_ref().unwrap().starts_with("Timed out in state"), "{:?}", node.last_error);
    }
}
