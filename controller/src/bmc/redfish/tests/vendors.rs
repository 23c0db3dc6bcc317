//! What the rules in `quirks/data` make of the requests, and what BMCs show that needs no rule.

use super::{
    mock::{CD, FLOPPY, SYSTEM},
    *,
};
use crate::bmc::{BootDevice, BootSource, Changed, MediaKind};

const SETTINGS: &str = "/redfish/v1/Systems/1/Settings";
const MANAGER: &str = "/redfish/v1/Managers/1";
const MEDIA: &str = "/redfish/v1/Systems/1/VirtualMedia";

fn boot_device(mock: &Mock) -> Arc<dyn BootDevice> {
    bmc(mock).boot_device.unwrap()
}

#[tokio::test]
async fn the_boot_source_is_chosen_in_the_settings_where_those_show_it() {
    let mock = Mock::start().await;
    mock.set(SYSTEM, "/@Redfish.Settings", json!({"SettingsObject": {"@odata.id": SETTINGS}}));
    let override_of = |target: &str| json!({"BootSourceOverrideTarget": target});
    mock.add(json!({SETTINGS: {"Boot": override_of("None")}}));
    boot_device(&mock).boot_once(BootSource::Cd).await.unwrap();
    let sent = json!({"Boot": {"BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Once"}});
    assert_eq!(mock.bodies(&format!("PATCH {SETTINGS}")), [sent]);
    assert_eq!(mock.count(&format!("PATCH {SYSTEM}")), 0);

    // Settings of something else.
    let mock = Mock::start().await;
    mock.set(SYSTEM, "/@Redfish.Settings", json!({"SettingsObject": {"@odata.id": SETTINGS}}));
    mock.add(json!({SETTINGS: {"Boot": {"BootOrder": []}}}));
    boot_device(&mock).boot_once(BootSource::Cd).await.unwrap();
    assert_eq!(mock.count(&format!("PATCH {SYSTEM}")), 1);
}

#[tokio::test]
async fn supermicro_is_sent_all_of_the_override_and_the_word_for_its_virtual_drive() {
    let mock = Mock::start().await;
    mock.set(SYSTEM, "/Manufacturer", json!("Supermicro"));
    let words = json!(["None", "Cd", "Hdd", "UsbCd"]);
    mock.set(SYSTEM, "/Boot/BootSourceOverrideTarget@Redfish.AllowableValues", words);
    boot_device(&mock).boot_once(BootSource::Cd).await.unwrap();
    let sent = json!({"Boot": {"BootSourceOverrideTarget": "UsbCd", "BootSourceOverrideEnabled": "Once",
        "BootSourceOverrideMode": "UEFI"}});
    assert_eq!(mock.bodies(&format!("PATCH {SYSTEM}")), [sent]);
}

#[tokio::test]
async fn an_idrac_9_with_old_firmware_boots_its_virtual_drive_by_attributes() {
    let attributes = "/redfish/v1/Managers/1/Attributes";
    let other = "/redfish/v1/Managers/1/Other";
    let mock = Mock::start().await;
    mock.set(SYSTEM, "/Manufacturer", json!("Dell Inc."));
    mock.set(MANAGER, "/Model", json!("14G Monolithic"));
    mock.set(MANAGER, "/FirmwareVersion", json!("4.00.00.00"));
    let links =
        json!({"Oem": {"Dell": {"DellAttributes": [{"@odata.id": other}, {"@odata.id": attributes}]}}});
    mock.set(MANAGER, "/Links", links);
    let now = json!({"Attributes": {"VirtualMedia.1.BootOnce": "Disabled", "ServerBoot.1.FirstBootDevice": "Normal"}});
    mock.add(json!({other: {"Attributes": {}}, attributes: now}));
    assert_eq!(boot_device(&mock).boot_once(BootSource::Cd).await.unwrap(), Changed::Yes);
    let sent = json!({"Attributes": {"VirtualMedia.1.BootOnce": "Enabled", "ServerBoot.1.FirstBootDevice": "VCD-DVD"}});
    assert_eq!(mock.bodies(&format!("PATCH {attributes}")), [sent]);
    assert_eq!(mock.count(&format!("PATCH {SYSTEM}")), 0);
}

#[tokio::test]
async fn an_idrac_10_gets_its_cd_into_the_first_drive() {
    let mock = Mock::start().await;
    mock.set(SYSTEM, "/Manufacturer", json!("Dell Inc."));
    mock.set(MANAGER, "/Model", json!("17G Monolithic"));
    for (slot, id) in [(FLOPPY, "2"), (CD, "1")] {
        mock.set(slot, "/MediaTypes", json!(["CD", "DVD", "USBStick"]));
        mock.set(slot, "/Id", json!(id));
    }
    let media = bmc(&mock).virtual_media.unwrap();
    let url = "http://192.0.2.9/boot/a.iso".parse().unwrap();
    media.insert(MediaKind::Cd, &url).await.unwrap();
    assert_eq!(mock.at(CD, "/Image"), json!(url));
    media.insert(MediaKind::Floppy, &url).await.unwrap();
    assert_eq!(mock.at(FLOPPY, "/Image"), json!(url));
}

#[tokio::test]
async fn drives_for_browsers_are_left_alone() {
    let mock = Mock::start().await;
    for slot in [CD, FLOPPY] {
        mock.set(slot, "/MediaTypes", json!(["CD", "USBStick"]));
    }
    mock.unset(FLOPPY, "/Actions");
    let media = bmc(&mock).virtual_media.unwrap();
    media.insert(MediaKind::Cd, &"http://192.0.2.9/boot/a.iso".parse().unwrap()).await.unwrap();
    assert_eq!(mock.at(CD, "/Inserted"), json!(true));
    assert!(!media.has(MediaKind::Floppy).await.unwrap());
}

#[tokio::test]
async fn a_list_that_is_none_is_said_instead_of_missing_drives() {
    let mock = Mock::start().await;
    mock.set(MEDIA, "/Members", json!({"0": {}}));
    let error = bmc(&mock).virtual_media.unwrap().ready().await.unwrap_err();
    assert!(error.to_string().contains("Members is no list"), "{error}");
}
