//! A Gen9 server, whose iLO 4 speaks RIS and RIBCL.

use bessemer_proto::secret::Secret;

use super::*;
use crate::{
    bmc::{BmcError, BootSource, Changed, KeyChange, MediaKind, Outcome, PowerAction},
    node::{BootMode, PowerState},
};

const SYSTEM: &str = "/rest/v1/Systems/1";
const MANAGER: &str = "/rest/v1/Managers/1";
const CD: &str = "/rest/v1/Managers/1/VirtualMedia/2";
const FLOPPY: &str = "/rest/v1/Managers/1/VirtualMedia/1";
const BIOS: &str = "/rest/v1/Systems/1/Bios";
const PENDING: &str = "/rest/v1/Systems/1/Bios/Settings";
const KEYS: &str = "/rest/v1/Systems/1/SecureBoot";
const ISO: &str = "http://10.0.0.1:8089/boot/x/deploy.iso";

fn href(path: &str) -> Value {
    json!({"href": path})
}

fn list(members: &[&str]) -> Value {
    json!({"Type": "Collection.1", "links": {"Member": members.iter().map(|m| href(m)).collect::<Vec<_>>()}})
}

fn root() -> Value {
    json!({
        "Type": "ServiceRoot.0.9.5",
        "links": {
            "Systems": href("/rest/v1/Systems"), "Managers": href("/rest/v1/Managers"),
            "AccountService": href("/rest/v1/AccountService"),
        },
    })
}

fn system() -> Value {
    json!({
        "Type": "ComputerSystem.1.0.1", "Model": "ProLiant DL380 Gen9", "Power": "Off", "Manufacturer": "HP",
        "SerialNumber": "CZ123", "Memory": {"TotalSystemMemoryGB": 64}, "Processors": {"Count": 2},
        "HostCorrelation": {"HostMACAddress": ["38-63-bb-00-00-01"]},
        "Boot": {
            "BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None",
            "BootSourceOverrideSupported": ["None", "Cd", "Hdd", "Usb", "Utilities", "Diags", "BiosSetup", "Pxe"],
        },
        "Oem": {"Hp": {
            "PostState": "PowerOff", "Bios": {"Current": {"VersionString": "P89 v2.60"}, "UefiClass": 2},
            "links": {
                "BIOS": href(BIOS), "SecureBoot": href(KEYS), "SmartStorage": href("/rest/v1/Systems/1/SmartStorage"),
                "PCIDevices": href("/rest/v1/Systems/1/PCIDevices"),
            },
        }},
    })
}

fn manager() -> Value {
    json!({
        "Type": "Manager.1.0.0", "Firmware": {"Current": {"VersionString": "iLO 4 v2.70"}},
        "links": {"VirtualMedia": href("/rest/v1/Managers/1/VirtualMedia")},
        "Oem": {"Hp": {
            "License": {"LicenseString": "iLO 4 Advanced"},
            "links": {"UpdateService": href("/rest/v1/Managers/1/UpdateService")},
        }},
    })
}

fn storage() -> Vec<(&'static str, Value)> {
    vec![
        ("/rest/v1/Systems/1/SmartStorage", json!({"links": {"ArrayControllers": href("/rest/v1/Ctrl")}})),
        ("/rest/v1/Ctrl", list(&["/rest/v1/Ctrl/0"])),
        (
            "/rest/v1/Ctrl/0",
            json!({"links": {"LogicalDrives": href("/rest/v1/L"), "PhysicalDrives": href("/rest/v1/P")}}),
        ),
        ("/rest/v1/L", list(&["/rest/v1/L/1"])),
        ("/rest/v1/L/1", json!({"CapacityMiB": 953_837, "Raid": "1", "LogicalDriveName": "one"})),
        ("/rest/v1/P", list(&["/rest/v1/P/1", "/rest/v1/P/2"])),
        ("/rest/v1/P/1", json!({"MediaType": "HDD", "RotationalSpeedRpm": 7200})),
        ("/rest/v1/P/2", json!({"MediaType": "SSD"})),
    ]
}

