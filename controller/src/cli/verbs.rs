//! `bessemer node manage`, `provide`, `clean`, …: what changes a node's provision state.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    client::Client,
    output::{Output, printable},
    wait::{self, Sight, Wanted},
};
use crate::node::{ProvisionState, Verb};

/// Largest file of steps that is read.
const MAX_STEPS_BYTES: u64 = 1024 * 1024;

/// Which node, and whether to wait until it is there.
#[derive(Debug, Args)]
pub(super) struct Change {
    /// UUID or name.
    node: String,
    /// Waits until it is done.
    #[arg(long)]
    wait: bool,
    /// Seconds to wait at most.
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    timeout: u64,
}

/// Steps to run, in order.
#[derive(Debug, Args)]
pub(super) struct Stepped {
    #[command(flatten)]
    change: Change,
    /// A step, such as power.reboot, bios.factory_reset or power.wait:{"seconds": 5}. Several times.
    #[arg(long = "step", value_name = "INTERFACE.STEP[:ARGS]", value_parser = step)]
    steps: Vec<Value>,
    /// JSON list of steps, or a file with it.
    #[arg(long = "steps", value_name = "JSON|FILE", conflicts_with = "steps")]
    list: Option<String>,
    /// Runbook (UUID or name) to take the steps from.
    #[arg(long, conflicts_with_all = ["steps", "list"])]
    runbook: Option<String>,
    /// Refuses steps that need an agent.
    #[arg(long)]
    disable_ramdisk: bool,
}

/// A rescue and its password.
#[derive(Debug, Args)]
pub(super) struct Rescue {
    #[command(flatten)]
    change: Change,
    /// File with the password of the rescue system.
    #[arg(long, value_name = "FILE")]
    rescue_password_file: PathBuf,
}

/// Waiting for what is under way.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// UUID or name.
    node: String,
    /// The state to wait for. Default: until nothing is under way.
    #[arg(long, value_name = "STATE")]
    state: Option<ProvisionState>,
    /// Seconds to wait at most.
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    timeout: u64,
}

/// Which steps a verb takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Steps {
    /// `clean_steps`.
    Clean,
    /// `service_steps`.
    Service,
}

// === impl ===

impl Change {
    /// Asks for a verb, and waits if that is wanted.
    pub(super) async fn run(self, client: &Client, output: &Output, verb: Verb) -> anyhow::Result<()> {
        self.run_with(client, output, verb, Map::new()).await
    }

    pub(super) async fn run_with(
        self,
        client: &Client,
        output: &Output,
        verb: Verb,
        mut body: Map<String, Value>,
    ) -> anyhow::Result<()> {
        let wanted = self.wanted(client, verb).await?;
        body.insert("target".into(), verb.as_str().into());
        client.put(&["nodes", &self.node, "states", "provision"], &body.into()).await?;
        if !self.wait {
            let (sentence, target) = match wanted {
                Wanted::State(state) => {
                    (format!("node {} is on its way to {state}", self.node), state.as_str())
                }
                Wanted::Rest => (format!("node {}: {verb} was asked for", self.node), verb.as_str()),
            };
            output.done(&sentence, &json!({"node": self.node, "target": target}))?;
            return Ok(());
        }
        let timeout = Duration::from_secs(self.timeout);
        let node = wait::until(client, &self.node, wanted, timeout, says_reasons()).await?;
        output.done(&format!("node {} is {}", self.node, text(&node["provision_state"])), &node)?;
        Ok(())
    }

    /// Where a verb ends.
    async fn wanted(&self, client: &Client, verb: Verb) -> anyhow::Result<Wanted> {
        Ok(match verb {
            Verb::Manage | Verb::Inspect | Verb::Clean => Wanted::State(ProvisionState::Manageable),
            Verb::Provide | Verb::Undeploy => Wanted::State(ProvisionState::Available),
            Verb::Deploy | Verb::Rebuild | Verb::Adopt | Verb::Unrescue | Verb::Service => {
                Wanted::State(ProvisionState::Active)
            }
            Verb::Rescue => Wanted::State(ProvisionState::Rescue),
            Verb::Abort => Wanted::Rest,
            Verb::Unhold => {
                let fields = [("fields", "target_provision_state".to_owned())];
                let node = client.get(&["nodes", &self.node], &fields).await?;
                let target = node["target_provision_state"].as_str().and_then(|state| state.parse().ok());
                target.map_or(Wanted::Rest, Wanted::State)
            }
        })
    }
}

