//! Virtual media.

use url::Url;

use super::{
    mock::{CD, FLOPPY, SYSTEM},
    *,
};
use crate::bmc::{Changed, MediaKind, VirtualMedia};

const INSERT: &str = "POST /redfish/v1/Systems/1/VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia";
const EJECT: &str = "POST /redfish/v1/Systems/1/VirtualMedia/Cd/Actions/VirtualMedia.EjectMedia";

fn media(mock: &Mock) -> Arc<dyn VirtualMedia> {
    bmc(mock).virtual_media.unwrap()
}

fn url(name: &str) -> Url {
    format!("http://192.0.2.9/boot/{name}").parse().unwrap()
}

#[tokio::test]
async fn media_go_in_and_out_of_their_own_drives() {
    let mock = Mock::start().await;
    let media = media(&mock);
    assert_eq!(media.eject(MediaKind::Cd).await.unwrap(), Changed::Already);
    assert_eq!(media.insert(MediaKind::Cd, &url("a.iso")).await.unwrap(), Changed::Yes);
    assert_eq!(media.insert(MediaKind::Floppy, &url("p.img")).await.unwrap(), Changed::Yes);
    assert_eq!(media.insert(MediaKind::Cd, &url("a.iso")).await.unwrap(), Changed::Already);
    assert_eq!(mock.at(CD, "/Image"), json!(url("a.iso")));
    assert_eq!(mock.at(FLOPPY, "/Image"), json!(url("p.img")));
    let sent = json!({"Image": url("a.iso"), "Inserted": true, "WriteProtected": true});
    assert_eq!(mock.bodies(INSERT), [sent]);

    assert_eq!(media.insert(MediaKind::Cd, &url("b.iso")).await.unwrap(), Changed::Yes);
    assert_eq!(mock.count(EJECT), 1, "what was inserted is ejected first");
    assert_eq!(media.eject(MediaKind::Cd).await.unwrap(), Changed::Yes);
    assert_eq!(mock.at(CD, "/Inserted"), json!(false));
    assert_eq!(mock.at(FLOPPY, "/Inserted"), json!(true));
}

#[tokio::test]
async fn drives_below_the_manager_and_dvd_only_are_found() {
    let mock = Mock::start().await;
    let collection = json!({"@odata.id": "/redfish/v1/Systems/1/VirtualMedia"});
    mock.unset(SYSTEM, "/VirtualMedia");
    mock.set("/redfish/v1/Managers/1", "/VirtualMedia", collection);
    mock.set(CD, "/MediaTypes", json!(["DVD"]));
    media(&mock).insert(MediaKind::Cd, &url("a.iso")).await.unwrap();
    assert_eq!(mock.at(CD, "/Inserted"), json!(true));

    mock.unset(SYSTEM, "/Links");
    assert!(media(&mock).has(MediaKind::Floppy).await.unwrap(), "managers are found without links");
    mock.set("/redfish/v1/Systems/1/VirtualMedia", "/Members", json!([]));
    assert!(!media(&mock).has(MediaKind::Floppy).await.unwrap());
    assert_eq!(media(&mock).eject(MediaKind::Floppy).await.unwrap(), Changed::Already);
    let error = media(&mock).insert(MediaKind::Floppy, &url("p.img")).await.unwrap_err();
    assert!(error.to_string().contains("no virtual floppy drive or USB stick"), "{error}");
}

#[tokio::test]
async fn drives_that_take_everything_are_shared_out() {
    let mock = Mock::start().await;
    for slot in [CD, FLOPPY] {
        mock.set(slot, "/MediaTypes", json!(["CD", "DVD", "Floppy", "USBStick"]));
    }
    let media = media(&mock);
    media.insert(MediaKind::Floppy, &url("p.img")).await.unwrap();
    media.insert(MediaKind::Cd, &url("a.iso")).await.unwrap();
    let images = [mock.at(CD, "/Image"), mock.at(FLOPPY, "/Image")];
    assert!(images.contains(&json!(url("p.img"))) && images.contains(&json!(url("a.iso"))), "{images:?}");
    media.eject(MediaKind::Cd).await.unwrap();
    let images = [mock.at(CD, "/Image"), mock.at(FLOPPY, "/Image")];
    assert!(images.contains(&json!(url("p.img"))), "{images:?}");

    mock.set("/redfish/v1/Systems/1/VirtualMedia", "/Members", json!([{"@odata.id": CD}]));
    assert!(media.has(MediaKind::Cd).await.unwrap() && !media.has(MediaKind::Floppy).await.unwrap());
}

#[tokio::test]
async fn bodies_become_simpler_until_the_bmc_takes_one() {
    let mock = Mock::start().await;
    mock.model().knobs.unknown_parameters = vec!["Inserted"];
    media(&mock).insert(MediaKind::Cd, &url("a.iso")).await.unwrap();
    assert_eq!(mock.bodies(INSERT)[1], json!({"Image": url("a.iso")}));

    let mock = Mock::start().await;
    mock.instead(INSERT, 400, json!({"error": {"message": "TransferMethod is missing"}}), 2);
    media(&mock).insert(MediaKind::Cd, &url("a.iso")).await.unwrap();
    assert_eq!(mock.bodies(INSERT)[2]["TransferProtocolType"], "HTTP");

    let mock = Mock::start().await;
    mock.instead(INSERT, 400, json!({"error": {"message": "no licence"}}), 100);
    let error = media(&mock).insert(MediaKind::Cd, &url("a.iso")).await.unwrap_err();
    assert!(error.to_string().contains("no licence"), "{error}");
}