async fn gen9() -> Server {
    let ilo = Server::start().await;
    let drive = |types: &[&str]| json!({"Type": "VirtualMedia.1.0.0", "MediaTypes": types, "Inserted": false, "Image": ""});
    let bios = json!({
        "Type": "HpBios.1.0.0", "BootMode": "LegacyBios", "CustomPostMessage": "", "ProcVirtualization": "Enabled",
        "Sriov": "Disabled", "AdminPhone": "1",
        "links": {"Settings": href(PENDING), "BaseConfigs": href("/rest/v1/Systems/1/Bios/BaseConfigs")},
    });
    let defaults = json!({"ProcVirtualization": "Disabled", "AdminPhone": "", "BootMode": "Uefi"});
    let all = [
        ("/rest/v1", root()),
        ("/rest/v1/Systems", list(&[SYSTEM])),
        (SYSTEM, system()),
        ("/rest/v1/Managers", list(&[MANAGER])),
        (MANAGER, manager()),
        ("/rest/v1/Managers/1/VirtualMedia", list(&[FLOPPY, CD])),
        (FLOPPY, drive(&["Floppy", "USBStick"])),
        (CD, drive(&["CD", "DVD"])),
        (BIOS, bios.clone()),
        (PENDING, bios),
        ("/rest/v1/Systems/1/Bios/BaseConfigs", json!({"BaseConfigs": [{"default": defaults}]})),
        (
            KEYS,
            json!({"Type": "HpSecureBoot.1.0.0", "SecureBootEnable": false, "SecureBootCurrentState": false}),
        ),
        ("/rest/v1/Managers/1/UpdateService", json!({"State": "IDLE", "ProgressPercent": 0})),
        ("/rest/v1/AccountService", json!({"links": {"Accounts": href("/rest/v1/AccountService/Accounts")}})),
        ("/rest/v1/AccountService/Accounts", list(&["/rest/v1/AccountService/Accounts/1"])),
        ("/rest/v1/AccountService/Accounts/1", json!({"UserName": "Administrator"})),
        (
            "/rest/v1/Systems/1/PCIDevices",
            json!({"Items": [{"ClassCode": 3, "SubclassCode": 0}, {"ClassCode": 2, "SubclassCode": 0}]}),
        ),
    ];
    for (path, document) in all.into_iter().chain(storage()) {
        ilo.put(path, document);
    }
    ilo
}

#[tokio::test]
async fn power_follows_also_when_answers_are_gzip() {
    let ilo = gen9().await;
    ilo.model().gzip = true;
    let power = bmc(&ilo).power;
    assert_eq!(power.set(PowerAction::ForceOff).await.unwrap(), Changed::Already);
    assert_eq!(power.set(PowerAction::On).await.unwrap(), Changed::Yes);
    power.wait_for(PowerState::On, Duration::from_secs(2)).await.unwrap();
    power.set(PowerAction::GracefulShutdown).await.unwrap();
    power.set(PowerAction::ForceOff).await.unwrap();
    let bodies = ilo.bodies(&format!("POST {SYSTEM}"));
    assert_eq!(
        bodies,
        [
            json!({"Action": "Reset", "ResetType": "On"}),
            json!({"Action": "PowerButton", "Target": "/Oem/Hp", "PushType": "Press"}),
            json!({"Action": "Reset", "ResetType": "ForceOff"}),
        ]
    );
    assert_eq!(ilo.count("GET_HOST_POWER_STATUS"), 0);
}

