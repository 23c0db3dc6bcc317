//! The description of the API that the controller serves is right: schemathesis asks all that it allows and more.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{fmt::Write as _, path::Path, time::Duration};

use bessemer_tests::{
    counterparts::script::run_program_in,
    harness::{Api, Controller},
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(250);
const VERSION: (&str, &str) = ("X-OpenStack-Ironic-API-Version", "1.115");
const CHECKS: &str =
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

fn uuid(kind: u8) -> String {
    format!("11111111-1111-4111-8111-1111111111{kind:02}")
}

/// One of each resource: where they are made, how the paths of the description call them, what they are made of.
fn resources() -> Vec<(&'static str, &'static str, Value)> {
    let node = uuid(1);
    let step = |order: &str| json!([{ "interface": "bios", "step": "factory_reset", "args": {}, order: 1 }]);
    let actions = json!([{ "op": "set-attribute", "args": ["/extra/seen", "yes"] }]);
    vec![
        ("nodes", "node", json!({ "driver": "fake-hardware", "name": "one", "resource_class": "gold" })),
        ("ports", "port", json!({ "node_uuid": node, "address": "52:54:00:00:00:01" })),
        ("portgroups", "portgroup", json!({ "node_uuid": node, "name": "bond" })),
        ("chassis", "chassis", json!({ "description": "rack" })),
        ("allocations", "allocation", json!({ "name": "wanted", "resource_class": "nothing" })),
        ("deploy_templates", "template", json!({ "name": "CUSTOM_ONE", "steps": step("priority") })),
        ("runbooks", "runbook", json!({ "name": "CUSTOM_ONE", "steps": step("order") })),
        ("inspection_rules", "rule", json!({ "actions": actions, "conditions": [] })),
    ]
}

/// Makes them, and writes a configuration by which schemathesis asks for them.
async fn prepare(api: &Api, file: &Path) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut text =
        "[parameters]\n\"path.driver\" = \"fake-hardware\"\n\"path.trait\" = \"CUSTOM_A\"\n".to_owned();
    for (number, (path, name, mut body)) in (1..).zip(resources()) {
        body["uuid"] = uuid(number).into();
        let request = client.post(format!("{}/v1/{path}", api.base())).header(VERSION.0, VERSION.1);
        request.json(&body).send().await.unwrap().error_for_status().unwrap();
        writeln!(text, "\"path.{name}\" = \"{}\"", uuid(number)).unwrap();
    }
    let conductors = api.get("/v1/conductors").await.unwrap();
    writeln!(text, "\"path.hostname\" = {}", conductors["conductors"][0]["hostname"]).unwrap();
    std::fs::write(file, text).unwrap();
}

async fn run(folder: &Path, api: &Api, configuration: Option<&Path>, more: &[&str]) {
    let description = format!("{}/v1/openapi.json", api.base());
    let mut arguments: Vec<&str> =
        configuration.iter().flat_map(|file| ["--config-file", file.to_str().unwrap()]).collect();
    arguments.extend(["run", &description, "--checks", CHECKS, "--phases", "examples,coverage,fuzzing"]);
    arguments.extend(["--seed", "1", "--no-color", "--generation-database", "none"]);
    let version = format!("{}: {}", VERSION.0, VERSION.1);
    arguments.extend(["--header", &version]);
    arguments.extend(more);
    let answer = run_program_in(folder, "schemathesis", &arguments, &[], LIMIT).await.unwrap();
    assert!(answer.success(), "{answer}");
}

#[tokio::test]
async fn answers_are_as_described() {
    let folder = tempfile::tempdir().unwrap();
    let deploy_iso = folder.path().join("deploy.iso");
    std::fs::write(&deploy_iso, [0; 2048]).unwrap();
    let extra = "[api]\nenable_ramdisk_endpoints = true\n";
    let controller = Controller::start(folder.path(), &deploy_iso, extra).await.unwrap();
    let (api, file) = (controller.api(), folder.path().join("schemathesis.toml"));
    prepare(&api, &file).await;
    // What is there, first without removing it; then whatever names come to schemathesis' mind.
    run(folder.path(), &api, Some(&file), &["--max-examples", "10", "--exclude-method", "DELETE"]).await;
    run(folder.path(), &api, Some(&file), &["--max-examples", "2", "--include-method", "DELETE"]).await;
    run(folder.path(), &api, None, &["--max-examples", "3", "--include-method", "GET"]).await;
}
