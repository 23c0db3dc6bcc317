//! What takes its time: firmware, volumes, settings of the firmware, restarts of the BMC; and subscriptions, accounts.

use bessemer_proto::secret::Secret;
use chrono::{TimeDelta, Utc};

use super::{mock::SYSTEM, *};
use crate::{
    bmc::{Changed, KeyChange, NewVolume, Outcome},
    node::BootMode,
};

const MANAGER: &str = "/redfish/v1/Managers/1";
const VOLUMES: &str = "/redfish/v1/Systems/1/Storage/R/Volumes";

fn link(path: &str) -> Value {
    json!({"@odata.id": path})
}

async fn with_update_service(service: Value) -> Mock {
    let mock = Mock::start().await;
    mock.set("/redfish/v1/", "/UpdateService", link("/redfish/v1/UpdateService"));
    mock.add(json!({"/redfish/v1/UpdateService": service}));
    mock
}

#[tokio::test]
async fn firmware_is_fetched_by_the_bmc_and_its_job_survives_us() {
    let action = "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate";
    let mock = with_update_service(json!({"Actions": {"#UpdateService.SimpleUpdate": {
        "target": action, "TransferProtocol@Redfish.AllowableValues": ["HTTP", "HTTPS"]}}}))
    .await;
    let update = || bmc(&mock).firmware_update.unwrap();
    let url = "http://192.0.2.9/bios.bin".parse().unwrap();
    mock.model().knobs.task = Some(json!({"TaskState": "Completed"}));
    let job = update().update("bios", &url).await.unwrap().unwrap();
    assert_eq!(
        mock.bodies(&format!("POST {action}")),
        [json!({"ImageURI": url, "TransferProtocol": "HTTP"})]
    );
    let mut outcome = update().progress(&job).await.unwrap();
    assert_eq!(outcome, Outcome::Pending(Some(30)));
    while matches!(outcome, Outcome::Pending(_)) {
        outcome = update().progress(&job).await.unwrap();
    }
    assert_eq!(outcome, Outcome::Done);
    mock.model().knobs.task = Some(json!({"TaskState": "Exception", "Messages": [
        {"MessageId": "Base.1.0.InternalError"}]}));
    let Outcome::Failed(why) = update().progress(&job).await.unwrap() else { panic!() };
    assert!(why.contains("Exception. it failed inside"), "{why}");
    // Many updates restart the BMC, and its tasks are gone.
    mock.instead("GET /redfish/v1/Tasks/1/Monitor", 503, json!({}), 4);
    assert_eq!(update().progress(&job).await.unwrap(), Outcome::Pending(None));
    mock.instead("GET /redfish/v1/Tasks/1/Monitor", 404, json!({}), 1);
    assert_eq!(update().progress(&job).await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn firmware_is_pushed_to_bmcs_that_fetch_nothing() {
    let mock = with_update_service(json!({"MultipartHttpPushUri": "/redfish/v1/UpdateService/upload"})).await;
    let server = Mock::start().await;
    server.model().knobs.no_auth = true;
    server.add(json!({"/bios.bin": {"image": "x".repeat(100_000)}}));
    let url = format!("{}/bios.bin", server.address).parse().unwrap();
    assert!(bmc(&mock).firmware_update.unwrap().update("bios", &url).await.unwrap().is_none());
    let sent = mock.model().uploads.remove(0);
    let text = String::from_utf8(sent).unwrap();
    assert!(
        text.contains("name=\"UpdateParameters\"") && text.contains("filename=\"bios.bin\""),
        "{text:.300}"
    );
    assert!(text.contains(&"x".repeat(100_000)) && text.trim_end().ends_with("--"));

    let error = bmc(&mock).firmware_update.unwrap();
    let gone = format!("{}/gone.bin?secret=1", server.address).parse().unwrap();
    let error = error.update("bios", &gone).await.unwrap_err().to_string();
    assert!(error.contains("gone.bin") && error.contains("404") && !error.contains("secret"), "{error}");
    let mock = with_update_service(json!({})).await;
    let error = bmc(&mock).firmware_update.unwrap().update("bios", &url).await.unwrap_err();
    assert!(matches!(error, BmcError::Unsupported { .. }), "{error}");
}

async fn with_raid() -> Mock {
    let mock = Mock::start().await;
    mock.set(SYSTEM, "/Storage", link("/redfish/v1/Systems/1/Storage"));
    mock.add(json!({
        "/redfish/v1/Systems/1/Storage": {"Members": [{"@odata.id": "/redfish/v1/Systems/1/Storage/R"}]},
        "/redfish/v1/Systems/1/Storage/R": {"Id": "R", "Volumes": {"@odata.id": VOLUMES},
            "StorageControllers": [{"SupportedRAIDTypes": ["RAID1", "RAID50"]}],
            "Drives": [{"@odata.id": "/redfish/v1/d1"}, {"@odata.id": "/redfish/v1/d2"}]},
        "/redfish/v1/d1": {"Id": "Bay1"}, "/redfish/v1/d2": {"Id": "Bay2"},
        VOLUMES: {"Members": [],
            "@Redfish.OperationApplyTimeSupport": {"SupportedValues": ["Immediate", "OnReset"]}},
    }));
    mock
}

#[tokio::test]
async fn volumes_are_made_once_and_removed() {
    let mock = with_raid().await;
    let raid = bmc(&mock).raid.unwrap();
    assert_eq!(raid.controllers().await.unwrap()[0].levels, ["1", "5+0"]);
    assert!(!raid.needs_restart(&["R".to_owned()]).await.unwrap());
    let wanted = [NewVolume {
        controller: "R".into(),
        level: "1".into(),
        size: Some(1000),
        name: Some("root".into()),
        drives: vec!["Bay1".into(), "Bay2".into()],
    }];
    assert!(raid.create(&wanted).await.unwrap().is_none());
    let sent = json!({"RAIDType": "RAID1", "CapacityBytes": 1000, "Name": "root",
        "@Redfish.OperationApplyTime": "Immediate",
        "Links": {"Drives": [{"@odata.id": "/redfish/v1/d1"}, {"@odata.id": "/redfish/v1/d2"}]}});
    assert_eq!(mock.bodies(&format!("POST {VOLUMES}")), [sent]);
    raid.create(&wanted).await.unwrap();
    assert_eq!(mock.count(&format!("POST {VOLUMES}")), 1, "it is there already");
    let volumes = raid.controllers().await.unwrap().remove(0).volumes;
    assert_eq!((volumes[0].level.as_deref(), volumes[0].size), (Some("1"), 1000));
    raid.delete(&volumes).await.unwrap();
    assert!(raid.controllers().await.unwrap()[0].volumes.is_empty());
    raid.delete(&volumes).await.unwrap();

    for (change, reason) in [("Bay9", "no drive Bay9"), ("7", "no such level")] {
        let mut wrong = wanted[0].clone();
        if change == "7" {
            wrong.level = change.into()
        } else {
            wrong.drives = vec![change.into()]
        }
        let error = raid.create(&[wrong]).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    // An older BMC, and a task for the volume.
    let old = json!({"error": {"@Message.ExtendedInfo": [
        {"MessageId": "Base.1.8.PropertyUnknown", "MessageArgs": ["RAIDType"]}]}});
    mock.instead(&format!("POST {VOLUMES}"), 400, old, 1);
    mock.model().knobs.task = Some(json!({"TaskState": "Completed"}));
    let job = raid.create(&wanted).await.unwrap().unwrap();
    assert_eq!(mock.bodies(&format!("POST {VOLUMES}")).last().unwrap()["VolumeType"], "Mirrored");
    assert_eq!(raid.progress(&job).await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn an_image_comes_from_the_named_place_and_in_time() {
    let mock = with_update_service(json!({"MultipartHttpPushUri": "/redfish/v1/UpdateService/upload"})).await;
    let other = Mock::start().await;
    other.model().knobs.no_auth = true;
    other.add(json!({"/secret": {"image": "internal"}}));
    let to = format!("{}/secret", other.address);
    let router = axum::Router::new()
        .route("/moved", axum::routing::get(|| async move { axum::response::Redirect::temporary(&to) }))
        .route("/silent", axum::routing::get(std::future::pending::<()>));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    for (path, reason) in [("moved", "307"), ("silent", "does not answer")] {
        let url = format!("{server}/{path}").parse().unwrap();
        let error = bmc(&mock).firmware_update.unwrap().update("bios", &url).await.unwrap_err().to_string();
        assert!(error.contains(path) && error.contains(reason), "{error}");
    }
    assert!(mock.model().uploads.is_empty() && other.count("GET /secret") == 0);
}

#[tokio::test]
async fn an_update_of_a_card_is_for_that_card_or_none() {
    let action = "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate";
    let mock = with_update_service(json!({"Actions": {"#UpdateService.SimpleUpdate": {"target": action}},
        "FirmwareInventory": link("/redfish/v1/Fw")}))
    .await;
    mock.add(json!({"/redfish/v1/Fw": {"Members": [link("/redfish/v1/Fw/Nic"), link("/redfish/v1/Fw/Old")]},
        "/redfish/v1/Fw/Nic": {"Id": "Nic", "RelatedItem": [link("/redfish/v1/Chassis/1/NetworkAdapters/DE07")]},
        "/redfish/v1/Fw/Old": {"Id": "Old", "Updateable": false}}));
    let update = bmc(&mock).firmware_update.unwrap();
    let url = "http://192.0.2.9/nic.bin".parse().unwrap();
    let post = format!("POST {action}");
    for unknown in ["nic:typo", "nic:Old"] {
        let error = update.update(unknown, &url).await.unwrap_err().to_string();
        assert!(error.contains(unknown) && error.contains("it has Nic"), "{error}");
    }
    let refusal = |argument: &str| {
        json!({"error": {"@Message.ExtendedInfo": [
            {"MessageId": "Base.1.8.ActionParameterUnknown", "MessageArgs": ["SimpleUpdate", argument]}]}})
    };
    mock.instead(&post, 400, refusal("ImageURI"), 1);
    assert!(update.update("nic:DE07", &url).await.is_err());
    assert_eq!(mock.bodies(&post), [json!({"ImageURI": url, "Targets": ["/redfish/v1/Fw/Nic"]})]);
    mock.instead(&post, 400, refusal("Targets"), 1);
    update.update("nic:Nic", &url).await.unwrap();
    assert_eq!(mock.bodies(&post)[2], json!({"ImageURI": url}));
}

#[tokio::test]
async fn an_update_that_runs_is_found_by_its_request() {
    let mock = with_update_service(json!({})).await;
    mock.set("/redfish/v1/", "/Tasks", link("/redfish/v1/TaskService"));
    let task = |target: &str, state: &str| json!({"TaskState": state, "Payload": {"TargetUri": target}});
    let target = "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate";
    mock.add(json!({
        "/redfish/v1/TaskService": {"Tasks": link("/redfish/v1/Tasks")},
        "/redfish/v1/Tasks": {"Members": [link("/redfish/v1/Tasks/1"), link("/redfish/v1/Tasks/2")]},
        "/redfish/v1/Tasks/1": task(target, "Completed"),
        "/redfish/v1/Tasks/2": task("/redfish/v1/Systems/1/Bios", "Running"),
    }));
    let update = || bmc(&mock).firmware_update.unwrap();
    assert_eq!(update().under_way().await.unwrap(), None);
    mock.add(json!({"/redfish/v1/Tasks/2": task(target, "Running")}));
    let job = update().under_way().await.unwrap().unwrap();
    assert_eq!(update().progress(&job).await.unwrap(), Outcome::Pending(None));
}

/// A volume beside those that were made by us.
fn put(mock: &Mock, id: &str, volume: Value) {
    let path = format!("{VOLUMES}/{id}");
    let mut members = mock.at(VOLUMES, "/Members");
    members.as_array_mut().unwrap().push(link(&path));
    mock.set(VOLUMES, "/Members", members);
    mock.add(json!({path: volume}));
}

#[tokio::test]
async fn a_disk_is_in_use_when_either_side_says_so_and_a_spare_is_no_free_disk() {
    let mock = with_raid().await;
    put(&mock, "1", json!({"RAIDType": "RAID1", "Links": {"Drives": [link("/redfish/v1/d1")]}}));
    mock.set("/redfish/v1/d2", "/Status", json!({"State": "StandbySpare", "Health": "OK"}));
    let controller = bmc(&mock).raid.unwrap().controllers().await.unwrap().remove(0);
    let [first, second] = &controller.drives[..] else { panic!() };
    assert_eq!((&*first.volumes, first.is_spare), (&[format!("{VOLUMES}/1")][..], false));
    assert_eq!((second.volumes.len(), second.is_spare, second.healthy), (0, true, true));
    assert_eq!(controller.volumes[0].drives, ["Bay1"]);
    mock.set("/redfish/v1/d2", "/Status", json!({}));
    mock.set(&format!("{VOLUMES}/1"), "/Links/DedicatedSpareDrives", json!([link("/redfish/v1/d2")]));
    let controller = bmc(&mock).raid.unwrap().controllers().await.unwrap().remove(0);
    assert_eq!((controller.drives[1].volumes.len(), controller.drives[1].is_spare), (1, true));
    // The other side alone.
    mock.set(&format!("{VOLUMES}/1"), "/Links", json!({}));
    mock.set("/redfish/v1/d2", "/Links", json!({"Volumes": [link(&format!("{VOLUMES}/1"))]}));
    let controller = bmc(&mock).raid.unwrap().controllers().await.unwrap().remove(0);
    assert_eq!(controller.volumes[0].drives, ["Bay2"]);
}

#[tokio::test]
async fn what_is_no_array_is_told_apart_and_all_are_deleted_before_a_failure_is_reported() {
    let mock = with_raid().await;
    put(&mock, "1", json!({"RAIDType": "RAID1"}));
    put(&mock, "2", json!({"VolumeType": "Mirrored"}));
    put(&mock, "3", json!({"VolumeType": "RawDevice"}));
    put(&mock, "4", json!({"RAIDType": "None", "VolumeType": "NonRedundant"}));
    put(&mock, "5", json!({"RAIDType": "RAID0", "NVMeNamespaceProperties": {"NamespaceId": "1"}}));
    let raid = bmc(&mock).raid.unwrap();
    let controller = raid.controllers().await.unwrap().remove(0);
    let arrays: Vec<_> = controller.arrays().cloned().collect();
    let ids: Vec<_> = arrays.iter().map(|volume| &*volume.id).collect();
    assert_eq!(ids, [format!("{VOLUMES}/1"), format!("{VOLUMES}/2")]);
    mock.instead(&format!("DELETE {VOLUMES}/1"), 400, json!({}), 1);
    assert!(matches!(raid.delete(&arrays).await, Err(BmcError::Refused { status: 400, .. })));
    assert_eq!(raid.controllers().await.unwrap()[0].arrays().count(), 1);
    raid.delete(&arrays).await.unwrap();
    assert_eq!(raid.controllers().await.unwrap()[0].volumes.len(), 3);
}

#[tokio::test]
async fn durable_names_become_the_names_that_disks_have() {
    let mock = with_raid().await;
    for (n, (name, wwn)) in [
        ("naa.600508B1001C9DE5", Some("0x600508b1001c9de5")),
        ("0x600508b1001c9de5", Some("0x600508b1001c9de5")),
        ("eui.0025385B71B00E2C", Some("0x0025385b71b00e2c")),
        ("60:05:08:b1:00:1c:9d:e5", Some("0x600508b1001c9de5")),
        ("600508b1001c9de5ec8a6e2f1a1b2c3d", Some("0x600508b1001c9de5ec8a6e2f1a1b2c3d")),
        ("fade", None),
        ("not told", None),
    ]
    .into_iter()
    .enumerate()
    {
        let id = n.to_string();
        let names = json!([{"DurableNameFormat": "NAA", "DurableName": name}]);
        put(&mock, &id, json!({"RAIDType": "RAID1", "Identifiers": names}));
        let volumes = bmc(&mock).raid.unwrap().controllers().await.unwrap().remove(0).volumes;
        assert_eq!(volumes[n].wwn.as_deref(), wwn, "{name}");
    }
}

#[tokio::test]
async fn each_of_many_volumes_is_watched() {
    let mock = with_raid().await;
    (0..40).for_each(|n| put(&mock, &n.to_string(), json!({"RAIDType": "RAID1"})));
    let raid = bmc(&mock).raid.unwrap();
    let volumes = raid.controllers().await.unwrap().remove(0).volumes;
    for (n, volume) in volumes.iter().enumerate() {
        let task = json!({"TaskState": "Running", "TaskMonitor": format!("/redfish/v1/Tasks/{n}")});
        mock.instead(&format!("DELETE {}", volume.id), 202, task, 1);
        mock.add(json!({format!("/redfish/v1/Tasks/{n}"): {"TaskState": if n < 39 { "Completed" } else { "Running" }}}));
    }
    let job = raid.delete(&volumes).await.unwrap().unwrap();
    assert_eq!(raid.progress(&job).await.unwrap(), Outcome::Pending(None));
}

const BIOS: &str = "/redfish/v1/Systems/1/Bios";

async fn with_settings() -> Mock {
    let mock = Mock::start().await;
    mock.set(SYSTEM, "/Bios", link(BIOS));
    mock.set("/redfish/v1/", "/Registries", link("/redfish/v1/Registries"));
    let pending = format!("{BIOS}/Settings");
    mock.add(json!({
        BIOS: {"AttributeRegistry": "Reg.v1", "Attributes": {"Cores": 8, "Fast": false, "BootMode": "Uefi", "Tag": "x"},
            "@Redfish.Settings": {"SettingsObject": {"@odata.id": pending}, "SupportedApplyTimes": ["OnReset"]}},
        pending.as_str(): {"Attributes": {}},
        "/redfish/v1/Registries": {"Members": [{"@odata.id": "/redfish/v1/Registries/Reg"}]},
        "/redfish/v1/Registries/Reg": {"Location": [
            {"Language": "de", "Uri": "/none"}, {"Language": "en", "Uri": "/redfish/v1/reg.json"}]},
        "/redfish/v1/reg.json": {"RegistryEntries": {"Attributes": [
            {"AttributeName": "Cores", "Type": "Integer", "LowerBound": 1, "UpperBound": 64},
            {"AttributeName": "Fast", "Type": "Boolean"},
            {"AttributeName": "Tag", "Type": "String", "MaxLength": 3},
            {"AttributeName": "BootMode", "Type": "Enumeration",
                "Value": [{"ValueName": "Uefi"}, {"ValueName": "LegacyBios"}]}]}},
    }));
    mock
}

#[tokio::test]
async fn settings_are_checked_typed_and_followed_over_a_restart() {
    let mock = with_settings().await;
    let bios = bmc(&mock).bios.unwrap();
    let want = |name: &str, value: Value| vec![(name.to_owned(), value)];
    for (name, value, reason) in [
        ("Cores", json!("65"), "from 1 to 64"),
        ("Cores", json!("many"), "whole number"),
        ("Fast", json!("perhaps"), "true or false"),
        ("Tag", json!("long"), "4 letters"),
        ("BootMode", json!("Dual"), "only Uefi, LegacyBios"),
        ("None", json!(1), "no setting None"),
    ] {
        let error = bios.apply(&want(name, value)).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    let patch = format!("PATCH {BIOS}/Settings");
    assert_eq!(mock.count(&patch), 0, "nothing was sent");
    let wanted = [("Cores".to_owned(), json!("16")), ("Fast".to_owned(), json!("True"))];
    assert_eq!(bios.apply(&wanted).await.unwrap(), Changed::Yes);
    let sent = json!({"Attributes": {"Cores": 16, "Fast": true},
        "@Redfish.SettingsApplyTime": {"ApplyTime": "OnReset"}});
    assert_eq!(mock.bodies(&patch), [sent]);
    assert_eq!(
        bios.apply(&[("Cores".to_owned(), json!(16))]).await.unwrap(),
        Changed::Already,
        "it is asked for"
    );

    let wanted = [("Cores".to_owned(), json!("16"))];
    assert_eq!(bios.outcome(&wanted).await.unwrap(), Outcome::Pending(None));
    mock.set(BIOS, "/@Redfish.Settings/Messages", json!([
        {"MessageId": "Base.1.0.Success", "Severity": "OK"},
        {"MessageId": "Base.1.8.PropertyValueConflict", "MessageArgs": ["Cores", "Fast"], "Severity": "Warning"}]));
    let Outcome::Failed(why) = bios.outcome(&wanted).await.unwrap() else { panic!() };
    assert_eq!(why, "the property Cores does not go with the value of Fast.");
    mock.set(BIOS, "/Attributes/Cores", json!(16));
    assert_eq!(bios.outcome(&wanted).await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn what_is_asked_for_already_is_not_asked_for_again() {
    let mock = with_settings().await;
    let action = json!({"#Bios.ResetBios": {"target": "/redfish/v1/reset"}});
    mock.set(BIOS, "/Actions", action);
    let bios = bmc(&mock).bios.unwrap();
    assert_eq!(bios.reset().await.unwrap(), Changed::Yes);
    mock.set(BIOS, "/ResetBiosToDefaultsPending", json!(true));
    assert_eq!(bios.reset().await.unwrap(), Changed::Already);
    assert_eq!(bios.outcome(&[]).await.unwrap(), Outcome::Pending(None));
    mock.set(BIOS, "/ResetBiosToDefaultsPending", json!(false));
    assert_eq!(bios.outcome(&[]).await.unwrap(), Outcome::Done);
    assert_eq!(mock.count("POST /redfish/v1/reset"), 1);

    let keys = "/redfish/v1/Systems/1/SecureBoot";
    mock.set(keys, "/Actions", json!({"#SecureBoot.ResetKeys": {"target": "/redfish/v1/keys"}}));
    mock.set(keys, "/SecureBootMode", json!("SetupMode"));
    mock.set(keys, "/SecureBootDatabases", link("/redfish/v1/dbs"));
    mock.add(json!({
        "/redfish/v1/dbs": {"Members": [link("/redfish/v1/dbs/db"), link("/redfish/v1/dbs/dbDefault")]},
        "/redfish/v1/dbs/db": {"Id": "db", "Certificates": link("/redfish/v1/certs")},
        "/redfish/v1/dbs/dbDefault": {"Id": "dbDefault", "Certificates": link("/redfish/v1/more")},
        "/redfish/v1/certs": {"Members": [link("/redfish/v1/certs/1")]},
        "/redfish/v1/more": {"Members": [link("/redfish/v1/more/1")]},
    }));
    let secure_boot = bmc(&mock).secure_boot.unwrap();
    assert_eq!(secure_boot.change_keys(KeyChange::Clear).await.unwrap(), Changed::Yes);
    mock.set("/redfish/v1/certs", "/Members", json!([]));
    assert_eq!(secure_boot.change_keys(KeyChange::Clear).await.unwrap(), Changed::Already);
    assert_eq!(secure_boot.change_keys(KeyChange::ResetToDefault).await.unwrap(), Changed::Yes);
    assert_eq!(mock.count("POST /redfish/v1/keys"), 2);
}

#[tokio::test]
async fn the_boot_mode_is_a_setting_where_the_boot_override_has_none() {
    let mock = with_settings().await;
    mock.set(SYSTEM, "/Boot/BootSourceOverrideMode@Redfish.AllowableValues", json!(["UEFI"]));
    let mode = bmc(&mock).boot_mode.unwrap();
    assert_eq!(mode.set_mode(BootMode::Bios).await.unwrap(), Changed::Yes);
    assert_eq!(mock.at(&format!("{BIOS}/Settings"), "/Attributes/BootMode"), "LegacyBios");
    mock.unset(SYSTEM, "/Boot/BootSourceOverrideMode");
    assert_eq!(mode.mode().await.unwrap(), Some(BootMode::Uefi));
}

#[tokio::test]
async fn a_bmc_restarts_and_must_answer_thrice() {
    let mock = Mock::start().await;
    let reset = format!("{MANAGER}/Actions/Manager.Reset");
    let action = json!({"target": reset, "ResetType@Redfish.AllowableValues": ["ForceRestart"]});
    mock.set(MANAGER, "/Actions", json!({"#Manager.Reset": action}));
    let manager = bmc(&mock).manager.unwrap();
    let before = mock.count(&format!("GET {MANAGER}"));
    manager.reset().await.unwrap();
    assert_eq!(mock.bodies(&format!("POST {reset}")), [json!({"ResetType": "ForceRestart"})]);
    assert!(mock.count(&format!("GET {MANAGER}")) >= before + 3);
    mock.set(MANAGER, "/Actions", json!({}));
    assert!(matches!(manager.reset().await.unwrap_err(), BmcError::Unsupported { .. }));
}

#[tokio::test]
async fn clock_and_password_of_the_bmc() {
    let mock = Mock::start().await;
    let manager = bmc(&mock).manager.unwrap();
    let now = Utc::now();
    assert_eq!(manager.clock().await.unwrap(), None);
    mock.set(MANAGER, "/DateTime", json!((now - TimeDelta::days(4000)).to_rfc3339()));
    assert_eq!(manager.set_clock(now).await.unwrap(), Changed::Yes);
    assert_eq!(manager.set_clock(now).await.unwrap(), Changed::Already);

    mock.set("/redfish/v1/", "/AccountService", link("/redfish/v1/AccountService"));
    let manager = bmc(&mock).manager.unwrap();
    mock.add(json!({
        "/redfish/v1/AccountService": {"Accounts": {"@odata.id": "/redfish/v1/Accounts"}},
        "/redfish/v1/Accounts": {"Members": [{"@odata.id": "/redfish/v1/Accounts/2"}]},
        "/redfish/v1/Accounts/2": {"UserName": "root"},
    }));
    assert_eq!(manager.change_password(&Secret::new("secret")).await.unwrap(), Changed::Already);
    let repeated = json!({"error": {"message": "n3w is too short"}});
    mock.instead("PATCH /redfish/v1/Accounts/2", 400, repeated, 1);
    let error = manager.change_password(&Secret::new("n3w")).await.unwrap_err().to_string();
    assert!(error.contains("****** is too short") && !error.contains("n3w"), "{error}");
    manager.change_password(&Secret::new("n3w")).await.unwrap();
    assert_eq!(mock.at("/redfish/v1/Accounts/2", "/Password"), "n3w");
}

#[tokio::test]
async fn subscriptions_are_made_shown_and_ended() {
    let mock = Mock::start().await;
    mock.set("/redfish/v1/", "/EventService", link("/redfish/v1/EventService"));
    mock.add(json!({
        "/redfish/v1/EventService": {"Subscriptions": {"@odata.id": "/redfish/v1/EventService/Subscriptions"}},
        "/redfish/v1/EventService/Subscriptions": {"Members": []},
    }));
    let events = bmc(&mock).events.unwrap();
    let newer = json!({"error": {"@Message.ExtendedInfo": [
        {"MessageId": "Base.1.8.PropertyUnknown", "MessageArgs": ["EventTypes"]}]}});
    mock.instead("POST /redfish/v1/EventService/Subscriptions", 400, newer, 1);
    let url = "https://192.0.2.9/events".parse().unwrap();
    let headers = [("X-Token".to_owned(), Secret::new("hunter2"))];
    let made = events.create(&url, &["Alert".into()], Some("rack 4"), &headers).await.unwrap();
    assert_eq!((made.destination.as_str(), made.context.as_deref()), (url.as_str(), Some("rack 4")));
    let sent = mock.bodies("POST /redfish/v1/EventService/Subscriptions").remove(1);
    assert_eq!(sent["HttpHeaders"], json!([{"X-Token": "hunter2"}]));
    assert!(sent.get("EventTypes").is_none());
    assert_eq!(events.list().await.unwrap(), std::slice::from_ref(&made));
    assert_eq!(events.delete(&made.id).await.unwrap(), Changed::Yes);
    assert_eq!(events.delete(&made.id).await.unwrap(), Changed::Already);
}
