//! Since which microversion there is each field, filter and path: walked from 1.1 to 1.115 and compared with what a
//! real Ironic 39.0.0 answered.

use std::collections::BTreeMap;

use super::*;

type Since = BTreeMap<String, u16>;
type Gate = BTreeMap<String, (u16, Option<u16>)>;

const NODE: &str = "11111111-1111-4111-8111-111111111111";
const PORT: &str = "eeeeeeee-0001-4000-8000-000000000001";
const PORTGROUP: &str = "dddddddd-0001-4000-8000-000000000001";
const CHASSIS: &str = "cccccccc-0001-4000-8000-000000000001";

fn recorded<T: serde::de::DeserializeOwned>(what: &str) -> T {
    let mut all: Value = serde_json::from_str(include_str!("recorded/versions.json")).unwrap();
    serde_json::from_value(all[what].take()).unwrap()
}

async fn filled() -> Controller {
    let controller = Controller::start().await;
    for (path, body) in [
        (
            "/v1/nodes",
            json!({"driver": "redfish", "uuid": NODE, "name": "n",
                "driver_info": {"redfish_address": "http://127.0.0.1:1"}}),
        ),
        ("/v1/ports", json!({"uuid": PORT, "node_uuid": NODE, "address": "52:54:00:00:00:01"})),
        ("/v1/portgroups", json!({"uuid": PORTGROUP, "node_uuid": NODE})),
        ("/v1/chassis", json!({"uuid": CHASSIS})),
    ] {
        let answer = controller.send(Method::POST, path, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{path}: {answer:?}");
    }
    controller
}

#[tokio::test]
async fn every_field_is_shown_from_its_version_on() {
    let controller = filled().await;
    for (what, path) in [
        ("node", format!("/v1/nodes/{NODE}")),
        ("port", format!("/v1/ports/{PORT}")),
        ("portgroup", format!("/v1/portgroups/{PORTGROUP}")),
        ("chassis", format!("/v1/chassis/{CHASSIS}")),
        ("driver", "/v1/drivers/redfish".to_owned()),
        ("conductor", "/v1/conductors/localhost.localdomain".to_owned()),
        ("v1", "/v1".to_owned()),
    ] {
        let fields: Since = recorded(what);
        let first = *fields.values().min().unwrap();
        for minor in first..=115 {
            let version = format!("1.{minor}");
            let answer = controller.send_at(&version, Method::GET, &path, Value::Null).await;
            assert_eq!(answer.status, StatusCode::OK, "{what} at {version}: {answer:?}");
            for (field, since) in &fields {
                assert_eq!(
                    answer.body.get(field).is_some(),
                    minor >= *since,
                    "{what}.{field} at {version}, in Ironic since 1.{since}"
                );
            }
            // The root lists more than this recording has.
            let known = fields.values().filter(|since| minor >= **since).count();
            let shown = answer.body.as_object().unwrap().len();
            assert!(what == "v1" || shown == known, "{what} at {version}: {shown} fields, {known} recorded");
        }
    }
}

#[tokio::test]
async fn every_filter_and_path_is_there_from_its_version_on() {
    let controller = filled().await;
    let filters: Gate = recorded("filters");
    let endpoints: Gate = recorded("endpoints");
    let filters = filters.into_iter().map(|(filter, gate)| (format!("/v1/{filter}"), gate));
    let endpoints = endpoints.into_iter().map(|(path, gate)| (path.replace('N', NODE), gate));
    for (path, (since, before)) in filters.chain(endpoints) {
        let at = |minor: u16| {
            let (controller, version, path) = (&controller, format!("1.{minor}"), path.clone());
            async move { controller.send_at(&version, Method::GET, &path, Value::Null).await }
        };
        let answer = at(since).await;
        assert_eq!(answer.status, StatusCode::OK, "{path} at 1.{since}: {}", answer.body);
        assert_eq!(at(115).await.status, StatusCode::OK, "{path} at 1.115");
        if let Some(before) = before {
            let answer = at(since - 1).await;
            assert_eq!(answer.status.as_u16(), before, "{path} at 1.{}: {}", since - 1, answer.body);
        }
    }
}
