use serde_json::{Value, json};

use super::*;
use crate::{drivers, node::Node};

fn step(interface: &str, name: &str, priority: u32) -> PlannedStep {
    let json = json!({"interface": interface, "step": name, "priority": priority});
    serde_json::from_value(json).unwrap()
}

fn offers(driver: &str) -> Vec<&'static Offer> {
    let mut node = Node::new(driver);
    drivers::complete(&mut node).unwrap();
    drivers::offers(&node)
}

fn given(list: Value, shape: Shape) -> Vec<GivenStep> {
    GivenStep::parse_all(&list, shape).unwrap()
}

fn labels(steps: &[PlannedStep]) -> Vec<String> {
    steps.iter().map(PlannedStep::label).collect()
}

const RESERVED_OFFER: Offer = reserved("hold", &[]);
const DIRECT: [&str; 6] = [
    "deploy.deploy",
    "deploy.write_image",
    "deploy.write_config_drive",
    "deploy.prepare_instance_boot",
    "deploy.tear_down_agent",
    "deploy.boot_instance",
];

#[test]
fn steps_that_erase_are_known_by_their_offer() {
    let eraser: &'static Offer = Box::leak(Box::new(Offer { erases: true, ..RESERVED_OFFER }));
    let offers: Vec<_> = offers("redfish").into_iter().chain([eraser]).collect();
    let settings = [step("bios", "factory_reset", 5), step("raid", "delete_configuration", 4)];
    assert!(!erases(&offers, &settings));
    assert!(erases(&offers, &[eraser.planned(Flow::Clean)]));
}

#[test]
fn a_deploy_boots_the_ramdisk_first_and_the_instance_last() {
    assert_eq!(labels(&deploy(&offers("redfish"), &[], &[]).unwrap()), DIRECT);
    assert_eq!(labels(&deploy(&offers("fake-hardware"), &[], &[]).unwrap()), ["deploy.deploy"]);
}

#[test]
fn priority_then_interface_then_the_given_order_decide() {
    let given = vec![
        step("raid", "a", 90),
        step("deploy", "b", 90),
        step("deploy", "c", 90),
        step("bios", "off", 0),
        step("power", "d", 90),
        step("raid", "e", 95),
    ];
    let names: Vec<_> = order(given).into_iter().map(|step| step.step).collect();
    assert_eq!(names, ["e", "d", "b", "c", "a"]);
}

#[test]
fn what_a_request_asks_for_wins_over_templates_and_those_over_the_driver() {
    let offers = offers("fake-hardware");
    let prioritised = |list| given(list, Shape::Prioritised);
    let templates = prioritised(json!([
        {"interface": "bios", "step": "factory_reset", "args": {}, "priority": 150},
        {"interface": "firmware", "step": "update", "args": {"settings": [1]}, "priority": 140},
        {"interface": "power", "step": "hold", "args": {}, "priority": 90},
    ]));
    let request = prioritised(json!([
        {"interface": "bios", "step": "factory_reset", "args": {}, "priority": 50},
        {"interface": "power", "step": "hold", "args": {}, "priority": 20},
    ]));
    let plan = deploy(&offers, &templates, &request).unwrap();
    let found: Vec<_> = plan.iter().map(|step| (step.label(), step.priority)).collect();
    let expected = [
        ("firmware.update", 140),
        ("deploy.deploy", 100),
        ("power.hold", 90),
        ("bios.factory_reset", 50),
        ("power.hold", 20),
    ];
    assert_eq!(found, expected.map(|(label, priority)| (label.to_owned(), priority)));
    assert_eq!(plan[0].args["settings"], json!([1]));
    // Switched off by priority 0, also without arguments.
    let request = prioritised(json!([
        {"interface": "firmware", "step": "update", "args": {}, "priority": 0},
        {"interface": "bios", "step": "factory_reset", "args": {}, "priority": 0},
        {"interface": "deploy", "step": "deploy", "args": {}, "priority": 0},
    ]));
    assert_eq!(labels(&deploy(&offers, &templates, &request).unwrap()), ["power.hold"]);
}

