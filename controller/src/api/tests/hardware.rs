//! What is asked of a machine through its BMC, on machines that are not there.

use std::time::Duration;

use super::*;
use crate::node::{
    BootMode,
    hardware::{BiosSetting, FirmwareComponent},
    hardware_cache::HardwareCache,
};

impl Controller {
    async fn fake(&self, name: &str, info: Value) -> Node {
        let body = json!({"driver": "fake-hardware", "name": name, "driver_info": info});
        let answer = self.send(Method::POST, "/v1/nodes", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        self.state.store.node(name).await.unwrap()
    }

    /// Waits for what happens in the background.
    async fn at_rest(&self, name: &str) -> Node {
        for _ in 0..2000 {
            let node = self.state.store.node(name).await.unwrap();
            if node.reservation.is_none() && node.target_power_state.is_none() {
                return node;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{name} never settles")
    }

    pub(super) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, body).await
    }
}

#[tokio::test]
async fn boot_device_as_recorded_and_as_chosen() {
    let controller = Controller::start().await;
    controller.fake("plain", json!({})).await;
    let path = "/v1/nodes/plain/management/boot_device";
    assert_eq!(controller.get(path).await.body, json!({"boot_device": "pxe", "persistent": false}));
    let supported = controller.get(&format!("{path}/supported")).await.body;
    assert_eq!(supported, json!({"supported_boot_devices": ["pxe"]}));
    let refused = controller.put(path, json!({"boot_device": "disk", "persistent": true})).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.fault(), "Invalid boot device disk specified.");
    let chosen = controller.put(path, json!({"boot_device": "pxe", "persistent": "True"})).await;
    assert_eq!((chosen.status, chosen.body), (StatusCode::NO_CONTENT, Value::Null));
    assert_eq!(controller.get(path).await.body, json!({"boot_device": "pxe", "persistent": true}));