#[tokio::test]
async fn media_are_inserted_by_their_properties() {
    let ilo = gen9().await;
    let media = bmc(&ilo).virtual_media.unwrap();
    let url = ISO.parse().unwrap();
    media.ready().await.unwrap();
    assert_eq!(media.insert(MediaKind::Cd, &url).await.unwrap(), Changed::Yes);
    assert_eq!(media.insert(MediaKind::Cd, &url).await.unwrap(), Changed::Already);
    ilo.model().requests.clear();
    media.insert(MediaKind::Cd, &"http://10.0.0.1/other.iso".parse().unwrap()).await.unwrap();
    let patch = format!("PATCH {CD}");
    assert_eq!(ilo.bodies(&patch), [json!({"Image": null}), json!({"Image": "http://10.0.0.1/other.iso"})]);
    assert_eq!(media.eject(MediaKind::Cd).await.unwrap(), Changed::Yes);
    assert_eq!(media.eject(MediaKind::Floppy).await.unwrap(), Changed::Already);
    ilo.model().machine.insert_lies = true;
    let lie = media.insert(MediaKind::Cd, &url).await.unwrap_err();
    assert!(lie.to_string().contains("is not inserted"), "{lie}");
    let unpaid = json!({"Messages": [{"MessageID": "iLO.0.10.LicenseKeyRequired"}]});
    ilo.instead(&patch, 400, unpaid.to_string(), 1);
    let missing = media.insert(MediaKind::Cd, &url).await.unwrap_err();
    assert!(matches!(missing, BmcError::Licence { .. }), "{missing}");
    ilo.set(MANAGER, &json!({"Oem": {"Hp": {"License": {"LicenseString": "iLO 4 Standard"}}}}));
    assert!(matches!(media.ready().await.unwrap_err(), BmcError::Licence { .. }));
    // The manager does not tell: the service does.
    let service = "/rest/v1/Managers/1/LicenseService";
    ilo.set(MANAGER, &json!({"Oem": {"Hp": {"License": null, "links": {"LicenseService": href(service)}}}}));
    ilo.put(service, list(&["/rest/v1/Managers/1/LicenseService/1"]));
    ilo.put("/rest/v1/Managers/1/LicenseService/1", json!({"License": "iLO 4 Standard"}));
    assert!(matches!(media.ready().await.unwrap_err(), BmcError::Licence { .. }));
}

#[tokio::test]
async fn the_boot_source_is_chosen_after_the_self_test_or_at_the_drive() {
    let ilo = gen9().await;
    let device = bmc(&ilo).boot_device.unwrap();
    let busy = json!({"Messages": [{"MessageID": "iLO.0.10.UnableToModifyDuringSystemPOST"}], "Type": "ExtendedError.1.0.0"});
    let patch = format!("PATCH {SYSTEM}");
    ilo.instead(&patch, 400, busy.to_string(), 2);
    assert_eq!(device.boot_once(BootSource::Cd).await.unwrap(), Changed::Yes);
    assert_eq!((ilo.count(&patch), device.current().await.unwrap()), (3, Some((BootSource::Cd, false))));
    assert_eq!(device.boot_once(BootSource::Cd).await.unwrap(), Changed::Already);
    let refused =
        json!({"Messages": [{"MessageID": "Base.0.10.PropertyNotWritable", "MessageArgs": ["Boot"]}]});
    ilo.instead(&patch, 400, refused.to_string(), 2);
    device.boot_always(BootSource::Disk).await.unwrap_err();
    ilo.model().instead.clear();
    assert_eq!(device.boot_always(BootSource::Disk).await.unwrap(), Changed::Yes);
    ilo.instead(&patch, 400, refused.to_string(), 1);
    device.boot_once(BootSource::Cd).await.unwrap();
    assert_eq!(ilo.at(CD, "/Oem/Hp/BootOnNextServerReset"), true);
    let wrong = device.boot_once(BootSource::UefiHttp).await.unwrap_err();
    assert!(matches!(wrong, BmcError::Unsupported { .. }), "{wrong}");
}

#[tokio::test]
async fn a_machine_whose_ris_lacks_a_thing_is_asked_by_ribcl() {
    let ilo = gen9().await;
    let mut system = ilo.at(SYSTEM, "");
    let object = system.as_object_mut().unwrap();
    object.remove("Boot");
    object.remove("Oem");
    ilo.put(SYSTEM, system);
    let bmc = bmc(&ilo);
    bmc.boot_device.unwrap().boot_once(BootSource::Cd).await.unwrap();
    assert_eq!(ilo.model().machine.one_time, "CDROM");
    assert_eq!(bmc.boot_mode.unwrap().mode().await.unwrap(), Some(BootMode::Bios));
    assert_eq!(bmc.secure_boot.unwrap().enabled().await.unwrap(), None);
}

