//! Power, boot source, boot mode, Secure Boot, tasks.

use super::{mock::SYSTEM, *};
use crate::{
    bmc::{BootSource, Changed, MediaKind, PowerAction},
    node::{BootMode, PowerState},
};

const RESET: &str = "POST /redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
const PATCH: &str = "PATCH /redfish/v1/Systems/1";

fn boot(bmc: &Bmc) -> Arc<dyn crate::bmc::BootDevice> {
    bmc.boot_device.clone().unwrap()
}

#[tokio::test]
async fn power_goes_on_and_off_and_knows_when_it_is_already() {
    let mock = Mock::start().await;
    let power = bmc(&mock).power;
    assert_eq!(power.set(PowerAction::ForceOff).await.unwrap(), Changed::Already);
    assert_eq!(power.set(PowerAction::On).await.unwrap(), Changed::Yes);
    power.wait_for(PowerState::On, Duration::from_secs(1)).await.unwrap();
    assert_eq!(power.set(PowerAction::On).await.unwrap(), Changed::Already);
    assert_eq!(power.set(PowerAction::GracefulShutdown).await.unwrap(), Changed::Yes);
    assert_eq!(mock.bodies(RESET), [json!({"ResetType": "On"}), json!({"ResetType": "GracefulShutdown"})]);
}

#[tokio::test]
async fn reset_words_are_those_the_bmc_offers() {
    let allowed = "/Actions/#ComputerSystem.Reset/ResetType@Redfish.AllowableValues";
    let mock = Mock::start().await;
    mock.set(SYSTEM, allowed, json!(["ForceOn", "PushPowerButton"]));
    let power = bmc(&mock).power;
    power.set(PowerAction::On).await.unwrap();
    power.set(PowerAction::GracefulShutdown).await.unwrap();
    assert_eq!(mock.bodies(RESET), [json!({"ResetType": "ForceOn"})], "was already off after ForceOn");
    mock.set(SYSTEM, "/PowerState", json!("On"));
    let error = power.set(PowerAction::ForceOff).await.unwrap_err();
    assert!(error.to_string().contains("only offers ForceOn, PushPowerButton"), "{error}");

    mock.unset(SYSTEM, allowed);
    mock.set(SYSTEM, "/Actions/#ComputerSystem.Reset/@Redfish.ActionInfo", json!("/redfish/v1/Info"));
    let info = json!({"Parameters": [{"Name": "ResetType", "AllowableValues": ["PushPowerButton"]}]});
    mock.model().documents.insert("/redfish/v1/Info".into(), info);
    power.set(PowerAction::GracefulShutdown).await.unwrap();
    assert_eq!(mock.bodies(RESET).last().unwrap(), &json!({"ResetType": "PushPowerButton"}));
}

#[tokio::test]
async fn a_machine_without_a_restart_is_cycled_and_one_that_is_off_is_started() {
    let mock = Mock::start().await;
    let allowed = "/Actions/#ComputerSystem.Reset/ResetType@Redfish.AllowableValues";
    mock.set(SYSTEM, allowed, json!(["On", "ForceOff", "PowerCycle"]));
    let power = bmc(&mock).power;
    power.set(PowerAction::ForceRestart).await.unwrap();
    power.set(PowerAction::ForceRestart).await.unwrap();
    assert_eq!(mock.bodies(RESET), [json!({"ResetType": "On"}), json!({"ResetType": "PowerCycle"})]);
}

