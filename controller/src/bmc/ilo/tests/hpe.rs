//! A Gen10 server, whose iLO 5 speaks Redfish with HPE's own parts.

use super::*;
use crate::{
    bmc::{BmcError, Changed, KeyChange, MediaKind, NewVolume, Outcome},
    node::BootMode,
};

const SYSTEM: &str = "/redfish/v1/Systems/1";
const MANAGER: &str = "/redfish/v1/Managers/1";
const CD: &str = "/redfish/v1/Managers/1/VirtualMedia/2";
const BIOS: &str = "/redfish/v1/Systems/1/Bios";
const PENDING: &str = "/redfish/v1/Systems/1/Bios/Settings";
const KEYS: &str = "/redfish/v1/Systems/1/SecureBoot";
const RESET_KEYS: &str = "/redfish/v1/Systems/1/SecureBoot/Actions/SecureBoot.ResetKeys";
const ISO: &str = "http://10.0.0.1:8089/boot/x/deploy.iso";

fn link(path: &str) -> Value {
    json!({"@odata.id": path})
}

async fn gen10() -> Server {
    let ilo = Server::start().await;
    let members = |paths: &[&str]| json!({"Members": paths.iter().map(|p| link(p)).collect::<Vec<_>>()});
    let root = json!({
        "Oem": {"Hpe": {"Manager": [{"ManagerType": "iLO 5"}]}}, "Vendor": "HPE",
        "Systems": link("/redfish/v1/Systems"), "Managers": link("/redfish/v1/Managers"),
        "Links": {"Sessions": link("/redfish/v1/SessionService/Sessions")},
    });
    let system = json!({
        "PowerState": "Off", "Manufacturer": "HPE", "Model": "ProLiant DL380 Gen10", "Bios": link(BIOS),
        "Id": "1", "IndicatorLED": "Off", "SecureBoot": link(KEYS),
        "Links": {"ManagedBy": [link(MANAGER)]}, "Oem": {"Hpe": {"PostState": "PowerOff"}},
        "Boot": {"BootSourceOverrideMode": "UEFI"},
    });
    let manager = json!({
        "ManagerType": "BMC", "VirtualMedia": link("/redfish/v1/Managers/1/VirtualMedia"),
        "Oem": {"Hpe": {"License": {"LicenseString": "iLO Advanced"}}},
    });
    let cd = json!({
        "MediaTypes": ["CD", "DVD"], "Inserted": false, "Image": "",
        "Actions": {"#VirtualMedia.InsertMedia": {"target": format!("{CD}/Actions/VirtualMedia.InsertMedia")}},
        "Oem": {"Hpe": {"Actions": {
            "#HpeiLOVirtualMedia.InsertVirtualMedia": {"target": format!("{CD}/Actions/Oem/Insert")},
            "#HpeiLOVirtualMedia.EjectVirtualMedia": {"target": format!("{CD}/Actions/Oem/Eject")},
        }}},
    });
    let attributes = json!({"BootMode": "LegacyBios", "UefiOptimizedBoot": "Disabled", "Sriov": "Enabled"});
    let bios = json!({
        "Attributes": attributes, "@Redfish.Settings": {"SettingsObject": link(PENDING)},
        "Oem": {"Hpe": {"Links": {"BaseConfigs": link("/redfish/v1/Systems/1/Bios/BaseConfigs")}}},
    });
    for (path, document) in [
        ("/redfish/v1", root),
        ("/redfish/v1/Systems", members(&[SYSTEM])),
        (SYSTEM, system),
        ("/redfish/v1/Managers", members(&[MANAGER])),
        (MANAGER, manager),
        ("/redfish/v1/Managers/1/VirtualMedia", members(&[CD])),
        (CD, cd),
        (BIOS, bios),
        (PENDING, json!({"Attributes": attributes})),
        (
            "/redfish/v1/Systems/1/Bios/BaseConfigs",
            json!({"BaseConfigs": [{"default": {"Sriov": "Disabled", "BootMode": "Uefi"}}]}),
        ),
        (
            KEYS,
            json!({"SecureBootEnable": false, "Actions": {"#SecureBoot.ResetKeys": {"target": RESET_KEYS}}}),
        ),
        (RESET_KEYS, json!({})),
    ] {
        ilo.put(path, document);
    }
    ilo
}

