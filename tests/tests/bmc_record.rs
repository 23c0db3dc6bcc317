//! `bessemer bmc record` keeps what a BMC answers, scrubbed, and a replay of that looks the same.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use bessemer_tests::{
    harness,
    lab::{Lab, Machine, MachineDefinition, bmc::Profile, replay::Replay},
};
use serde_json::Value;
use tokio::process::Command;

/// Runs `bessemer -o json bmc …` with the password of a machine.
async fn bmc(verb: &str, url: &str, machine: &Machine, more: &[&str]) -> Value {
    let password = machine.folder().join("password");
    fs::write(&password, machine.credentials().password.reveal()).unwrap();
    let mut command = Command::new(harness::program().unwrap());
    command.args(["bmc", verb, url, "-o", "json", "--username", &machine.credentials().user]);
    command.arg("--bmc-password-file").arg(&password).args(more);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// What a probe says, without what is different each time.
fn told(probe: &Value) -> Value {
    let mut told = probe.clone();
    for answer in told["answers"].as_array_mut().unwrap() {
        let answer = answer.as_object_mut().unwrap();
        answer.remove("seconds");
        answer.remove("calls");
        // The lights are named by the machine's UUID.
        if answer["what"] == "clock" || answer["what"] == "lights" {
            answer.remove("answer");
        }
    }
    told
}

async fn recorded_and_replayed(profile: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut definition = MachineDefinition::hollow("rack7-node42");
    definition.bmc.profile = Profile::named(profile).unwrap();
    let lab = Lab::start(folder.path(), vec![definition]).await.unwrap();
    let machine = lab.machine("rack7-node42");
    let out = folder.path().join("recording");
    let said = bmc("record", machine.bmc_url().as_str(), machine, &["--out", out.to_str().unwrap()]).await;
    assert!(said["answers"].as_u64().unwrap() > 20, "{said}");
    assert_eq!(said["left_out"], serde_json::json!([]), "{profile}");

    let uuid = machine.definition().uuid.to_string();
    let password = machine.credentials().password.reveal();
    let mac = &machine.definition().mac;
    for file in files(&out) {
        let text = format!("{} {}", file.display(), fs::read_to_string(&file).unwrap());
        let text = text.replace(&*folder.path().to_string_lossy(), "").to_lowercase();
        for secret in [uuid.as_str(), password, "rack7-node42", mac] {
            assert!(!text.contains(&secret.to_lowercase()), "{profile}: {secret} is in {}", file.display());
        }
    }

    let replay = Replay::start(&out, ([127, 0, 0, 1], 0).into()).await.unwrap();
    let of_machine = bmc("probe", machine.bmc_url().as_str(), machine, &[]).await;
    let of_replay = bmc("probe", &replay.url(), machine, &[]).await;
    assert_eq!(told(&of_machine), told(&of_replay), "{profile}");
    assert!(
        of_replay["answers"].as_array().unwrap().iter().filter(|answer| answer["ok"] == true).count() > 5
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_tells_nobody_whose_machine_it_is_and_looks_the_same() {
    // The second one has its serial number in its links.
    for profile in ["idrac9", "cimc"] {
        recorded_and_replayed(profile).await;
    }
}
