//! Unmodified clients of Ironic work with the controller: scripts of `baremetal` commands.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use bessemer_tests::{
    counterparts::{
        Answer,
        script::{no_credentials, run_client},
    },
    harness::Controller,
};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(280);

/// A controller for fake nodes: nothing boots.
async fn controller() -> (TempDir, Controller) {
    let folder = tempfile::tempdir().unwrap();
    let deploy_iso = folder.path().join("deploy.iso");
    std::fs::write(&deploy_iso, [0; 2048]).unwrap();
    let controller = Controller::start(folder.path(), &deploy_iso, "").await.unwrap();
    (folder, controller)
}

fn succeeded(answer: &Answer, says: &str) {
    assert!(answer.success() && answer.stdout.contains(says), "{answer}");
}

#[tokio::test]
async fn baremetal_takes_a_node_through_all_its_states() {
    let (_folder, controller) = controller().await;
    let settings = no_credentials(controller.api().base());
    let answer = run_client("commands.py", &["lifecycle.script"], &settings, LONG).await.unwrap();
    succeeded(&answer, " commands, 0 not as expected");
}

#[tokio::test]
async fn baremetal_finds_all_resources() {
    let (_folder, controller) = controller().await;
    let settings = no_credentials(controller.api().base());
    let answer = run_client("commands.py", &["resources.script"], &settings, LONG).await.unwrap();
    succeeded(&answer, " commands, 0 not as expected");
}

/// What the scripts rely on: a command that does not do as it is written is seen.
#[tokio::test]
async fn a_script_that_is_not_as_written_fails() {
    let (folder, controller) = controller().await;
    let settings = no_credentials(controller.api().base());
    for (expected, problem) in [
        ("= [{}]\n", ": 0 items instead of 1"),
        ("~ nothing like it\n", "standard output does not match 'nothing like it'"),
        ("! nobody\n", "exit code 0 instead of 1"),
        ("= []\nexit 3\n", "exit code 0 instead of 3"),
        ("", "standard output is not empty"),
    ] {
        let script = folder.path().join("wrong.script");
        let listing = if expected.is_empty() { "driver list" } else { "node list" };
        std::fs::write(&script, format!("$ baremetal {listing}\n{expected}")).unwrap();
        let answer = run_client("commands.py", &[script.to_str().unwrap()], &settings, LONG).await.unwrap();
        assert!(!answer.success() && answer.stdout.contains(problem), "{expected:?}: {answer}");
    }
}