#[tokio::test]
async fn a_boot_mode_waits_for_the_end_of_the_self_test() {
    let ilo = gen9().await;
    let mode = bmc(&ilo).boot_mode.unwrap();
    assert_eq!(mode.mode().await.unwrap(), Some(BootMode::Bios));
    assert_eq!(mode.set_mode(BootMode::Bios).await.unwrap(), Changed::Already);
    ilo.set(SYSTEM, &json!({"Oem": {"Hp": {"PostState": "InPost"}}}));
    let late = mode.set_mode(BootMode::Uefi).await.unwrap_err();
    assert!(matches!(late, BmcError::Timeout { .. }), "{late}");
    assert_eq!(ilo.count(&format!("PATCH {PENDING}")), 0);
    ilo.model().requests.clear();
    let finished = ilo.clone();
    let (set, ()) = tokio::join!(mode.set_mode(BootMode::Uefi), async {
        while finished.count(&format!("GET {SYSTEM}")) < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        finished.set(SYSTEM, &json!({"Oem": {"Hp": {"PostState": "FinishedPost"}}}));
    });
    assert_eq!(set.unwrap(), Changed::Yes);
    assert_eq!(
        ilo.bodies(&format!("PATCH {PENDING}")),
        [json!({"BootMode": "uefi", "UefiOptimizedBoot": "Enabled"})]
    );
    // Asked for, and not in force.
    assert_eq!(mode.set_mode(BootMode::Uefi).await.unwrap(), Changed::Already);
    assert_eq!(mode.mode().await.unwrap(), Some(BootMode::Bios));
}

#[tokio::test]
async fn secure_boot_is_changed_in_uefi_only_and_applied_by_a_setting_without_meaning() {
    let ilo = gen9().await;
    let secure_boot = bmc(&ilo).secure_boot.unwrap();
    assert_eq!(secure_boot.enabled().await.unwrap(), Some(false));
    assert_eq!(secure_boot.set_enabled(false).await.unwrap(), Changed::Already);
    let refused = secure_boot.set_enabled(true).await.unwrap_err();
    assert!(matches!(refused, BmcError::Unsupported { .. }), "{refused}");
    ilo.set(PENDING, &json!({"BootMode": "uefi"}));
    assert_eq!(secure_boot.set_enabled(true).await.unwrap(), Changed::Yes);
    assert_eq!(ilo.at(PENDING, "/CustomPostMessage"), " ");
    secure_boot.change_keys(KeyChange::ResetToDefault).await.unwrap();
    secure_boot.change_keys(KeyChange::Clear).await.unwrap();
    assert_eq!(
        ilo.bodies(&format!("PATCH {KEYS}")),
        [
            json!({"SecureBootEnable": true}),
            json!({"ResetToDefaultKeys": true}),
            json!({"ResetAllKeys": true})
        ]
    );
    // One change of the message is enough for the next self-test.
    assert_eq!(ilo.count(&format!("PATCH {PENDING}")), 1);
}

#[tokio::test]
async fn secure_boot_that_was_asked_for_and_not_applied_is_brought_to_an_end() {
    let ilo = gen9().await;
    let secure_boot = bmc(&ilo).secure_boot.unwrap();
    ilo.set(PENDING, &json!({"BootMode": "uefi"}));
    // The controller, or the iLO, dies between the two changes.
    ilo.instead(&format!("PATCH {PENDING}"), 500, "{}", 1);
    secure_boot.set_enabled(true).await.unwrap_err();
    assert_eq!(secure_boot.set_enabled(true).await.unwrap(), Changed::Yes);
    assert_eq!(ilo.at(PENDING, "/CustomPostMessage"), " ");
    assert_eq!(secure_boot.set_enabled(true).await.unwrap(), Changed::Already);
    assert_eq!(ilo.count(&format!("PATCH {KEYS}")), 1);
    ilo.set(KEYS, &json!({"SecureBootCurrentState": true}));
    assert_eq!(secure_boot.enabled().await.unwrap(), Some(true));
}

