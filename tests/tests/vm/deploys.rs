//! Deploys that end with the machine's own operating system asking for a login.

use std::time::Duration;

use bessemer_tests::{
    counterparts::ironicclient::IronicClient,
    lab::{DiskBus, DiskDefinition, Firmware, MachineDefinition, image_server::ImageFault},
};

use crate::site::{NODE, Setup, Site, debian};

const GIB: u64 = 1 << 30;
const TEN_YEARS: i64 = 10 * 365 * 86400;
const LOGIN: &str = "bessemer-demo login:";
const DEPLOY_SECONDS: &str = "600";
const SECRET: &str = "correct-horse-battery";
const USER_DATA: &str = "#cloud-config\npassword: correct-horse-battery\n";

/// Deploys the Debian image with the operator's command and waits for the login prompt.
async fn deploy_and_log_in(site: &Site, image: &str, more: &[&str]) {
    let (file, sha256) = debian(image);
    let url = site.publish(&file);
    let mut arguments =
        vec!["deploy", NODE, "--image", &url, "--sha256", &sha256, "--watch", "--timeout", DEPLOY_SECONDS];
    arguments.extend(more);
    site.must(&arguments).await;
    wait_for_login(site).await;
}

async fn wait_for_login(site: &Site) {
    let seen = site.machine().wait_for_serial(LOGIN, Duration::from_secs(300)).await;
    assert!(seen.is_ok(), "no login prompt\n{}", site.story());
}

/// Clock ten years behind, least memory, zstd image, NVMe disk chosen by hint among two.
#[tokio::test(flavor = "multi_thread")]
async fn uefi_machine_with_a_clock_ten_years_behind() {
    let mut machine = MachineDefinition::new(NODE, Firmware::Ovmf);
    machine.memory_mib = 512;
    machine.clock_offset_seconds = -TEN_YEARS;
    let mut wanted = DiskDefinition::new(DiskBus::Nvme, 6 * GIB);
    wanted.serial = Some("WANTED".into());
    machine.disks = vec![wanted, DiskDefinition::new(DiskBus::Virtio, 5 * GIB)];
    let site = Site::start(Setup::new(machine)).await;
    site.enrol().await;
    deploy_and_log_in(&site, "debian.raw.zst", &["--root-device", "serial=WANTED"]).await;
    let logs = site.must(&["node", "logs", NODE]).await.stdout;
    assert!(logs.contains("write_image"), "the agent's log is kept: {logs}");
    // The firmware was not told to boot the disk: the entry that the agent made did it.
    assert!(!console(&site).contains("UEFI Interactive Shell"));
    assert_eq!(site.node().await["power_state"], "power on");

    site.must(&["node", "undeploy", NODE, "--wait", "--timeout", "120"]).await;
    let node = site.node().await;
    assert_eq!((&node["provision_state"], &node["power_state"]), (&"available".into(), &"power off".into()));
    assert_eq!(node["instance_info"], serde_json::json!({}));
}

/// Clock ten years ahead, SATA disk, gzip image, parameters on a floppy.
#[tokio::test(flavor = "multi_thread")]
async fn bios_machine_with_a_clock_ten_years_ahead_and_parameters_on_a_floppy() {
    let mut machine = MachineDefinition::new(NODE, Firmware::SeaBios);
    machine.memory_mib = 512;
    machine.clock_offset_seconds = TEN_YEARS;
    machine.disks = vec![DiskDefinition::new(DiskBus::Sata, 4 * GIB)];
    let site = Site::start(Setup::new(machine)).await;
    site.enrol().await;
    site.must(&["node", "set", NODE, "--driver-info", "config_via_removable=true"]).await;
    deploy_and_log_in(&site, "debian.raw.gz", &[]).await;
}

/// Secure Boot all the way, driven by the unmodified `baremetal` client, image staged by the controller.
#[tokio::test(flavor = "multi_thread")]
async fn secure_boot_machine_driven_by_the_openstack_client() {
    let machine = MachineDefinition::new(NODE, Firmware::OvmfSecureBoot);
    let site = Site::start(Setup::new(machine)).await;
    enrol_by_client(&site).await;
    let (file, sha256) = debian("debian.raw.zst");
    let source = format!("image_source=file://{}", file.display());
    let digest = format!("image_os_hash_value={sha256}");
    let mut set = vec!["node", "set", NODE];
    let securely = r#"capabilities={"secure_boot": "true"}"#;
    for pair in [source.as_str(), "image_os_hash_algo=sha256", &digest, securely] {
        set.extend(["--instance-info", pair]);
    }
    baremetal(&site, &set).await;
    let shown = baremetal(&site, &["node", "validate", NODE]).await;
    for interface in ["boot", "deploy", "management", "power"] {
        let row = shown.lines().find(|line| line.contains(&format!("| {interface} "))).unwrap_or_default();
        assert!(row.contains("True"), "{shown}");
    }
    let config_drive =
        serde_json::json!({"meta_data": {"hostname": "web-7"}, "user_data": USER_DATA}).to_string();
    let deploy = ["node", "deploy", NODE, "--config-drive", &config_drive, "--wait", DEPLOY_SECONDS];
    baremetal(&site, &deploy).await;
    wait_for_login(&site).await;
    assert_disk_has_config_drive(&site);
    assert_eq!(site.node().await["instance_info"]["configdrive"], "******");
    assert!(!site.controller_log().contains(SECRET) && !console(&site).contains(SECRET));
    assert!(site.machine().status().secure_boot_at_start);

    assert!(baremetal(&site, &["node", "show", NODE]).await.contains("active"));
    for power in ["off", "on"] {
        baremetal(&site, &["node", "power", power, NODE]).await;
        let wanted = format!("power {power}");
        site.wait_for(&wanted, Duration::from_secs(60), |node| node["power_state"] == wanted).await;
    }
    baremetal(&site, &["node", "undeploy", NODE, "--wait", "120"]).await;
    baremetal(&site, &["node", "delete", NODE]).await;
    assert!(!baremetal(&site, &["node", "list"]).await.contains(NODE));
}

