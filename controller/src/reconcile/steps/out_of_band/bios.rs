//! `bios.apply_configuration`, `bios.factory_reset`.

use async_trait::async_trait;
use serde_json::Value;

use super::{At, Started, Task, lacks};
use crate::{
    bmc::{BiosSettings, BmcError, Changed, Job, Outcome},
    node::{Dictionary, Node},
    reconcile::error::Failure,
};

/// Asks for values, restarts the machine, and looks whether they are in force.
pub(super) struct Apply;
/// Asks for the manufacturer's values.
pub(super) struct Reset;

const CHANGE: &str = "change the settings of its firmware";

#[async_trait]
impl Task for Apply {
    async fn start(&self, _node: &mut Node, at: &At<'_>) -> Result<Started, Failure> {
        let bios = at.bmc.bios.as_ref().ok_or_else(|| lacks(CHANGE))?;
        let wanted = wanted(at.args)?;
        let changed = bios.apply(&wanted).await?;
        started(&**bios, changed, &wanted).await
    }

    async fn look(&self, at: &At<'_>, _job: Option<&Job>) -> Result<Outcome, BmcError> {
        let Some(bios) = &at.bmc.bios else { return Ok(Outcome::Failed(CHANGE.to_owned())) };
        bios.outcome(&wanted(at.args).unwrap_or_default()).await
    }
}

#[async_trait]
impl Task for Reset {
    async fn start(&self, _node: &mut Node, at: &At<'_>) -> Result<Started, Failure> {
        let bios = at.bmc.bios.as_ref().ok_or_else(|| lacks(CHANGE))?;
        let changed = bios.reset().await?;
        started(&**bios, changed, &[]).await
    }

    async fn look(&self, at: &At<'_>, _job: Option<&Job>) -> Result<Outcome, BmcError> {
        let Some(bios) = &at.bmc.bios else { return Ok(Outcome::Failed(CHANGE.to_owned())) };
        bios.outcome(&[]).await
    }
}

/// What was asked for before, by us or by others, is in force only after a restart.
async fn started(
    bios: &dyn BiosSettings,
    changed: Changed,
    wanted: &[(String, Value)],
) -> Result<Started, Failure> {
    if changed == Changed::Already && bios.outcome(wanted).await? == Outcome::Done {
        return Ok(Started::Done);
    }
    Ok(Started::Running { job: None, restart: true })
}

/// `settings`: a list of objects with `name` and `value`.
fn wanted(args: &Dictionary) -> Result<Vec<(String, Value)>, Failure> {
    let settings = args.get("settings").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let wanted: Option<Vec<_>> = settings
        .iter()
        .map(|setting| {
            let value = setting.get("value").filter(|value| !value.is_object() && !value.is_array())?;
            Some((setting.get("name")?.as_str()?.to_owned(), value.clone()))
        })
        .collect();
    wanted.filter(|wanted| !wanted.is_empty()).ok_or_else(|| {
        Failure::Node("settings must be a list of objects, each with a name and a value".to_owned())
    })
}
