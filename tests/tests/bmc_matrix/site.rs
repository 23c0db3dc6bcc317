//! One controller, a lab of hollow machines, and deploys.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bessemer_tests::{
    harness::{Api, Controller, HollowAgent},
    lab::{Certificate, Lab, Machine, MachineDefinition, bmc::Profile, hollow, image_server::ImageServer},
};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use crate::{
    cases::{Arm, Case},
    table::Row,
};

/// No deploy may take longer, whatever its BMC does.
pub(crate) const BOUND: Duration = Duration::from_secs(100);
const CONFIGURATION: &str = "[conductor]\ncheck_provision_state_interval = 1\nautomated_clean = false\n\
                             deploy_callback_timeout = 20\npower_state_change_timeout = 8\nrestart_grace = 1\n\
                             bmc_retry_timeout = 15\n";

/// What the deploys of a test share.
pub(crate) struct Site {
    images: ImageServer,
    lab: Lab,
    controller: Controller,
    digest: String,
    _agents: Vec<HollowAgent>,
}

/// The machine of a case. Its BMC speaks TLS where the case is about that, and always with an iLO.
fn machine(case: &Case) -> MachineDefinition {
    let mut machine = MachineDefinition::hollow(case.name());
    machine.bmc.profile = Profile::named(case.profile).unwrap();
    machine.bmc.tls = case.driver == "ilo" || matches!(case.arm, Arm::ExpiredCertificate { .. });
    if matches!(case.arm, Arm::ExpiredCertificate { .. }) {
        machine.bmc.certificate = Certificate::Expired;
    }
    machine
}

impl Site {
    /// With a machine for each case.
    pub(crate) async fn start(folder: &Path, cases: &[Case]) -> Self {
        let iso = folder.join("deploy.iso");
        std::fs::write(&iso, hollow::deploy_iso().unwrap()).unwrap();
        let mut image = vec![0x5a; 1 << 16];
        image[510..512].copy_from_slice(&[0x55, 0xaa]);
        std::fs::write(folder.join("disk.raw"), &image).unwrap();
        let images = ImageServer::start(folder, ([127, 0, 0, 1], 0).into()).await.unwrap();
        let lab = Lab::start(folder, cases.iter().map(machine).collect()).await.unwrap();
        let agents = lab.machines().iter().map(HollowAgent::start).collect();
        let controller = Controller::start_for_hollow(folder, &iso, CONFIGURATION).await.unwrap();
        Self { images, lab, controller, digest: hex::encode(Sha256::digest(&image)), _agents: agents }
    }

    /// Enrols the machine of a case, arms its fault and deploys it.
    pub(crate) async fn deploy(&self, case: &Case) -> Row {
        let (api, machine) = (self.controller.api(), self.lab.machine(&case.name()));
        // Something else is installed: without the override that would start.
        machine.guest().write_disk(&boot_sector()).unwrap();
        let body = self.body(case, machine);
        let node = api.call(Method::POST, "/v1/nodes", Some(body)).await.unwrap();
        let node = node["uuid"].as_str().unwrap().to_owned();
        let began = Instant::now();
        let (mut state, mut last_error) = (String::new(), String::new());
        for (target, wanted) in [("manage", "manageable"), ("provide", "available"), ("active", "active")] {
            if target == "active" {
                case.arm.at(machine);
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
        let status = machine.status();
        let done = state == "active" && status.on && status.cd.is_none() && status.starts >= 2;
        let calls = machine.faults().calls();
        Row {
            case: case.clone(),
            result: if done { "deployed".to_owned() } else { state },
            seconds: began.elapsed().as_secs_f64(),
            calls: calls.len(),
            resets: calls.iter().filter(|call| call.path.contains("ComputerSystem.Reset")).count(),
            last_error,
        }
    }

    fn body(&self, case: &Case, machine: &Machine) -> Value {
        let credentials = machine.credentials();
        let (user, password) = (&credentials.user, credentials.password.reveal());
        let url = machine.bmc_url();
        let verify = match case.arm {
            Arm::ExpiredCertificate { trusted: true } => {
                let file = machine.folder().join("certificate.pem");
                std::fs::write(&file, machine.bmc_certificate().unwrap()).unwrap();
                json!(file)
            }
            Arm::ExpiredCertificate { trusted: false } => json!(true),
            _ => json!(false),
        };
        let info = if case.driver == "ilo" {
            let port = url.port().unwrap();
            json!({
                "ilo_address": "127.0.0.1", "client_port": port, "ilo_username": user, "ilo_password": password,
                "ilo_verify_ca": verify,
            })
        } else {
            json!({
                "redfish_address": url, "redfish_username": user, "redfish_password": password,
                "redfish_verify_ca": verify,
            })
        };
        json!({
            "name": case.name(), "driver": case.driver, "driver_info": info,
            "instance_info": {
                "image_source": self.images.url("disk.raw"),
                "image_os_hash_algo": "sha256",
                "image_os_hash_value": self.digest,
            },
        })
    }
}

/// Waits until a node rests: where it should, or failed.
async fn rest(api: &Api, node: &str, wanted: &str, began: Instant) -> (String, String) {
    loop {
        let body = api.node(node).await.unwrap();
        let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let state = text("provision_state");
        let rests = body["target_provision_state"].is_null() && (state == "error" || state == "enroll");
        if rests || state.ends_with("failed") || state == wanted {
            return (state, text("last_error"));
        }
        if began.elapsed() > BOUND {
            return (format!("late: {state}"), text("last_error"));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

fn boot_sector() -> Vec<u8> {
    let mut sector = vec![0; 512];
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}
