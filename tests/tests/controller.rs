//! The controller as a process: it loses nothing when it is killed, and ends in order when it is told to.

use std::time::Duration;

use bessemer_tests::{
    harness::Controller,
    lab::{Firmware, Lab, MachineDefinition},
};
use serde_json::json;

#[tokio::test]
async fn a_killed_controller_carries_on_and_a_stopped_one_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let deploy_iso = folder.path().join("deploy.iso");
    std::fs::write(&deploy_iso, [0; 2048]).unwrap();
    let lab = Lab::start(folder.path(), vec![MachineDefinition::new("m", Firmware::SeaBios)]).await.unwrap();
    let mut controller = Controller::start(folder.path(), &deploy_iso, "").await.unwrap();
    let api = controller.api();
    let node = api.enroll(lab.machine("m"), json!({})).await.unwrap();
    api.provision(&node, json!({ "target": "manage" })).await.unwrap();
    controller.kill().await.unwrap();
    controller.restart().await.unwrap();
    let node = api.wait_for_state(&node, "manageable", Duration::from_secs(60)).await.unwrap();
    assert_eq!(node["power_state"], "power off", "{node}");
    for _ in 0..5 {
        controller.stop().await.unwrap();
        controller.restart().await.unwrap();
    }
}
