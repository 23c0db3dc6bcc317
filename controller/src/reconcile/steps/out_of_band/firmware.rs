//! `firmware.update`: one component after the other.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;
use tracing::warn;
use url::Url;

use super::{At, Started, Task, lacks};
use crate::{
    bmc::{BmcError, FirmwareUpdate, Job, Outcome},
    node::{Dictionary, Node},
    reconcile::error::Failure,
};

pub(super) struct Update;

/// Versions by component.
type Versions = BTreeMap<String, String>;

/// One of `settings`.
struct Wanted<'a> {
    component: &'a str,
    url: Url,
}

#[async_trait]
impl Task for Update {
    /// The versions before: they tell what an image was for, and whether an update was made that nobody watched.
    async fn prepare(&self, _node: &Node, at: &At<'_>) -> Result<Value, Failure> {
        wanted(at.args)?;
        Ok(serde_json::to_value(versions(at).await.unwrap_or_else(|error| {
            warn!(%error, "the versions of the firmware cannot be read");
            Versions::new()
        }))?)
    }

    async fn start(&self, _node: &mut Node, at: &At<'_>) -> Result<Started, Failure> {
        let all = wanted(at.args)?;
        let update = at.bmc.firmware_update.as_ref().ok_or_else(|| lacks("update firmware"))?;
        let Some(wanted) = all.get(at.part) else { return Ok(Started::Done) };
        if at.resumed {
            return resumed(&**update, at, wanted.component).await;
        }
        Ok(match update.update(wanted.component, &wanted.url).await? {
            None => Started::Done,
            job => Started::Running { job, restart: false },
        })
    }

    async fn look(&self, at: &At<'_>, job: Option<&Job>) -> Result<Outcome, BmcError> {
        let (Some(update), Some(job)) = (&at.bmc.firmware_update, job) else {
            return Ok(Outcome::Failed("the BMC does not know the update any more".to_owned()));
        };
        let outcome = update.progress(job).await?;
        if outcome != Outcome::Done {
            return Ok(outcome);
        }
        let now = match versions(at).await {
            Err(error) if error.passing() => return Err(error),
            versions => versions.unwrap_or_default(),
        };
        let all = wanted(at.args).unwrap_or_default();
        let wrong = all.get(at.part).and_then(|wanted| of_another(wanted.component, &before(at), &now));
        Ok(wrong.map_or(Outcome::Done, Outcome::Failed))
    }

    /// The BMC's own firmware needs no start of the machine.
    fn may_restart(&self, at: &At<'_>) -> bool {
        wanted(at.args).is_ok_and(|all| all.get(at.part).is_some_and(|wanted| wanted.component != "bmc"))
    }

    fn parts(&self, args: &Dictionary) -> usize {
        args.get("settings").and_then(Value::as_array).map_or(0, Vec::len)
    }
}

/// Firmware that is written twice at a time may cost the machine: what may be under way is not asked for again.
async fn resumed(update: &dyn FirmwareUpdate, at: &At<'_>, component: &str) -> Result<Started, Failure> {
    let pause = at.cx.config.out_of_band_interval();
    let look = || async { Ok::<_, BmcError>((update.under_way().await?, versions(at).await?)) };
    let mut looked = look().await;
    while looked.as_ref().is_err_and(BmcError::passing) {
        tokio::time::sleep(pause).await;
        looked = look().await;
    }
    let (job, now) = looked?;
    if job.is_some() {
        return Ok(Started::Running { job, restart: false });
    }
    let before = before(at);
    if before.contains_key(component)
        && now.contains_key(component)
        && before.get(component) != now.get(component)
    {
        return Ok(Started::Done);
    }
    Err(Failure::Node(format!(
        "the controller was restarted while it asked for the update of {component}, which may be under way: look at the \
         BMC, then run the step again"
    )))
}

async fn versions(at: &At<'_>) -> Result<Versions, BmcError> {
    let Some(firmware) = &at.bmc.firmware else { return Ok(Versions::new()) };
    let known = firmware.components().await?.into_iter();
    Ok(known.filter_map(|one| Some((one.component, one.current_version?))).collect())
}

fn before(at: &At<'_>) -> Versions {
    serde_json::from_value(at.plan.clone()).unwrap_or_default()
}

/// An image that changed something else than the component it was given for.
fn of_another(component: &str, before: &Versions, now: &Versions) -> Option<String> {
    let changed =
        |name: &str| Some((before.get(name)?, now.get(name)?)).filter(|(before, now)| before != now);
    if !before.contains_key(component) || changed(component).is_some() {
        return None;
    }
    let (other, (old, new)) = before.keys().find_map(|name| Some((name, changed(name)?)))?;
    Some(format!(
        "the image for {component} was one for {other}, which it changed from version {old} to {new}"
    ))
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
