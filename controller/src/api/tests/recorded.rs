//! Exchanges recorded from a real Ironic 39.0.0, one JSON object a line: the same requests must get the same
//! statuses, the same keys and the same values, up to ids that the server chose, times, and the wording of errors.

use std::collections::HashMap;

use chrono::DateTime;

use super::*;

/// Keys whose values say what hardware and drivers there are, or who held the lock of the request, which differs.
const LOCAL: &[&str] = &["driver_internal_info", "driver_info", "driver", "drivers", "reservation"];

/// Ids of the recording, and what they are here.
#[derive(Default)]
struct Ids(HashMap<String, String>);

impl Ids {
    /// A request's text with the ids of here.
    fn translate(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (there, here)| text.replace(there, here))
    }

    /// Whether two texts are the same up to ids; learns new ones.
    fn same(&mut self, there: &str, here: &str) -> bool {
        if there == here || self.translate(there) == here {
            return true;
        }
        let (Some(a), Some(b)) = (uuid_in(there), uuid_in(here)) else { return false };
        let others = self.0.contains_key(a);
        !others && there.replace(a, b) == here && self.0.insert(a.to_owned(), b.to_owned()).is_none()
    }
}

fn uuid_in(text: &str) -> Option<&str> {
    text.split(['/', '?', '&', '=']).find(|part| part.len() == 36 && part.parse::<uuid::Uuid>().is_ok())
}

fn is_time(text: &str) -> bool {
    DateTime::parse_from_rfc3339(text).is_ok()
}

/// What differs, as `path: recorded, got`.
fn differences(ids: &mut Ids, path: &str, there: &Value, here: &Value, found: &mut Vec<String>) {
    match (there, here) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for name in names {
                let path = format!("{path}.{name}");
                match (a.get(name), b.get(name)) {
                    (Some(_), Some(_)) if LOCAL.contains(&name.as_str()) || name.ends_with("_interface") => {}
                    (Some(a), Some(b)) => differences(ids, &path, a, b, found),
                    (a, b) => found.push(format!("{path}: {a:?}, {b:?}")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differences(ids, &format!("{path}[{index}]"), a, b, found);
            }
        }
        (Value::String(a), Value::String(b)) if ids.same(a, b) || (is_time(a) && is_time(b)) => {}
        (a, b) if a == b => {}
        (a, b) => found.push(format!("{path}: {a}, {b}")),
    }
}

async fn replay(name: &str, recording: &str) {
    let controller = Controller::start().await;
    let (mut ids, mut found) = (Ids::default(), Vec::new());
    for line in recording.lines() {
        let exchange: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| exchange[key].as_str().unwrap_or_default();
        let path = ids.translate(text("path"));
        let body = serde_json::from_str(&ids.translate(&exchange["body"].to_string())).unwrap();
        let method: Method = text("method").parse().unwrap();
        let answer = controller.send_at(text("version"), method, &path, body).await;
        let what = format!("{} {} {path} {}", text("version"), text("method"), exchange["body"]);
        if answer.status.as_u16() != exchange["status"] {
            found.push(format!("{what}: status {}, {} {}", exchange["status"], answer.status, answer.body));
            continue;
        }
        if !answer.status.is_success() {
            assert!(answer.body["error_message"].is_string(), "{what}: {}", answer.body);
            continue;
        }
        let mut differing = Vec::new();
        differences(&mut ids, "", &exchange["answer"], &answer.body, &mut differing);
        let location = answer.header("Location").strip_prefix("http://127.0.0.1:6384").unwrap_or_default();
        if !ids.same(text("location"), location) {
            differing.push(format!("Location: {}, {location}", text("location")));
        }
        if !differing.is_empty() {
            found.push(format!("{what}:\n    {}", differing.join("\n    ")));
        }
    }
    assert!(found.is_empty(), "{name}: recorded, got:\n{}", found.join("\n"));
}

macro_rules! recordings {
    ($($name:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            replay(stringify!($name), include_str!(concat!("recorded/", stringify!($name), ".jsonl"))).await;
        })*
    };
}

recordings!(chassis, deploy_templates, inspection_rules, node_parts, portgroups, runbooks, volume);