#[tokio::test]
async fn a_url_is_booted_once_and_not_left_there() {
    let mock = Mock::start().await;
    let bmc = bmc(&mock);
    let url = "https://192.0.2.9/boot/a.iso".parse().unwrap();
    let error = bmc.http_boot.clone().unwrap().boot_once_from(&url).await.unwrap_err();
    assert!(error.to_string().contains("UefiHttp"), "{error}");
    mock.set(SYSTEM, "/Boot/BootSourceOverrideTarget@Redfish.AllowableValues", json!(["UefiHttp", "Hdd"]));
    let http = bmc.http_boot.clone().unwrap();
    assert_eq!(http.boot_once_from(&url).await.unwrap(), Changed::Yes);
    assert_eq!(http.boot_once_from(&url).await.unwrap(), Changed::Already);
    let sent = json!({"Boot": {"BootSourceOverrideTarget": "UefiHttp", "BootSourceOverrideEnabled": "Once",
        "HttpBootUri": url}});
    assert_eq!(mock.bodies(PATCH), [sent]);
    boot(&bmc).boot_always(BootSource::Disk).await.unwrap();
    assert_eq!(mock.at(SYSTEM, "/Boot/HttpBootUri"), Value::Null);
}

#[tokio::test]
async fn an_entry_of_the_firmware_stands_for_a_source_that_has_no_word() {
    let mock = Mock::start().await;
    mock.set(
        SYSTEM,
        "/Boot/BootSourceOverrideTarget@Redfish.AllowableValues",
        json!(["Hdd", "UefiBootNext"]),
    );
    mock.set(SYSTEM, "/Boot/BootOptions", json!({"@odata.id": "/redfish/v1/O"}));
    mock.add(json!({"/redfish/v1/O": {"Members": [
        {"@odata.id": "/redfish/v1/O/1", "Alias": "Hdd", "BootOptionReference": "Boot0001"},
        {"@odata.id": "/redfish/v1/O/2", "Alias": "UsbCd", "BootOptionReference": "Boot0002"}]}}));
    boot(&bmc(&mock)).boot_once(BootSource::Cd).await.unwrap();
    let sent = json!({"Boot": {"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "UefiBootNext",
        "BootNext": "Boot0002"}});
    assert_eq!(mock.bodies(PATCH), [sent]);
}

#[tokio::test]
async fn a_conflict_is_waited_out_and_an_answer_of_already_is_success() {
    let mock = Mock::start().await;
    mock.instead(RESET, 409, json!({}), 3);
    assert_eq!(bmc(&mock).power.set(PowerAction::On).await.unwrap(), Changed::Yes);
    assert_eq!(mock.count(RESET), 4);

    let mock = Mock::start().await;
    mock.instead(RESET, 400, json!({"error": {"message": "no"}}), 1);
    let error = bmc(&mock).power.set(PowerAction::On).await.unwrap_err();
    assert!(matches!(&error, BmcError::Refused { status: 400, .. }), "{error}");
    mock.instead(RESET, 409, json!({"error": {"message": "never"}}), 100);
    let error = bmc(&mock).power.set(PowerAction::On).await.unwrap_err();
    assert!(error.to_string().contains("never"), "{error}");
}

