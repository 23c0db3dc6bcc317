use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::*;

fn subject() -> Subject {
    let map = |value: Value| value.as_object().cloned().unwrap();
    Subject {
        node: map(json!({
            "name": "n", "driver": "redfish", "properties": {"capabilities": "boot_mode:uefi,a:b"},
            "extra": {}, "traits": ["HW_A"], "description": "old", "resource_class": null,
            "driver_info": {"redfish_password": "hunter1", "redfish_username": "u"},
        })),
        ports: vec![map(json!({
            "uuid": "p1", "address": "52:54:00:00:00:01", "extra": {}, "pxe_enabled": true, "physical_network": null,
        }))],
        inventory: map(json!({
            "cpu": {"count": 8, "architecture": "x86_64"}, "bmc_address": "192.0.2.5",
            "disks": [{"name": "/dev/sda"}], "bmc_password": "hunter2", "deep": {"password": "hunter3"},
            "system_vendor": {"manufacturer": "HPE", "product_name": "DL360"}, "empty": [], "nothing": null,
            "trap": "{node.driver_info[redfish_username]}",
        })),
        plugin_data: map(json!({"macs": ["52:54:00:00:00:01"]})),
    }
}

/// A rule that the API would take.
fn rule(conditions: Value, actions: Value) -> InspectionRule {
    InspectionRule {
        uuid: Uuid::from_u128(7),
        description: None,
        priority: 0,
        sensitive: false,
        phase: "main".into(),
        conditions: InspectionRule::parse_conditions(conditions).unwrap(),
        actions: InspectionRule::parse_actions(actions).unwrap(),
    }
}

fn budget() -> Budget {
    Budget::until(Instant::now() + Duration::from_secs(600))
}

fn run(rules: Vec<InspectionRule>) -> Result<Subject, String> {
    let mut subject = subject();
    apply(rules, &mut subject, &mut budget()).map(|()| subject).map_err(|error| error.to_string())
}

fn nothing() -> Value {
    json!([{"op": "log", "args": {"msg": "it holds", "level": "debug"}}])
}

fn holds(condition: &Value) -> Result<bool, String> {
    let rule = rule(json!([condition]), nothing());
    conditions::holds(&rule.conditions[0], &subject(), false, &mut budget())
}

#[test]
fn conditions_as_ironic_has_them() {
    for (condition, expected) in [
        (json!({"op": "eq", "args": {"values": ["{inventory[cpu][count]}", "8"]}}), true),
        (json!({"op": "eq", "args": {"values": ["{inventory[cpu][count]}", 8]}}), false),
        (
            json!({"op": "eq", "args": {"values": ["{inventory[cpu][count]}", 8], "force_strings": true}}),
            true,
        ),
        (json!({"op": "eq", "args": {"values": [4, 4.0]}}), true),
        (json!({"op": "!eq", "args": {"values": ["{node.driver}", "redfish"]}}), false),
        (json!({"op": "eq", "args": [["{node[properties][capabilities]}", "boot_mode:uefi,a:b"]]}), true),
        (json!({"op": "lt", "args": {"values": [1, 2, 3]}}), true),
        (json!({"op": "lt", "args": {"values": ["{inventory[cpu][count]}", 16]}}), true),
        (json!({"op": "!gt", "args": {"values": ["{inventory[cpu][count]}", 8]}}), true),
        (json!({"op": "gt", "args": {"values": [3, 2, 2]}}), false),
        (json!({"op": "lt", "args": {"values": ["a", "b"]}}), true),
        (json!({"op": "is-empty", "args": {"value": "{inventory[empty]}"}}), true),
        (json!({"op": "is-empty", "args": {"value": "{inventory[no][such]}"}}), true),
        (json!({"op": "!is-empty", "args": {"value": "{inventory[disks][0][name]}"}}), true),
        (json!({"op": "is-none", "args": {"value": "{inventory[nothing]}"}}), true),
        (json!({"op": "is-none", "args": {"value": "{inventory[disks][5]}"}}), true),
        (json!({"op": "!is-none", "args": {"value": "{inventory[cpu]}"}}), true),
        (json!({"op": "is-true", "args": {"value": "Yes"}}), true),
        (json!({"op": "is-true", "args": {"value": "{inventory[no][such]}"}}), false),
        (json!({"op": "is-false", "args": {"value": 0}}), true),
        (
            json!({"op": "in-net", "args": {"address": "{inventory[bmc_address]}", "subnet": "192.0.2.0/24"}}),
            true,
        ),
        (json!({"op": "in-net", "args": {"address": "2001:db8::1", "subnet": "::/0"}}), true),
        (json!({"op": "in-net", "args": {"address": "10.0.0.1", "subnet": "2001:db8::/32"}}), false),
        (json!({"op": "matches", "args": {"value": "DL360", "regex": "DL3"}}), false),
        (json!({"op": "matches", "args": {"value": "DL360", "regex": "DL3\\d{2}"}}), true),
        (
            json!({"op": "contains", "args": {"value": "{inventory[system_vendor][product_name]}", "regex": "36"}}),
            true,
        ),
        (json!({"op": "one-of", "args": {"value": "a", "values": ["a", "b"]}}), true),
        (json!({"op": "!one-of", "args": {"value": "{node.name}", "values": ["a", "b"]}}), true),
    ] {
        assert_eq!(holds(&condition), Ok(expected), "{condition}");
    }
}

