//! `raid.create_configuration`, `raid.apply_configuration`, `raid.delete_configuration`. What is to be done is worked out
//! and kept first; it is done when the BMC shows it, whatever became of its jobs.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tracing::warn;

use super::{At, Started, Task, lacks, volumes};
use crate::{
    bmc::{BmcError, Job, Outcome, Raid},
    node::{
        Dictionary, Node,
        raid::{
            StorageController, Volume, check,
            existing::{Made, made},
            layout::{Planned, Selection, plan},
        },
    },
    reconcile::error::Failure,
};

/// Makes volumes.
pub(super) struct Make {
    /// The configuration is an argument, not the node's `target_raid_config`.
    from_argument: bool,
}
pub(super) const CREATE: Make = Make { from_argument: false };
pub(super) const APPLY: Make = Make { from_argument: true };

/// Removes all volumes.
pub(super) struct Delete;

/// First of the two parts of [`Make`].
const DELETING: usize = 0;

/// What is to go.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Doomed {
    controllers: Vec<String>,
    volumes: Vec<Volume>,
}

/// What is to come.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Making {
    planned: Vec<Planned>,
    /// Volumes that were there before.
    before: BTreeSet<String>,
}

#[async_trait]
impl Task for Make {
    async fn prepare(&self, node: &Node, at: &At<'_>) -> Result<Value, Failure> {
        let raid = raid(at)?;
        let config = self.config(node, at.args)?;
        let selection = Selection {
            root: flag(at.args, "create_root_volume", true),
            others: flag(at.args, "create_nonroot_volumes", true),
        };
        let there = raid.controllers().await?;
        let plan = |there: &[StorageController]| plan(&config, there, selection).map_err(Failure::Node);
        if at.part != DELETING {
            let before = there.iter().flat_map(|controller| &controller.volumes);
            let before = before.map(|volume| volume.id.clone()).collect();
            return Ok(serde_json::to_value(Making { planned: plan(&there)?, before })?);
        }
        let deletes = flag(at.args, "delete_existing", false);
        // What cannot be made must not cost what is there.
        let left: Vec<_> = match deletes {
            true => there.iter().map(StorageController::without_arrays).collect(),
            false => there.clone(),
        };
        if plan(&left)?.is_empty() {
            return Err(Failure::Node(
                "no volume is to be made: the RAID configuration asks for none".to_owned(),
            ));
        }
        let doomed = if deletes { Doomed::all(&there) } else { Doomed::default() };
        Ok(serde_json::to_value(doomed)?)
    }

    async fn start(&self, _node: &mut Node, at: &At<'_>) -> Result<Started, Failure> {
        if at.part == DELETING { Doomed::of(at)?.delete(at).await } else { Making::of(at)?.make(at).await }
    }

    async fn look(&self, at: &At<'_>, job: Option<&Job>) -> Result<Outcome, BmcError> {
        look(at, job, at.part == DELETING).await
    }

    async fn missing(&self, at: &At<'_>) -> Option<String> {
        missing(at, at.part == DELETING).await
    }

    fn parts(&self, _args: &Dictionary) -> usize {
        2
    }

