//! Who may join: the token of one boot of one node, once, in time.

use std::{
    io::{Read, Seek, SeekFrom},
    process::Stdio,
    time::Duration,
};

use bessemer_proto::boot_parameters::{
    BootParameters,
    region::{self, Region},
};
use bessemer_tests::lab::{Firmware, MachineDefinition};

use crate::site::{NODE, Setup, Site, binary};

/// Starts a deploy and reads the parameters that the controller put into the ISO for it.
async fn parameters_of_a_boot(site: &Site) -> BootParameters {
    let image = ["--image", "http://10.0.2.2:1/none.raw", "--sha256", &"ab".repeat(32)];
    site.must(&[&["deploy", NODE, "--root-device", "serial=no-such-disk"][..], &image[..]].concat()).await;
    site.wait_for_state("wait call-back", Duration::from_secs(60)).await;
    let medium = site.machine().status().cd.unwrap().file;
    let mut iso = std::fs::File::open(medium).unwrap();
    let mut read = |at, bytes: usize| {
        let mut buffer = vec![0; bytes];
        iso.seek(SeekFrom::Start(at)).unwrap();
        iso.read_exact(&mut buffer).unwrap();
        buffer
    };
    let region = Region::from_descriptor(&read(region::DESCRIPTOR_OFFSET, region::DESCRIPTOR_BYTES)).unwrap();
    let bytes = read(region.offset, region.length as usize);
    BootParameters::parse(region::text(&bytes).unwrap().unwrap()).unwrap().parameters
}

/// Runs the agent as an ordinary process with these parameters until it gives up.
async fn run_agent(site: &Site, mut parameters: BootParameters, name: &str) -> (bool, String) {
    // This host reaches the controller on its loopback.
    parameters.controllers.iter_mut().for_each(|c| *c = c.replace("10.0.2.2", "127.0.0.1"));
    let file = site.folder().join(name);
    std::fs::write(&file, parameters.to_text()).unwrap();
    let agent = tokio::process::Command::new(binary("bessemer-agent"))
        .arg("--parameters")
        .arg(&file)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output =
        tokio::time::timeout(Duration::from_secs(60), agent).await.expect("the agent gives up").unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// The machine is kept from booting the ISO, so that the test can play the impostor with its parameters.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_and_a_foreign_controller_are_refused() {
    let site = Site::start(Setup::new(MachineDefinition::new(NODE, Firmware::SeaBios))).await;
    site.enrol().await;
    site.machine().faults().ignore_boot_override(true);
    let parameters = parameters_of_a_boot(&site).await;

    let mut wrong = parameters.clone();
    wrong.token = bessemer_proto::secret::Secret::new("A".repeat(43));
    let (success, said) = run_agent(&site, wrong, "wrong-token.txt").await;
    assert!(!success && said.contains("token"), "{said}");
    let log = site.controller_log();
    assert!(log.contains("token"), "the refusal is logged with its reason: {log}");
    assert!(!log.contains(parameters.token.reveal()), "the token is in the log");

    // An agent that was given another CA does not talk to this controller at all.
    let mut foreign = parameters;
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
    foreign.ca_certificates = vec![ca.der().to_vec()];
    let file = site.folder().join("foreign.txt");
    foreign.controllers.iter_mut().for_each(|c| *c = c.replace("10.0.2.2", "127.0.0.1"));
    std::fs::write(&file, foreign.to_text()).unwrap();
    let mut agent = tokio::process::Command::new(binary("bessemer-agent"))
        .arg("--parameters")
        .arg(&file)
        .kill_on_drop(true)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    agent.kill().await.ok();
    assert_eq!(site.node().await["provision_state"], "wait call-back", "the impostor changed nothing");

    site.must(&["node", "undeploy", NODE, "--wait", "--timeout", "60"]).await;
}

/// A machine that takes longer to boot than its token lives.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_fails_the_deploy_with_its_reason() {
    let machine = MachineDefinition::new(NODE, Firmware::SeaBios);
    let setup = Setup { configuration: "[agents]\ntoken_lifetime = 1\n", ..Setup::new(machine) };
    let site = Site::start(setup).await;
    site.enrol().await;
    let said = site
        .bessemer(&[
            "deploy",
            NODE,
            "--image",
            "http://10.0.2.2:1/none.raw",
            "--sha256",
            &"ab".repeat(32),
            "--watch",
            "--timeout",
            "300",
        ])
        .await;
    assert!(!said.success, "{said:?}");
    let node = site.wait_for_state("deploy failed", Duration::from_secs(5)).await;
    assert!(node["last_error"].as_str().unwrap().contains("before its agent called"), "{node:#}");
    let logs = site.must(&["node", "logs", NODE]).await.stdout;
    assert!(logs.contains("the join token has expired"), "{logs}");
    let console = String::from_utf8_lossy(&std::fs::read(site.machine().serial_log()).unwrap()).into_owned();
    assert!(console.contains("token"), "the console says why: {console}");
}
