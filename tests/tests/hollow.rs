//! Whole deploys without a virtual machine: the real controller, its agents' real wire, an emulated BMC.

use std::{
    io::Read,
    time::{Duration, Instant},
};

use bessemer_tests::{
    harness::{Controller, HollowAgent},
    lab::{Lab, MachineDefinition, hollow, image_server::ImageServer},
};
use serde_json::json;
use sha2::{Digest, Sha256};

const WITHIN: Duration = Duration::from_secs(30);

/// A disk image that a machine can boot, and its digest.
fn image() -> (Vec<u8>, String) {
    let mut image = vec![0x5a; 1 << 16];
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    let digest = hex::encode(Sha256::digest(&image));
    (image, digest)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hollow_machine_is_deployed() {
    let folder = tempfile::tempdir().unwrap();
    let iso = folder.path().join("deploy.iso");
    std::fs::write(&iso, hollow::deploy_iso().unwrap()).unwrap();
    let (image, digest) = image();
    std::fs::write(folder.path().join("disk.raw"), &image).unwrap();
    let images = ImageServer::start(folder.path(), ([127, 0, 0, 1], 0).into()).await.unwrap();
    let lab = Lab::start(folder.path(), vec![MachineDefinition::hollow("node-1")]).await.unwrap();
    let machine = lab.machine("node-1");
    let _agent = HollowAgent::start(machine);
    let quick = "[conductor]\ncheck_provision_state_interval = 1\nautomated_clean = false\n";
    let mut controller = Controller::start_for_hollow(folder.path(), &iso, quick).await.unwrap();
    let api = controller.api();
    let info = json!({"instance_info": {
        "image_source": images.url("disk.raw"), "image_os_hash_algo": "sha256", "image_os_hash_value": digest,
    }});
    let node = api.enroll(machine, info).await.unwrap();
    let began = Instant::now();
    for (target, state) in [("manage", "manageable"), ("provide", "available"), ("active", "active")] {
        api.provision(&node, json!({ "target": target })).await.unwrap();
        api.wait_for_state(&node, state, WITHIN).await.unwrap();
        println!("{state} after {:.1} s", began.elapsed().as_secs_f64());
    }
    let status = machine.status();
    assert!(status.on && status.cd.is_none(), "{status:?}");
    assert_eq!(status.starts, 2, "once the agent, once what was deployed");
    let mut beginning = vec![0; image.len()];
    std::fs::File::open(machine.disk_path(0).unwrap()).unwrap().read_exact(&mut beginning).unwrap();
    assert_eq!(beginning, image);
    controller.stop().await.unwrap();
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sensors_of_a_machine_reach_prometheus() {
    let folder = tempfile::tempdir().unwrap();
    let iso = folder.path().join("deploy.iso");
    std::fs::write(&iso, hollow::deploy_iso().unwrap()).unwrap();
    let lab = Lab::start(folder.path(), vec![MachineDefinition::hollow("node-1")]).await.unwrap();
    let every_second =
        "[sensor_data]\nsend_sensor_data = true\ninterval = 1\nenable_for_undeployed_nodes = true\n";
    let mut controller = Controller::start_for_hollow(folder.path(), &iso, every_second).await.unwrap();
    let api = controller.api();
    let node = api.enroll(lab.machine("node-1"), json!({})).await.unwrap();
    api.provision(&node, json!({"target": "manage"})).await.unwrap();
    api.wait_for_state(&node, "manageable", WITHIN).await.unwrap();
    let url = format!("{}/metrics", api.base());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let seen = async {
        loop {
            let answer = client.get(&url).send().await.unwrap().error_for_status().unwrap();
            let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
            let text = answer.text().await.unwrap();
            if text.contains("baremetal_temperature_celsius{") {
                break (kind, text);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (kind, text) = tokio::time::timeout(WITHIN, seen).await.unwrap();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    for metric in ["baremetal_temperature_celsius", "baremetal_power_watts", "baremetal_sensors_up"] {
        let is_of_it = |line: &&str| line.starts_with(&format!("{metric}{{")) && line.contains(&node);
        assert!(text.lines().any(|line| is_of_it(&line)), "{metric} in {text}");
    }
    controller.stop().await.unwrap();
    lab.stop().await;
}