/// Programs that nobody here wrote find the config drive on the disk, and the user data in it.
fn assert_disk_has_config_drive(site: &Site) {
    let disk = site.machine().disk_path(0).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let disk = disk.to_str().unwrap();
    let table = run("sgdisk", &["--print", disk]);
    let line = table.lines().find(|line| line.ends_with(" config-2")).unwrap_or_else(|| panic!("{table}"));
    let first: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let offset = (first * 512).to_string();
    let found = run("blkid", &["-p", "-O", &offset, disk]);
    assert!(found.contains("LABEL=\"config-2\""), "{found}");
    let user_data = run("mtype", &["-i", &format!("{disk}@@{offset}"), "::openstack/latest/user_data"]);
    assert_eq!(user_data, USER_DATA);
}

/// Enrols the machine, with a port, and makes it available.
async fn enrol_by_client(site: &Site) {
    let machine = site.machine();
    let address = format!("redfish_address={}", machine.bmc_url());
    let user = format!("redfish_username={}", machine.credentials().user);
    let password = format!("redfish_password={}", machine.credentials().password.reveal());
    let mut create = vec!["node", "create", "--name", NODE, "--driver", "redfish"];
    for pair in [&address, &user, &password] {
        create.extend(["--driver-info", pair]);
    }
    create.extend(["--property", "capabilities=boot_mode:uefi"]);
    baremetal(site, &create).await;
    let node = site.node().await;
    let uuid = node["uuid"].as_str().unwrap();
    baremetal(site, &["port", "create", "--node", uuid, "52:54:00:00:00:01"]).await;
    assert!(baremetal(site, &["port", "list"]).await.contains("52:54:00:00:00:01"));
    assert!(baremetal(site, &["driver", "list"]).await.contains("redfish"));
    baremetal(site, &["node", "manage", NODE, "--wait", "60"]).await;
    baremetal(site, &["node", "provide", NODE, "--wait", "60"]).await;
}

/// What the unmodified client prints; it must succeed.
async fn baremetal(site: &Site, arguments: &[&str]) -> String {
    let client = IronicClient::new(site.api().base()).unwrap();
    let said = client.run(arguments).await.unwrap();
    assert!(said.success(), "baremetal {arguments:?}: {said:?}\n{}", site.story());
    said.stdout
}

/// The controller dies in the middle of a write: the write goes on, its result is delivered afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_in_the_middle_of_a_write_loses_nothing() {
    let mut site = Site::start(Setup::new(MachineDefinition::new(NODE, Firmware::SeaBios))).await;
    site.enrol().await;
    let (file, sha256) = debian("debian.raw.zst");
    let url = site.publish(&file);
    let slow = ImageFault { bytes_per_second: Some(8 << 20), ..ImageFault::default() };
    site.images.fault("debian.raw.zst", slow);
    site.must(&["deploy", NODE, "--image", &url, "--sha256", &sha256]).await;
    let written = |node: &serde_json::Value| {
        let progress = &node["driver_internal_info"]["step_progress"];
        progress["step"] == "write_image" && progress["bytes_done"].as_u64() > Some(40 << 20)
    };
    site.wait_for("40 MiB of the image", Duration::from_secs(180), written).await;
    site.controller.kill().await.unwrap();
    tokio::time::sleep(Duration::from_secs(8)).await;
    site.controller.restart().await.unwrap();
    let node = site.wait_for_state("active", Duration::from_secs(300)).await;
    assert_eq!(node["last_error"], serde_json::Value::Null);
    wait_for_login(&site).await;
    // The agent wrote once: it was not told to begin anew by the controller that came back.
    assert_eq!(
        console(&site).matches("step starts step=").count(),
        3,
        "write_image, set_boot_entry, power_off"
    );
}

fn console(site: &Site) -> String {
    String::from_utf8_lossy(&std::fs::read(site.machine().serial_log()).unwrap()).into_owned()
}