impl Stepped {
    /// Asks for a cleaning or service.
    pub(super) async fn run(self, client: &Client, output: &Output, of: Steps) -> anyhow::Result<()> {
        let (verb, key) = match of {
            Steps::Clean => (Verb::Clean, "clean_steps"),
            Steps::Service => (Verb::Service, "service_steps"),
        };
        let mut body = Map::new();
        match (self.runbook, self.list) {
            (Some(runbook), _) => drop(body.insert("runbook".into(), runbook.into())),
            (None, Some(list)) => drop(body.insert(key.into(), steps_of(&list)?)),
            (None, None) if self.steps.is_empty() => {
                anyhow::bail!("give the steps to run: --step (several times), --steps or --runbook")
            }
            (None, None) => drop(body.insert(key.into(), self.steps.into())),
        }
        if self.disable_ramdisk {
            body.insert("disable_ramdisk".into(), true.into());
        }
        self.change.run_with(client, output, verb, body).await
    }
}

impl Rescue {
    /// Asks for the rescue system.
    pub(super) async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let path = &self.rescue_password_file;
        let password =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        let body = [("rescue_password".to_owned(), password.into())];
        self.change.run_with(client, output, Verb::Rescue, body.into_iter().collect()).await
    }
}

impl Wait {
    /// Waits, saying what for.
    pub(super) async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let wanted = self.state.map_or(Wanted::Rest, Wanted::State);
        let timeout = Duration::from_secs(self.timeout);
        let node = wait::until(client, &self.node, wanted, timeout, says_reasons()).await?;
        output.done(&format!("node {} is {}", self.node, text(&node["provision_state"])), &node)?;
        Ok(())
    }
}

/// Says on standard error what the node waits for, and once when the controller stops answering.
fn says_reasons() -> impl FnMut(Sight<'_>) -> anyhow::Result<()> {
    let (mut silent, mut said) = (false, String::new());
    move |sight| {
        match &sight {
            Sight::Silence(error) if !silent => eprintln!("bessemer: {error}; trying again"),
            Sight::Silence(_) => {}
            Sight::Node(node) => {
                let now = wait::sentence(node);
                if !now.is_empty() && now != said {
                    eprintln!("{}", printable(&now));
                    said = now;
                }
            }
        }
        silent = matches!(sight, Sight::Silence(_));
        Ok(())
    }
}

/// `interface.step`, with arguments as JSON behind a colon.
fn step(given: &str) -> Result<Value, String> {
    let (label, args) = match given.split_once(':') {
        None => (given, None),
        Some((label, args)) => (label, Some(args)),
    };
    let (interface, step) = label.split_once('.').ok_or("expected INTERFACE.STEP, such as power.reboot")?;
    let mut value = json!({"interface": interface, "step": step});
    if let Some(args) = args {
        let args: Map<String, Value> = serde_json::from_str(args)
            .map_err(|error| format!("the arguments are no JSON object: {error}"))?;
        value["args"] = args.into();
    }
    Ok(value)
}

/// A JSON list, or the file of that name with one.
fn steps_of(given: &str) -> anyhow::Result<Value> {
    if given.trim_start().starts_with('[') {
        return serde_json::from_str(given).context("--steps is not valid JSON");
    }
    let reading = || format!("reading the steps of {given}");
    anyhow::ensure!(
        std::fs::metadata(given).with_context(reading)?.len() <= MAX_STEPS_BYTES,
        "{given} is larger than {MAX_STEPS_BYTES} bytes"
    );
    let read = std::fs::read_to_string(given).with_context(reading)?;
    serde_json::from_str(&read).with_context(|| format!("{given} is not valid JSON"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("not known")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_written_short() {
        assert_eq!(step("power.reboot").unwrap(), json!({"interface": "power", "step": "reboot"}));
        let wait = step("power.wait:{\"seconds\": 5}").unwrap();
        assert_eq!(wait, json!({"interface": "power", "step": "wait", "args": {"seconds": 5}}));
        assert!(step("reboot").is_err() && step("power.wait:5").is_err());
        assert!(steps_of("[").is_err() && steps_of("/nowhere").is_err());
        assert_eq!(steps_of(" [{\"step\": \"x\"}]").unwrap(), json!([{"step": "x"}]));
    }
}