    async fn end(&self, node: &mut Node, at: &At<'_>) -> Result<(), Failure> {
        let there = raid(at)?.controllers().await?;
        let making = Making::of(at)?;
        let found = made(&making.planned, &making.before, &there);
        let root = making.planned.iter().zip(found).find(|(planned, _)| planned.is_root);
        let ours = volumes::hints(node);
        volumes::note(node, &there);
        volumes::drop_stale_hint(node, &ours, &there);
        match root {
            Some((_, root)) => hint(node, root, &making, &there, &ours),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Task for Delete {
    async fn prepare(&self, _node: &Node, at: &At<'_>) -> Result<Value, Failure> {
        let there = raid(at)?.controllers().await?;
        if there.is_empty() {
            return Err(Failure::Node(
                "the BMC shows no storage controller, so it cannot be told which volumes there are: switch the machine on, \
                 look whether it has one, and try again"
                    .to_owned(),
            ));
        }
        Ok(serde_json::to_value(Doomed::all(&there))?)
    }

    async fn start(&self, _node: &mut Node, at: &At<'_>) -> Result<Started, Failure> {
        Doomed::of(at)?.delete(at).await
    }

    async fn look(&self, at: &At<'_>, job: Option<&Job>) -> Result<Outcome, BmcError> {
        look(at, job, true).await
    }

    async fn missing(&self, at: &At<'_>) -> Option<String> {
        missing(at, true).await
    }

    async fn end(&self, node: &mut Node, at: &At<'_>) -> Result<(), Failure> {
        let there = raid(at)?.controllers().await?;
        let ours = volumes::hints(node);
        volumes::note(node, &there);
        volumes::drop_stale_hint(node, &ours, &there);
        Ok(())
    }
}

impl Doomed {
    fn all(there: &[StorageController]) -> Self {
        let of = there.iter().filter(|controller| controller.arrays().next().is_some());
        Self {
            controllers: of.map(|controller| controller.id.clone()).collect(),
            volumes: there.iter().flat_map(StorageController::arrays).cloned().collect(),
        }
    }

    fn of(at: &At<'_>) -> Result<Self, serde_json::Error> {
        serde_json::from_value(at.plan.clone())
    }

    fn left(&self, there: &[StorageController]) -> Vec<Volume> {
        let ids: BTreeSet<_> = there.iter().flat_map(|c| &c.volumes).map(|volume| &volume.id).collect();
        self.volumes.iter().filter(|volume| ids.contains(&volume.id)).cloned().collect()
    }

    /// Controllers that are not shown now, during a self-test perhaps: nothing is known of their volumes.
    fn unseen<'a>(&'a self, there: &'a [StorageController]) -> impl Iterator<Item = &'a String> {
        self.controllers.iter().filter(|id| !there.iter().any(|controller| controller.id == **id))
    }

    fn is_done(&self, there: &[StorageController]) -> bool {
        self.left(there).is_empty() && self.unseen(there).next().is_none()
    }

    async fn delete(&self, at: &At<'_>) -> Result<Started, Failure> {
        let raid = raid(at)?;
        let there = raid.controllers().await?;
        if self.is_done(&there) {
            return Ok(Started::Done);
        }
        let left = self.left(&there);
        if left.is_empty() {
            return Ok(Started::Running { job: None, restart: false });
        }
        let restart = raid.needs_restart(&self.controllers).await?;
        let job = asked(at, raid.delete(&left).await)?;
        // From here on nothing that may pass fails the step: it is asked for.
        let is_done = job.is_none() && raid.controllers().await.is_ok_and(|there| self.is_done(&there));
        Ok(if is_done { Started::Done } else { Started::Running { job, restart } })
    }
}

impl Making {
    fn of(at: &At<'_>) -> Result<Self, serde_json::Error> {
        serde_json::from_value(at.plan.clone())
    }

    /// Those that are not there yet.
    fn open(&self, there: &[StorageController]) -> Vec<&Planned> {
        let found = made(&self.planned, &self.before, there);
        self.planned.iter().zip(found).filter(|(_, found)| found.is_none()).map(|(open, _)| open).collect()
    }

    async fn make(&self, at: &At<'_>) -> Result<Started, Failure> {
        let raid = raid(at)?;
        let open = self.open(&raid.controllers().await?);
        if open.is_empty() {
            return Ok(Started::Done);
        }
        let new: Vec<_> = open.iter().map(|planned| planned.volume.clone()).collect();
        let controllers: Vec<_> = new.iter().map(|new| new.controller.clone()).collect();
        let restart = raid.needs_restart(&controllers).await?;
        let job = asked(at, raid.create(&new).await)?;
        let is_done =
            job.is_none() && raid.controllers().await.is_ok_and(|there| self.open(&there).is_empty());
        Ok(if is_done { Started::Done } else { Started::Running { job, restart } })
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

/// What waits for the next start of the machine since before we were killed is refused now: what comes of it is seen later.
fn asked(at: &At<'_>, answer: Result<Option<Job>, BmcError>) -> Result<Option<Job>, BmcError> {
    match answer {
        Err(error @ BmcError::Refused { .. }) if at.resumed => {
            warn!(%error, "the BMC may have been asked for these volumes before");
            Ok(None)
        }
        answer => answer,
    }
}

/// Jobs may be thrown away, and may say what is not so: the BMC is done when it shows what was asked for.
async fn look(at: &At<'_>, job: Option<&Job>, deletes: bool) -> Result<Outcome, BmcError> {
    let Some(raid) = &at.bmc.raid else { return Ok(Outcome::Failed("it makes no RAID volumes".to_owned())) };
    if let Some(job) = job {
        let outcome = raid.progress(job).await?;
        if outcome != Outcome::Done {
            return Ok(outcome);
        }
    }
    let (open, controllers) = open(at, &raid.controllers().await?, deletes);
    Ok(match open.is_empty() {
        true => Outcome::Done,
        false if raid.needs_restart(&controllers).await? => Outcome::NeedsRestart,
        false => Outcome::Pending(None),
    })
}

/// What is not as it is to be, and the controllers that it is about.
fn open(at: &At<'_>, there: &[StorageController], deletes: bool) -> (Vec<String>, Vec<String>) {
    if deletes {
        let doomed = Doomed::of(at).unwrap_or_default();
        let left = doomed.left(there);
        let unseen = doomed.unseen(there).map(|id| format!("controller {id} is not shown"));
        // Who is not shown is starting: another start would not help.
        let controllers = if left.is_empty() { Vec::new() } else { doomed.controllers.clone() };
        let left = left.iter().map(|volume| format!("volume {} is still there", volume.id));
        return (left.chain(unseen).collect(), controllers);
    }
    let making = Making::of(at).unwrap_or_default();
    let open = making.open(there).into_iter().map(|planned| &planned.volume);
    open.map(|volume| {
        let disks = volume.drives.join(", ");
        let what = format!("no volume of RAID level {} is on the disks {disks}", volume.level);
        (what, volume.controller.clone())
    })
    .unzip()
}

async fn missing(at: &At<'_>, deletes: bool) -> Option<String> {
    let there = at.bmc.raid.as_ref()?.controllers().await.ok()?;
    let (open, _) = open(at, &there, deletes);
    (!open.is_empty()).then(|| open.join("; "))
}

/// The root volume becomes the root device. Where the BMC does not tell how to find it, nothing that we said of another
/// volume may stay, and where data may be the step fails.
fn hint(
    node: &mut Node,
    root: Option<Made<'_>>,
    making: &Making,
    there: &[StorageController],
    ours: &[Value],
) -> Result<(), Failure> {
    let certain = root.filter(|root| root.is_certain).map(|root| root.volume);
    if let Some(wwn) = certain.and_then(|volume| volume.wwn.as_ref()) {
        node.properties.insert(volumes::ROOT_DEVICE.to_owned(), json!({"wwn": wwn}));
        return Ok(());
    }
    volumes::drop_hint(node, ours);
    let id = certain.map(|volume| &volume.id);
    let older = there.iter().flat_map(|controller| &controller.volumes);
    let older = older.filter(|volume| making.before.contains(&volume.id) && Some(&volume.id) != id).count();
    if node.properties.contains_key(volumes::ROOT_DEVICE) || older == 0 {
        warn!(node = %node.uuid, "the BMC does not tell how the root volume is found: root_device is not set");
        return Ok(());
    }
    Err(Failure::Node(
        "the volumes are made, but the BMC does not tell how the root volume is found, and there are older volumes: set \
         properties.root_device"
            .to_owned(),
    ))
}
