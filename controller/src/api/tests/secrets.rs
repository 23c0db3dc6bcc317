//! No secret is in any answer, in the log, in `Debug` or in the database file.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing_subscriber::filter::LevelFilter;

use super::*;
use crate::{
    api::access::ROUTES,
    node::{
        deploy_template::DeployTemplate,
        inspection_rule::InspectionRule,
        plan::{GivenStep, PlannedStep, Shape},
        runbook::Runbook,
        volume::VolumeTarget,
    },
};

/// Part of every secret of these tests.
const MARK: &str = "s3cr3t-m4rk";
/// Part of what is stored as a hash of a secret only, and is not shown either.
const HASH: &str = "h4sh-m4rk";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

fn secret(of: &str) -> String {
    format!("{MARK}-{of}")
}

/// Arguments of a step, as firmware settings and passwords come in them.
fn arguments() -> Value {
    json!({
        "password": secret("argument"),
        "settings": [{"name": "AdminPassword", "value": secret("setting")}, {"name": "Boot", "value": "Uefi"}],
    })
}

async fn made(controller: &Controller, path: &str, body: Value) -> String {
    let answer = controller.send(Method::POST, &format!("/v1/{path}"), body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{path}: {answer:?}");
    assert!(!answer.body.to_string().contains(MARK), "the answer to POST {path}: {}", answer.body);
    answer.body["uuid"].as_str().unwrap().to_owned()
}

/// A node with a secret in every place that takes one.
async fn node_with_secrets(controller: &Controller, driver: &str, name: &str) -> Node {
    let driver_info = json!({
        "redfish_address": "http://127.0.0.1:1", "redfish_username": "admin",
        "redfish_password": secret("bmc"), "ipmi_password": secret("ipmi"),
        "snmp_community": secret("community"), "snmp_auth_key": secret("snmp"),
        "nested": {"agent_token": secret("nested")},
    });
    let instance_info = json!({
        "image_source": format!("https://u:{0}@host/i.raw?temp_url_sig={0}", secret("url")),
        "image_request_authorization_secret": secret("image"),
        "configdrive": {"user_data": secret("drive")},
        "rescue_password": secret("rescue"), "hashed_rescue_password": secret("hash"),
    });
    made(
        controller,
        "nodes",
        json!({"driver": driver, "name": name, "driver_info": driver_info, "instance_info": instance_info}),
    )
    .await;
    let mut node = controller.state.store.node(name).await.unwrap();
    let step = json!({"interface": "bios", "step": "apply_configuration", "args": arguments()});
    for (key, value) in [
        ("agent_secret_token", json!(format!("{HASH}-agent"))),
        ("deploy_steps", json!([step])),
        ("clean_steps", json!([step])),
        ("service_steps", json!([step])),
    ] {
        node.driver_internal_info.insert(key.to_owned(), value);
    }
    controller.state.store.update_node(&mut node, None).await.unwrap();
    node
}

/// Everything that can hold a secret; what stands in paths for each parameter.
async fn furnish(controller: &Controller) -> Vec<(&'static str, String)> {
    let uuid = node_with_secrets(controller, "fake-hardware", "n").await.uuid;
    node_with_secrets(controller, "redfish", "r").await;
    let steps = |place: &str| json!([{"interface": "bios", "step": "apply_configuration", "args": arguments(), place: 1}]);
    let target = json!({
        "volume_type": "iscsi", "volume_id": "v", "boot_index": 0, "node_uuid": uuid,
        "properties": {"auth_username": "u", "auth_password": secret("chap"), "target_portal": "192.0.2.1:3260"},
    });
    let rule = json!({
        "sensitive": true,
        "conditions": [{"op": "eq", "args": {"values": ["{inventory.cpu.count}", secret("condition")]}}],
        "actions": [{"op": "set-attribute", "args": {"path": "/driver_info/redfish_password", "value": secret("rule")}}],
    });
    let port = json!({"address": "52:54:00:00:00:01", "node_uuid": uuid});
    let connector = json!({"type": "iqn", "connector_id": "iqn.x", "node_uuid": uuid});
    vec![
        ("port", made(controller, "ports", port).await),
        ("portgroup", made(controller, "portgroups", json!({"name": "g", "node_uuid": uuid})).await),
        ("connector", made(controller, "volume/connectors", connector).await),
        ("target", made(controller, "volume/targets", target).await),
        (
            "template",
            made(controller, "deploy_templates", json!({"name": "CUSTOM_T", "steps": steps("priority")}))
                .await,
        ),
        ("runbook", made(controller, "runbooks", json!({"name": "CUSTOM_R", "steps": steps("order")})).await),
        ("rule", made(controller, "inspection_rules", rule).await),
        ("chassis", made(controller, "chassis", json!({})).await),
        ("allocation", made(controller, "allocations", json!({"name": "a", "resource_class": "x"})).await),
        ("driver", "redfish".to_owned()),
        ("hostname", controller.state.hostname.clone()),
        ("indicator", "system".to_owned()),
        ("method", "first_method".to_owned()),
        ("setting", "x".to_owned()),
        ("event", "11111111-1111-4111-8111-111111111111".to_owned()),
    ]
}

async fn walk_all_routes(controller: &Controller, parameters: &[(&'static str, String)]) {
    let mut answered = 0;
    for route in ROUTES.iter().filter(|route| route.method == "GET") {
        let mut path = route.path.to_owned();
        for (name, value) in parameters {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        // Of a machine that cannot be reached, what is asked of it is of interest, and not in which form.
        let mut paths = vec![path.replace("{node}", "r")];
        for query in ["", "?detail=true", "?fields=driver_internal_info", "?fields=driver_info,instance_info"]
        {
            paths.push(format!("{}{query}", path.replace("{node}", "n")));
        }
        if path.ends_with("/nodes/validate") {
            paths = ["n", "r"].map(|node| format!("{path}?node={node}")).to_vec();
        }
        for path in paths {
            assert!(!path.contains('{'), "{path}: a parameter of a new route");
            let answer = controller.get(&path).await;
            answered += usize::from(answer.status == StatusCode::OK);
            let text = answer.body.to_string();
            assert!(!text.contains(MARK) && !text.contains(HASH), "GET {path}: {text}");
        }
    }
    assert!(answered > 100, "only {answered} requests were answered");
}

/// What is stored is stored encrypted.
async fn refuse_in_files(controller: &Controller) {
    controller.state.store.close().await;
    let mut files = 0;
    for file in std::fs::read_dir(controller._dir.path()).unwrap() {
        let path = file.unwrap().path();
        if !path.is_file() {
            continue;
        }
        files += 1;
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(MARK.len()).position(|part| part == MARK.as_bytes());
        let around =
            found.map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(200)..at + 40]).into_owned());
        assert_eq!(around, None, "{}", path.display());
    }
    assert!(files > 0);
}

#[tokio::test]
async fn no_answer_no_log_line_and_no_file_shows_a_secret() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_max_level(LevelFilter::TRACE)
        .finish();
    let _capturing = tracing::subscriber::set_default(subscriber);
    let controller = Controller::start().await;
    let parameters = furnish(&controller).await;
    walk_all_routes(&controller, &parameters).await;
    // The secrets are there, and shown as such.
    let shown = controller.get("/v1/nodes/n").await.body;
    assert_eq!(shown["driver_info"]["redfish_password"], "******");
    let args = &shown["driver_internal_info"]["clean_steps"][0]["args"];
    assert_eq!((&args["password"], &args["settings"][0]["value"]), (&json!("******"), &json!("******")));
    assert_eq!(args["settings"][1]["value"], "Uefi", "what is no secret is shown");
    let kept = controller.state.store.node("n").await.unwrap();
    assert_eq!(kept.driver_internal_info["clean_steps"][0]["args"], arguments());

    // Refusals that tell what was wrong do not tell the secret.
    for (method, path, body) in [
        (
            Method::PATCH,
            "/v1/nodes/n",
            json!([{"op": "add", "path": "/driver_info", "value": secret("text")}]),
        ),
        (
            Method::PUT,
            "/v1/nodes/n/states/provision",
            json!({"target": "rescue", "rescue_password": [secret("x")]}),
        ),
    ] {
        let answer = controller.send(method, path, body).await;
        assert!(answer.status.is_client_error(), "{answer:?}");
        assert!(!answer.body.to_string().contains(MARK), "{path}: {}", answer.body);
    }
    let log = log.text();
    assert!(log.contains("requested") || log.contains("answered"), "the log is captured");
    let line = log.lines().find(|line| line.contains(MARK));
    assert_eq!(line, None);

    refuse_in_files(&controller).await;
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let controller = Controller::start().await;
    furnish(&controller).await;
    let node = controller.state.store.node("n").await.unwrap();
    let store = &controller.state.store;
    let step =
        json!([{"interface": "bios", "step": "apply_configuration", "args": arguments(), "priority": 1}]);
    let given = GivenStep::parse_all(&step, Shape::Prioritised).unwrap();
    let planned: Vec<PlannedStep> = serde_json::from_value(step).unwrap();
    for text in [
        format!("{node:?}"),
        format!("{given:?}"),
        format!("{planned:?}"),
        format!("{:?}", store.resources::<VolumeTarget>(None).await.unwrap()[0].value),
        format!("{:?}", store.resources::<DeployTemplate>(None).await.unwrap()[0].value),
        format!("{:?}", store.resources::<Runbook>(None).await.unwrap()[0].value),
        format!("{:?}", store.resources::<InspectionRule>(None).await.unwrap()[0].value),
    ] {
        assert!(!text.contains(MARK), "{text}");
    }
}