#[tokio::test]
async fn a_wait_for_power_survives_hiccups_and_ends_at_its_deadline() {
    let mock = Mock::start().await;
    let power = bmc(&mock).power;
    mock.set(SYSTEM, "/PowerState", json!("PoweringOn"));
    let started = std::time::Instant::now();
    let error = power.wait_for(PowerState::On, Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(&error, BmcError::PowerUnchanged { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(1));
    mock.instead(&format!("GET {SYSTEM}"), 500, json!({}), 6);
    mock.set(SYSTEM, "/PowerState", json!("On"));
    power.wait_for(PowerState::On, Duration::from_secs(2)).await.unwrap();
}

#[tokio::test]
async fn booting_once_sends_no_mode_and_no_uri() {
    let mock = Mock::start().await;
    let boot = boot(&bmc(&mock));
    assert_eq!(boot.boot_once(BootSource::Cd).await.unwrap(), Changed::Yes);
    let sent = json!({"Boot": {"BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Once"}});
    assert_eq!(mock.bodies(PATCH), [sent]);
    assert_eq!(boot.boot_once(BootSource::Cd).await.unwrap(), Changed::Already);
    // A value that is in force already is not repeated: some BMCs refuse that.
    boot.boot_once(BootSource::Pxe).await.unwrap();
    assert_eq!(mock.bodies(PATCH)[1], json!({"Boot": {"BootSourceOverrideTarget": "Pxe"}}));
}

#[tokio::test]
async fn vendors_get_what_they_need() {
    let mock = Mock::start().await;
    mock.set(SYSTEM, "/Manufacturer", json!("American Megatrends International, LLC"));
    mock.set(SYSTEM, "/Boot/BootSourceOverrideTarget@Redfish.AllowableValues", json!(["UsbCd", "Hdd"]));
    boot(&bmc(&mock)).boot_once(BootSource::Cd).await.unwrap();
    let sent = json!({"Boot": {
        "BootSourceOverrideTarget": "UsbCd", "BootSourceOverrideEnabled": "Once", "BootSourceOverrideMode": "UEFI",
    }});
    assert_eq!(mock.bodies(PATCH), [sent]);

    let mock = Mock::start().await;
    mock.set(SYSTEM, "/Manufacturer", json!("Lenovo"));
    mock.set(SYSTEM, "/Boot/BootSourceOverrideEnabled", json!("Once"));
    boot(&bmc(&mock)).boot_always(BootSource::Disk).await.unwrap();
    assert_eq!(mock.bodies(PATCH), [json!({"Boot": {"BootSourceOverrideEnabled": "Disabled"}})]);
}

#[tokio::test]
async fn a_bmc_without_persistent_boot_leaves_it_to_the_firmware() {
    let mock = Mock::start().await;
    let boot = boot(&bmc(&mock));
    boot.boot_always(BootSource::Disk).await.unwrap();
    let hdd = json!({"Boot": {"BootSourceOverrideTarget": "Hdd", "BootSourceOverrideEnabled": "Continuous"}});
    assert_eq!(mock.bodies(PATCH), std::slice::from_ref(&hdd));

    boot.boot_once(BootSource::Cd).await.unwrap();
    mock.instead(PATCH, 400, json!({}), 1);
    boot.boot_always(BootSource::Disk).await.unwrap();
    let bodies = mock.bodies(PATCH);
    assert_eq!(bodies[2..], [hdd, json!({"Boot": {"BootSourceOverrideEnabled": "Disabled"}})]);
    assert_eq!(mock.at(SYSTEM, "/Boot/BootSourceOverrideEnabled"), json!("Disabled"));
}

#[tokio::test]
async fn a_self_test_is_waited_out() {
    let mock = Mock::start().await;
    let id = json!({"error": {"@Message.ExtendedInfo": [{"MessageId": "iLO.2.14.UnableToModifyDuringSystemPOST"}]}});
    mock.instead(PATCH, 400, id, 2);
    assert_eq!(boot(&bmc(&mock)).boot_once(BootSource::Cd).await.unwrap(), Changed::Yes);
    assert_eq!(mock.count(PATCH), 3);
}

#[tokio::test]
async fn boot_mode_and_secure_boot() {
    let mock = Mock::start().await;
    let bmc = bmc(&mock);
    let mode = bmc.boot_mode.unwrap();
    assert_eq!(mode.mode().await.unwrap(), Some(BootMode::Uefi));
    assert_eq!(mode.set_mode(BootMode::Uefi).await.unwrap(), Changed::Already);
    mode.set_mode(BootMode::Bios).await.unwrap();
    assert_eq!(mock.bodies(PATCH), [json!({"Boot": {"BootSourceOverrideMode": "Legacy"}})]);

    let secure = bmc.secure_boot.unwrap();
    assert_eq!(secure.enabled().await.unwrap(), Some(false));
    assert_eq!(secure.set_enabled(true).await.unwrap(), Changed::Yes);
    assert_eq!(secure.enabled().await.unwrap(), Some(true));
    mock.unset(SYSTEM, "/SecureBoot");
    assert_eq!(secure.enabled().await.unwrap(), None);
    assert_eq!(secure.set_enabled(false).await.unwrap(), Changed::Already);
    assert!(matches!(secure.set_enabled(true).await.unwrap_err(), BmcError::Unsupported { .. }));
}

#[tokio::test]
async fn tasks_are_watched_to_their_end() {
    let mock = Mock::start().await;
    let power = bmc(&mock).power;
    mock.model().knobs.task = Some(json!({"TaskState": "Completed"}));
    power.set(PowerAction::On).await.unwrap();
    assert!(mock.count("GET /redfish/v1/Tasks/1/Monitor") >= 2);
    let failed = json!({"TaskState": "Exception", "Messages": [{"Message": "The fuse is blown."}]});
    mock.model().knobs.task = Some(failed);
    let error = power.set(PowerAction::ForceOff).await.unwrap_err();
    assert!(matches!(&error, BmcError::TaskFailed { .. }), "{error}");
    assert!(error.to_string().contains("The fuse is blown."), "{error}");
    mock.set(SYSTEM, "/PowerState", json!("On"));
    mock.model().knobs.task = Some(json!({"TaskState": "Running"}));
    let error = power.set(PowerAction::ForceOff).await.unwrap_err();
    assert!(matches!(&error, BmcError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn entity_tags_are_sent_to_those_who_insist() {
    let mock = Mock::start().await;
    mock.model().knobs.wants_tag = true;
    boot(&bmc(&mock)).boot_once(BootSource::Cd).await.unwrap();
    assert_eq!(mock.at(SYSTEM, "/Boot/BootSourceOverrideTarget"), json!("Cd"));
}

#[tokio::test]
async fn a_password_that_the_bmc_repeats_is_masked() {
    let mock = Mock::start().await;
    mock.instead(RESET, 403, json!({"error": {"message": "root:secret may not"}}), 1);
    let error = bmc(&mock).power.set(PowerAction::On).await.unwrap_err();
    assert!(error.to_string().contains("root:****** may not"), "{error}");
}

/// `BESSEMER_TEST_REDFISH=http://127.0.0.1:8000 BESSEMER_TEST_ISO=http://127.0.0.1:8001/x.iso`: a BMC that nobody here
/// wrote, such as `sushy-emulator --fake`, with one machine that may be switched on and off.
#[tokio::test]
#[ignore = "needs a BMC"]
async fn a_given_bmc_does_what_a_deploy_needs() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let info = json!({
        "redfish_address": variable("BESSEMER_TEST_REDFISH"), "redfish_verify_ca": false,
        "redfish_username": "admin", "redfish_password": "password",
    });
    let iso: url::Url = variable("BESSEMER_TEST_ISO").parse().unwrap();
    let bmc = open(info.as_object().unwrap()).unwrap();
    let (power, media) = (bmc.power, bmc.virtual_media.unwrap());
    let within = Duration::from_secs(60);
    let (boot, mode) = (bmc.boot_device.unwrap(), bmc.boot_mode.unwrap());

    power.set(PowerAction::ForceOff).await.unwrap();
    power.wait_for(PowerState::Off, within).await.unwrap();
    mode.set_mode(BootMode::Uefi).await.unwrap();
    assert_eq!(mode.mode().await.unwrap(), Some(BootMode::Uefi));
    media.eject(MediaKind::Cd).await.unwrap();
    assert_eq!(media.insert(MediaKind::Cd, &iso).await.unwrap(), Changed::Yes);
    boot.boot_once(BootSource::Cd).await.unwrap();
    power.set(PowerAction::On).await.unwrap();
    power.wait_for(PowerState::On, within).await.unwrap();
    boot.boot_always(BootSource::Disk).await.unwrap();
    power.set(PowerAction::ForceOff).await.unwrap();
    power.wait_for(PowerState::Off, within).await.unwrap();
    assert_eq!(media.eject(MediaKind::Cd).await.unwrap(), Changed::Yes);
    println!("secure boot: {:?}", bmc.secure_boot.unwrap().enabled().await.unwrap());
}
