//! `raid.create_configuration`, `raid.apply_configuration`, `raid.delete_configuration`.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::Utc;
use serde_json::{Map, Value, json};

use super::{At, Started, Task, lacks};
use crate::{
    bmc::{BmcError, Job, Outcome, Raid},
    node::{
        Dictionary, Node,
        raid::{
            Volume, check,
            layout::{Planned, Selection, plan},
        },
    },
    reconcile::error::Failure,
};

const GIB: u64 = 1 << 30;

/// Makes volumes.
pub(super) struct Make {
    /// The configuration is an argument, not the node's `target_raid_config`.
    from_argument: bool,
}
pub(super) const CREATE: Make = Make { from_argument: false };
pub(super) const APPLY: Make = Make { from_argument: true };

/// Removes all volumes.
pub(super) struct Delete;

/// Parts of [`Make`].
const DELETING: usize = 0;

#[async_trait]
impl Task for Make {
    async fn start(&self, node: &mut Node, at: &At<'_>) -> Result<Started, Failure> {
        let raid = raid(at)?;
        let config = self.config(node, at.args)?;
        let delete_existing = flag(at.args, "delete_existing", false);
        if at.part == DELETING {
            // What cannot be made must not cost what is there.
            let planned = planned(&config, at, delete_existing).await?;
            if planned.is_empty() {
                return Err(Failure::Node(
                    "no volume is to be made: the RAID configuration asks for none".to_owned(),
                ));
            }
            return if delete_existing { delete_all(&raid).await } else { Ok(Started::Done) };
        }
        let planned = planned(&config, at, false).await?;
        let there = volumes(&raid).await?;
        let missing: Vec<_> = planned
            .into_iter()
            .map(|planned| planned.volume)
            .filter(|new| new.name.is_none() || !there.iter().any(|old| Some(&old.name) == new.name.as_ref()))
            .collect();
        let job = raid.create(&missing).await?;
        Ok(Started::Running { restart: job.is_some() && raid.needs_restart().await?, job })
    }

    async fn look(&self, at: &At<'_>, job: Option<&Job>) -> Result<Outcome, BmcError> {
        progress(at, job).await
    }

    fn parts(&self, _args: &Dictionary) -> usize {
        2
    }

    async fn end(&self, node: &mut Node, at: &At<'_>) -> Result<(), Failure> {
        let config = self.config(node, at.args)?;
        let volumes = volumes(&raid(at)?).await?;
        note(node, &volumes);
        hint_root(node, &config, &volumes);
        Ok(())
    }
}

#[async_trait]
impl Task for Delete {
    async fn start(&self, _node: &mut Node, at: &At<'_>) -> Result<Started, Failure> {
        delete_all(&raid(at)?).await
    }

    async fn look(&self, at: &At<'_>, job: Option<&Job>) -> Result<Outcome, BmcError> {
        progress(at, job).await
    }

    async fn end(&self, node: &mut Node, at: &At<'_>) -> Result<(), Failure> {
        note(node, &volumes(&raid(at)?).await?);
        Ok(())
    }
}

impl Make {
    fn config(&self, node: &Node, args: &Dictionary) -> Result<Map<String, Value>, Failure> {
        if !self.from_argument {
            if node.target_raid_config.is_empty() {
                return Err(Failure::Node(
                    "the node has no target_raid_config: set it with PUT /v1/nodes/…/states/raid".to_owned(),
                ));
            }
            return Ok(node.target_raid_config.clone());
        }
        let config = args.get("raid_config").and_then(Value::as_object).cloned().unwrap_or_default();
        check(&config).map_err(|problem| Failure::Node(format!("raid_config: {problem}")))?;
        Ok(config)
    }
}

fn flag(args: &Dictionary, name: &str, default: bool) -> bool {
    args.get(name).and_then(Value::as_bool).unwrap_or(default)
}

fn raid(at: &At<'_>) -> Result<Arc<dyn Raid>, Failure> {
    at.bmc.raid.clone().ok_or_else(|| lacks("make RAID volumes"))
}

async fn planned(config: &Map<String, Value>, at: &At<'_>, reuse: bool) -> Result<Vec<Planned>, Failure> {
    let selection = Selection {
        root: flag(at.args, "create_root_volume", true),
        others: flag(at.args, "create_nonroot_volumes", true),
    };
    let controllers = raid(at)?.controllers().await?;
    plan(config, &controllers, selection, reuse).map_err(Failure::Node)
}

async fn volumes(raid: &Arc<dyn Raid>) -> Result<Vec<Volume>, BmcError> {
    Ok(raid.controllers().await?.into_iter().flat_map(|controller| controller.volumes).collect())
}

async fn delete_all(raid: &Arc<dyn Raid>) -> Result<Started, Failure> {
    let volumes = volumes(raid).await?;
    if volumes.is_empty() {
        return Ok(Started::Done);
    }
    let job = raid.delete(&volumes).await?;
    Ok(Started::Running { restart: job.is_some() && raid.needs_restart().await?, job })
}

/// Without a job the BMC was done when it answered.
async fn progress(at: &At<'_>, job: Option<&Job>) -> Result<Outcome, BmcError> {
    match (&at.bmc.raid, job) {
        (Some(raid), Some(job)) => raid.progress(job).await,
        _ => Ok(Outcome::Done),
    }
}

/// `raid_config`: what there is now, with Ironic's names.
fn note(node: &mut Node, volumes: &[Volume]) {
    let disks: Vec<_> = volumes
        .iter()
        .map(|volume| {
            let mut disk = json!({"size_gb": volume.size / GIB, "volume_name": volume.name, "id": volume.id});
            if let Some(level) = &volume.level {
                disk["raid_level"] = json!(level);
            }
            if let Some(wwn) = &volume.wwn {
                disk["root_device_hint"] = json!({"wwn": wwn});
            }
            disk
        })
        .collect();
    node.raid_config = Map::from_iter([
        ("logical_disks".to_owned(), json!(disks)),
        ("last_updated".to_owned(), json!(Utc::now())),
    ]);
}

/// The root volume becomes the root device, when the BMC tells how to find it.
fn hint_root(node: &mut Node, config: &Map<String, Value>, volumes: &[Volume]) {
    let disks = config.get("logical_disks").and_then(Value::as_array).into_iter().flatten();
    let root = disks.clone().find(|disk| disk.get("is_root_volume") == Some(&Value::Bool(true)));
    let name = root.and_then(|root| root.get("volume_name")?.as_str());
    let found = match (name, volumes) {
        (Some(name), _) => volumes.iter().find(|volume| volume.name == name),
        // The only one is meant.
        (None, [only]) if root.is_some() => Some(only),
        _ => None,
    };
    if let Some(wwn) = found.and_then(|volume| volume.wwn.clone()) {
        node.properties.insert("root_device".to_owned(), json!({"wwn": wwn}));
    }
}