#[tokio::test]
async fn only_redfish_is_spoken() {
    let ilo = gen10().await;
    bmc(&ilo).power.state().await.unwrap();
    let foreign = |what: &String| what.contains("rest/v1") || !what.contains("/redfish/");
    assert!(!ilo.model().requests.iter().any(|(what, _)| foreign(what)));
    assert_eq!(ilo.count("POST /redfish/v1/SessionService/Sessions"), 1);
    assert_eq!(ilo.model().wrong, 0);
    for _ in 0..3 {
        let wrong = bmc_with(&ilo, json!({"ilo_password": "wrong"})).power.state().await.unwrap_err();
        assert!(wrong.to_string().contains("ilo_username and ilo_password"), "{wrong}");
    }
    assert_eq!(ilo.model().wrong, 1);
}

#[tokio::test]
async fn an_ilo_that_shows_its_root_to_users_only_is_not_taken_for_an_older_one() {
    let ilo = gen10().await;
    ilo.model().closed_roots = true;
    bmc(&ilo).power.state().await.unwrap();
    assert_eq!((ilo.count("GET_PRODUCT_NAME"), ilo.count("GET /rest/v1")), (0, 0));
}

#[tokio::test]
async fn an_ilo_that_is_still_starting_is_not_remembered_as_one_that_lacks_everything() {
    let ilo = gen10().await;
    for path in ["GET /redfish/v1/", "GET /rest/v1"] {
        ilo.instead(path, 404, "", 1);
    }
    ilo.instead("GET_PRODUCT_NAME", 404, "", 1);
    let secure_boot = bmc(&ilo).secure_boot.unwrap();
    let starting = secure_boot.enabled().await.unwrap_err();
    assert!(starting.passing() && starting.to_string().contains("still starting"), "{starting}");
    assert_eq!(secure_boot.enabled().await.unwrap(), Some(false));
}

#[tokio::test]
async fn a_licence_is_looked_at_and_hpes_own_action_used_where_the_standards_is_refused() {
    let ilo = gen10().await;
    let media = bmc(&ilo).virtual_media.unwrap();
    media.ready().await.unwrap();
    let (iso, other) = (ISO.parse().unwrap(), "http://10.0.0.1/other.iso".parse().unwrap());
    assert_eq!(media.insert(MediaKind::Cd, &iso).await.unwrap(), Changed::Yes);
    assert_eq!(media.insert(MediaKind::Cd, &iso).await.unwrap(), Changed::Already);
    assert_eq!(media.insert(MediaKind::Cd, &other).await.unwrap(), Changed::Yes);
    assert_eq!(ilo.at(CD, "/Image"), other.as_str());
    assert_eq!(media.eject(MediaKind::Cd).await.unwrap(), Changed::Yes);
    assert_eq!(media.eject(MediaKind::Cd).await.unwrap(), Changed::Already);
    ilo.model().requests.clear();
    ilo.model().machine.insert_lies = true;
    let refused = media.insert(MediaKind::Cd, &iso).await.unwrap_err();
    assert!(refused.to_string().contains("is not inserted"), "{refused}");
    assert_eq!(ilo.bodies(&format!("POST {CD}/Actions/Oem/Insert")), [json!({"Image": ISO})]);
    ilo.set(MANAGER, &json!({"Oem": {"Hpe": {"License": {"LicenseString": "iLO Standard"}}}}));
    assert!(matches!(media.ready().await.unwrap_err(), BmcError::Licence { .. }));
    // The manager does not tell: the service does.
    let service = "/redfish/v1/Managers/1/LicenseService";
    ilo.set(MANAGER, &json!({"Oem": {"Hpe": {"License": null, "Links": {"LicenseService": link(service)}}}}));
    ilo.put(service, json!({"Members": [link(&format!("{service}/1"))]}));
    ilo.put(&format!("{service}/1"), json!({"License": "iLO Standard"}));
    assert!(matches!(media.ready().await.unwrap_err(), BmcError::Licence { .. }));
    ilo.put(&format!("{service}/1"), json!({"License": "iLO Advanced"}));
    media.ready().await.unwrap();
}

