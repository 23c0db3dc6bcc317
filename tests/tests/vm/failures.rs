//! What goes wrong must end in a failed state with a reason, and never with a disk that boots.

use std::time::Duration;

use bessemer_tests::lab::{DiskBus, DiskDefinition, Firmware, MachineDefinition, image_server::ImageFault};
use sha2::{Digest as _, Sha256};

use crate::site::{NODE, Setup, Site};

const MIB: usize = 1 << 20;
const KEY: &str = "Bearer a-key-for-one-image";

fn machine() -> MachineDefinition {
    let mut machine = MachineDefinition::new(NODE, Firmware::SeaBios);
    machine.memory_mib = 512;
    machine
}

/// Noise with the signature of a boot sector: 24 MiB.
fn make_image(site: &Site, name: &str) -> (String, String) {
    let mut bytes = vec![0; 24 * MIB];
    rand::RngCore::fill_bytes(&mut rand::rng(), &mut bytes);
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    let file = site.folder().join(name);
    std::fs::write(&file, &bytes).unwrap();
    (site.publish(&file), hex::encode(Sha256::digest(&bytes)))
}

/// Deploys, must fail; returns what the operator reads.
async fn deploy_fails(site: &Site, url: &str, sha256: &str) -> String {
    let said = site
        .bessemer(&["deploy", NODE, "--image", url, "--sha256", sha256, "--watch", "--timeout", "400"])
        .await;
    assert!(!said.success, "a bad image was called a success: {said:?}\n{}", site.story());
    let node = site.wait_for_state("deploy failed", Duration::from_secs(60)).await;
    let error = node["last_error"].as_str().unwrap_or_default().to_owned();
    assert!(said.stderr.contains(&error) || said.stdout.contains(&error), "{said:?} says not {error}");
    site.machine().wait_for_power(false, Duration::from_secs(30)).await.unwrap();
    site.assert_disk_has_no_partition_table();
    error
}

/// A wrong digest, a body that ends early, a flipped bit, a missing image: on one machine, one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn bad_images_never_boot_and_are_never_called_a_success() {
    let site = Site::start(Setup::new(machine())).await;
    site.enrol().await;

    let (url, _) = make_image(&site, "wrong-digest.raw");
    let error = deploy_fails(&site, &url, &"ab".repeat(32)).await;
    assert!(error.contains("digest") && error.contains("abab"), "{error}");

    let (url, sha256) = make_image(&site, "short.raw");
    let fault = ImageFault { truncate_at: Some(20 * MIB as u64 + 7), ..ImageFault::default() };
    site.images.fault("short.raw", fault);
    let error = deploy_fails(&site, &url, &sha256).await;
    assert!(error.contains("short.raw"), "the error names the image: {error}");

    let (url, sha256) = make_image(&site, "flipped.raw");
    let fault = ImageFault { flip_byte_at: Some(13 * MIB as u64), ..ImageFault::default() };
    site.images.fault("flipped.raw", fault);
    let error = deploy_fails(&site, &url, &sha256).await;
    assert!(error.contains("digest"), "{error}");

    let error = deploy_fails(&site, &site.url("nothing.raw"), &sha256).await;
    assert!(error.contains("404"), "{error}");
}

/// A connection that breaks costs a request, not the deploy; and what the disk holds is not fetched again, from a server
/// that asks for a key, which nobody prints.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_is_resumed_and_a_rebuild_keeps_what_is_there() {
    let site = Site::start(Setup::new(machine())).await;
    site.enrol().await;
    let (url, sha256) = make_image(&site, "resumed.raw");
    let once = ImageFault { truncate_at: Some(10 * MIB as u64 + 7), times: Some(1), ..ImageFault::default() };
    site.images.fault("resumed.raw", once);
    let image = ["--image", &url, "--sha256", &sha256, "--watch", "--timeout", "400"];
    site.must(&[&["deploy", NODE], &image[..]].concat()).await;
    let work = receipt(&site.node().await)["work"].clone();
    assert_eq!(work["retries"], 1, "{work:#}");

    let file = site.folder().join("resumed.raw");
    let manifest = site.folder().join("resumed.json");
    let (from, to) = (file.to_str().unwrap(), manifest.to_str().unwrap());
    site.must(&["image", "manifest", from, "--write-to", to]).await;
    let manifest_sha256 = hex::encode(Sha256::digest(std::fs::read(&manifest).unwrap()));
    let manifest = site.publish(&manifest);
    let by_manifest = ["--rebuild", "--manifest", &manifest, "--manifest-sha256", &manifest_sha256];
    site.images.lock("resumed.raw", KEY);
    site.images.lock("resumed.json", KEY);
    let key = site.folder().join("key");
    std::fs::write(&key, KEY).unwrap();
    let how = ["--authorization-file", key.to_str().unwrap(), "--connections", "8", "--verify-readback"];
    site.must(&[&["deploy", NODE], &image[..], &by_manifest[..], &how[..]].concat()).await;
    let work = receipt(&site.node().await)["work"].clone();
    // All but both ends, which are held back until everything is proved.
    assert!(work["bytes_kept"].as_u64() >= Some(20 * MIB as u64), "{work:#}");
    assert!(work["bytes_fetched"].as_u64() < Some(4 * MIB as u64), "{work:#}");
    assert!(work["bytes_read_back"].as_u64() >= Some(24 * MIB as u64), "{work:#}");
    let shown = site.must(&["node", "show", NODE, "-o", "json"]).await.stdout;
    let log = site.controller_log();
    assert!(!shown.contains(KEY) && !log.contains(KEY) && !site.story().contains(KEY), "{shown}\n{log}");
}

