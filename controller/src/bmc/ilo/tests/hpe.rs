//! A Gen10 server, whose iLO 5 speaks Redfish with HPE's own parts.

use super::*;
use crate::{
    bmc::{BmcError, Changed, MediaKind},
    node::BootMode,
};

const SYSTEM: &str = "/redfish/v1/Systems/1";
const MANAGER: &str = "/redfish/v1/Managers/1";
const CD: &str = "/redfish/v1/Managers/1/VirtualMedia/2";
const BIOS: &str = "/redfish/v1/Systems/1/Bios";
const PENDING: &str = "/redfish/v1/Systems/1/Bios/Settings";
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
    });
    let system = json!({
        "PowerState": "Off", "Manufacturer": "HPE", "Model": "ProLiant DL380 Gen10", "Bios": link(BIOS),
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
            json!({"BaseConfigs": [{"default": {"Sriov": "Disabled"}}]}),
        ),
        (&format!("{CD}/Actions/Oem/Insert"), json!({})),
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
    assert_eq!(ilo.model().wrong, 0);
    let wrong = bmc_with(&ilo, json!({"ilo_password": "wrong"})).power.state().await.unwrap_err();
    assert!(wrong.to_string().contains("ilo_username and ilo_password"), "{wrong}");
}

#[tokio::test]
async fn a_licence_is_looked_at_and_hpes_own_action_used_where_the_standards_is_refused() {
    let ilo = gen10().await;
    let media = bmc(&ilo).virtual_media.unwrap();
    media.ready().await.unwrap();
    let refused = media.insert(MediaKind::Cd, &ISO.parse().unwrap()).await.unwrap_err();
    assert!(refused.to_string().contains("is not inserted"), "{refused}");
    assert_eq!(ilo.bodies(&format!("POST {CD}/Actions/Oem/Insert")), [json!({"Image": ISO})]);
    ilo.set(MANAGER, &json!({"Oem": {"Hpe": {"License": {"LicenseString": "iLO Standard"}}}}));
    assert!(matches!(media.ready().await.unwrap_err(), BmcError::Licence { .. }));
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
    // No ResetBios action: the manufacturer's values are asked for.
    assert_eq!(bmc.bios.unwrap().reset().await.unwrap(), Changed::Yes);
    assert_eq!(ilo.at(PENDING, "/Attributes/Sriov"), "Disabled");
}
