//! Root documents, versions, error bodies, limits: replayed from recorded traffic of Ironic.

use super::*;

#[tokio::test]
async fn every_answer_has_versions_and_a_request_id() {
    let controller = Controller::start().await;
    for path in ["/", "/v1", "/v1/nodes", "/v1/nosuch", "/v1/nodes/no-such-node"] {
        let answer = controller.get(path).await;
        assert_eq!(answer.header("X-OpenStack-Ironic-API-Minimum-Version"), "1.1", "{path}");
        assert_eq!(answer.header("X-OpenStack-Ironic-API-Maximum-Version"), "1.115", "{path}");
        assert_eq!(answer.header("X-OpenStack-Ironic-API-Version"), "1.115", "{path}");
        assert!(answer.header("openstack-request-id").starts_with("req-"), "{path}");
        assert_eq!(answer.header("openstack-request-id"), answer.header("x-openstack-request-id"));
    }
}

#[tokio::test]
async fn root_documents_tell_the_range_of_versions() {
    let controller = Controller::start().await;
    let root = controller.get("/").await.body;
    assert_eq!(root["default_version"]["id"], "v1");
    assert_eq!(root["versions"][0]["min_version"], "1.1");
    assert_eq!(root["versions"][0]["version"], "1.115");
    let v1 = controller.get("/v1/").await.body;
    assert_eq!(
        v1["version"],
        json!({
            "id": "v1", "links": [{"href": "http://127.0.0.1:6384/v1/", "rel": "self"}], "status": "CURRENT",
            "min_version": "1.1", "version": "1.115",
        })
    );
    assert_eq!(
        v1["nodes"],
        json!([
            {"href": "http://127.0.0.1:6384/v1/nodes/", "rel": "self"},
            {"href": "http://127.0.0.1:6384/nodes/", "rel": "bookmark"},
        ])
    );
    let old = controller.send_at("1.1", Method::GET, "/v1", Value::Null).await.body;
    assert!(old.get("conductors").is_none() && v1.get("conductors").is_some());
}

#[tokio::test]
async fn an_unknown_version_is_406_with_the_range_to_negotiate() {
    let controller = Controller::start().await;
    let answer = controller.send_at("1.999", Method::GET, "/v1/nodes", Value::Null).await;
    assert_eq!(answer.status, StatusCode::NOT_ACCEPTABLE);
    assert_eq!(answer.header("X-OpenStack-Ironic-API-Maximum-Version"), "1.115");
    assert_eq!(
        answer.body["error_message"].as_str().map(|text| serde_json::from_str::<Value>(text).unwrap()),
        Some(json!({
            "code": 406, "title": "Not Acceptable",
            "description": "Version 1.999 was requested but the minor version is not supported by this service. \
                            The supported version range is: [1.1, 1.115].",
        }))
    );
}

