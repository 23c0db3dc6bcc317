//! Whole deploys of hollow machines through the real controller, for each profile of a BMC and for each fault: a deploy
//! succeeds, or fails within a bound and says why. Prints a table.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bessemer_tests::{
    harness::{Api, Controller, HollowAgent},
    lab::{
        Certificate, Lab, Machine, MachineDefinition,
        bmc::{Profile, profile},
        hollow,
        image_server::ImageServer,
    },
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::sleep;

/// No deploy may take longer, whatever its BMC does.
const BOUND: Duration = Duration::from_secs(100);
const CONFIGURATION: &str = "[conductor]\ncheck_provision_state_interval = 1\nautomated_clean = false\n\
                             deploy_callback_timeout = 25\npower_state_change_timeout = 8\n\
                             bmc_retry_timeout = 20\n";

/// Profiles whose machines must be deployed. The rest have no virtual media that a driver of the controller uses today.
const DEPLOYED: [&str; 10] =
    ["standard", "idrac9", "ilo4", "ilo5", "ilo6", "xcc", "irmc", "cimc", "sushy", "slow-tasks"];

struct Site {
    images: ImageServer,
    lab: Lab,
    controller: Controller,
    digest: String,
    _agents: Vec<HollowAgent>,
}

impl Site {
    async fn start(folder: &Path, machines: Vec<MachineDefinition>) -> Self {
        let iso = folder.join("deploy.iso");
        std::fs::write(&iso, hollow::deploy_iso().unwrap()).unwrap();
        let mut image = vec![0x5a; 1 << 16];
        image[510..512].copy_from_slice(&[0x55, 0xaa]);
        std::fs::write(folder.join("disk.raw"), &image).unwrap();
        let images = ImageServer::start(folder, ([127, 0, 0, 1], 0).into()).await.unwrap();
        let lab = Lab::start(folder, machines).await.unwrap();
        let agents = lab.machines().iter().map(HollowAgent::start).collect();
        let controller = Controller::start_for_hollow(folder, &iso, CONFIGURATION).await.unwrap();
        Self { images, lab, controller, digest: hex::encode(Sha256::digest(&image)), _agents: agents }
    }

