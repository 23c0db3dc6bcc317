//! A Gen8 server, whose iLO 4 speaks nothing but RIBCL.

use bessemer_proto::secret::Secret;

use super::*;
use crate::{
    bmc::{BmcError, BootSource, Changed, Health, MediaKind, PowerAction, SensorKind},
    node::{BootMode, PowerState},
};

const ISO: &str = "https://10.0.0.1:8089/boot/x/deploy.iso?a=1&b=2";

#[tokio::test]
async fn power_follows_and_is_asked_for_once() {
    let ilo = Server::start().await;
    let power = bmc(&ilo).power;
    ilo.model().machine.slow = 3;
    assert_eq!(power.set(PowerAction::On).await.unwrap(), Changed::Yes);
    power.wait_for(PowerState::On, Duration::from_secs(5)).await.unwrap();
    assert_eq!(power.set(PowerAction::On).await.unwrap(), Changed::Already);
    assert_eq!(power.set(PowerAction::GracefulShutdown).await.unwrap(), Changed::Yes);
    assert_eq!(power.set(PowerAction::On).await.unwrap(), Changed::Yes);
    assert_eq!(power.set(PowerAction::ForceRestart).await.unwrap(), Changed::Yes);
    assert_eq!(power.set(PowerAction::ForceOff).await.unwrap(), Changed::Yes);
    assert_eq!(power.set(PowerAction::ForceOff).await.unwrap(), Changed::Already);
    assert_eq!(
        ilo.changes(),
        ["SET_HOST_POWER", "PRESS_PWR_BTN", "SET_HOST_POWER", "RESET_SERVER", "HOLD_PWR_BTN"]
    );
    let stuck = power.wait_for(PowerState::On, Duration::from_millis(30)).await.unwrap_err();
    assert!(matches!(stuck, BmcError::PowerUnchanged { .. }), "{stuck}");
}

#[tokio::test]
async fn a_medium_is_inserted_connected_and_not_inserted_twice() {
    let ilo = Server::start().await;
    let media = bmc(&ilo).virtual_media.unwrap();
    let url = ISO.parse().unwrap();
    media.ready().await.unwrap();
    assert_eq!(media.insert(MediaKind::Cd, &url).await.unwrap(), Changed::Yes);
    let cd = ilo.model().machine.cd.clone();
    assert_eq!((cd.image.as_deref(), &*cd.option, &*cd.protected), (Some(ISO), "CONNECT", "YES"));
    assert_eq!(media.insert(MediaKind::Cd, &url).await.unwrap(), Changed::Already);
    let other = "http://10.0.0.1/other.iso".parse().unwrap();
    assert_eq!(media.insert(MediaKind::Cd, &other).await.unwrap(), Changed::Yes);
    assert_eq!(
        ilo.changes(),
        [
            "INSERT_VIRTUAL_MEDIA",
            "SET_VM_STATUS",
            "EJECT_VIRTUAL_MEDIA",
            "INSERT_VIRTUAL_MEDIA",
            "SET_VM_STATUS"
        ]
    );
    let slots = media.slots().await.unwrap();
    assert_eq!((slots[0].inserted, slots[1].inserted), (false, true));
    assert_eq!(slots[1].image, other.as_str());
    assert_eq!(media.eject(MediaKind::Cd).await.unwrap(), Changed::Yes);
    assert_eq!(media.eject(MediaKind::Cd).await.unwrap(), Changed::Already);
    ilo.model().machine.insert_lies = true;
    let lie = media.insert(MediaKind::Floppy, &url).await.unwrap_err();
    assert!(lie.to_string().contains("is not inserted"), "{lie}");
}

#[tokio::test]
async fn a_missing_licence_is_said_before_anything_is_switched_off() {
    let ilo = Server::start().await;
    ilo.model().machine.licences = vec!["iLO 4 Standard".to_owned()];
    let media = bmc(&ilo).virtual_media.unwrap();
    let missing = media.ready().await.unwrap_err();
    assert!(matches!(missing, BmcError::Licence { .. }), "{missing}");
    assert!(missing.to_string().contains("iLO Advanced"), "{missing}");
    // Firmware that does not know the question says no at the insertion.
    ilo.instead(
        "GET_ALL_LICENSES",
        200,
        ribcl_model::documents(&["<RESPONSE STATUS=\"0x0001\" MESSAGE='Syntax error'/>"]),
        1,
    );
    media.ready().await.unwrap();
    let missing = media.insert(MediaKind::Cd, &ISO.parse().unwrap()).await.unwrap_err();
    assert!(matches!(missing, BmcError::Licence { .. }), "{missing}");
    assert_eq!(ilo.changes(), ["INSERT_VIRTUAL_MEDIA"]);
}