#[test]
fn a_loop_asks_for_each_item() {
    let condition = |op: &str, items: Value, multiple: Value| {
        let values = ["{item}", "{inventory[system_vendor][manufacturer]}"];
        json!({"op": op, "loop": items, "multiple": multiple, "args": {"values": values}})
    };
    for (op, items, multiple, expected) in [
        ("eq", json!(["HPE", "Dell"]), json!(null), true),
        ("eq", json!(["HPE", "Dell"]), json!("any"), true),
        ("eq", json!(["HPE", "Dell"]), json!("all"), false),
        ("!eq", json!(["Dell", "Acme"]), json!("all"), true),
        ("eq", json!(["HPE", "Dell"]), json!("last"), false),
        ("eq", json!(["Dell", "HPE"]), json!("last"), true),
        ("eq", json!(["Dell", "HPE"]), json!("first"), true),
        ("eq", json!(["Dell"]), json!("first"), false),
        ("eq", json!(["{inventory[system_vendor][manufacturer]}"]), json!("all"), true),
    ] {
        let condition = condition(op, items, multiple);
        assert_eq!(holds(&condition), Ok(expected), "{condition}");
    }
    let by_key = json!({"op": "contains", "loop": {"re": "D{1}L"}, "args": ["{inventory[system_vendor][product_name]}", "{item[re]}"]});
    assert_eq!(holds(&by_key), Ok(true));
}

#[test]
fn conditions_that_cannot_be_looked_at_say_why() {
    for (condition, part) in [
        (json!({"op": "lt", "args": {"values": [1, "a"]}}), "neither of 1 and a"),
        (json!({"op": "in-net", "args": {"address": "x", "subnet": "10.0.0.0/8"}}), "\"x\" is no address"),
        (
            json!({"op": "in-net", "args": {"address": "10.0.0.1", "subnet": "10.0.0.0/33"}}),
            "no address or network",
        ),
        (
            json!({"op": "matches", "loop": ["("], "args": ["a", "{item}"]}),
            "invalid regular expression \"(\"",
        ),
        (json!({"op": "eq", "loop": ["x"], "args": {"values": "{item}"}}), "must be a list"),
        (json!({"op": "eq", "loop": ["x"], "args": {"values": ["{itme}"]}}), "names begin with"),
    ] {
        let error = holds(&condition).unwrap_err();
        assert!(error.contains(part), "{condition}: {error}");
    }
}

