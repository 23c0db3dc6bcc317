//! What unmodified clients asked a real Ironic is asked of the controller, and must be answered alike.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod differences;
mod replay;

use bessemer_proto::secret::Secret;
use bessemer_tests::{
    harness::Controller,
    lab::{Credentials, Firmware, Lab, MachineDefinition},
    recorded::parse,
};

use crate::{
    differences::{DIFFERENCES, PREPARATIONS},
    replay::Replay,
};

const RECORDING: &str = include_str!("../../fixtures/ironic-traffic.txt");
/// The machine that the recording calls `rf-0`.
const MACHINE: &str = "rf-0";

#[tokio::test]
async fn the_controller_answers_as_ironic_did() {
    let folder = tempfile::tempdir().unwrap();
    let deploy_iso = folder.path().join("deploy.iso");
    std::fs::write(&deploy_iso, [0; 2048]).unwrap();
    let mut machine = MachineDefinition::new(MACHINE, Firmware::Ovmf);
    machine.bmc.credentials = Credentials { user: "admin".into(), password: Secret::new("password") };
    let lab = Lab::start(folder.path(), vec![machine]).await.unwrap();
    let controller =
        Controller::start(folder.path(), &deploy_iso, "[api]\nenable_ramdisk_endpoints = true\n")
            .await
            .unwrap();

    let base = controller.api().base().to_owned();
    let mut replay = Replay::new(&base, lab.machine(MACHINE), DIFFERENCES, PREPARATIONS).await;
    for command in parse(RECORDING).unwrap() {
        replay.command(&command).await;
    }
    let problems = replay.end();
    assert!(problems.is_empty(), "{} answers are not as recorded:\n{}", problems.len(), problems.join("\n"));
}
