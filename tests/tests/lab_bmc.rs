//! The emulated BMC itself: profiles, parts, actions and faults, without a virtual machine.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use bessemer_tests::lab::{
    Lab, Machine, MachineDefinition,
    bmc::{Fault, Profile, profile},
};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

struct Client {
    http: reqwest::Client,
    base: String,
    user: String,
    password: String,
}

impl Client {
    fn new(machine: &Machine) -> Self {
        let base = machine.bmc_url().as_str().trim_end_matches('/').to_owned();
        let account = machine.credentials();
        let (user, password) = (account.user.clone(), account.password.reveal().to_owned());
        rustls::crypto::ring::default_provider().install_default().ok();
        let http =
            reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build().unwrap();
        Self { http, base, user, password }
    }

    async fn try_send(&self, method: Method, path: &str, body: Option<Value>) -> reqwest::Result<Response> {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let request = request.basic_auth(&self.user, Some(&self.password));
        match body {
            Some(body) => request.json(&body).send().await,
            None => request.send().await,
        }
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> Response {
        self.try_send(method, path, Some(body)).await.unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.try_send(Method::GET, path, None).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> StatusCode {
        self.send(Method::POST, path, body).await.status()
    }
}

async fn lab(folder: &std::path::Path, profile: &str) -> Lab {
    let mut machine = MachineDefinition::hollow("m");
    machine.bmc.profile = Profile::named(profile).unwrap();
    Lab::start(folder, vec![machine]).await.unwrap()
}

fn arm(machine: &Machine, fault: &str) {
    machine.faults().arm(fault.parse::<Fault>().unwrap());
}

/// Follows every link, so none leads nowhere and none shows another path than it was asked for.
async fn walk(client: &Client, root: &str) -> usize {
    let mut seen = std::collections::BTreeSet::from([root.to_owned()]);
    let mut next = vec![root.to_owned()];
    while let Some(path) = next.pop() {
        let body = client.get(&path).await;
        let own = body["@odata.id"].as_str().unwrap_or_default();
        assert_eq!(own.trim_end_matches('/'), path.trim_end_matches('/'));
        links(&body, &mut |link| {
            let link = link.split('#').next().unwrap();
            if seen.insert(link.to_owned()) {
                next.push(link.to_owned());
            }
        });
    }
    seen.len()
}

fn links(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| links(one, found)),
        Value::Object(object) => {
            for (key, one) in object {
                match one {
                    Value::String(link) if key == "@odata.id" => found(link),
                    _ => links(one, found),
                }
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn every_link_of_every_profile_leads_somewhere() {
    for (name, _) in profile::KNOWN {
        if Profile::named(name).unwrap().ribcl.no_redfish {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let lab = lab(folder.path(), name).await;
        let machine = lab.machine("m");
        let client = Client::new(machine);
        let count = walk(&client, "/redfish/v1/").await;
        assert!(count > 20, "{name}: only {count} resources");
        let system = client.get(machine.system_path()).await;
        assert_eq!(system["UUID"], json!(machine.definition().uuid), "{name}");
    }
}

#[tokio::test]
async fn bios_settings_come_into_force_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let lab = lab(folder.path(), "standard").await;
    let client = Client::new(lab.machine("m"));
    let (bios, settings) = ("/redfish/v1/Systems/1/Bios", "/redfish/v1/Systems/1/Bios/Settings");
    let change = json!({ "Attributes": { "Sriov": "Disabled", "BootMode": "LegacyBios" } });
    assert_eq!(client.send(Method::PATCH, settings, change).await.status(), 204);
    let wrong = json!({ "Attributes": { "Sriov": "Perhaps" } });
    assert_eq!(client.send(Method::PATCH, settings, wrong).await.status(), 400);
    assert_eq!(client.get(bios).await["Attributes"]["Sriov"], "Enabled");
    let reset = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
    assert_eq!(client.post(reset, json!({ "ResetType": "On" })).await, 204);
    assert_eq!(client.get(bios).await["Attributes"]["Sriov"], "Disabled");
    assert_eq!(client.get(settings).await["Attributes"], json!({}));
    assert_eq!(client.get("/redfish/v1/Systems/1").await["Boot"]["BootSourceOverrideMode"], "Legacy");
    assert_eq!(client.post(&format!("{bios}/Actions/Bios.ResetBios"), json!({})).await, 204);
    assert_eq!(client.post(reset, json!({ "ResetType": "ForceRestart" })).await, 204);
    assert_eq!(client.get(bios).await["Attributes"]["Sriov"], "Enabled");
}

#[tokio::test]
async fn keys_volumes_clock_and_password_can_be_changed() {
    let folder = tempfile::tempdir().unwrap();
    let lab = lab(folder.path(), "standard").await;
    let mut client = Client::new(lab.machine("m"));
    let keys = "/redfish/v1/Systems/1/SecureBoot/Actions/SecureBoot.ResetKeys";
    assert_eq!(client.post(keys, json!({ "ResetKeysType": "DeleteAllKeys" })).await, 204);
    let reset = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
    assert_eq!(client.post(reset, json!({ "ResetType": "On" })).await, 204);
    assert_eq!(client.get("/redfish/v1/Systems/1/SecureBoot").await["SecureBootMode"], "SetupMode");

    let volumes = "/redfish/v1/Systems/1/Storage/1/Volumes";
    let drive = json!({ "@odata.id": "/redfish/v1/Chassis/1/Drives/0" });
    let wanted = json!({ "RAIDType": "RAID0", "Links": { "Drives": [drive] } });
    let made = client.send(Method::POST, volumes, wanted).await;
    assert_eq!(made.status(), 201);
    let place = made.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(client.get(&place).await["CapacityBytes"], json!(4_u64 << 30));
    let mirror = json!({ "RAIDType": "RAID1", "Links": { "Drives": [drive] } });
    assert_eq!(client.post(volumes, mirror).await, 400, "a mirror of one drive");
    assert_eq!(client.try_send(Method::DELETE, &place, None).await.unwrap().status(), 204);
    assert_eq!(client.get(volumes).await["Members@odata.count"], 0);

    lab.machine("m").faults().clock_is_off_by(-10 * 365 * 86_400);
    let manager = "/redfish/v1/Managers/1";
    let answer = client.try_send(Method::GET, manager, None).await.unwrap();
    assert!(!answer.headers()["date"].to_str().unwrap().contains("2026"));
    let now = json!({ "DateTime": chrono::Utc::now().to_rfc3339() });
    assert_eq!(client.send(Method::PATCH, manager, now).await.status(), 204);
    let shown = client.get(manager).await["DateTime"].as_str().unwrap().to_owned();
    let shown = chrono::DateTime::parse_from_rfc3339(&shown).unwrap().to_utc();
    assert!((chrono::Utc::now() - shown).num_seconds().abs() < 60);

    let account = "/redfish/v1/AccountService/Accounts/1";
    let change = json!({ "Password": "another-one" });
    assert_eq!(client.send(Method::PATCH, account, change).await.status(), 204);
    assert_eq!(client.try_send(Method::GET, account, None).await.unwrap().status(), 401);
    client.password = "another-one".into();
    client.get(account).await;
}

#[tokio::test]
async fn firmware_is_really_fetched_and_a_missing_image_fails_its_task() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bmc-2.5.bin"), vec![1; 100_000]).unwrap();
    let images =
        bessemer_tests::lab::image_server::ImageServer::start(folder.path(), ([127, 0, 0, 1], 0).into());
    let images = images.await.unwrap();
    let lab = lab(folder.path(), "standard").await;
    let client = Client::new(lab.machine("m"));
    let update = "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate";
    for (file, last) in [("bmc-2.5.bin", 204), ("none.bin", 400)] {
        let accepted = client.send(Method::POST, update, json!({ "ImageURI": images.url(file) })).await;
        assert_eq!(accepted.status(), 202);
        let monitor = accepted.headers()["location"].to_str().unwrap().to_owned();
        let status = loop {
            let status = client.try_send(Method::GET, &monitor, None).await.unwrap().status();
            if status != 202 {
                break status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!(status, last, "{file}");
    }
    let bmc = client.get("/redfish/v1/UpdateService/FirmwareInventory/BMC").await;
    assert_eq!(bmc["Version"], "2.5");
}

#[tokio::test]
async fn faults_break_connections_bodies_and_types() {
    let folder = tempfile::tempdir().unwrap();
    let lab = lab(folder.path(), "standard").await;
    let machine = lab.machine("m");
    let client = Client::new(machine);
    let (system, reset) = ("/redfish/v1/Systems/1", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset");
    for (fault, starts) in [("reset-before", 0), ("reset-after", 1)] {
        arm(machine, &format!("POST:Reset:1:{fault}"));
        let body = Some(json!({ "ResetType": "On" }));
        assert!(client.try_send(Method::POST, reset, body).await.is_err(), "{fault}");
        assert_eq!(machine.status().starts, starts, "{fault}");
    }
    arm(machine, "POST:Reset:1:pretend");
    assert_eq!(client.post(reset, json!({ "ResetType": "ForceOff" })).await, 204);
    assert!(machine.status().on, "said, not done");
    arm(machine, "GET:Systems/1:1:cut-off");
    let text = client.try_send(Method::GET, system, None).await.unwrap().text().await.unwrap();
    assert!(text.starts_with('{') && serde_json::from_str::<Value>(&text).is_err());
    arm(machine, "GET:Systems/1:1:wrong-types");
    assert_eq!(client.get(system).await["PowerState"], 7);
    arm(machine, "GET:Systems/1:1:trickle=1");
    assert_eq!(client.get(system).await["PowerState"], "On");
    arm(machine, "POST:Reset:1:failing-task");
    let accepted = client.send(Method::POST, reset, json!({ "ResetType": "ForceOff" })).await;
    let monitor = accepted.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(client.try_send(Method::GET, &monitor, None).await.unwrap().status(), 400);
    let task = client.get(&monitor.replace("TaskMonitors", "Tasks")).await;
    assert_eq!(task["TaskState"], "Exception");
    assert_eq!(machine.faults().calls().iter().filter(|call| call.status.is_none()).count(), 2);
}

#[tokio::test]
async fn a_bmc_that_restarts_refuses_connections_and_forgets_media() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.iso"), vec![0; 70_000]).unwrap();
    let images =
        bessemer_tests::lab::image_server::ImageServer::start(folder.path(), ([127, 0, 0, 1], 0).into());
    let images = images.await.unwrap();
    let lab = lab(folder.path(), "standard").await;
    let machine = lab.machine("m");
    let client = Client::new(machine);
    let insert = "/redfish/v1/Systems/1/VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia";
    assert_eq!(client.post(insert, json!({ "Image": images.url("a.iso") })).await, 204);
    assert!(machine.status().cd.is_some());
    machine.faults().restart_bmc(Duration::from_millis(300)).await;
    assert!(client.try_send(Method::GET, "/redfish/v1/", None).await.is_err());
    let mut tries = 0;
    while client.try_send(Method::GET, "/redfish/v1/", None).await.is_err() {
        tries += 1;
        assert!(tries < 200, "it does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(machine.status().cd.is_none());
}

#[tokio::test]
async fn wrong_passwords_lock_the_account() {
    let folder = tempfile::tempdir().unwrap();
    let lab = lab(folder.path(), "idrac9").await;
    let machine = lab.machine("m");
    let mut client = Client::new(machine);
    let right = std::mem::replace(&mut client.password, "wrong".into());
    for _ in 0..3 {
        assert_eq!(client.try_send(Method::GET, machine.system_path(), None).await.unwrap().status(), 401);
    }
    client.password = right;
    let locked = client.try_send(Method::GET, machine.system_path(), None).await.unwrap();
    assert_eq!(locked.status(), 401, "locked even for the right one");
    machine.faults().lock_account(Duration::ZERO);
    client.get(machine.system_path()).await;
}

#[tokio::test]
async fn the_profiles_rules_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let lab = lab(folder.path(), "megarac").await;
    let machine = lab.machine("m");
    let client = Client::new(machine);
    assert_eq!(machine.system_path(), "/redfish/v1/Systems/Self");
    let boot = json!({ "Boot": { "BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Cd" } });
    let path = "/redfish/v1/Systems/Self";
    assert_eq!(client.send(Method::PATCH, path, boot.clone()).await.status(), 428, "no If-Match");
    let any = |path: &str, body: &Value| {
        let request = client.http.patch(format!("{}{path}", client.base)).json(body);
        request.basic_auth(&client.user, Some(&client.password)).header("If-Match", "*").send()
    };
    assert_eq!(any(path, &boot).await.unwrap().status(), 400, "elsewhere");
    let elsewhere = "/redfish/v1/Systems/Self/SD";
    assert_eq!(any(elsewhere, &boot).await.unwrap().status(), 400, "no mode");
    let mut all = boot;
    all["Boot"]["BootSourceOverrideMode"] = "UEFI".into();
    assert_eq!(any(elsewhere, &all).await.unwrap().status(), 204);
    assert_eq!(client.get(path).await["Boot"]["BootSourceOverrideTarget"], "Cd");
    assert_eq!(client.try_send(Method::GET, "/redfish/v1/Systems/1", None).await.unwrap().status(), 404);
}

/// Sends one RIBCL command and answers the text of all documents.
async fn ribcl(client: &Client, tag: &str, command: &str) -> String {
    let body = format!(
        "<RIBCL VERSION=\"2.0\"><LOGIN USER_LOGIN=\"{}\" PASSWORD=\"{}\"><{tag} MODE=\"write\">{command}</{tag}></LOGIN></RIBCL>",
        client.user, client.password
    );
    let answer = client.http.post(format!("{}/ribcl", client.base)).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap()
}

#[tokio::test]
async fn ribcl_drives_the_same_machine() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.iso"), vec![0; 70_000]).unwrap();
    let images =
        bessemer_tests::lab::image_server::ImageServer::start(folder.path(), ([127, 0, 0, 1], 0).into());
    let images = images.await.unwrap();
    let lab = lab(folder.path(), "ilo4-gen8").await;
    let machine = lab.machine("m");
    let mut client = Client::new(machine);
    assert_eq!(client.try_send(Method::GET, "/redfish/v1/", None).await.unwrap().status(), 404);
    let data = client.try_send(Method::GET, "/xmldata?item=all", None).await.unwrap().text().await.unwrap();
    assert!(data.contains("<SPN>ProLiant DL380p Gen8</SPN>"), "{data}");
    let answer = ribcl(&client, "SERVER_INFO", "<GET_HOST_POWER_STATUS/>").await;
    assert!(answer.matches("<?xml").count() > 2 && answer.contains("HOST_POWER=\"OFF\""), "{answer}");
    let insert = format!("<INSERT_VIRTUAL_MEDIA DEVICE=\"CDROM\" IMAGE_URL=\"{}\"/>", images.url("a.iso"));
    ribcl(&client, "RIB_INFO", &insert).await;
    assert!(machine.status().cd.is_none(), "told, not connected");
    let connect = "<SET_VM_STATUS DEVICE=\"CDROM\"><VM_BOOT_OPTION VALUE=\"BOOT_ONCE\"/></SET_VM_STATUS>";
    ribcl(&client, "RIB_INFO", connect).await;
    assert_eq!(machine.status().cd.unwrap().image, images.url("a.iso"));
    let once = ribcl(&client, "SERVER_INFO", "<GET_ONE_TIME_BOOT/>").await;
    assert!(once.contains("BOOT_TYPE VALUE=\"CDROM\""), "{once}");
    let mut boots = machine.boots();
    ribcl(&client, "SERVER_INFO", "<SET_HOST_POWER HOST_POWER=\"Yes\"/>").await;
    let booted = boots.recv().await.unwrap().source;
    assert_eq!(booted, bessemer_tests::lab::BootSource::Cd(images.url("a.iso")));
    let mode = ribcl(&client, "SERVER_INFO", "<GET_CURRENT_BOOT_MODE/>").await;
    assert!(mode.contains("Feature not supported"), "{mode}");
    client.password = "wrong".into();
    let refused = ribcl(&client, "SERVER_INFO", "<GET_PRODUCT_NAME/>").await;
    assert!(refused.contains("STATUS=\"0x005F\"") && !refused.contains("Gen8"), "{refused}");
}

#[tokio::test]
async fn a_bmc_that_works_by_tasks_tells_the_end_by_its_monitor() {
    let folder = tempfile::tempdir().unwrap();
    let lab = lab(folder.path(), "slow-tasks").await;
    let machine = lab.machine("m");
    let client = Client::new(machine);
    let reset = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
    for (kind, last) in [("On", 204), ("Sideways", 400)] {
        let accepted = client.send(Method::POST, reset, json!({ "ResetType": kind })).await;
        assert_eq!(accepted.status(), 202, "{kind}");
        let monitor = accepted.headers()["location"].to_str().unwrap().to_owned();
        let mut looks = Vec::new();
        for _ in 0..3 {
            looks.push(client.try_send(Method::GET, &monitor, None).await.unwrap().status().as_u16());
        }
        assert_eq!(looks, [202, 202, last], "{kind}");
    }
    assert!(machine.status().on);
}