#[test]
fn actions_change_the_node_its_ports_and_the_data() {
    let actions = json!([
        {"op": "set-attribute", "args": {"path": "properties/vendor", "value": "{inventory[system_vendor][manufacturer]}"}},
        {"op": "set-attribute", "args": {"path": "/resource_class", "value": "cpu{inventory[cpu][count]}"}},
        {"op": "extend-attribute", "args": {"path": "extra/seen", "value": "a", "unique": true}},
        {"op": "extend-attribute", "args": {"path": "extra/seen", "value": "a", "unique": true}},
        {"op": "del-attribute", "args": {"path": "description"}},
        {"op": "del-attribute", "args": {"path": "driver_info/redfish_username"}},
        {"op": "set-capability", "args": {"name": "cpus", "value": "{inventory[cpu][count]}"}},
        {"op": "unset-capability", "args": {"name": "a"}},
        {"op": "add-trait", "args": {"name": "CUSTOM_GOLD"}},
        {"op": "add-trait", "args": {"name": "CUSTOM_EARLY"}},
        {"op": "remove-trait", "args": {"name": "HW_A"}},
        {"op": "remove-trait", "args": {"name": "HW_B"}},
        {"op": "set-plugin-data", "args": {"path": "deep.er", "value": 1}},
        {"op": "extend-plugin-data", "args": {"path": "macs", "value": "x"}},
        {"op": "unset-plugin-data", "args": {"path": "no.such"}},
        {"op": "set-port-attribute", "args": {"port_id": "p1", "path": "physical_network", "value": "net"}},
        {"op": "set-port-attribute", "args": {"port_id": "{plugin_data[macs][0]}", "path": "pxe_enabled", "value": "False"}},
        {"op": "extend-port-attribute", "args": {"port_id": "p1", "path": "extra/l", "value": 1}},
        {"op": "set-attribute", "args": {"path": "extra/{item[key]}", "value": "{item[value]}"},
            "loop": [{"key": "one", "value": "1"}, {"key": "two", "value": "{inventory[cpu][architecture]}"}]},
    ]);
    let after = run(vec![rule(json!([]), actions)]).unwrap();
    assert_eq!(
        Value::Object(after.node),
        json!({
            "name": "n", "driver": "redfish", "description": null, "traits": ["CUSTOM_EARLY", "CUSTOM_GOLD"],
            "properties": {"vendor": "HPE", "capabilities": "boot_mode:uefi,cpus:8"}, "resource_class": "cpu8",
            "extra": {"seen": ["a"], "one": "1", "two": "x86_64"}, "driver_info": {"redfish_password": "hunter1"},
        })
    );
    let port = json!({
        "uuid": "p1", "address": "52:54:00:00:00:01", "extra": {"l": [1]}, "pxe_enabled": false,
        "physical_network": "net",
    });
    assert_eq!(Value::Object(after.ports[0].clone()), port);
    assert_eq!(
        Value::Object(after.plugin_data),
        json!({"macs": ["52:54:00:00:00:01", "x"], "deep": {"er": 1}})
    );
}

#[test]
fn capabilities_may_be_an_object() {
    let actions = json!([
        {"op": "set-attribute", "args": {"path": "properties/capabilities", "value": {"a": "1", "b": "2"}}},
        {"op": "set-capability", "args": ["c", "3"]},
        {"op": "unset-capability", "args": ["a"]},
    ]);
    let after = run(vec![rule(json!([]), actions)]).unwrap();
    assert_eq!(after.node["properties"]["capabilities"], json!({"b": "2", "c": "3"}));
}

#[test]
fn rules_come_by_priority_and_only_when_all_conditions_hold() {
    let add =
        |value: &str| json!([{"op": "extend-attribute", "args": {"path": "extra/who", "value": value}}]);
    let low = rule(json!([]), add("low"));
    let same = rule(json!([]), add("low, younger"));
    let high = InspectionRule { priority: 10, ..rule(json!([]), add("high")) };
    let conditions =
        json!([{"op": "is-true", "args": {"value": true}}, {"op": "is-true", "args": {"value": false}}]);
    let never = rule(conditions, add("never"));
    let after = run(vec![never, low, same, high]).unwrap();
    assert_eq!(after.node["extra"]["who"], json!(["high", "low", "low, younger"]));
}

#[test]
fn actions_that_cannot_be_carried_out_say_why() {
    for (action, part) in [
        (
            json!({"op": "fail", "args": {"msg": "{inventory[cpu][count]} are too few"}}),
            "Reason: 8 are too few",
        ),
        (json!({"op": "fail", "args": {"msg": "{oops"}}), "Reason: {oops"),
        (
            json!({"op": "set-attribute", "args": {"path": "extra/x", "value": "{inventory[gpu][0]}"}}),
            "rule 00000000-0000-0000-0000-000000000007 cannot be applied: action 1: \"{inventory[gpu][0]}\": this machine \
             has no inventory[gpu][0]",
        ),
        (
            json!({"op": "set-attribute", "args": {"path": "extra/x", "value": "{item[a]}"}, "loop": ["x"]}),
            "no item[a]",
        ),
        (
            json!({"op": "set-attribute", "args": ["{item}", 1], "loop": ["reservation"]}),
            "may not be changed",
        ),
        (json!({"op": "set-attribute", "args": ["properties", "x"]}), "properties must be an object"),
        (json!({"op": "set-attribute", "args": ["description", [1]]}), "description must be a string"),
        (json!({"op": "set-attribute", "args": ["resource_class", "x".repeat(81)]}), "longer than 80"),
        (json!({"op": "set-attribute", "args": ["name", "not a name"]}), "invalid name"),
        (json!({"op": "set-attribute", "args": ["properties/capabilities/x", 1]}), "is no object"),
        (json!({"op": "extend-attribute", "args": ["properties/capabilities", 1]}), "is no list"),
        (json!({"op": "del-attribute", "args": {"path": "extra/x"}}), "there is no"),
        (json!({"op": "add-trait", "args": ["{item}"], "loop": ["lower"]}), "is no trait"),
        (json!({"op": "set-capability", "args": ["a", "1,b:2"]}), "no comma"),
        (json!({"op": "set-port-attribute", "args": ["p9", "extra/x", 1]}), "no port \"p9\""),
    ] {
        let error = run(vec![rule(json!([]), json!([action]))]).err().unwrap_or_default();
        assert!(error.contains(part), "{action}: {error}");
    }
}