#[test]
fn a_plan_that_cannot_be_carried_out_is_refused_with_the_reason() {
    let offers = offers("fake-hardware");
    let refused = |list| deploy(&offers, &[], &given(list, Shape::Prioritised)).unwrap_err().to_string();
    let one =
        |interface, step, args| json!([{"interface": interface, "step": step, "args": args, "priority": 5}]);
    assert_eq!(
        refused(one("raid", "delete_configuration", json!({}))),
        "node does not support this deploy step: {'interface': 'raid', 'step': 'delete_configuration'}"
    );
    assert!(refused(one("deploy", "deploy", json!({}))).contains("can only be disabled"));
    for (args, problem) in [
        (json!({}), "the argument settings is missing; it takes: settings"),
        (json!({"settings": 1}), "the argument settings must be a list"),
        (json!({"settings": [], "soup": 1}), "there is no argument \"soup\"; it takes: settings"),
    ] {
        assert!(refused(one("bios", "apply_configuration", args)).contains(problem), "{problem}");
    }
    for args in [json!({}), json!({"seconds": 0}), json!({"seconds": "5"}), json!({"seconds": 86401})] {
        assert!(refused(one("power", "wait", args)).contains("seconds"));
    }
    let twice = json!([
        {"interface": "bios", "step": "factory_reset", "args": {}, "priority": 5},
        {"interface": "bios", "step": "factory_reset", "args": {}, "priority": 6},
    ]);
    assert_eq!(refused(twice), "step bios.factory_reset is given twice");
}

#[test]
fn an_automated_cleaning_runs_what_has_a_priority() {
    let offers = offers("fake-hardware");
    assert_eq!(labels(&automated(&offers, &Default::default())), ["vendor.log_passthrough"]);
    let other = [("vendor.log_passthrough".to_owned(), 0), ("bios.factory_reset".to_owned(), 7)];
    assert_eq!(labels(&automated(&offers, &other.into())), ["bios.factory_reset"]);
    assert!(automated(&offers, &[("vendor.log_passthrough".to_owned(), 0)].into()).is_empty());
    assert!(automated(&self::offers("redfish"), &Default::default()).is_empty());
}

#[test]
fn steps_asked_for_by_hand_run_as_listed_or_by_order() {
    let offers = offers("fake-hardware");
    let list = json!([
        {"interface": "bios", "step": "factory_reset", "order": 3},
        {"interface": "power", "step": "power_off", "order": "1"},
        {"interface": "vendor", "step": "log_passthrough", "order": 2},
        {"interface": "bios", "step": "factory_reset", "order": 4},
    ]);
    let plan = by_hand(Flow::Clean, &offers, &given(list, Shape::Listed), false).unwrap();
    let expected = ["power.power_off", "vendor.log_passthrough", "bios.factory_reset", "bios.factory_reset"];
    assert_eq!(labels(&plan), expected);
    assert!(!plan[1].abortable && plan[0].abortable);
    let list = json!([{"interface": "vendor", "step": "trigger_servicewait"}]);
    let refused = by_hand(Flow::Clean, &offers, &given(list.clone(), Shape::Listed), false).unwrap_err();
    assert!(refused.to_string().contains("does not support this clean step"));
    assert!(by_hand(Flow::Service, &offers, &given(list, Shape::Listed), true).is_ok());
}

#[test]
fn a_list_of_steps_from_outside_is_checked() {
    let refused = |list, shape| GivenStep::parse_all(&list, shape).unwrap_err();
    for (list, problem) in [
        (json!({}), "must be a list"),
        (json!([1]), "step 1: it must be an object"),
        (json!([{"interface": "soup", "step": "x"}]), "interface must be one of vendor, power"),
        (json!([{"interface": "bios", "step": ""}]), "step must be a string"),
        (json!([{"interface": "bios", "step": "x", "args": []}]), "args must be an object"),
        (json!([{"interface": "bios", "step": "x", "order": -1}]), "order must be a number"),
        (json!([{"interface": "bios", "step": "x", "priority": 1}]), "\"priority\" is not known"),
        (json!([{"interface": "bios", "step": "x", "execute_on_child_nodes": true}]), "child nodes"),
        (json!([{"interface": "bios", "step": "x", "limit_child_node_execution": ["u"]}]), "child nodes"),
    ] {
        let said = refused(list, Shape::Listed);
        assert!(said.contains(problem), "{said}");
    }
    let many = Value::Array(vec![json!({"interface": "bios", "step": "x"}); 256]);
    assert!(refused(many, Shape::Listed).contains("more than 255"));
    let said = refused(json!([{"interface": "bios", "step": "x", "args": {}}]), Shape::Prioritised);
    assert!(said.contains("priority must be a number"), "{said}");
}