    controller.fake("rich", json!({"fake_boot_devices": "pxe,disk,cdrom"})).await;
    let path = "/v1/nodes/rich/management/boot_device";
    assert_eq!(controller.put(path, json!({"boot_device": "cdrom"})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(controller.get(path).await.body, json!({"boot_device": "cdrom", "persistent": false}));
    for (body, part) in [
        (json!({}), "Missing mandatory parameters: boot_device"),
        (json!({"boot_device": 5}), "must be a string"),
        (json!({"boot_device": "pxe", "persistent": "perhaps"}), "persistent"),
        (json!({"boot_device": "pxe", "soup": 1}), "Unexpected arguments: soup"),
    ] {
        let answer = controller.put(path, body.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answer.fault().contains(part), "{body}: {}", answer.fault());
    }
    assert_eq!(controller.get("/v1/nodes/none/management/boot_device").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_bmc_that_fails_is_a_failure_of_the_service_and_names_the_cause() {
    let controller = Controller::start().await;
    controller.fake("bad", json!({"fake_fail": "boot_device,boot_mode,virtual_media,indicators"})).await;
    for path in ["management/boot_device", "vmedia", "management/indicators/led@system"] {
        let answer = controller.get(&format!("/v1/nodes/bad/{path}")).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert!(answer.fault().contains("fake_fail in driver_info"), "{path}: {}", answer.fault());
    }
    let accepted = controller.put("/v1/nodes/bad/states/boot_mode", json!({"target": "bios"})).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
    let node = controller.at_rest("bad").await;
    let error = node.last_error.unwrap();
    assert!(error.starts_with("Failed to change the boot mode to \"bios\". Error: "), "{error}");
    assert_eq!(node.boot_mode, None);
}

#[tokio::test]
async fn boot_mode_and_secure_boot_change_in_the_background() {
    let controller = Controller::start().await;
    controller.fake("n", json!({})).await;
    let answer = controller.put("/v1/nodes/n/states/boot_mode", json!({"target": "bios"})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.header("location"), "http://127.0.0.1:6384/v1/nodes/n/states");
    assert_eq!(controller.at_rest("n").await.boot_mode, Some(BootMode::Bios));
    let answer = controller.put("/v1/nodes/n/states/secure_boot", json!({"target": true})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(controller.at_rest("n").await.secure_boot, Some(true));
    let states = controller.get("/v1/nodes/n/states").await.body;
    assert_eq!((&states["boot_mode"], &states["secure_boot"]), (&json!("bios"), &json!(true)));

    let wrong = controller.put("/v1/nodes/n/states/boot_mode", json!({"target": "legacy"})).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.fault().contains("Allowed boot modes are: uefi, bios"), "{}", wrong.fault());
    let wrong = controller.put("/v1/nodes/n/states/secure_boot", json!({"target": "soup"})).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    for what in ["boot_mode", "secure_boot"] {
        let path = format!("/v1/nodes/n/states/{what}");
        let old = controller.send_at("1.75", Method::PUT, &path, json!({"target": "uefi"})).await;
        assert_eq!(old.status, StatusCode::NOT_FOUND);
        assert!(old.fault().contains("1.76"), "{}", old.fault());
    }
    let mut node = controller.state.store.node("n").await.unwrap();
    node.provision_state = ProvisionState::CleanWait;
    controller.state.store.update_node(&mut node, None).await.unwrap();
    let busy = controller.put("/v1/nodes/n/states/boot_mode", json!({"target": "uefi"})).await;
    assert_eq!(busy.status, StatusCode::CONFLICT);
    assert!(busy.fault().starts_with("Node is in clean wait state."), "{}", busy.fault());
}

#[tokio::test]
async fn nmi_is_refused_where_the_driver_has_none() {
    let controller = Controller::start().await;
    controller.fake("n", json!({})).await;
    let path = "/v1/nodes/n/management/inject_nmi";
    let answer = controller.put(path, json!({})).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let sentence = "Driver fake-hardware does not support inject_nmi (disabled or not implemented).";
    assert_eq!(answer.fault(), sentence);
    let old = controller.send_at("1.28", Method::PUT, path, json!({})).await;
    assert_eq!(old.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn indicators_are_listed_shown_and_set() {
    let controller = Controller::start().await;
    controller.fake("n", json!({})).await;
    let path = "/v1/nodes/n/management/indicators";
    let listed = controller.get(path).await.body;
    let lights = listed["indicators"].as_array().unwrap();
    assert_eq!(lights.len(), 2);
    assert_eq!(lights[0]["name"], "led-0@chassis");
    assert_eq!(lights[0]["readonly"], true);
    assert_eq!(lights[1]["states"], json!(["BLINKING", "OFF", "ON"]));
    let light = format!("{path}/led@system");
    assert_eq!(controller.put(&light, json!({"state": "BLINKING"})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(controller.get(&light).await.body, json!({"state": "BLINKING"}));
    for (light, state, part) in [
        ("led@system", "PURPLE", "Invalid indicator state"),
        ("led", "ON", "Malformed indicator name"),
        ("led@roof", "ON", "Unknown indicator led for component roof"),
        ("led-0@chassis", "OFF", "can not be made to show OFF"),
    ] {
        let answer = controller.put(&format!("{path}/{light}"), json!({"state": state})).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{light}");
        assert!(answer.fault().contains(part), "{}", answer.fault());
    }
    let old = controller.send_at("1.62", Method::GET, path, Value::Null).await;
    assert_eq!(old.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn virtual_media_are_attached_listed_and_detached() {
    let controller = Controller::start().await;
    controller.fake("n", json!({})).await;
    let path = "/v1/nodes/n/vmedia";
    let empty = json!([
        {"media_types": ["CD", "DVD"], "inserted": false, "image": ""},
        {"media_types": ["Floppy", "USBStick"], "inserted": false, "image": ""},
    ]);
    assert_eq!(controller.get(path).await.body, empty);
    let medium = json!({"device_type": "cdrom", "image_url": "http://user:hunter2@files/x.iso?sig=abc"});
    assert_eq!(controller.send(Method::POST, path, medium).await.status, StatusCode::NO_CONTENT);
    assert_eq!(controller.at_rest("n").await.last_error, None);
    let shown = controller.get(path).await.body;
    assert_eq!(shown[0]["inserted"], true);
    assert!(!shown.to_string().contains("hunter2") && !shown.to_string().contains("abc"), "{shown}");
    let gone = controller.send(Method::DELETE, &format!("{path}?device_types=cdrom"), Value::Null).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    controller.at_rest("n").await;
    assert_eq!(controller.get(path).await.body, empty);

    for (body, part) in [
        (json!({"device_type": "tape", "image_url": "http://x/y"}), "valid are disk, cdrom, floppy"),
        (json!({"device_type": "cdrom"}), "'image_url' is a required property"),
        (json!({"device_type": "cdrom", "image_url": "file:///etc/passwd"}), "URL scheme: file"),
        (json!({"device_type": "cdrom", "image_url": "x"}), "missing URL scheme"),
        (
            json!({"device_type": "cdrom", "image_url": "http://x/y", "image_download_source": "local"}),
            "image_download_source must be http",
        ),
    ] {
        let answer = controller.send(Method::POST, path, body.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answer.fault().contains(part), "{body}: {}", answer.fault());
    }
    let answer = controller.send(Method::DELETE, &format!("{path}?device_types=tape"), Value::Null).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        controller.send_at("1.92", Method::GET, path, Value::Null).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        controller.send_at("1.88", Method::DELETE, path, Value::Null).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn console_and_raid_are_stored_where_the_driver_has_them() {
    let controller = Controller::start().await;
    controller.fake("n", json!({})).await;
    let path = "/v1/nodes/n/states/console";
    let off = json!({"console_enabled": false, "console_info": null});
    assert_eq!(controller.get(path).await.body, off);
    let answer = controller.put(path, json!({"enabled": true})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.header("location"), "http://127.0.0.1:6384/v1/nodes/n/states/console");
    assert_eq!(controller.get(path).await.body, json!({"console_enabled": true, "console_info": {}}));
    assert_eq!(controller.get("/v1/nodes/n").await.body["console_enabled"], true);

    let raid = json!({"logical_disks": [{"size_gb": 100, "raid_level": "1", "is_root_volume": true}]});
    let path = "/v1/nodes/n/states/raid";
    assert_eq!(controller.put(path, raid.clone()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(controller.get("/v1/nodes/n").await.body["target_raid_config"], raid);
    let wrong = controller.put(path, json!({"logical_disks": [{"size_gb": 100, "raid_level": "9"}]})).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.fault().starts_with("RAID config validation error: "), "{}", wrong.fault());
    assert_eq!(controller.put(path, json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(controller.get("/v1/nodes/n").await.body["target_raid_config"], json!({}));
    let old = controller.send_at("1.11", Method::PUT, path, raid.clone()).await;
    assert_eq!(old.status, StatusCode::NOT_ACCEPTABLE);

    controller.node("real", ProvisionState::Manageable).await;
    let without = json!([{"op": "replace", "path": "/raid_interface", "value": "no-raid"}]);
    assert_eq!(controller.send(Method::PATCH, "/v1/nodes/real", without).await.status, StatusCode::OK);
    let refused = controller.put("/v1/nodes/real/states/raid", raid).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    assert_eq!(refused.fault(), "Driver redfish does not support raid (disabled or not implemented).");
    assert_eq!(controller.put("/v1/nodes/real/states/raid", json!({})).await.status, StatusCode::NO_CONTENT);
    let refused = controller.put("/v1/nodes/real/states/console", json!({"enabled": true})).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.fault(), "Driver redfish does not support console (disabled or not implemented).");
    assert_eq!(controller.get("/v1/nodes/real/states/console").await.body, off);
}

#[tokio::test]
async fn firmware_and_its_settings_come_from_what_the_bmc_told() {
    let controller = Controller::start().await;
    let node = controller.fake("n", json!({})).await;
    assert_eq!(controller.get("/v1/nodes/n/bios").await.body, json!({"bios": []}));
    assert_eq!(controller.get("/v1/nodes/n/firmware").await.body, json!({"firmware": []}));
    let mut cache = HardwareCache::new(node.uuid);
    let setting = |name: &str| BiosSetting {
        name: name.into(),
        value: Some("Enabled".into()),
        read_only: Some(false),
        ..BiosSetting::default()
    };
    cache.note_bios(vec![setting("LogicalProc"), setting("Turbo")], Utc::now());
    let bios = FirmwareComponent {
        component: "bios".into(),
        current_version: Some("1.0".into()),
        model: Some("M".into()),
        ..FirmwareComponent::default()
    };
    cache.note_firmware(vec![bios], Utc::now());
    controller.state.store.create_resource(&cache).await.unwrap();

    let listed = controller.get("/v1/nodes/n/bios").await.body;
    let first = listed["bios"][0].as_object().unwrap();
    assert_eq!(first.keys().collect::<Vec<_>>(), ["created_at", "links", "name", "updated_at", "value"]);
    let detail = controller.get("/v1/nodes/n/bios?detail=True").await.body;
    assert_eq!(detail["bios"][1].as_object().unwrap().len(), 14);
    let some = controller.get("/v1/nodes/n/bios?fields=name,read_only").await.body;
    assert_eq!((&some["bios"][0]["read_only"], &some["bios"][0]["value"]), (&json!(false), &Value::Null));
    let one = controller.get("/v1/nodes/n/bios/Turbo").await.body;
    assert_eq!(one["Turbo"]["value"], "Enabled");
    let none = controller.get("/v1/nodes/n/bios/Soup").await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    assert!(none.fault().contains("doesn't have a BIOS setting 'Soup'"), "{}", none.fault());
    for bad in ["bios?fields=soup", "bios?detail=True&fields=name", "bios?soup=1", "firmware?fields=soup"] {
        let answer = controller.get(&format!("/v1/nodes/n/{bad}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    let old = controller.send_at("1.73", Method::GET, "/v1/nodes/n/bios?detail=True", Value::Null).await;
    assert_eq!(old.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        controller.send_at("1.39", Method::GET, "/v1/nodes/n/bios", Value::Null).await.status,
        StatusCode::NOT_FOUND
    );

    let firmware = controller.get("/v1/nodes/n/firmware").await.body["firmware"][0].clone();
    assert_eq!(firmware["initial_version"], "1.0");
    assert_eq!(firmware["model"], "M");
    assert_eq!(firmware.as_object().unwrap().len(), 9);
    let old = controller.send_at("1.113", Method::GET, "/v1/nodes/n/firmware", Value::Null).await.body;
    assert_eq!(old["firmware"][0].as_object().unwrap().len(), 6);
    let old =
        controller.send_at("1.113", Method::GET, "/v1/nodes/n/firmware?fields=model", Value::Null).await;
    assert!(old.fault().contains("at least API version 1.114"), "{}", old.fault());
    // What belongs to a node goes with it.
    assert_eq!(
        controller.send(Method::DELETE, "/v1/nodes/n", Value::Null).await.status,
        StatusCode::NO_CONTENT
    );
    assert!(controller.state.store.resources::<HardwareCache>(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn vendor_methods_are_those_of_the_interface() {
    let controller = Controller::start().await;
    controller.fake("n", json!({})).await;
    let path = "/v1/nodes/n/vendor_passthru";
    let methods = controller.get(&format!("{path}/methods")).await.body;
    let names: Vec<_> = methods.as_object().unwrap().keys().cloned().collect();
    let recorded = ["fourth_method_shared_lock", "log_passthrough", "second_method", "third_method_sync"];
    assert_eq!(names, recorded);
    assert_eq!(methods["third_method_sync"]["async"], false);
    let call =
        async |query: &str, body: Value| controller.send(Method::POST, &format!("{path}{query}"), body).await;
    let answer = call("/third_method_sync", json!({"bar": "meow"})).await;
    assert_eq!((answer.status, answer.body), (StatusCode::OK, json!(true)));
    let answer = call("?method=second_method", json!({"bar": "x"})).await;
    assert_eq!((answer.status, answer.body), (StatusCode::ACCEPTED, Value::Null));
    let answer = call("/first_method", json!({"bar": "baz"})).await;
    assert_eq!(
        (answer.status, answer.fault()),
        (StatusCode::BAD_REQUEST, "No handler for method first_method".into())
    );
    let answer = call("/second_method", json!({})).await;
    assert!(answer.fault().contains("'bar' not passed"), "{}", answer.fault());
    assert_eq!(call("", json!({})).await.fault(), "Method not specified");
    let answer = controller.get(&format!("{path}/second_method")).await;
    assert_eq!(answer.fault(), "The method second_method does not support HTTP GET");

    assert_eq!(controller.get("/v1/drivers/fake-hardware/vendor_passthru/methods").await.body, json!({}));
    let answer = controller.send(Method::POST, "/v1/drivers/redfish/vendor_passthru/x", json!({})).await;
    assert_eq!(answer.fault(), "No handler for method x");
    assert_eq!(
        controller.get("/v1/drivers/none/vendor_passthru/methods").await.status,
        StatusCode::NOT_FOUND
    );
    let raid = controller.get("/v1/drivers/fake-hardware/raid/logical_disk_properties").await.body;
    assert!(raid["size_gb"].is_string());
    let none = controller.get("/v1/drivers/manual-management/raid/logical_disk_properties").await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn power_takes_a_timeout_and_shows_a_machine_that_does_not_follow() {
    let controller = Controller::start().await;
    controller.fake("n", json!({"fake_stuck": "soft_power_off"})).await;
    let path = "/v1/nodes/n/states/power";
    assert_eq!(controller.put(path, json!({"target": "power on"})).await.status, StatusCode::ACCEPTED);
    assert_eq!(controller.at_rest("n").await.power_state, Some(crate::node::PowerState::On));
    let soft = json!({"target": "soft power off", "timeout": 1});
    assert_eq!(controller.put(path, soft.clone()).await.status, StatusCode::ACCEPTED);
    let node = controller.at_rest("n").await;
    let error = node.last_error.unwrap();
    assert!(error.contains("is still not in state \"power off\" after 1 s"), "{error}");
    assert_eq!(node.power_state, Some(crate::node::PowerState::On));
    for bad in [json!(0), json!(-5), json!("x"), json!(1.5)] {
        let answer = controller.put(path, json!({"target": "power on", "timeout": bad})).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.fault(), "timeout has to be positive integer");
    }
    for bad in [json!(21_601), json!(u32::MAX), json!("4294967295")] {
        let answer = controller.put(path, json!({"target": "soft power off", "timeout": bad})).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.fault(), "timeout has to be at most 21600 seconds");
    }
    // Who cannot wait for the longest takes the machine's power away.
    let longest = json!({"target": "soft power off", "timeout": 21_600});
    assert_eq!(controller.put(path, longest).await.status, StatusCode::ACCEPTED);
    assert_eq!(controller.put(path, json!({"target": "power on"})).await.status, StatusCode::CONFLICT);
    assert_eq!(controller.put(path, json!({"target": "power off"})).await.status, StatusCode::ACCEPTED);
    let node = controller.at_rest("n").await;
    assert_eq!((node.power_state, node.last_error), (Some(crate::node::PowerState::Off), None));
    let old = controller.send_at("1.26", Method::PUT, path, soft).await;
    assert_eq!(old.status, StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn a_node_that_somebody_works_on_is_locked_and_can_still_be_read() {
    let controller = Controller::start().await;
    controller.fake("n", json!({"fake_management_delay": 3600})).await;
    let accepted = controller.put("/v1/nodes/n/states/boot_mode", json!({"target": "bios"})).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
    let path = "/v1/nodes/n/management/boot_device";
    assert_eq!(controller.get(path).await.status, StatusCode::OK);
    let locked = controller.put(path, json!({"boot_device": "pxe"})).await;
    assert_eq!(locked.status, StatusCode::CONFLICT);
    assert!(locked.fault().contains("is locked by host localhost.localdomain"), "{}", locked.fault());
}

#[tokio::test]
async fn rules_about_bmcs_are_read_again_and_bad_ones_change_nothing() {
    let controller = Controller::start().await;
    let path = "/v1/bmc/quirks";
    let names = async || {
        let answer = controller.get(path).await.body;
        let quirks = answer["quirks"].as_array().unwrap().iter();
        quirks.map(|quirk| quirk["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(names().await.contains(&"lenovo-uefi-disk".to_owned()));
    let folder = controller.state.quirks.path().to_owned();
    std::fs::create_dir(&folder).unwrap();
    let rule = "[[quirk]]\nname = \"site-a\"\nabout = \"\"\nmatch = { vendor = [\"A\"] }\nset = { full_boot_request = true }";
    std::fs::write(folder.join("a.toml"), rule).unwrap();
    assert!(!names().await.contains(&"site-a".to_owned()));
    assert_eq!(controller.put(path, json!({})).await.status, StatusCode::OK);
    assert!(names().await.contains(&"site-a".to_owned()));
    std::fs::write(folder.join("b.toml"), rule.replace("full_boot", "half_boot")).unwrap();
    let refused = controller.put(path, json!({})).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(
        refused.fault().contains("b.toml") && refused.fault().contains("half_boot"),
        "{}",
        refused.fault()
    );
    let answer = controller.get(path).await.body;
    assert!(answer["problem"].as_str().unwrap().contains("half_boot"));
    assert!(names().await.contains(&"site-a".to_owned()));
}