#[tokio::test]
async fn endpoints_newer_than_asked_do_not_exist() {
    let controller = Controller::start().await;
    controller.node("n", ProvisionState::Enroll).await;
    for (version, path, status) in [
        ("1.48", "/v1/conductors", 404),
        ("1.49", "/v1/conductors", 200),
        ("1.77", "/v1/nodes/n/history", 404),
        ("1.78", "/v1/nodes/n/history", 200),
        ("1.4", "/v1/nodes/n", 404),
        ("1.5", "/v1/nodes/n", 200),
    ] {
        let answer = controller.send_at(version, Method::GET, path, Value::Null).await;
        assert_eq!(answer.status.as_u16(), status, "{version} {path}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_have_ironics_body() {
    let controller = Controller::start().await;
    let answer = controller.get("/v1/nosuch").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(
        answer.body["error_message"].as_str().map(|text| serde_json::from_str::<Value>(text).unwrap()),
        Some(json!({"code": 404, "title": "Not Found", "description": ""}))
    );
    let answer = controller.send(Method::PUT, "/v1/nodes", Value::Null).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(answer.body["error_message"].is_string());
}

#[tokio::test]
async fn paths_work_without_v1_and_with_a_slash_at_the_end() {
    let controller = Controller::start().await;
    controller.node("n", ProvisionState::Enroll).await;
    for path in ["/nodes", "/v1/nodes/", "/nodes/n/", "/nodes/?limit=1&fields=uuid", "/v1/"] {
        assert_eq!(controller.get(path).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn bodies_are_bounded() {
    let controller = Controller::start().await;
    let large = json!({"driver": "redfish", "extra": {"x": "y".repeat(1024 * 1024)}});
    let answer = controller.send(Method::POST, "/v1/nodes", large).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let mut deep = json!(1);
    for _ in 0..30 {
        deep = json!({"a": deep});
    }
    let answer =
        controller.send(Method::POST, "/v1/nodes", json!({"driver": "redfish", "extra": deep})).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let request = Request::post("/v1/nodes").body(Body::from("{\"driver\":")).unwrap();
    assert_eq!(controller.raw(request).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_body_that_never_ends_meets_the_deadline() {
    let mut controller = Controller::start().await;
    controller.state.config.request_timeout = 1;
    let body = Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let answer = controller.raw(Request::post("/v1/nodes").body(body).unwrap()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.fault().contains("longer than 1 s"), "{}", answer.fault());
}

#[tokio::test]
async fn links_follow_the_host_unless_it_is_nonsense() {
    let mut controller = Controller::start().await;
    // Without authentication unknown names are refused before.
    controller.state.config.auth_strategy = crate::api::AuthStrategy::HttpBasic;
    for (host, wanted) in [
        ("api.example:80", "http://api.example:80/v1/"),
        ("user@evil", "http://127.0.0.1:6385/v1/"),
        ("a b/<script>", "http://127.0.0.1:6385/v1/"),
    ] {
        let request = Request::get("/v1").header("Host", host).body(Body::empty()).unwrap();
        assert_eq!(controller.raw(request).await.body["links"][0]["href"], wanted, "{host}");
    }
}

#[tokio::test]
async fn drivers_and_conductors() {
    let controller = Controller::start().await;
    let listed = controller.get("/v1/drivers").await.body;
    assert_eq!(listed["drivers"][0]["name"], "fake-hardware");
    assert!(listed["drivers"].as_array().unwrap().iter().any(|driver| driver["name"] == "redfish"));
    assert_eq!(listed["drivers"][0]["hosts"], json!(["localhost.localdomain"]));
    let shown = controller.get("/v1/drivers/redfish").await.body;
    // name, hosts, links, properties, type and two for each of 13 kinds of interfaces.
    assert_eq!(shown.as_object().unwrap().len(), 5 + 2 * 13);
    assert_eq!(shown["default_boot_interface"], "redfish-virtual-media");
    let properties = controller.get("/v1/drivers/redfish/properties").await.body;
    assert!(properties["redfish_address"].is_string());
    assert_eq!(controller.get("/v1/drivers/nope").await.status, StatusCode::NOT_FOUND);
    let conductors = controller.get("/v1/conductors").await.body;
    let conductor = conductors["conductors"][0].as_object().unwrap();
    assert_eq!(conductor.keys().collect::<Vec<_>>(), ["alive", "conductor_group", "hostname", "links"]);
    let conductor = controller.get("/v1/conductors/localhost.localdomain").await.body;
    assert_eq!(conductor["drivers"], json!(["fake-hardware", "ilo", "ipmi", "manual-management", "redfish"]));
}

#[test]
fn an_open_api_must_be_asked_for() {
    let config = |listen: &str, allow| Config {
        listen: listen.parse().unwrap(),
        allow_unauthenticated: allow,
        ..Config::default()
    };
    assert_eq!(Config::default().check(), Ok(()));
    assert_eq!(config("[::1]:6385", false).check(), Ok(()));
    assert_eq!(config("0.0.0.0:6385", true).check(), Ok(()));
    for open in ["0.0.0.0:6385", "[::]:6385", "192.0.2.1:6385", "[::ffff:192.0.2.1]:6385"] {
        let sentence = config(open, false).check().unwrap_err().to_string();
        assert!(sentence.contains("api.allow_unauthenticated = true"), "{sentence}");
    }
}
