//! The same deploy with a BMC that nobody here wrote: sushy-tools on libvirt.

use std::time::Duration;

use bessemer_tests::{
    counterparts::sushy::SushyLab,
    harness::{Controller, agent_artifacts},
    lab::LogReader,
};

use crate::site::{NODE, bessemer, debian, images_configuration};

#[tokio::test(flavor = "multi_thread")]
async fn deploys_through_sushy_tools() {
    let folder = tempfile::tempdir().unwrap();
    let lab = SushyLab::start(folder.path()).await.unwrap();
    let iso = agent_artifacts::deploy_iso().unwrap();
    let controller = Controller::start(folder.path(), &iso, &images_configuration()).await.unwrap();
    let api = controller.api();
    let must = async |arguments: &[&str]| {
        let said = bessemer(&api, arguments).await;
        let log = || std::fs::read_to_string(controller.log()).unwrap_or_default();
        let console = || std::fs::read(lab.serial_log()).unwrap_or_default();
        assert!(
            said.success,
            "bessemer {arguments:?}: {said:?}\n{}\n{}\n{}",
            log(),
            lab.log(),
            String::from_utf8_lossy(&console())
        );
    };
    let address = format!("redfish_address={}", lab.redfish_url());
    let system = format!("redfish_system_id=/redfish/v1/Systems/{}", lab.system_uuid());
    must(&["node", "create", "--name", NODE, "--driver-info", &address, "--driver-info", &system]).await;
    must(&["node", "manage", NODE, "--wait", "--timeout", "90"]).await;
    must(&["node", "provide", NODE, "--wait", "--timeout", "60"]).await;
    let (file, sha256) = debian("debian.raw.zst");
    let image = format!("file://{}", file.display());
    must(&["deploy", NODE, "--image", &image, "--sha256", &sha256, "--watch", "--timeout", "900"]).await;
    LogReader::from_start(lab.serial_log())
        .wait_for("bessemer-demo login:", Duration::from_secs(300))
        .await
        .unwrap();
    must(&["node", "undeploy", NODE, "--wait", "--timeout", "120"]).await;
}