#[tokio::test]
async fn the_boot_device_of_a_machine_with_bios() {
    let ilo = Server::start().await;
    let device = bmc(&ilo).boot_device.unwrap();
    assert_eq!(device.current().await.unwrap(), Some((BootSource::Cd, true)));
    assert_eq!(device.boot_once(BootSource::Pxe).await.unwrap(), Changed::Yes);
    assert_eq!(device.boot_once(BootSource::Pxe).await.unwrap(), Changed::Already);
    assert_eq!(device.current().await.unwrap(), Some((BootSource::Pxe, false)));
    assert_eq!(device.boot_always(BootSource::Disk).await.unwrap(), Changed::Yes);
    assert_eq!(device.boot_always(BootSource::Disk).await.unwrap(), Changed::Already);
    let machine = &ilo.model().machine;
    assert_eq!(machine.one_time, "Normal");
    assert_eq!(
        machine.order.iter().map(|(value, _)| &**value).collect::<Vec<_>>(),
        ["HDD", "CDROM", "NETWORK"]
    );
}

#[tokio::test]
async fn the_boot_device_of_a_machine_with_uefi_is_found_by_its_description() {
    let ilo = Server::start().await;
    let named = |value: &str, description: &str| (value.to_owned(), Some(description.to_owned()));
    ilo.model().machine.order = vec![
        named("Boot000A", "Generic USB Boot"),
        named("Boot0002", "HP Ethernet 1Gb 2-port 361i Adapter - NIC (PXE IPv4)"),
        named("Boot0003", "HP iLO Virtual USB CD"),
        named("Boot0005", "Embedded RAID 1 : Smart Array P440ar Controller - 931 GB, RAID 1 Logical Drive 1"),
    ];
    let device = bmc(&ilo).boot_device.unwrap();
    assert_eq!(device.current().await.unwrap(), None);
    for (source, first) in
        [(BootSource::Disk, "Boot0005"), (BootSource::Cd, "Boot0003"), (BootSource::Pxe, "Boot0002")]
    {
        assert_eq!(device.boot_always(source).await.unwrap(), Changed::Yes);
        assert_eq!(ilo.model().machine.order[0].0, first);
        assert_eq!(device.current().await.unwrap(), Some((source, true)));
    }
    // A disk without an entry: the entry that is written later puts itself first.
    ilo.model().machine.order.truncate(1);
    assert_eq!(device.boot_always(BootSource::Disk).await.unwrap(), Changed::Already);
    assert!(device.boot_always(BootSource::Cd).await.unwrap_err().to_string().contains("boot order"));
}