#[tokio::test]
async fn secure_boot_waits_for_the_self_test_and_is_of_uefi_only() {
    let ilo = gen10().await;
    let secure_boot = bmc(&ilo).secure_boot.unwrap();
    // Automated cleaning leaves out what is not supported; it does not fail.
    for refused in [
        secure_boot.set_enabled(true).await.unwrap_err(),
        secure_boot.change_keys(KeyChange::ResetToDefault).await.unwrap_err(),
    ] {
        assert!(matches!(refused, BmcError::Unsupported { .. }), "{refused}");
    }
    assert_eq!(secure_boot.set_enabled(false).await.unwrap(), Changed::Already);
    ilo.set(PENDING, &json!({"Attributes": {"BootMode": "Uefi"}}));
    ilo.set(SYSTEM, &json!({"Oem": {"Hpe": {"PostState": "InPost"}}}));
    assert!(matches!(secure_boot.set_enabled(true).await.unwrap_err(), BmcError::Timeout { .. }));
    assert!(!ilo.changes().iter().any(|what| what.contains("SecureBoot")), "{:?}", ilo.changes());
    ilo.set(SYSTEM, &json!({"Oem": {"Hpe": {"PostState": "FinishedPost"}}}));
    assert_eq!(secure_boot.set_enabled(true).await.unwrap(), Changed::Yes);
    secure_boot.change_keys(KeyChange::Clear).await.unwrap();
    assert_eq!(ilo.bodies(&format!("POST {RESET_KEYS}")), [json!({"ResetKeysType": "DeleteAllKeys"})]);
}

