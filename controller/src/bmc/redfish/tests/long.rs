//! What takes its time: settings of the firmware, restarts of the BMC; and subscriptions, accounts.

use bessemer_proto::secret::Secret;
use chrono::{TimeDelta, Utc};

use super::{mock::SYSTEM, *};
use crate::{
    bmc::{Changed, KeyChange, Outcome},
    node::BootMode,
};

const MANAGER: &str = "/redfish/v1/Managers/1";

fn link(path: &str) -> Value {
    json!({"@odata.id": path})
}

/// A volume beside those that were made by us.
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
