//! A node as the API shows it.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::{State, links::Context, mask::masked};
use crate::{
    agents::LiveProgress,
    drivers,
    node::{Node, ProvisionState},
};

/// Longest log message that is shown with a node.
const MAX_LOG_CHARACTERS: usize = 500;

/// What a node's agent does right now, from memory.
#[derive(Debug, Default)]
pub(super) struct Live {
    step_progress: Option<Value>,
    last_log: Option<String>,
}

/// A time as Ironic writes it.
pub(super) fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, false)
}

/// A node's own fields under their API names, secrets in clear: what patches apply to.
pub(super) fn document(node: &Node) -> Map<String, Value> {
    let mut document = match serde_json::to_value(node) {
        Ok(Value::Object(document)) => document,
        // A struct of JSON values always is an object.
        _ => Map::new(),
    };
    for internal in ["interfaces", "wait_reason", "wait_until", "version"] {
        document.remove(internal);
    }
    for kind in drivers::KINDS {
        let name = node.interfaces.get(kind).cloned();
        document.insert(format!("{kind}_interface"), name.into());
    }
    document
}

impl Live {
    /// Looks up what the node's agent reported last. Nothing while no agent works for it.
    pub(super) async fn of(state: &State, node: &Node) -> Self {
        if !node.provision_state.is_moving() {
            return Self::default();
        }
        let step_progress = match state.fleet.progress(node.uuid) {
            Some(live) => Some(step_progress(state, node, &live).await),
            None => None,
        };
        let last_log = state.fleet.last_log(node.uuid);
        Self { step_progress, last_log: last_log.map(|text| text.chars().take(MAX_LOG_CHARACTERS).collect()) }
    }

    fn overlay(&self, node: &Node, info: &mut Map<String, Value>) {
        if let Some(reason) = &node.wait_reason {
            info.insert("wait_reason".into(), reason.clone().into());
        }
        if let Some(until) = node.wait_until {
            info.insert("wait_until".into(), timestamp(until).into());
        }
        if let Some(progress) = &self.step_progress {
            info.insert("step_progress".into(), progress.clone());
        }
        if let Some(log) = &self.last_log {
            info.insert("last_log".into(), log.clone().into());
        }
    }
}

async fn step_progress(state: &State, node: &Node, live: &LiveProgress) -> Value {
    let name = match live.progress.step_id.parse() {
        Ok(id) => state.store.step(id).await.ok().map(|step| step.name),
        Err(_) => None,
    };
    let name = name.map_or_else(|| node.deploy_step.get("step").cloned().unwrap_or_default(), Value::from);
    progress_of(&name, live)
}

fn progress_of(name: &Value, live: &LiveProgress) -> Value {
    let progress = &live.progress;
    let left = progress.bytes_total.checked_sub(progress.bytes_done).filter(|_| progress.bytes_total > 0);
    let eta_seconds = left.and_then(|left| left.checked_div(progress.bytes_per_second));
    json!({
        "step": name,
        "stage": progress.stage,
        "bytes_done": progress.bytes_done,
        "bytes_total": progress.bytes_total,
        "bytes_per_second": progress.bytes_per_second,
        "eta_seconds": eta_seconds,
        "updated_at": timestamp(live.at),
    })
}

/// The asked fields of a node, and its links.
pub(super) fn view(state: &State, context: &Context, node: &Node, live: &Live, fields: &[&str]) -> Value {
    let shown = Shown { state, context, node, live };
    let mut rest = None;
    let mut value_of = |name: &str| {
        shown.value(name).unwrap_or_else(|| {
            // Not for each node of a long list: it is a copy of all that the node has.
            rest.get_or_insert_with(|| document(node)).remove(name).unwrap_or_default()
        })
    };
    let mut all: Map<String, Value> =
        fields.iter().copied().chain(["links"]).map(|name| (name.to_owned(), value_of(name))).collect();
    context.viewer.redact(node, &mut all);
    all.into()
}

/// A node, and all that its answer depends on.
struct Shown<'a> {
    state: &'a State,
    context: &'a Context,
    node: &'a Node,
    live: &'a Live,
}