#[tokio::test]
async fn parameters_grow_and_shrink_as_the_bmc_asks_by_message_id() {
    let said = |id: &str, arguments: Value| json!({"error": {"@Message.ExtendedInfo": [{"MessageId": format!("Base.1.8.{id}"), "MessageArgs": arguments}]}});
    let mock = Mock::start().await;
    let missing = |name: &str| said("ActionParameterMissing", json!(["VirtualMedia.InsertMedia", name]));
    mock.instead(INSERT, 400, said("ActionParameterUnknown", json!(["InsertMedia", "Inserted"])), 1);
    mock.instead(INSERT, 400, missing("TransferProtocolType"), 1);
    mock.instead(INSERT, 400, missing("UserName"), 1);
    mock.instead(INSERT, 400, missing("Password"), 1);
    media(&mock).insert(MediaKind::Cd, &url("a.iso")).await.unwrap();
    let last = json!({"Image": url("a.iso"), "WriteProtected": true, "TransferProtocolType": "HTTP",
        "UserName": "none", "Password": "none"});
    assert_eq!(mock.bodies(INSERT).last().unwrap(), &last);

    for id in ["LicenseRequired", "LicenseKeyRequired", "LIC501"] {
        let mock = Mock::start().await;
        mock.instead(INSERT, 400, said(id, json!([])), 100);
        let error = media(&mock).insert(MediaKind::Cd, &url("a.iso")).await.unwrap_err();
        assert!(matches!(&error, BmcError::Licence { .. }), "{error}");
    }
    // An action that is shown and not there.
    let mock = Mock::start().await;
    mock.instead(INSERT, 405, json!({}), 100);
    media(&mock).insert(MediaKind::Cd, &url("a.iso")).await.unwrap();
    assert_eq!(mock.count(&format!("PATCH {CD}")), 1);
}

#[tokio::test]
async fn server_errors_after_an_ejection_are_waited_out() {
    let mock = Mock::start().await;
    mock.instead(INSERT, 500, json!({}), 3);
    media(&mock).insert(MediaKind::Cd, &url("a.iso")).await.unwrap();
    assert_eq!(mock.count(INSERT), 4);
}

#[tokio::test]
async fn a_bmc_without_actions_is_patched() {
    let mock = Mock::start().await;
    mock.unset(CD, "/Actions");
    let media = media(&mock);
    media.insert(MediaKind::Cd, &url("a.iso")).await.unwrap();
    let patch = format!("PATCH {CD}");
    assert_eq!(mock.bodies(&patch)[0]["Image"], json!(url("a.iso")));
    media.eject(MediaKind::Cd).await.unwrap();
    assert_eq!(mock.bodies(&patch)[1], json!({"Image": null, "Inserted": false}));
    assert_eq!(mock.at(CD, "/Inserted"), json!(false));
}

#[tokio::test]
async fn a_bmc_that_says_yes_and_does_nothing_is_found_out() {
    let mock = Mock::start().await;
    mock.model().knobs.insert_lies = true;
    let error = media(&mock).insert(MediaKind::Cd, &url("a.iso")).await.unwrap_err();
    assert!(error.to_string().contains("accepted but is not inserted"), "{error}");
    // A slot that still shows the medium of an older boot.
    mock.set(CD, "/Inserted", json!(true));
    mock.set(CD, "/Image", json!(url("old.iso")));
    mock.model().knobs.eject_lies = true;
    let error = media(&mock).insert(MediaKind::Cd, &url("a.iso")).await.unwrap_err();
    assert!(error.to_string().contains("another medium is inserted"), "{error}");
}

#[tokio::test]
async fn a_slot_that_stays_occupied_does_not_stop_an_insertion() {
    let mock = Mock::start().await;
    mock.set(CD, "/Inserted", json!(true));
    mock.instead(EJECT, 500, json!({"error": {"message": "nothing is connected"}}), 100);
    media(&mock).insert(MediaKind::Cd, &url("a.iso")).await.unwrap();
    let error = media(&mock).eject(MediaKind::Cd).await.unwrap_err();
    assert!(error.to_string().contains("nothing is connected"), "{error}");
    mock.set(CD, "/Inserted", json!(false));
    assert_eq!(media(&mock).eject(MediaKind::Cd).await.unwrap(), Changed::Already);
}

#[tokio::test]
async fn wrong_types_in_a_slot_are_no_crash() {
    let mock = Mock::start().await;
    for (pointer, value) in [
        ("/Image", json!(7)),
        ("/Inserted", json!("yes")),
        ("/Actions", json!([])),
        ("/MediaTypes", json!({"CD": true})),
    ] {
        mock.set(CD, pointer, value);
    }
    assert!(!media(&mock).has(MediaKind::Cd).await.unwrap());
    mock.set(CD, "/MediaTypes", json!(["CD", 5, null]));
    media(&mock).insert(MediaKind::Cd, &url("a.iso")).await.unwrap();
    assert_eq!(mock.count(&format!("PATCH {CD}")), 1);
}
