//! Unmodified clients of Ironic work with the controller: `baremetal`, openstacksdk, metalsmith, and what Metal3 asks.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::{path::Path, time::Duration};

use axum::{Json, Router, routing::get};
use bessemer_tests::{
    counterparts::{
        Answer,
        script::{no_credentials, run_client, run_program},
    },
    harness::Controller,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
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

#[tokio::test]
async fn openstacksdk_knows_all_resources() {
    let (_folder, controller) = controller().await;
    let settings = no_credentials(controller.api().base());
    let answer = run_client("sdk.py", &[], &settings, LONG).await.unwrap();
    succeeded(&answer, " checks");
}

/// metalsmith asks a network service for ports of the instance; there are none.
async fn no_network() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let ports = get(|| async { Json(json!({ "ports": [] })) });
    let links = json!([{ "rel": "self", "href": format!("{url}/v2.0/") }]);
    let known = json!({ "versions": [{ "id": "v2.0", "status": "CURRENT", "links": links }] });
    let versions = get(|| async { Json(known) });
    let router = Router::new().route("/", versions.clone()).route("/v2.0", versions.clone());
    let router = router.route("/v2.0/", versions).route("/v2.0/ports", ports);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn cloud(folder: &Path, baremetal: &str, network: &str) -> Vec<(String, String)> {
    let file = folder.join("clouds.yaml");
    let text = format!(
        "clouds:\n  lab:\n    auth_type: none\n    auth: {{endpoint: '{baremetal}'}}\n    \
         baremetal_endpoint_override: '{baremetal}'\n    network_endpoint_override: '{network}/v2.0'\n"
    );
    std::fs::write(&file, text).unwrap();
    vec![("OS_CLOUD".into(), "lab".into()), ("OS_CLIENT_CONFIG_FILE".into(), file.to_str().unwrap().into())]
}

#[tokio::test]
async fn metalsmith_deploys_a_node_and_takes_it_back() {
    let (folder, controller) = controller().await;
    let api = controller.api();
    let node = json!({
        "name": "smith", "driver": "fake-hardware", "resource_class": "smith",
        "properties": { "local_gb": 50, "cpu_arch": "x86_64" },
    });
    api.call(Method::POST, "/v1/nodes", Some(node)).await.unwrap();
    for (target, state) in [("manage", "manageable"), ("provide", "available")] {
        api.provision("smith", json!({ "target": target })).await.unwrap();
        api.wait_for_state("smith", state, Duration::from_secs(30)).await.unwrap();
    }
    let settings = cloud(folder.path(), api.base(), &no_network().await);
    let image = [
        "--image",
        "http://127.0.0.1:1/image.raw",
        "--image-checksum",
        "67be4210ef12e818ed319fbc57d839a5fcbf0a1bc4c2fd55cdd54dab2e77a104",
    ];
    let wanted =
        ["--format", "json", "deploy", "--resource-class", "smith", "--hostname", "web-1", "--wait", "60"];
    let deploy: Vec<&str> = wanted.into_iter().chain(image).collect();
    let answer = run_program("metalsmith", &deploy, &settings, LONG).await.unwrap();
    succeeded(&answer, "\"state\": \"active\"");
    let node = api.node("smith").await.unwrap();
    assert_eq!(
        (&node["provision_state"], &node["instance_info"]["image_source"]),
        (&json!("active"), &json!(image[1]))
    );
    let allocation = api.get("/v1/allocations/web-1").await.unwrap();
    assert_eq!((&allocation["state"], &allocation["node_uuid"]), (&json!("active"), &node["uuid"]));
    let answer =
        run_program("metalsmith", &["undeploy", "smith", "--wait", "60"], &settings, LONG).await.unwrap();
    assert!(answer.success(), "{answer}");
    let node = api.node("smith").await.unwrap();
    assert_eq!((&node["provision_state"], &node["instance_uuid"]), (&json!("available"), &Value::Null));
    assert!(api.get("/v1/allocations/web-1").await.is_err(), "the allocation went with the instance");
}

/// A request as Metal3 sends it.
async fn ask(
    controller: &Controller,
    method: Method,
    path: &str,
    version: &str,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.request(method, format!("{}{path}", controller.api().base()));
    let request = request.header("X-OpenStack-Ironic-API-Version", version);
    let request = if let Some(body) = body { request.json(&body) } else { request };
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap_or_default())
}