#[test]
fn a_sensitive_rule_sees_secrets_and_shows_nothing() {
    let secrets =
        "{inventory[bmc_password]} {inventory[deep]} {node.driver_info[redfish_password]} {node.driver_info}";
    let set = json!([{"op": "set-attribute", "args": {"path": "extra/x", "value": secrets}}]);
    let open = run(vec![rule(json!([]), set.clone())]).unwrap();
    assert_eq!(
        open.node["extra"]["x"],
        r#"*** {"password":"***"} ****** {"redfish_password":"******","redfish_username":"u"}"#
    );
    let sensitive = run(vec![InspectionRule { sensitive: true, ..rule(json!([]), set) }]).unwrap();
    let text = sensitive.node["extra"]["x"].as_str().unwrap();
    for secret in ["hunter1", "hunter2", "hunter3"] {
        assert!(text.contains(secret), "{text}");
    }
    for (conditions, action) in [
        (json!([]), json!({"op": "fail", "args": ["hunter4 {inventory[bmc_password]}"]})),
        (
            json!([]),
            json!({"op": "set-port-attribute", "args": ["hunter4 {inventory[bmc_password]}", "extra/x", 1]}),
        ),
        (
            json!([{"op": "in-net", "args": ["hunter4 {inventory[bmc_password]}", "::/0"]}]),
            json!({"op": "log", "args": ["x"]}),
        ),
    ] {
        let rule = InspectionRule { sensitive: true, ..rule(conditions, json!([action])) };
        let error = run(vec![rule]).err().unwrap();
        assert!(
            error.contains("not shown") && error.contains("00000007") && !error.contains("hunter"),
            "{error}"
        );
    }
}

#[test]
fn what_a_machine_says_is_never_read_as_a_name() {
    let set = |value: &str, items: Value| {
        rule(json!([]), json!([{"op": "set-attribute", "args": ["extra/x", value], "loop": items}]))
    };
    for rule in [set("{inventory[trap]}", json!([])), set("{item}", json!(["{inventory[trap]}"]))] {
        let after = run(vec![rule]).unwrap();
        assert_eq!(after.node["extra"]["x"], "{node.driver_info[redfish_username]}");
    }
}

#[test]
fn what_would_take_for_ever_ends() {
    let items: Vec<u32> = (0..256).collect();
    // A backtracking matcher would take 2^n steps.
    let evil = json!({"op": "matches", "args": ["a".repeat(60_000), "(a|a|aa)+b"]});
    assert_eq!(holds(&evil), Ok(false));
    let many: Vec<_> = (0..1000)
        .map(|_| json!({"op": "eq", "args": {"values": [1, 1]}, "loop": items, "multiple": "all"}))
        .collect();
    let error = run(vec![rule(json!(many), nothing())]).err().unwrap();
    assert!(error.contains("more than 20000"), "{error}");
    let long = json!([{"op": "extend-plugin-data", "args": ["x", "y".repeat(60_000)], "loop": items}]);
    let error = run(vec![rule(json!([]), long)]).err().unwrap();
    assert!(error.contains("262144 bytes"), "{error}");
    let doubling: Vec<_> = (0..30)
        .map(|_| json!({"op": "set-attribute", "args": ["extra/x", "{node.extra[x]}{node.extra[x]}"]}))
        .collect();
    let start = rule(json!([]), json!([{"op": "set-attribute", "args": ["extra/x", "xx"]}]));
    let error = run(vec![start, rule(json!([]), json!(doubling))]).err().unwrap();
    assert!(error.contains("longer than 65536"), "{error}");
    let large = json!([{"op": "set-attribute", "args": ["extra/x", "y".repeat(60_000)], "loop": items}]);
    let error = run(vec![rule(json!([]), large)]).err().unwrap();
    assert!(error.contains("larger than 8388608"), "{error}");
    let late = &mut Budget::until(Instant::now().checked_sub(Duration::from_secs(1)).unwrap());
    let error = apply(vec![rule(json!([]), nothing())], &mut subject(), late).unwrap_err().to_string();
    assert!(error.contains("too long"), "{error}");
}
