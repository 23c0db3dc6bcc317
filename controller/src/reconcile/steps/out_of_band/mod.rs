//! Steps that a BMC carries out: settings and keys of the firmware, the firmware itself, RAID volumes. Each is a [`Task`];
//! [`machinery`] starts it, restarts the machine where that is needed, looks at it until it ends, and resumes it after a
//! restart of the controller.

mod bios;
mod firmware;
mod machinery;
mod management;
mod raid;
mod volumes;

use async_trait::async_trait;
use serde_json::Value;

use super::Step;
use crate::{
    bmc::{Bmc, BmcError, Job, Outcome},
    node::{Dictionary, Node, plan::PlannedStep},
    reconcile::{context::Context, error::Failure},
};
use machinery::Machinery;
pub(super) use machinery::WORK;

/// What a BMC carries out.
#[async_trait]
trait Task: Send + Sync {
    /// Works out what is to be asked for, and asks for nothing. It is kept before [`Task::start`], so that a controller that
    /// was killed in between knows what it may have asked for.
    async fn prepare(&self, node: &Node, at: &At<'_>) -> Result<Value, Failure> {
        let _ = (node, at);
        Ok(Value::Null)
    }

    /// Asks for it. [`At::part`] counts from 0 when it is done in several parts. With [`At::resumed`] it may have been asked
    /// for already.
    async fn start(&self, node: &mut Node, at: &At<'_>) -> Result<Started, Failure>;

    /// How far it is.
    async fn look(&self, at: &At<'_>, job: Option<&Job>) -> Result<Outcome, BmcError>;

    /// How many parts there are, each started when the one before is done.
    fn parts(&self, args: &Dictionary) -> usize {
        let _ = args;
        1
    }

    /// Whether the machine may be restarted when the BMC does not begin.
    fn may_restart(&self, at: &At<'_>) -> bool {
        let _ = at;
        true
    }

    /// What was not seen to happen, when time is up.
    async fn missing(&self, at: &At<'_>) -> Option<String> {
        let _ = at;
        None
    }

    /// All parts are done: takes over what came of it.
    async fn end(&self, node: &mut Node, at: &At<'_>) -> Result<(), Failure> {
        let _ = (node, at);
        Ok(())
    }
}

/// Where a task is worked on.
struct At<'a> {
    bmc: &'a Bmc,
    cx: &'a Context,
    args: &'a Dictionary,
    part: usize,
    /// What [`Task::prepare`] worked out.
    plan: &'a Value,
    /// The controller was restarted while it asked.
    resumed: bool,
}

/// What became of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Started {
    /// It is so already.
    Done,
    /// It takes its time.
    Running {
        /// Its name at the BMC.
        job: Option<Job>,
        /// The machine must start anew before anything happens.
        restart: bool,
    },
}

static BIOS_APPLY: Machinery = Machinery(&bios::Apply);
static BIOS_RESET: Machinery = Machinery(&bios::Reset);
static FIRMWARE_UPDATE: Machinery = Machinery(&firmware::Update);
static KEYS_RESET: Machinery = Machinery(&management::RESET_KEYS);
static KEYS_CLEAR: Machinery = Machinery(&management::CLEAR_KEYS);
static SET_CLOCK: Machinery = Machinery(&management::SetClock);
static RAID_CREATE: Machinery = Machinery(&raid::CREATE);
static RAID_APPLY: Machinery = Machinery(&raid::APPLY);
static RAID_DELETE: Machinery = Machinery(&raid::Delete);

/// The visible list.
pub(super) fn step_of(step: &PlannedStep) -> Option<&'static dyn Step> {
    Some(match (step.interface.as_str(), step.step.as_str()) {
        ("bios", "apply_configuration") => &BIOS_APPLY,
        ("bios", "factory_reset") => &BIOS_RESET,
        ("firmware", "update") => &FIRMWARE_UPDATE,
        ("management", "reset_secure_boot_keys_to_default") => &KEYS_RESET,
        ("management", "clear_secure_boot_keys") => &KEYS_CLEAR,
        ("management", "set_bmc_clock") => &SET_CLOCK,
        ("raid", "create_configuration") => &RAID_CREATE,
        ("raid", "apply_configuration") => &RAID_APPLY,
        ("raid", "delete_configuration") => &RAID_DELETE,
        _ => return None,
    })
}

/// The BMC lacks what a step needs.
fn lacks(what: &str) -> Failure {
    Failure::Node(format!("the BMC cannot {what}"))
}
