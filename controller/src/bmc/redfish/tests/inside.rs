//! Lights, NMI, firmware and its settings.

use super::{mock::SYSTEM, *};
use crate::bmc::{BootSource, Light};

const RESET: &str = "POST /redfish/v1/Systems/1/Actions/ComputerSystem.Reset";

#[tokio::test]
async fn an_nmi_is_a_reset_that_must_be_offered() {
    let mock = Mock::start().await;
    let allowed = "/Actions/#ComputerSystem.Reset/ResetType@Redfish.AllowableValues";
    mock.set(SYSTEM, allowed, json!(["On", "Nmi"]));
    bmc(&mock).nmi.unwrap().inject().await.unwrap();
    assert_eq!(mock.bodies(RESET), [json!({"ResetType": "Nmi"})]);
    mock.set(SYSTEM, allowed, json!(["On", "ForceOff"]));
    let error = bmc(&mock).nmi.unwrap().inject().await.unwrap_err();
    assert!(matches!(error, BmcError::Unsupported { .. }), "{error}");
}

#[tokio::test]
async fn lights_of_system_and_chassis_in_old_and_new_ways() {
    let mock = Mock::start().await;
    mock.set(SYSTEM, "/UUID", json!("abc"));
    mock.set(SYSTEM, "/IndicatorLED", json!("Off"));
    mock.set(SYSTEM, "/Links/Chassis", json!([{"@odata.id": "/redfish/v1/Chassis/1"}]));
    let chassis = json!({"Id": "1", "LocationIndicatorActive": true});
    mock.model().documents.insert("/redfish/v1/Chassis/1".into(), chassis);
    let lights = bmc(&mock).indicators.unwrap();
    let found = lights.lights().await.unwrap();
    let names: Vec<_> = found.iter().map(|light| (light.component, light.id.as_str())).collect();
    assert_eq!(names, [("chassis", "1"), ("system", "abc")]);
    assert_eq!(found[0].states, [Light::Off, Light::On]);
    assert_eq!(lights.light("system", "abc").await.unwrap(), Light::Off);
    assert_eq!(lights.light("chassis", "1").await.unwrap(), Light::On);
    lights.set_light("system", "abc", Light::Blinking).await.unwrap();
    assert_eq!(mock.bodies("PATCH /redfish/v1/Systems/1"), [json!({"IndicatorLED": "Blinking"})]);
    lights.set_light("chassis", "1", Light::Off).await.unwrap();
    assert_eq!(mock.bodies("PATCH /redfish/v1/Chassis/1"), [json!({"LocationIndicatorActive": false})]);
    assert!(lights.light("system", "other").await.is_err());
}

#[tokio::test]
async fn settings_are_described_by_their_registry_when_there_is_one() {
    let mock = Mock::start().await;
    let bios = bmc(&mock).bios.unwrap();
    assert_eq!(bios.read().await.unwrap(), []);
    mock.set(SYSTEM, "/Bios", json!({"@odata.id": "/redfish/v1/Systems/1/Bios"}));
    let attributes =
        json!({"Attributes": {"Boot": "Uefi", "Cores": 8, "Off": null}, "AttributeRegistry": "Reg.v1_0"});
    mock.model().documents.insert("/redfish/v1/Systems/1/Bios".into(), attributes);
    let settings = bios.read().await.unwrap();
    let values: Vec<_> = settings.iter().map(|s| (s.name.as_str(), s.value.as_deref())).collect();
    assert_eq!(values, [("Boot", Some("Uefi")), ("Cores", Some("8")), ("Off", None)]);
    assert_eq!(settings[0].attribute_type, None);

    mock.set("/redfish/v1/", "/Registries", json!({"@odata.id": "/redfish/v1/Registries"}));
    let add = |path: &str, document: Value| {
        mock.model().documents.insert(path.into(), document);
    };
    add("/redfish/v1/Registries", json!({"Members": [{"@odata.id": "/redfish/v1/Registries/Reg.v1_0"}]}));
    add("/redfish/v1/Registries/Reg.v1_0", json!({"Location": [{"Uri": "/redfish/v1/reg.json"}]}));
    let entries = json!({"RegistryEntries": {"Attributes": [
        {"AttributeName": "Boot", "Type": "Enumeration", "ReadOnly": false,
            "Value": [{"ValueName": "Uefi"}, {"ValueName": "Legacy"}]},
        {"AttributeName": "Cores", "Type": "Integer", "LowerBound": 1, "UpperBound": 64}, 7]}});
    add("/redfish/v1/reg.json", entries);
    // The root is read once.
    let bios = bmc(&mock).bios.unwrap();
    let settings = bios.read().await.unwrap();
    assert_eq!(settings[0].allowable_values, Some(vec!["Uefi".to_owned(), "Legacy".to_owned()]));
    assert_eq!((settings[1].lower_bound, settings[1].upper_bound), (Some(1), Some(64)));
}