/// Metal3's operator refuses what is older than 1.89, takes the newest version it knows, and asks these.
#[tokio::test]
async fn what_metal3_asks_is_answered() {
    let (_folder, controller) = controller().await;
    let get = |path: &'static str, version: &'static str| ask(&controller, Method::GET, path, version, None);
    let (status, root) = get("/", "1.1").await;
    let range = |version: &Value| (version["min_version"].clone(), version["version"].clone());
    assert_eq!((status, range(&root["versions"][0])), (StatusCode::OK, (json!("1.1"), json!("1.115"))));
    let (status, v1) = get("/v1/", "1.1").await;
    assert_eq!((status, range(&v1["version"])), (StatusCode::OK, (json!("1.1"), json!("1.115"))));
    let (_, drivers) = get("/v1/drivers", "1.89").await;
    let names: Vec<_> = drivers["drivers"].as_array().unwrap().iter().map(|driver| &driver["name"]).collect();
    assert!(names.contains(&&json!("redfish")), "{names:?}");
    for version in ["1.89", "1.93", "1.95", "1.109", "1.110"] {
        let name = format!("bmh-{version}");
        let body = json!({
            "name": name, "driver": "fake-hardware", "automated_clean": false,
            "driver_info": { "redfish_password": "secret" }, "properties": { "capabilities": "boot_mode:UEFI" },
        });
        let (status, node) = ask(&controller, Method::POST, "/v1/nodes", version, Some(body)).await;
        assert_eq!((status, &node["provision_state"]), (StatusCode::CREATED, &json!("enroll")), "{node}");
        assert_eq!(node["driver_info"]["redfish_password"], "******");
        let uuid = node["uuid"].as_str().unwrap();
        let of = |part: &str| format!("/v1/nodes/{uuid}/{part}");
        let (status, bios) = ask(&controller, Method::GET, &of("bios?detail=True"), version, None).await;
        assert!(status.is_success() && bios["bios"].is_array(), "{bios}");
        let (status, firmware) = ask(&controller, Method::GET, &of("firmware"), version, None).await;
        assert!(status.is_success() && firmware["firmware"].is_array(), "{firmware}");
        let (status, _) = ask(&controller, Method::GET, &of("inventory"), version, None).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "nothing was inspected");
        let target = json!({ "target": "manage" });
        let (status, _) = ask(&controller, Method::PUT, &of("states/provision"), version, Some(target)).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        controller.api().wait_for_state(uuid, "manageable", Duration::from_secs(30)).await.unwrap();
        let image = json!({ "device_type": "cdrom", "image_url": "http://127.0.0.1:1/a.iso" });
        let (status, answer) = ask(&controller, Method::POST, &of("vmedia"), version, Some(image)).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
        let (status, _) =
            ask(&controller, Method::DELETE, &of("vmedia?device_types=cdrom"), version, None).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let (status, _) = ask(&controller, Method::GET, &of("vmedia"), version, None).await;
        assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(status == StatusCode::NOT_FOUND, version == "1.89", "1.93 brings it");
        let patch = json!([
            { "op": "replace", "path": "/instance_uuid", "value": uuid },
            { "op": "add", "path": "/instance_info/image_source", "value": "http://127.0.0.1:1/image.raw" },
            { "op": "replace", "path": "/deploy_interface", "value": "fake" },
            { "op": "add", "path": "/automated_clean", "value": true },
        ]);
        let (status, node) =
            ask(&controller, Method::PATCH, &format!("/v1/nodes/{uuid}"), version, Some(patch)).await;
        assert_eq!((status, &node["automated_clean"]), (StatusCode::OK, &json!(true)), "{node}");
        let (status, _) =
            ask(&controller, Method::PUT, &of("maintenance"), version, Some(json!({ "reason": "x" }))).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        let raid = json!({ "logical_disks": [{ "size_gb": 100, "raid_level": "1" }] });
        let (status, _) = ask(&controller, Method::PUT, &of("states/raid"), version, Some(raid)).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let (status, _) = ask(&controller, Method::DELETE, &format!("/v1/nodes/{uuid}"), version, None).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    }
}