    async fn deploy(&self, machine: &Machine, fault: Arming) -> Row {
        let api = self.controller.api();
        // Something else is installed: without the override that would start.
        machine.guest().write_disk(&boot_sector()).unwrap();
        let mut info = json!({
            "name": machine.definition().name,
            "instance_info": {
                "image_source": self.images.url("disk.raw"),
                "image_os_hash_algo": "sha256",
                "image_os_hash_value": self.digest,
            },
        });
        if machine.definition().bmc.certificate == Certificate::Expired {
            let file = machine.folder().join("certificate.pem");
            std::fs::write(&file, machine.bmc_certificate().unwrap()).unwrap();
            info["driver_info"] = json!({ "redfish_verify_ca": file });
        }
        let node = api.enroll(machine, info).await.unwrap();
        let began = Instant::now();
        let mut state = String::new();
        let mut last_error = String::new();
        for (target, wanted) in [("manage", "manageable"), ("provide", "available"), ("active", "active")] {
            if target == "active" {
                fault(machine);
            }
            if let Err(error) = api.provision(&node, json!({ "target": target })).await {
                last_error = error.to_string();
                break;
            }
            (state, last_error) = rest(&api, &node, wanted, began).await;
            if state != wanted {
                break;
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        let status = machine.status();
        let done = state == "active" && status.on && status.cd.is_none() && status.starts >= 2;
        let result = if done { "deployed".to_owned() } else { state };
        Row {
            name: machine.definition().name.clone(),
            result,
            seconds,
            calls: machine.faults().calls().len(),
            last_error,
        }
    }
}

/// Waits until a node rests: where it should, or failed.
async fn rest(api: &Api, node: &str, wanted: &str, began: Instant) -> (String, String) {
    loop {
        let body = api.node(node).await.unwrap();
        let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let state = text("provision_state");
        let is_over = state == wanted || state.ends_with("failed") || state == "error" || state == "enroll";
        if (is_over && body["target_provision_state"].is_null())
            || state.ends_with("failed")
            || state == wanted
        {
            return (state, text("last_error"));
        }
        if began.elapsed() > BOUND {
            return (format!("late: {state}"), text("last_error"));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

struct Row {
    name: String,
    result: String,
    seconds: f64,
    calls: usize,
    last_error: String,
}

fn print(rows: &[Row]) {
    println!("| machine | result | seconds | BMC calls | last_error |\n|---|---|---|---|---|");
    for row in rows {
        let error: String = row.last_error.chars().take(230).collect();
        println!("| {} | {} | {:.1} | {} | {error} |", row.name, row.result, row.seconds, row.calls);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_profile_is_deployed_or_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let machine = |name: &str| {
        let mut machine = MachineDefinition::hollow(name);
        machine.bmc.profile = Profile::named(name).unwrap();
        machine
    };
    let machines = profile::KNOWN.iter().map(|(name, _)| machine(name)).collect();
    let site = Site::start(folder.path(), machines).await;
    let deploys = site.lab.machines().iter().map(|machine| site.deploy(machine, |_| {}));
    let rows = futures_util::future::join_all(deploys).await;
    print(&rows);
    for row in &rows {
        assert!(!row.result.starts_with("late"), "{}: no end within {BOUND:?}", row.name);
        assert!(row.result == "deployed" || !row.last_error.is_empty(), "{}: no reason", row.name);
        if DEPLOYED.contains(&row.name.as_str()) {
            assert_eq!(row.result, "deployed", "{}: {}", row.name, row.last_error);
        }
    }
}

/// Arms a fault when the deploy begins.
type Arming = fn(&Machine);

/// The faults, by name.
const FAULTS: [(&str, Arming); 19] = [
    ("none", |_| {}),
    ("slow", |machine| arm(machine, "*:/redfish:20:delay=1")),
    ("errors", |machine| arm(machine, "*:/redfish:3:status=503")),
    ("errors-for-ever", |machine| arm(machine, "*:/redfish:10000:status=500")),
    ("reset-before", |machine| arm(machine, "POST:Reset:1:reset-before")),
    ("reset-after", |machine| arm(machine, "POST:InsertMedia:1:reset-after")),
    ("stale-slot", |machine| machine.faults().stale_media(3)),
    ("boot-once-ignored", |machine| machine.faults().ignore_boot_override(true)),
    ("certificate-expired", |_| {}),
    ("power-not-done", |machine| arm(machine, "POST:Reset:10000:pretend")),
    ("task-fails", |machine| arm(machine, "POST:InsertMedia:10000:failing-task")),
    ("sessions-full", |machine| machine.faults().sessions_are_full(true)),
    ("locked-out", |machine| machine.faults().refuse_credentials(true)),
    ("clock-wrong", |machine| machine.faults().clock_is_off_by(-10 * 365 * 86_400)),
    ("json-cut-off", |machine| arm(machine, "GET:/redfish:10000:cut-off")),
    ("wrong-types", |machine| arm(machine, "GET:Systems:10000:wrong-types")),
    ("bmc-restarts", |machine| arm(machine, "PATCH:Systems:1:restart=3")),
    ("not-inserted", |machine| arm(machine, "POST:InsertMedia:10000:pretend")),
    ("trickle", |machine| arm(machine, "GET:Systems:3:trickle=3")),
];

fn boot_sector() -> Vec<u8> {
    let mut sector = vec![0; 512];
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn arm(machine: &Machine, fault: &str) {
    machine.faults().arm(fault.parse().unwrap());
}

async fn faults(profile: &str) {
    let folder = tempfile::tempdir().unwrap();
    let machine = |name: &str| {
        let mut machine = MachineDefinition::hollow(name);
        machine.bmc.profile = Profile::named(profile).unwrap();
        machine.bmc.tls = true;
        machine.bmc.certificate =
            if name == "certificate-expired" { Certificate::Expired } else { Certificate::Plain };
        machine
    };
    let machines = FAULTS.iter().map(|(name, _)| machine(name)).collect();
    let site = Site::start(folder.path(), machines).await;
    let deploys = FAULTS.iter().map(|(name, fault)| site.deploy(site.lab.machine(name), *fault));
    let rows = futures_util::future::join_all(deploys).await;
    println!("profile {profile}");
    print(&rows);
    for row in &rows {
        assert!(!row.result.starts_with("late"), "{profile} {}: no end within {BOUND:?}", row.name);
        assert!(row.result == "deployed" || !row.last_error.is_empty(), "{profile} {}: no reason", row.name);
    }
    for (name, reason) in ENDS {
        let row = rows.iter().find(|row| row.name == name).unwrap();
        assert_eq!(row.result == "deployed", reason.is_empty(), "{profile} {name}: {}", row.last_error);
        assert!(row.last_error.contains(reason), "{profile} {name}: {}", row.last_error);
    }
}

/// How a deploy with a fault must end: well, or with this in its reason. The others end in time and give any reason.
const ENDS: [(&str, &str); 15] = [
    ("none", ""),
    ("slow", ""),
    ("errors", ""),
    ("errors-for-ever", "with status 500"),
    ("reset-before", ""),
    ("reset-after", ""),
    ("stale-slot", ""),
    ("boot-once-ignored", "its firmware ignored the boot device"),
    ("power-not-done", "is still not in state \"power on\""),
    ("task-fails", "its task failed"),
    ("locked-out", "redfish_password"),
    ("clock-wrong", ""),
    ("json-cut-off", "no JSON"),
    ("not-inserted", "accepted but is not inserted"),
    ("trickle", ""),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_the_plain_bmc_ends_well_or_with_a_reason() {
    faults("standard").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_bmc_that_works_by_tasks_ends_well_or_with_a_reason() {
    faults("slow-tasks").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_bmc_with_media_below_the_manager_ends_well_or_with_a_reason() {
    faults("ilo5").await;
}
