//! `firmware.update`: one component after the other.

use async_trait::async_trait;
use serde_json::Value;
use url::Url;

use super::{At, Started, Task, lacks};
use crate::{
    bmc::{BmcError, Job, Outcome},
    node::{Dictionary, Node},
    reconcile::error::Failure,
};

pub(super) struct Update;

/// One of `settings`.
struct Wanted<'a> {
    component: &'a str,
    url: Url,
}

#[async_trait]
impl Task for Update {
    async fn start(&self, _node: &mut Node, at: &At<'_>) -> Result<Started, Failure> {
        let all = wanted(at.args)?;
        let update = at.bmc.firmware_update.as_ref().ok_or_else(|| lacks("update firmware"))?;
        let Some(wanted) = all.get(at.part) else { return Ok(Started::Done) };
        Ok(match update.update(wanted.component, &wanted.url).await? {
            None => Started::Done,
            job => Started::Running { job, restart: false },
        })
    }

    async fn look(&self, at: &At<'_>, job: Option<&Job>) -> Result<Outcome, BmcError> {
        match (&at.bmc.firmware_update, job) {
            (Some(update), Some(job)) => update.progress(job).await,
            _ => Ok(Outcome::Failed("the BMC does not know the update any more".to_owned())),
        }
    }

    /// The BMC's own firmware needs no start of the machine.
    fn may_restart(&self, at: &At<'_>) -> bool {
        wanted(at.args).is_ok_and(|all| all.get(at.part).is_some_and(|wanted| wanted.component != "bmc"))
    }

    fn parts(&self, args: &Dictionary) -> usize {
        args.get("settings").and_then(Value::as_array).map_or(0, Vec::len)
    }
}

/// `settings`: a list of objects with `component` and `url`.
fn wanted(args: &Dictionary) -> Result<Vec<Wanted<'_>>, Failure> {
    let settings = args.get("settings").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let problem = |problem: String| Failure::Node(format!("settings: {problem}"));
    let mut all = Vec::new();
    for setting in settings {
        let text = |key: &str| setting.get(key).and_then(Value::as_str);
        let component = text("component").ok_or_else(|| problem("each must have a component".to_owned()))?;
        let known = matches!(component, "bios" | "bmc")
            || component.strip_prefix("nic:").is_some_and(|id| !id.is_empty());
        if !known || component.len() > 128 {
            return Err(problem("a component is bios, bmc or nic: with an id".to_owned()));
        }
        let url = text("url").and_then(|url| Url::parse(url).ok());
        let url =
            url.filter(|url| matches!(url.scheme(), "http" | "https" | "ftp" | "tftp" | "nfs" | "cifs"));
        let url = url
            .ok_or_else(|| problem(format!("the url of {component} must be a URL that the BMC can fetch")))?;
        all.push(Wanted { component, url });
    }
    if all.is_empty() { Err(problem("there are none".to_owned())) } else { Ok(all) }
}