#[tokio::test]
async fn settings_of_the_firmware_are_read_changed_and_reset() {
    let ilo = gen9().await;
    let bios = bmc(&ilo).bios.unwrap();
    let known = bios.read().await.unwrap();
    let names: Vec<_> = known.iter().map(|setting| &*setting.name).collect();
    assert_eq!(names, ["AdminPhone", "BootMode", "CustomPostMessage", "ProcVirtualization", "Sriov"]);
    let wanted = [("Sriov".to_owned(), json!("Enabled")), ("AdminPhone".to_owned(), json!("1"))];
    assert_eq!(bios.apply(&wanted).await.unwrap(), Changed::Yes);
    assert_eq!(ilo.bodies(&format!("PATCH {PENDING}")), [json!({"Sriov": "Enabled"})]);
    assert_eq!(bios.apply(&wanted).await.unwrap(), Changed::Already);
    for (state, waits) in
        [("Reset", true), ("Unknown", true), ("InPost", true), ("FinishedPost", false), ("PowerOff", false)]
    {
        ilo.set(SYSTEM, &json!({"Oem": {"Hp": {"PostState": state}}}));
        let outcome = bios.outcome(&wanted).await.unwrap();
        assert_eq!(outcome == Outcome::Pending(None), waits, "{state}: {outcome:?}");
        assert_eq!(matches!(outcome, Outcome::Failed(_)), !waits, "{state}: {outcome:?}");
    }
    ilo.set(BIOS, &json!({"Sriov": "Enabled"}));
    assert_eq!(bios.outcome(&wanted).await.unwrap(), Outcome::Done);
    assert!(bios.apply(&[("Soup".to_owned(), json!(1))]).await.unwrap_err().to_string().contains("Soup"));
    assert_eq!(bios.reset().await.unwrap(), Changed::Yes);
    // The mode stays: what is installed needs it.
    let asked = ["/ProcVirtualization", "/BootMode"].map(|pointer| ilo.at(PENDING, pointer));
    assert_eq!(asked, ["Disabled", "LegacyBios"]);
    assert_eq!(bios.reset().await.unwrap(), Changed::Already);
    // Asked for is not in force.
    assert!(matches!(bios.outcome(&[]).await.unwrap(), Outcome::Failed(_)));
    ilo.set(BIOS, &json!({"ProcVirtualization": "Disabled", "AdminPhone": ""}));
    assert_eq!(bios.outcome(&[]).await.unwrap(), Outcome::Done);
}