fn receipt(node: &serde_json::Value) -> &serde_json::Value {
    &node["driver_internal_info"]["last_deploy"]["receipt"]
}

/// A disk whose writes fail in the middle is named, with the place.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_is_said_to_fail() {
    let mut machine = machine();
    machine.disks = vec![DiskDefinition {
        write_error_at: Some(17 << 20),
        ..DiskDefinition::new(DiskBus::Virtio, 5 << 30)
    }];
    let site = Site::start(Setup::new(machine)).await;
    site.enrol().await;
    let (url, sha256) = make_image(&site, "good.raw");
    let error = deploy_fails(&site, &url, &sha256).await;
    assert!(error.contains("/dev/vda") && error.contains("the disk may be broken"), "{error}");
}

/// The machine loses power while its disk is written.
#[tokio::test(flavor = "multi_thread")]
async fn power_lost_during_the_write_fails_the_deploy() {
    let site = Site::start(Setup::new(machine())).await;
    site.enrol().await;
    let (url, sha256) = make_image(&site, "slow.raw");
    site.images.fault("slow.raw", ImageFault { bytes_per_second: Some(1 << 20), ..ImageFault::default() });
    site.must(&["deploy", NODE, "--image", &url, "--sha256", &sha256]).await;
    let written = |node: &serde_json::Value| {
        node["driver_internal_info"]["step_progress"]["bytes_done"].as_u64() > Some(4 * MIB as u64)
    };
    site.wait_for("some bytes", Duration::from_secs(180), written).await;
    site.machine().power(bessemer_tests::lab::Power::ForceOff).await.unwrap();
    let node = site.wait_for_state("deploy failed", Duration::from_secs(120)).await;
    assert!(node["last_error"].as_str().unwrap().contains("power"), "{node:#}");
    site.assert_disk_has_no_partition_table();
}

/// A BMC that is not there, a wrong password, an image that is not there: said at once, in a sentence.
#[tokio::test(flavor = "multi_thread")]
async fn bmc_trouble_is_said_in_a_sentence() {
    let site = Site::start(Setup::new(machine())).await;
    let machine = site.machine();

    let create = site.create_arguments("http://127.0.0.1:1", machine.system_path());
    site.must(&create.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let said = site.bessemer(&["node", "manage", NODE, "--wait", "--timeout", "90"]).await;
    assert!(!said.success && said.stderr.contains("cannot be reached"), "{said:?}");
    assert_eq!(site.node().await["provision_state"], "enroll");

    let address = format!("redfish_address={}", machine.bmc_url());
    site.must(&["node", "set", NODE, "--driver-info", &address, "--driver-info", "redfish_password=wrong"])
        .await;
    let said = site.bessemer(&["node", "manage", NODE, "--wait", "--timeout", "90"]).await;
    assert!(!said.success && said.stderr.contains("redfish_password"), "{said:?}");
    let shown = site.must(&["node", "show", NODE, "-o", "json"]).await.stdout;
    let log = site.controller_log();
    for secret in ["redfish_password=wrong", machine.credentials().password.reveal()] {
        assert!(!shown.contains(secret) && !log.contains(secret), "a password is shown");
    }

    let password = format!("redfish_password={}", machine.credentials().password.reveal());
    site.must(&["node", "set", NODE, "--driver-info", &password]).await;
    site.must(&["node", "manage", NODE, "--wait", "--timeout", "90"]).await;
    site.must(&["node", "provide", NODE, "--wait", "--timeout", "90"]).await;
    let said = site
        .bessemer(&[
            "deploy",
            NODE,
            "--image",
            "file:///nowhere/image.raw",
            "--sha256",
            &"ab".repeat(32),
            "--watch",
        ])
        .await;
    assert!(!said.success && said.stderr.contains("/nowhere/image.raw"), "{said:?}");
}