#[tokio::test]
async fn firmware_of_system_and_manager() {
    let mock = Mock::start().await;
    mock.set(SYSTEM, "/BiosVersion", json!("U30 v2"));
    mock.set("/redfish/v1/Managers/1", "/FirmwareVersion", json!("2.10"));
    let found = bmc(&mock).firmware.unwrap().components().await.unwrap();
    let shown: Vec<_> = found.iter().map(|c| (c.component.as_str(), c.current_version.as_deref())).collect();
    assert_eq!(shown, [("bios", Some("U30 v2")), ("bmc", Some("2.10"))]);
}

#[tokio::test]
async fn the_boot_source_can_be_read_and_lists_what_is_offered() {
    let mock = Mock::start().await;
    mock.set(
        SYSTEM,
        "/Boot/BootSourceOverrideTarget@Redfish.AllowableValues",
        json!(["Pxe", "UsbCd", "Hdd"]),
    );
    let device = bmc(&mock).boot_device.unwrap();
    let offered = [BootSource::Pxe, BootSource::Disk, BootSource::Cd];
    assert_eq!(device.supported().await.unwrap(), offered);
    device.boot_once(BootSource::Cd).await.unwrap();
    assert_eq!(device.current().await.unwrap(), Some((BootSource::Cd, false)));
    mock.set(SYSTEM, "/Boot/BootSourceOverrideEnabled", json!("Disabled"));
    assert_eq!(device.current().await.unwrap(), None);
}

#[tokio::test]
async fn rules_for_a_firmware_spare_a_bmc() {
    let folder = tempfile::tempdir().unwrap();
    let rule = r#"
        [[quirk]]
        name = "slowcoach"
        about = "It is slow."
        match = { vendor = ["Slowcoach*"], bmc = ["Snail"], firmware = "<2" }
        set = { concurrency = 1, spacing_ms = 3 }
    "#;
    std::fs::write(folder.path().join("own.toml"), rule).unwrap();
    crate::bmc::quirks::load(Some(folder.path())).unwrap();
    let limits = |mock: &Mock| {
        let port = mock.address.rsplit(':').next().unwrap().parse().unwrap();
        let limits = crate::bmc::queue::of("127.0.0.1", Some(port)).limits();
        (limits.concurrency, limits.spacing.as_millis())
    };
    for (version, expected) in [("1.9", (1, 3)), ("2.0", (2, 0))] {
        let mock = Mock::start().await;
        mock.set(SYSTEM, "/Manufacturer", json!("Slowcoach Inc."));
        mock.set("/redfish/v1/Managers/1", "/Model", json!("Snail"));
        mock.set("/redfish/v1/Managers/1", "/FirmwareVersion", json!(version));
        bmc(&mock).power.state().await.unwrap();
        assert_eq!(limits(&mock), expected, "{version}");
        bmc(&mock).power.state().await.unwrap();
        assert_eq!(mock.count("GET /redfish/v1/Managers/1"), 1, "who it is, is remembered");
    }
}

#[tokio::test]
async fn a_graphical_console_is_where_the_bmc_has_one() {
    let mock = Mock::start().await;
    let console = bmc(&mock).console.unwrap();
    assert_eq!(console.graphical().await.unwrap(), None);
    let offered = json!({"ServiceEnabled": true, "ConnectTypesSupported": ["KVMIP"]});
    mock.set("/redfish/v1/Managers/1", "/GraphicalConsole", offered);
    let url = console.graphical().await.unwrap().unwrap();
    assert_eq!(url.as_str(), format!("{}/", mock.address));
    mock.set(SYSTEM, "/SerialConsole", json!({"SSH": {"ServiceEnabled": true, "Port": 2200}}));
    let error = console.serial(crate::bmc::Claim::Take).await.err().unwrap();
    assert!(error.to_string().contains("port 2200") && error.to_string().contains("redfish-ssh"), "{error}");
}