async fn until_asked(ilo: &Server, request: &str, times: usize) {
    let asked = async {
        while ilo.count(request) < times {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.expect(request);
}

#[tokio::test]
async fn an_update_has_begun_before_it_can_be_done() {
    const UPDATES: &str = "/rest/v1/Managers/1/UpdateService";
    let ilo = gen9().await;
    let update = bmc(&ilo).firmware_update.unwrap();
    let url: url::Url = "http://10.0.0.1/ilo4.bin".parse().unwrap();
    assert!(matches!(update.update("nic:1", &url).await, Err(BmcError::Unsupported { .. })));
    // What is said of the update before this one is nothing about this one.
    ilo.set(UPDATES, &json!({"State": "COMPLETED", "ProgressPercent": 100}));
    let error = update.update("bmc", &url).await.unwrap_err();
    assert!(matches!(error, BmcError::Timeout { .. }), "{error}");
    assert_eq!(update.under_way().await.unwrap(), None);
    let (begun, job) = tokio::join!(
        async {
            until_asked(&ilo, &format!("POST {UPDATES}"), 2).await;
            ilo.set(UPDATES, &json!({"State": "PROGRESSING", "ProgressPercent": 7}));
        },
        update.update("bmc", &url)
    );
    let (job, ()) = (job.unwrap().unwrap(), begun);
    assert_eq!(update.progress(&job).await.unwrap(), Outcome::Pending(Some(7)));
    assert_eq!(update.under_way().await.unwrap(), Some(job.clone()));
    ilo.set(UPDATES, &json!({"State": "COMPLETED", "ProgressPercent": 100}));
    assert_eq!(update.progress(&job).await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn inspection_joins_what_both_languages_know() {
    let ilo = gen9().await;
    let found = bmc(&ilo).inventory.unwrap().look().await.unwrap();
    assert_eq!((&found.properties["cpus"], &found.properties["memory_mb"]), (&json!(16), &json!(16384)));
    let capabilities: Vec<_> =
        found.capabilities.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    assert_eq!(
        capabilities,
        [
            "boot_mode_bios:true",
            "boot_mode_uefi:true",
            "cpu_vt:true",
            "hardware_supports_raid:true",
            "has_rotational:true",
            "has_ssd:true",
            "ilo_firmware_version:iLO 4 v2.70",
            "logical_raid_level_1:true",
            "pci_gpu_devices:1",
            "rom_firmware_version:P89 v2.60",
            "rotational_drive_7200_rpm:true",
            "secure_boot:true",
            "server_model:ProLiant DL380 Gen9",
        ]
    );
    // Where RIBCL is switched off, RIS alone has to do.
    ilo.instead("GET_EMBEDDED_HEALTH", 404, "", 1);
    let found = bmc(&ilo).inventory.unwrap().look().await.unwrap();
    let expected = json!({"cpu_arch": "x86_64", "memory_mb": 65536, "cpus": 2, "local_gb": 930});
    assert_eq!(Value::Object(found.properties), expected);
    assert_eq!(found.inventory["interfaces"][0]["mac_address"], "38:63:bb:00:00:01");
}

#[tokio::test]
async fn an_inspection_waits_until_the_self_test_has_looked_for_devices() {
    let ilo = gen9().await;
    ilo.set(SYSTEM, &json!({"Power": "On", "Memory": null, "Oem": {"Hp": {"PostState": "Reset"}}}));
    let inventory = bmc(&ilo).inventory.unwrap();
    ilo.instead("GET_EMBEDDED_HEALTH", 404, "", 1);
    let (found, ()) = tokio::join!(inventory.look(), async {
        until_asked(&ilo, &format!("GET {SYSTEM}"), 3).await;
        let memory = json!({"TotalSystemMemoryGB": 64});
        ilo.set(SYSTEM, &json!({"Memory": memory, "Oem": {"Hp": {"PostState": "InPostDiscoveryComplete"}}}));
    });
    assert_eq!(found.unwrap().properties["memory_mb"], 65536);
    ilo.set(SYSTEM, &json!({"Oem": {"Hp": {"PostState": "InPost"}}}));
    assert!(matches!(bmc(&ilo).inventory.unwrap().look().await, Err(BmcError::Timeout { .. })));
}

#[tokio::test]
async fn a_password_is_changed_for_the_user_that_is_used() {
    let ilo = gen9().await;
    let manager = bmc(&ilo).manager.unwrap();
    manager.change_password(&Secret::new("new")).await.unwrap();
    bmc_with(&ilo, json!({"ilo_password": "new"})).power.state().await.unwrap();
    assert_eq!(ilo.count("MOD_USER"), 0);
    assert_eq!(ilo.model().wrong, 0);
}

#[tokio::test]
async fn a_new_password_that_is_refused_is_not_repeated_in_errors() {
    let ilo = gen9().await;
    let refused = json!({"Messages": [
        {"MessageID": "Base.0.10.PropertyValueFormatError", "MessageArgs": ["hunter2", "Password"]},
    ]});
    ilo.instead("PATCH /rest/v1/AccountService/Accounts/1", 400, refused.to_string(), 1);
    let error = bmc(&ilo).manager.unwrap().change_password(&Secret::new("hunter2")).await.unwrap_err();
    assert!(error.to_string().contains("the value ****** of property Password"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn documents_of_the_wrong_kind_are_errors() {
    let ilo = gen9().await;
    let power = bmc(&ilo).power;
    for (change, problem) in [
        (json!({"Type": "Chassis.1"}), "ComputerSystem"),
        (json!({"Type": 5}), "ComputerSystem"),
        (json!({"Type": "ComputerSystem.1", "Power": ["On"]}), "no Power"),
    ] {
        ilo.set(SYSTEM, &change);
        let error = power.state().await.unwrap_err().to_string();
        assert!(error.contains(problem), "{problem}: {error}");
    }
    ilo.put("/rest/v1/Systems", json!({"links": {"Member": "soup"}}));
    let error = bmc(&ilo).power.state().await.unwrap_err().to_string();
    assert!(error.contains("nothing in"), "{error}");
}
