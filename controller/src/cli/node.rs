//! `bessemer node`.

use std::io;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    arguments::{Pair, object},
    client::Client,
    logs::Logs,
    output::{Output, line},
    verbs::{Change, Rescue, Stepped, Steps, Wait},
    wait,
};
use crate::node::Verb;

const COLUMNS: &[&str] = &[
    "uuid",
    "name",
    "driver",
    "power_state",
    "provision_state",
    "maintenance",
    "instance_uuid",
    "last_error",
];
/// Made of what the API puts into `driver_internal_info`.
const WAITS_FOR: &str = "waits_for";

/// `bessemer node …`
#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// Registers a machine.
    Create(Create),
    /// Changes a node's fields.
    Set(Set),
    /// Lists nodes.
    List(List),
    /// Shows a node.
    Show {
        /// UUID or name.
        node: String,
    },
    /// Says for each interface of a node's driver whether it can work.
    Validate {
        /// UUID or name.
        node: String,
    },
    /// Tries the node's BMC and takes the node under management.
    Manage(Change),
    /// Makes a managed node available for deploys.
    Provide(Change),
    /// Takes a node's deployment down; the node becomes available again.
    Undeploy(Change),
    /// Deploys a node again with what it has.
    Rebuild(Change),
    /// Looks at a managed node's hardware.
    Inspect(Change),
    /// Takes over a machine that already runs its system.
    Adopt(Change),
    /// Runs clean steps on a managed node.
    Clean(Stepped),
    /// Runs service steps on a node that is in use.
    Service(Stepped),
    /// Boots a node that is in use into a rescue system.
    Rescue(Rescue),
    /// Boots a rescued node into its own system.
    Unrescue(Change),
    /// Stops what is under way.
    Abort(Change),
    /// Lets a node go on that a step holds.
    Unhold(Change),
    /// Waits until nothing is under way for a node, and says what it waits for.
    Wait(Wait),
    /// Turns a node on or off.
    Power(Power),
    /// Forgets nodes.
    Delete {
        /// UUIDs or names.
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Shows what the deploy ramdisk logged.
    Logs(Logs),
    /// Shows which states a node went through, and why it failed.
    History {
        /// UUID or name.
        node: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Name, unique.
    #[arg(long)]
    name: Option<String>,
    /// UUID; made up when absent.
    #[arg(long)]
    uuid: Option<String>,
    /// Hardware type.
    #[arg(long, default_value = "redfish")]
    driver: String,
    /// How to reach the BMC, such as redfish_address=https://192.0.2.1. Several times.
    #[arg(long, value_name = "KEY=VALUE")]
    driver_info: Vec<Pair>,
    /// Property, such as capabilities=boot_mode:uefi. Several times.
    #[arg(long, value_name = "KEY=VALUE")]
    property: Vec<Pair>,
    /// Whatever else is worth noting. Several times.
    #[arg(long, value_name = "KEY=VALUE")]
    extra: Vec<Pair>,
    /// Resource class.
    #[arg(long)]
    resource_class: Option<String>,
    /// Description.
    #[arg(long)]
    description: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// UUID or name.
    node: String,
    /// New name.
    #[arg(long)]
    name: Option<String>,
    /// How to reach the BMC. Several times.
    #[arg(long, value_name = "KEY=VALUE")]
    driver_info: Vec<Pair>,
    /// Property. Several times.
    #[arg(long, value_name = "KEY=VALUE")]
    property: Vec<Pair>,
    /// What is to be deployed. Several times.
    #[arg(long, value_name = "KEY=VALUE")]
    instance_info: Vec<Pair>,
    /// Whatever else is worth noting. Several times.
    #[arg(long, value_name = "KEY=VALUE")]
    extra: Vec<Pair>,
    /// Resource class.
    #[arg(long)]
    resource_class: Option<String>,
    /// Description.
    #[arg(long)]
    description: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only in this provision state.
    #[arg(long)]
    provision_state: Option<String>,
    /// Only of this resource class.
    #[arg(long)]
    resource_class: Option<String>,
    /// Only in (true) or out of (false) maintenance.
    #[arg(long)]
    maintenance: Option<bool>,
}

#[derive(Debug, Args)]
pub(super) struct Power {
    /// What to do.
    action: PowerAction,
    /// UUID or name.
    node: String,
    /// Asks the operating system instead of cutting the power.
    #[arg(long)]
    soft: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PowerAction {
    On,
    Off,
    Reboot,
}

// === impl NodeCommand ===

impl NodeCommand {
    /// Runs it.
    pub(super) async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => output.object(&client.post(&["nodes"], &create.body()).await?)?,
            Self::Set(set) => output.object(&client.patch(&["nodes", &set.node], &set.patch()?).await?)?,
            Self::List(list) => list.run(client, output).await?,
            Self::Show { node } => output.object(&client.get(&["nodes", &node], &[]).await?)?,
            Self::Validate { node } => validate(client, output, &node).await?,
            Self::Manage(change) => change.run(client, output, Verb::Manage).await?,
            Self::Provide(change) => change.run(client, output, Verb::Provide).await?,
            Self::Undeploy(change) => change.run(client, output, Verb::Undeploy).await?,
            Self::Rebuild(change) => change.run(client, output, Verb::Rebuild).await?,
            Self::Inspect(change) => change.run(client, output, Verb::Inspect).await?,
            Self::Adopt(change) => change.run(client, output, Verb::Adopt).await?,
            Self::Unrescue(change) => change.run(client, output, Verb::Unrescue).await?,
            Self::Abort(change) => change.run(client, output, Verb::Abort).await?,
            Self::Unhold(change) => change.run(client, output, Verb::Unhold).await?,
            Self::Clean(stepped) => stepped.run(client, output, Steps::Clean).await?,
            Self::Service(stepped) => stepped.run(client, output, Steps::Service).await?,
            Self::Rescue(rescue) => rescue.run(client, output).await?,
            Self::Wait(wait) => wait.run(client, output).await?,
            Self::Power(power) => power.run(client, output).await?,
            Self::Delete { nodes } => {
                for node in nodes {
                    client.delete(&["nodes", &node]).await?;
                    output.done(&format!("node {node} is deleted"), &json!({"deleted": node}))?;
                }
            }
            Self::Logs(logs) => logs.run(client, output).await?,
            Self::History { node } => {
                let answer = client.get(&["nodes", &node, "history"], &[]).await?;
                let rows = answer["history"].as_array().cloned().unwrap_or_default();
                output.rows(&["created_at", "severity", "event"], &rows)?;
            }
        }
        Ok(())
    }
}

