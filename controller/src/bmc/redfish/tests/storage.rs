//! Disks and volumes.

use super::{mock::SYSTEM, *};
use crate::bmc::{NewVolume, Outcome};

const VOLUMES: &str = "/redfish/v1/Systems/1/Storage/R/Volumes";

fn link(path: &str) -> Value {
    json!({"@odata.id": path})
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

#[tokio::test]
async fn what_cannot_be_read_is_not_taken_for_gone() {
    for path in ["/redfish/v1/Systems/1/Storage", VOLUMES, &format!("{VOLUMES}/1")] {
        let mock = with_raid().await;
        put(&mock, "1", json!({"RAIDType": "RAID1"}));
        let raid = bmc(&mock).raid.unwrap();
        assert_eq!(raid.controllers().await.unwrap()[0].arrays().count(), 1);
        mock.instead(&format!("GET {path}"), 500, json!({}), 9);
        let error = bmc(&mock).raid.unwrap().controllers().await.unwrap_err();
        assert!(matches!(error, BmcError::Refused { status: 500, .. }), "{path}: {error}");
    }
    let mock = with_raid().await;
    mock.instead(&format!("GET {VOLUMES}"), 404, json!({}), 9);
    assert_eq!(bmc(&mock).raid.unwrap().controllers().await.unwrap()[0].arrays().count(), 0);
}