impl Shown<'_> {
    /// A field that is shown otherwise than it is stored, or that most lists have. `None`: as stored.
    fn value(&self, name: &str) -> Option<Value> {
        let node = self.node;
        let time = |time: Option<DateTime<Utc>>| time.map(timestamp).into();
        Some(match name {
            "uuid" => node.uuid.to_string().into(),
            "name" => node.name.clone().into(),
            "instance_uuid" => node.instance_uuid.clone().into(),
            "maintenance" => node.maintenance.into(),
            "resource_class" => node.resource_class.clone().into(),
            "power_state" => node.power_state.map(|power| json!(power)).into(),
            // Before 1.2 a node without an instance had no state.
            "provision_state"
                if node.provision_state == ProvisionState::Available && !self.context.version.has(2) =>
            {
                Value::Null
            }
            "provision_state" => node.provision_state.as_str().into(),
            "created_at" => time(Some(node.created_at)),
            "updated_at" => time(node.updated_at),
            "provision_updated_at" => time(node.provision_updated_at),
            "inspection_finished_at" => time(node.inspection_finished_at),
            "inspection_started_at" => time(node.inspection_started_at),
            "driver_info" => masked(&node.driver_info).into(),
            "instance_info" => masked(&node.instance_info).into(),
            "driver_internal_info" => {
                let mut internal = masked(&node.driver_internal_info);
                self.live.overlay(node, &mut internal);
                internal.into()
            }
            "conductor" => self.state.hostname.clone().into(),
            "ports" | "states" | "portgroups" | "volume" => {
                self.context.links(&format!("nodes/{}/{name}", node.uuid))
            }
            "links" => self.context.links(&format!("nodes/{}", node.uuid)),
            _ => return None,
        })
    }
}

/// Those of `all` that were asked for, and the links.
pub(super) fn pick(mut all: Map<String, Value>, fields: &[&str]) -> Value {
    all.retain(|name, _| name == "links" || fields.contains(&name.as_str()));
    // A field the table has and the resource does not is null, so that every answer has all of them.
    for name in fields {
        all.entry(*name).or_insert(Value::Null);
    }
    all.into()
}

#[cfg(test)]
mod tests {
    use bessemer_proto::v1::StepProgress;

    use super::*;

    fn shown(bytes_done: u64, bytes_total: u64, bytes_per_second: u64) -> Value {
        let progress = StepProgress {
            step_id: String::new(),
            stage: "writing".into(),
            bytes_done,
            bytes_total,
            bytes_per_second,
        };
        progress_of(&"write_image".into(), &LiveProgress { progress, at: DateTime::UNIX_EPOCH })
    }

    #[test]
    fn progress_tells_the_time_that_is_left_when_it_is_known() {
        let progress = shown(1000, 5000, 500);
        assert_eq!(
            progress,
            json!({
                "step": "write_image", "stage": "writing", "bytes_done": 1000, "bytes_total": 5000,
                "bytes_per_second": 500, "eta_seconds": 8, "updated_at": "1970-01-01T00:00:00.000000+00:00",
            })
        );
        // An agent may say anything.
        for (done, total, rate) in [(0, 0, 0), (1000, 0, 500), (1000, 5000, 0), (u64::MAX, 1, 1)] {
            assert_eq!(shown(done, total, rate)["eta_seconds"], Value::Null, "{done} {total} {rate}");
        }
    }

    #[test]
    fn a_waiting_node_says_for_what_and_until_when() {
        let mut node = Node::new("redfish");
        node.wait_reason = Some("for the agent".into());
        node.wait_until = Some(DateTime::UNIX_EPOCH);
        let live = Live { step_progress: None, last_log: Some("hello".into()) };
        let mut info = Map::new();
        live.overlay(&node, &mut info);
        assert_eq!(
            Value::Object(info),
            json!({
                "wait_reason": "for the agent", "wait_until": "1970-01-01T00:00:00.000000+00:00",
                "last_log": "hello",
            })
        );
    }
}
