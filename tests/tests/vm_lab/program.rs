//! `bessemer-lab` as its users run it: what it leaves behind when it ends, and when it is killed.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// A lab whose one machine is on, and QEMU's process id.
async fn running(folder: &Path) -> (Child, u32) {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_bessemer-lab"))
        .args(["run", "--firmware", "bios", "--disk-size", "1M", "--dir"])
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(lab.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let machine: Value = serde_json::from_str(&line).unwrap();
    let password = std::fs::read_to_string(machine["password_file"].as_str().unwrap()).unwrap();
    let reset =
        format!("{}redfish/v1/Systems/1/Actions/ComputerSystem.Reset", machine["address"].as_str().unwrap());
    let request = reqwest::Client::builder().no_proxy().build().unwrap().post(reset);
    let request = request.basic_auth("admin", Some(password.trim())).json(&json!({ "ResetType": "On" }));
    assert_eq!(request.send().await.unwrap().status(), 204);
    let children = format!("/proc/{0}/task", lab.id());
    let tasks = std::fs::read_dir(children).unwrap().map(|task| task.unwrap().path().join("children"));
    let children: String = tasks.map(|file| std::fs::read_to_string(file).unwrap_or_default()).collect();
    (lab, children.trim().parse().unwrap_or_else(|_| panic!("one child, not \"{children}\"")))
}

fn wait_until_gone(process: u32) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Path::new(&format!("/proc/{process}")).exists() {
        assert!(Instant::now() < deadline, "QEMU ({process}) outlives its lab");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn a_killed_lab_takes_its_machines_along() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let (mut lab, qemu) = running(folder.path()).await;
    lab.kill().unwrap();
    lab.wait().unwrap();
    wait_until_gone(qemu);
}

#[tokio::test]
async fn a_lab_that_is_told_to_end_ends_in_order_and_starts_again_as_it_was() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let (password, disk) = (folder.path().join("password"), folder.path().join("machine-1/disk-0.img"));
    let mut before = None;
    for _ in 0..2 {
        let (mut lab, qemu) = running(folder.path()).await;
        let lab_id = rustix::process::Pid::from_raw(lab.id().cast_signed()).unwrap();
        rustix::process::kill_process(lab_id, rustix::process::Signal::TERM).unwrap();
        assert!(lab.wait().unwrap().success());
        wait_until_gone(qemu);
        let now = (std::fs::read(&password).unwrap(), std::fs::metadata(&disk).unwrap().created().unwrap());
        assert_eq!(*before.get_or_insert(now.clone()), now, "password and disk last");
    }
}