#[tokio::test]
async fn the_boot_mode_is_detected_kept_and_made_pending() {
    let ilo = Server::start().await;
    let mode = bmc(&ilo).boot_mode.unwrap();
    // Gen8 and older know nothing but BIOS, and not even the question.
    assert_eq!(mode.mode().await.unwrap(), Some(BootMode::Bios));
    assert_eq!(mode.set_mode(BootMode::Bios).await.unwrap(), Changed::Already);
    let refused = mode.set_mode(BootMode::Uefi).await.unwrap_err();
    assert!(matches!(refused, BmcError::Unsupported { .. }), "{refused}");
    let words = |current: &str, pending: &str, supported: &str| {
        Some([current, pending, supported].map(str::to_owned))
    };
    ilo.model().machine.modes = words("LEGACY", "LEGACY", "LEGACY_UEFI");
    assert_eq!(mode.set_mode(BootMode::Uefi).await.unwrap(), Changed::Yes);
    assert_eq!(mode.set_mode(BootMode::Uefi).await.unwrap(), Changed::Already);
    assert_eq!(mode.mode().await.unwrap(), Some(BootMode::Bios));
    ilo.model().machine.modes = words("UEFI", "UNKNOWN", "UEFI_ONLY");
    assert_eq!(mode.set_mode(BootMode::Uefi).await.unwrap(), Changed::Yes);
    assert!(mode.set_mode(BootMode::Bios).await.is_err());
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_then_not_again() {
    let ilo = Server::start().await;
    let wrong = bmc_with(&ilo, json!({"ilo_password": "wrong"}));
    for _ in 0..3 {
        let refused = wrong.power.state().await.unwrap_err();
        assert!(matches!(refused, BmcError::Credentials { .. }), "{refused}");
        assert!(refused.to_string().contains("ilo_username and ilo_password"), "{refused}");
    }
    assert_eq!(ilo.model().wrong, 1);
    // The right one is another one.
    assert_eq!(bmc(&ilo).power.state().await.unwrap(), PowerState::Off);
}

#[tokio::test]
async fn a_new_password_works_at_once_although_it_was_refused_before() {
    let ilo = Server::start().await;
    let new = "n<e>w&\"x";
    let with_new = bmc_with(&ilo, json!({"ilo_password": new}));
    assert!(with_new.power.state().await.is_err());
    let manager = bmc(&ilo).manager.unwrap();
    assert_eq!(manager.change_password(&Secret::new("secret")).await.unwrap(), Changed::Already);
    assert_eq!(manager.change_password(&Secret::new(new)).await.unwrap(), Changed::Yes);
    assert_eq!(ilo.model().password, new);
    with_new.power.state().await.unwrap();
}

#[tokio::test]
async fn a_password_that_is_changed_with_a_wrong_one_is_tried_once() {
    let ilo = Server::start().await;
    // Somebody else, or a change whose answer was lost.
    ilo.model().password = "other".to_owned();
    let manager = bmc(&ilo).manager.unwrap();
    for _ in 0..3 {
        let refused = manager.change_password(&Secret::new("new")).await.unwrap_err();
        assert!(matches!(refused, BmcError::Credentials { .. }), "{refused}");
    }
    assert_eq!(ilo.model().wrong, 1);
    // A name that is not found may be that of the user to be changed: not judged.
    let ilo = Server::start().await;
    let unknown =
        ribcl_model::documents(&["<RESPONSE STATUS=\"0x000A\" MESSAGE='User login name was not found.'/>"]);
    ilo.instead("MOD_USER", 200, unknown, 2);
    let manager = bmc(&ilo).manager.unwrap();
    for _ in 0..2 {
        let refused = manager.change_password(&Secret::new("new")).await.unwrap_err();
        assert!(matches!(refused, BmcError::Refused { .. }), "{refused}");
    }
    assert_eq!(ilo.count("MOD_USER"), 2);
}

#[tokio::test]
async fn a_new_password_that_is_refused_is_not_repeated_in_errors() {
    let ilo = Server::start().await;
    let refused = ribcl_model::documents(&[
        "<RESPONSE STATUS=\"0x0021\" MESSAGE='The password hunter2 is too short.'/>",
    ]);
    ilo.instead("MOD_USER", 200, refused, 1);
    let error = bmc(&ilo).manager.unwrap().change_password(&Secret::new("hunter2")).await.unwrap_err();
    assert!(error.to_string().contains("The password ****** is too short"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_restart_is_awaited() {
    let ilo = Server::start().await;
    let manager = bmc(&ilo).manager.unwrap();
    manager.clock().await.unwrap();
    ilo.instead("GET_PRODUCT_NAME", 503, "", 3);
    manager.reset().await.unwrap();
    assert_eq!((ilo.count("RESET_RIB"), ilo.count("GET_PRODUCT_NAME")), (1, 7));
    // One that stays up has not begun yet.
    manager.reset().await.unwrap();
    assert!(ilo.count("GET_PRODUCT_NAME") > 7 + 1 + 3, "{}", ilo.count("GET_PRODUCT_NAME"));
}

#[tokio::test]
async fn inspection_finds_what_ironics_ilo_drivers_found() {
    let ilo = Server::start().await;
    let bmc = bmc(&ilo);
    let found = bmc.inventory.unwrap().look().await.unwrap();
    let expected = json!({"cpu_arch": "x86_64", "memory_mb": 16384, "cpus": 16, "local_gb": 98});
    assert_eq!(Value::Object(found.properties), expected);
    let capabilities: Vec<_> = found.capabilities.iter().map(|(key, value)| (&**key, &**value)).collect();
    assert_eq!(
        capabilities,
        [
            ("ilo_firmware_version", "2.10 Jan 15 2015"),
            ("pci_gpu_devices", "1"),
            ("rom_firmware_version", "08/20/2012"),
            ("server_model", "ProLiant DL380p Gen8"),
        ]
    );
    assert_eq!(
        found.inventory["interfaces"],
        json!([
            {"name": "Port 1", "mac_address": "9c:8e:99:00:00:02"},
            {"name": "Port 2", "mac_address": "9c:8e:99:00:00:03"},
        ])
    );
    assert_eq!(found.inventory["memory"]["physical_mb"], 16384);
    let versions: Vec<_> = bmc.firmware.unwrap().components().await.unwrap();
    let versions: Vec<_> = versions.iter().map(|c| (&*c.component, c.current_version.as_deref())).collect();
    assert_eq!(versions, [("bios", Some("08/20/2012")), ("bmc", Some("2.10 Jan 15 2015"))]);
}

#[tokio::test]
async fn sensors_and_health_are_read() {
    let ilo = Server::start().await;
    let bmc = bmc(&ilo);
    let sensors = bmc.sensors.unwrap().sensors().await.unwrap();
    let inlet = &sensors[0];
    assert_eq!((inlet.kind, inlet.reading, inlet.unit), (SensorKind::Temperature, Some(21.0), "Celsius"));
    assert_eq!(inlet.more["UpperThresholdNonCritical"], 42.0);
    assert_eq!((sensors[1].reading, sensors[1].state.as_deref()), (None, Some("Absent")));
    assert_eq!((sensors[2].kind, sensors[2].reading), (SensorKind::Fan, Some(27.0)));
    assert_eq!((&*sensors[4].name, sensors[4].health), ("Power Supply 1", Some(Health::Ok)));
    assert_eq!((&*sensors[5].name, sensors[5].reading), ("Power Meter", Some(97.0)));
    assert_eq!(bmc.overview.unwrap().health().await.unwrap(), Some(Health::Warning));
}

#[tokio::test]
async fn what_ribcl_lacks_says_so_and_what_is_off_is_off() {
    let ilo = Server::start().await;
    let bmc = bmc(&ilo);
    let secure_boot = bmc.secure_boot.unwrap();
    assert_eq!(secure_boot.enabled().await.unwrap(), None);
    assert_eq!(secure_boot.set_enabled(false).await.unwrap(), Changed::Already);
    assert!(matches!(secure_boot.set_enabled(true).await.unwrap_err(), BmcError::Unsupported { .. }));
    assert!(matches!(bmc.bios.unwrap().reset().await.unwrap_err(), BmcError::Unsupported { .. }));
    assert!(matches!(bmc.nmi.unwrap().inject().await.unwrap_err(), BmcError::Unsupported { .. }));
}

#[tokio::test]
async fn answers_that_make_no_sense_are_errors_that_keep_secrets() {
    let ilo = Server::start().await;
    let power = bmc(&ilo).power;
    power.state().await.unwrap();
    let wrong = ribcl_model::documents(&["<RESPONSE STATUS=\"0x00FF\" MESSAGE='secret is not a user'/>"]);
    for (status, body, expected) in [
        (200, "<html>".to_owned(), "no XML"),
        (200, "<?xml ?><!DOCTYPE a><RIBCL/>".to_owned(), "document type"),
        (200, ribcl_model::documents(&["<GET_HOST_POWER HOST_POWER=\"MAYBE\"/>"]), "HOST_POWER"),
        (200, ribcl_model::documents(&[]) + "<?xml ?><RIBCL></RIBCL>", "no data"),
        (200, wrong, "****** is not a user"),
        (404, String::new(), "switched off or not there"),
        (500, String::new(), "status 500"),
    ] {
        ilo.instead("GET_HOST_POWER_STATUS", status, body, 1);
        let error = power.state().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    power.state().await.unwrap();
}

#[tokio::test]
async fn an_ilo_that_is_busy_with_its_self_test_is_asked_again() {
    let ilo = Server::start().await;
    let device = bmc(&ilo).boot_device.unwrap();
    let busy = ribcl_model::documents(&[
        "<RESPONSE STATUS=\"0x0050\" MESSAGE='POST in progress, EV unavailable.'/>",
    ]);
    ilo.instead("SET_ONE_TIME_BOOT", 200, busy, 2);
    device.boot_once(BootSource::Cd).await.unwrap();
    assert_eq!((ilo.count("SET_ONE_TIME_BOOT"), &*ilo.model().machine.one_time), (3, "CDROM"));
}

#[tokio::test]
async fn what_is_no_ilo_is_not_driven_as_one() {
    let other = Server::start().await;
    other.put("/redfish/v1", json!({"Oem": {"Dell": {}}, "Vendor": "Dell"}));
    let refused = bmc(&other).power.state().await.unwrap_err().to_string();
    assert!(refused.contains("hardware type redfish"), "{refused}");
    let busy = Server::start().await;
    busy.instead("GET /redfish/v1/", 503, "", 100);
    assert!(matches!(bmc(&busy).power.state().await.unwrap_err(), BmcError::Refused { status: 503, .. }));
    busy.model().instead.clear();
    assert_eq!(bmc(&busy).power.state().await.unwrap(), PowerState::Off);
}