#[tokio::test]
async fn inspection_tells_the_mode_that_the_machine_boots_in_and_what_it_can() {
    let ilo = gen10().await;
    let bmc = bmc(&ilo);
    let found = bmc.inventory.unwrap().look().await.unwrap();
    // The boot override says UEFI.
    assert_eq!((&*found.capabilities["boot_mode"], &*found.capabilities["secure_boot"]), ("bios", "true"));
    assert_eq!(found.inventory["boot"]["current_boot_mode"], "bios");
    let identity = bmc.overview.unwrap().identity().await.unwrap();
    assert_eq!(identity.model.as_deref(), Some("ProLiant DL380 Gen10"));
    assert!(!bmc.indicators.unwrap().lights().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_boot_mode_is_a_setting_and_settings_wait_for_the_self_test() {
    let ilo = gen10().await;
    let bmc = bmc(&ilo);
    let mode = bmc.boot_mode.unwrap();
    assert_eq!(mode.mode().await.unwrap(), Some(BootMode::Bios));
    ilo.set(SYSTEM, &json!({"Oem": {"Hpe": {"PostState": "InPost"}}}));
    assert!(matches!(mode.set_mode(BootMode::Uefi).await.unwrap_err(), BmcError::Timeout { .. }));
    ilo.set(SYSTEM, &json!({"Oem": {"Hpe": {"PostState": "FinishedPost"}}}));
    assert_eq!(mode.set_mode(BootMode::Uefi).await.unwrap(), Changed::Yes);
    let asked = ilo.at(PENDING, "/Attributes");
    assert_eq!((&asked["BootMode"], &asked["UefiOptimizedBoot"]), (&json!("Uefi"), &json!("Enabled")));
    // The manufacturer's values, but for the mode.
    let pending = format!("PATCH {PENDING}");
    ilo.model().requests.clear();
    let bios = bmc.bios.unwrap();
    assert_eq!(bios.reset().await.unwrap(), Changed::Yes);
    assert_eq!(ilo.bodies(&pending), [json!({"Attributes": {"Sriov": "Disabled"}})]);
    assert_eq!(bios.reset().await.unwrap(), Changed::Already);
    // Where the settings cannot be patched they are posted.
    ilo.set(PENDING, &json!({"Attributes": {"Sriov": "Enabled"}}));
    ilo.instead(&pending, 405, "{}", 1);
    assert_eq!(bios.reset().await.unwrap(), Changed::Yes);
    assert_eq!(ilo.bodies(&format!("POST {PENDING}")), [json!({"Attributes": {"Sriov": "Disabled"}})]);
}

const CONFIG: &str = "/redfish/v1/systems/1/smartstorageconfig";
const ASKED: &str = "/redfish/v1/systems/1/smartstorageconfig/settings";
const ARRAYS: &str = "/redfish/v1/Systems/1/SmartStorage/ArrayControllers";
const UNIQUE: &str = "600508B1001CE8E6BA9838BB68D9889B";

/// A Gen10 server with a Smart Array controller of four disks, and one volume.
async fn with_smart_array() -> Server {
    let ilo = gen10().await;
    let links = json!({"SmartStorage": link("/redfish/v1/Systems/1/SmartStorage")});
    ilo.set(SYSTEM, &json!({"Oem": {"Hpe": {"SmartStorageConfig": [link(CONFIG)], "Links": links}}}));
    let disk = |n: u8, used: &str| {
        json!({"Location": format!("1I:1:{n}"), "CapacityMiB": 572_325, "MediaType": "HDD", "InterfaceType": "SAS",
            "DiskDriveUse": used, "Status": {"Health": "OK", "State": "Enabled"}})
    };
    let disks = format!("{ARRAYS}/0/DiskDrives");
    let members: Vec<_> = (1..=5).map(|n| link(&format!("{disks}/{n}"))).collect();
    for (n, used) in [(1, "Data"), (2, "Data"), (3, "Spare"), (4, "Raw"), (5, "Raw")] {
        ilo.put(&format!("{disks}/{n}"), disk(n, used));
    }
    let volume = json!({"Raid": "Raid1", "CapacityBlocks": 585_871_964, "BlockSizeBytes": 512, "LogicalDriveName": "data",
        "VolumeUniqueIdentifier": UNIQUE, "DataDrives": ["1I:1:1", "1I:1:2"], "SpareDrives": ["1I:1:3"]});
    for (path, document) in [
        ("/redfish/v1/Systems/1/SmartStorage", json!({"Links": {"ArrayControllers": link(ARRAYS)}})),
        (ARRAYS, json!({"Members": [link(&format!("{ARRAYS}/0"))]})),
        (
            &format!("{ARRAYS}/0"),
            json!({"Model": "HPE Smart Array P408i-a SR Gen10", "Location": "Slot 0",
                "Links": {"PhysicalDrives": link(&disks)}}),
        ),
        (&disks, json!({"Members": members})),
        (
            CONFIG,
            json!({"Id": "smartstorageconfig", "@odata.etag": "1", "Location": "Slot 0", "LogicalDrives": [volume],
                "@Redfish.Settings": {"SettingsObject": link(ASKED), "Messages": [{"MessageId": "Base.1.0.Success"}]}}),
        ),
        (ASKED, json!({})),
    ] {
        ilo.put(path, document);
    }
    ilo
}

#[tokio::test]
async fn a_smart_array_shows_its_disks_and_volumes() {
    let ilo = with_smart_array().await;
    let found = bmc(&ilo).raid.unwrap().controllers().await.unwrap().remove(0);
    assert_eq!((&*found.id, &*found.name), ("smartstorageconfig", "HPE Smart Array P408i-a SR Gen10"));
    let used: Vec<_> = found.drives.iter().map(|d| (&*d.id, d.volumes.len(), d.is_spare)).collect();
    let expected = [
        ("1I:1:1", 1, false),
        ("1I:1:2", 1, false),
        ("1I:1:3", 1, true),
        ("1I:1:4", 0, false),
        ("1I:1:5", 0, false),
    ];
    assert_eq!(used, expected);
    let volume = &found.volumes[0];
    assert_eq!(volume.wwn.as_deref(), Some("0x600508b1001ce8e6ba9838bb68d9889b"));
    assert_eq!((&*volume.name, volume.level.as_deref(), volume.size >> 30), ("data", Some("1"), 279));
    assert_eq!((volume.drives.len(), found.arrays().count()), (2, 1));
    // What the operating system made since the last start: its disks are not free.
    ilo.set(&format!("{ARRAYS}/0/DiskDrives/4"), &json!({"DiskDriveUse": "Data"}));
    let found = bmc(&ilo).raid.unwrap().controllers().await.unwrap().remove(0);
    assert_eq!(found.drives[3].volumes.len(), 1);
}

#[tokio::test]
async fn volumes_of_a_smart_array_are_asked_for_from_the_next_start_and_the_others_stay() {
    let ilo = with_smart_array().await;
    let raid = bmc(&ilo).raid.unwrap();
    let new = [NewVolume {
        controller: "smartstorageconfig".into(),
        level: "1".into(),
        size: Some(500 << 30),
        name: Some("root".into()),
        drives: vec!["1I:1:4".into(), "1I:1:5".into()],
    }];
    ilo.set(SYSTEM, &json!({"Oem": {"Hpe": {"PostState": "InPost"}}}));
    assert!(matches!(raid.create(&new).await, Err(BmcError::Timeout { .. })), "it would be lost");
    ilo.set(SYSTEM, &json!({"Oem": {"Hpe": {"PostState": "FinishedPost"}}}));
    assert!(raid.needs_restart(&["smartstorageconfig".into()]).await.unwrap());
    let job = raid.create(&new).await.unwrap().unwrap();
    let asked = json!({"DataGuard": "Permissive", "LogicalDrives": [{"Raid": "Raid1", "CapacityGiB": 500,
        "DataDrives": ["1I:1:4", "1I:1:5"], "LogicalDriveName": "root"}]});
    assert_eq!(ilo.bodies(&format!("PUT {ASKED}")), [asked]);
    assert_eq!(raid.progress(&job).await.unwrap(), Outcome::NeedsRestart);
    ilo.set(CONFIG, &json!({"@odata.etag": "2"}));
    assert_eq!(raid.progress(&job).await.unwrap(), Outcome::Done);
    let messages = json!([{"MessageId": "SmartStorageMessages.2.0.DriveInUse", "MessageArgs": ["1I:1:4"]}]);
    ilo.set(CONFIG, &json!({"@Redfish.Settings": {"Messages": messages}}));
    let Outcome::Failed(why) = raid.progress(&job).await.unwrap() else { panic!() };
    assert!(why.contains("DriveInUse 1I:1:4"), "{why}");

    let volumes = raid.controllers().await.unwrap().remove(0).volumes;
    raid.delete(&volumes).await.unwrap().unwrap();
    let asked = json!({"DataGuard": "Permissive", "LogicalDrives": [
        {"Actions": [{"Action": "LogicalDriveDelete"}], "VolumeUniqueIdentifier": UNIQUE}]});
    assert_eq!(ilo.bodies(&format!("PUT {ASKED}"))[1], asked);
    ilo.instead(&format!("PUT {ASKED}"), 400, "{}", 1);
    assert!(matches!(raid.delete(&volumes).await, Err(BmcError::Refused { status: 400, .. })));
}

#[tokio::test]
async fn where_the_standard_makes_volumes_it_is_used() {
    let ilo = with_smart_array().await;
    ilo.set(SYSTEM, &json!({"Storage": link("/redfish/v1/Systems/1/Storage")}));
    ilo.put(
        "/redfish/v1/Systems/1/Storage",
        json!({"Members": [link("/redfish/v1/Systems/1/Storage/DE07")]}),
    );
    let store = json!({"Id": "DE07", "StorageControllers": [{"SupportedRAIDTypes": ["RAID1"]}]});
    ilo.put("/redfish/v1/Systems/1/Storage/DE07", store);
    let found = bmc(&ilo).raid.unwrap().controllers().await.unwrap();
    assert_eq!(found.iter().map(|found| &*found.id).collect::<Vec<_>>(), ["DE07"]);
}