impl Create {
    fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("driver".into(), self.driver.clone().into());
        let texts = [
            ("name", &self.name),
            ("uuid", &self.uuid),
            ("resource_class", &self.resource_class),
            ("description", &self.description),
        ];
        for (field, text) in texts {
            if let Some(text) = text {
                body.insert(field.into(), text.clone().into());
            }
        }
        body.insert("driver_info".into(), object(&self.driver_info).into());
        body.insert("properties".into(), object(&self.property).into());
        body.insert("extra".into(), object(&self.extra).into());
        body.into()
    }
}

impl Set {
    fn patch(&self) -> anyhow::Result<Value> {
        let texts = [
            ("name", &self.name),
            ("resource_class", &self.resource_class),
            ("description", &self.description),
        ];
        let mut operations: Vec<Value> = texts
            .iter()
            .filter_map(|(field, text)| {
                text.as_ref().map(|text| add(&format!("/{field}"), text.clone().into()))
            })
            .collect();
        let dictionaries = [
            ("driver_info", &self.driver_info),
            ("properties", &self.property),
            ("instance_info", &self.instance_info),
            ("extra", &self.extra),
        ];
        for (field, pairs) in dictionaries {
            operations.extend(pairs.iter().map(|pair| add(&member(field, &pair.key), pair.value.clone())));
        }
        if operations.is_empty() {
            anyhow::bail!("nothing to change: give at least one option, see `bessemer node set --help`");
        }
        Ok(operations.into())
    }
}

impl List {
    async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let mut query = vec![("fields", [COLUMNS, &["driver_internal_info"]].concat().join(","))];
        query.extend(self.provision_state.map(|state| ("provision_state", state)));
        query.extend(self.resource_class.map(|class| ("resource_class", class)));
        query.extend(self.maintenance.map(|maintenance| ("maintenance", maintenance.to_string())));
        let mut rows = client.list("nodes", query).await?;
        for row in &mut rows {
            row[WAITS_FOR] = wait::reason(row).into();
        }
        output.rows(&[COLUMNS, &[WAITS_FOR]].concat(), &rows)?;
        Ok(())
    }
}

impl Power {
    async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let target = match (self.action, self.soft) {
            (PowerAction::On, _) => "power on",
            (PowerAction::Off, false) => "power off",
            (PowerAction::Off, true) => "soft power off",
            (PowerAction::Reboot, false) => "rebooting",
            (PowerAction::Reboot, true) => "soft rebooting",
        };
        client.put(&["nodes", &self.node, "states", "power"], &json!({"target": target})).await?;
        let sentence = format!("node {}: {target} asked of its BMC", self.node);
        output.done(&sentence, &json!({"node": self.node, "target_power_state": target}))?;
        Ok(())
    }
}

async fn validate(client: &Client, output: &Output, node: &str) -> anyhow::Result<()> {
    let answer = client.get(&["nodes", node, "validate"], &[]).await?;
    let rows: Vec<Value> = answer
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, said)| json!({"interface": name, "result": said["result"], "reason": said["reason"]}))
        .collect();
    output.rows(&["interface", "result", "reason"], &rows)?;
    Ok(())
}

// === patches ===

/// An operation that sets.
pub(super) fn add(path: &str, value: Value) -> Value {
    json!({"op": "add", "path": path, "value": value})
}

/// Path of a dictionary's member.
pub(super) fn member(field: &str, key: &str) -> String {
    format!("/{field}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// A line for people.
pub(super) fn say(text: &str) -> io::Result<()> {
    line(&super::output::printable(text))
}
