//! `[conductor]`, with Ironic's option names where Ironic has the option.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::LesseeSource;
use crate::{bmc::queue::Retry, node::plan::Flow};

/// `[conductor]`: how nodes are worked on. Durations are seconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seconds that a deploy waits for the agent after the machine was started with the deploy ISO. Default 1800.
    pub deploy_callback_timeout: u32,
    /// Seconds that a machine may take to be on or off after the BMC was told. Default 60.
    pub power_state_change_timeout: u32,
    /// Seconds that a deploy goes on asking a BMC that does not answer, breaks connections or is busy, and a step or an
    /// inspection where it switches the machine on or off; 0: it is asked once. Default 180.
    pub bmc_retry_timeout: u32,
    /// Seconds that an operating system may take to shut down when asked. Default 600.
    pub soft_power_off_timeout: u32,
    /// Seconds that an agent may take to write an image. Default 7200.
    pub write_image_timeout: u32,
    /// Seconds that an agent may take for a short step, such as setting the boot entry. Default 180.
    pub agent_step_timeout: u32,
    /// Seconds that a step may take which a BMC carries out: settings, firmware, RAID volumes. Default 7200.
    pub out_of_band_step_timeout: u32,
    /// Seconds between looks at such a step. Default 15.
    pub out_of_band_step_interval: u32,
    /// Seconds between looks at nodes that wait for something, besides when there is news. Default 10.
    pub check_provision_state_interval: u32,
    /// How many nodes are worked on at the same moment. Default 64.
    pub workers_pool_size: u32,
    /// Seconds that agents may take after a start of the controller to report what ended meanwhile; only then do
    /// deadlines count. Default 60.
    pub restart_grace: u32,
    /// Seconds that running work may go on after the controller was told to stop; it is resumed at the next start.
    /// Default 10.
    pub graceful_shutdown_timeout: u32,
    /// Whether nodes are cleaned between two users, when they do not say themselves. A node that has no clean step is
    /// then not deployed. Default false.
    pub automated_clean: bool,
    /// Whether an automated cleaning may end without a step that erases: what the last user wrote stays on the disks for
    /// the next one. When false, a node that gets images and has no such step is neither cleaned nor deployed. Default
    /// false.
    pub automated_clean_without_erasing: bool,
    /// Other priorities of steps in automated cleanings, by `interface.step`; 0 leaves a step out. Default none.
    pub clean_step_priority_override: BTreeMap<String, u32>,
    /// Seconds that a step of a cleaning waits for something outside of the controller. Default 1800.
    pub clean_callback_timeout: u32,
    /// Seconds that a service step waits for something outside of the controller. Default 1800.
    pub service_callback_timeout: u32,
    /// Seconds that an inspection waits for the machine. Default 1800.
    pub inspect_wait_timeout: u32,
    /// Seconds that a rescue waits for the machine. Default 1800.
    pub rescue_callback_timeout: u32,
    /// Most nodes that are deployed at the same time; one more is refused with status 503. Default 250.
    pub max_concurrent_deploy: u32,
    /// The same for nodes that are taken down or cleaned. Default 50.
    pub max_concurrent_clean: u32,
    /// Whether agents log at debug level. Default false.
    pub agent_debug: bool,
    /// Seconds between looks at the power state of each node; 0 means none. Default 120.
    pub sync_power_state_interval: u32,
    /// How many BMCs are asked for their power state at the same moment. Default 8.
    pub sync_power_state_workers: u32,
    /// How many BMCs of one subnet (/24 of IPv4, /64 of IPv6) are asked at the same moment, for power states and for
    /// sensors, each counted by itself; never more than half of the workers (but one at least): a subnet that is cut
    /// off must not hold up all others. BMCs whose address is a name belong to no subnet. Default 4.
    pub bmc_polls_per_subnet: u32,
    /// How often in a row a power state may be wrong or unreadable; then the node is in maintenance, with the fault
    /// `power failure`. Default 3.
    pub power_state_sync_max_retries: u32,
    /// Whether a machine that is found on or off and should not be is put back; else its new state is taken over.
    /// Default true.
    pub force_power_state_during_sync: bool,
    /// Seconds between looks at nodes in maintenance because of a `power failure`: one good answer ends it; 0 means
    /// none. Default 300.
    pub power_failure_recovery_interval: u32,
    /// Who becomes the lessee of a node without one while it is deployed: `instance` (the `project_id` in
    /// `instance_info`) or `none`. Default `instance`.
    pub automatic_lessee_source: LesseeSource,
    /// The conductor group of this controller, which new nodes are in that name none; nodes of other groups are
    /// refused. Default "".
    pub conductor_group: String,
}

/// What is wrong with `[conductor]`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A duration or number of zero.
    #[error("conductor.{0} must be at least 1")]
    Zero(&'static str),
}

/// The sentences about cleaning.
pub(crate) const NO_CLEAN_STEPS: &str = "automated cleaning was asked for, but there are no clean steps for this node, so nothing would be erased";
pub(crate) const NOTHING_ERASES: &str = "automated cleaning was asked for, but none of this node's clean steps erases its disks: the operator allows that with conductor.automated_clean_without_erasing";

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            deploy_callback_timeout: 1800,
            power_state_change_timeout: 60,
            bmc_retry_timeout: 180,
            soft_power_off_timeout: 600,
            write_image_timeout: 7200,
            agent_step_timeout: 180,
            out_of_band_step_timeout: 7200,
            out_of_band_step_interval: 15,
            check_provision_state_interval: 10,
            workers_pool_size: 64,
            restart_grace: 60,
            graceful_shutdown_timeout: 10,
            automated_clean: false,
            automated_clean_without_erasing: false,
            clean_step_priority_override: BTreeMap::new(),
            clean_callback_timeout: 1800,
            service_callback_timeout: 1800,
            inspect_wait_timeout: 1800,
            rescue_callback_timeout: 1800,
            max_concurrent_deploy: 250,
            max_concurrent_clean: 50,
            agent_debug: false,
            sync_power_state_interval: 120,
            sync_power_state_workers: 8,
            bmc_polls_per_subnet: 4,
            power_state_sync_max_retries: 3,
            force_power_state_during_sync: true,
            power_failure_recovery_interval: 300,
            automatic_lessee_source: LesseeSource::Instance,
            conductor_group: String::new(),
        }
    }
}

impl Config {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        let numbers = [
            ("deploy_callback_timeout", self.deploy_callback_timeout),
            ("power_state_change_timeout", self.power_state_change_timeout),
            ("soft_power_off_timeout", self.soft_power_off_timeout),
            ("write_image_timeout", self.write_image_timeout),
            ("agent_step_timeout", self.agent_step_timeout),
            ("out_of_band_step_timeout", self.out_of_band_step_timeout),
            ("out_of_band_step_interval", self.out_of_band_step_interval),
            ("check_provision_state_interval", self.check_provision_state_interval),
            ("workers_pool_size", self.workers_pool_size),
            ("clean_callback_timeout", self.clean_callback_timeout),
            ("service_callback_timeout", self.service_callback_timeout),
            ("inspect_wait_timeout", self.inspect_wait_timeout),
            ("rescue_callback_timeout", self.rescue_callback_timeout),
            ("max_concurrent_deploy", self.max_concurrent_deploy),
            ("max_concurrent_clean", self.max_concurrent_clean),
            ("sync_power_state_workers", self.sync_power_state_workers),
            ("bmc_polls_per_subnet", self.bmc_polls_per_subnet),
        ];
        numbers
            .into_iter()
            .find(|(_, number)| *number == 0)
            .map_or(Ok(()), |(name, _)| Err(ConfigError::Zero(name)))
    }

    pub(crate) fn power_timeout(&self) -> Duration {
        seconds(self.power_state_change_timeout)
    }

    pub(crate) fn bmc_retry(&self) -> Retry {
        Retry {
            attempts: u32::MAX,
            pause: Duration::from_secs(1),
            factor: 2,
            longest: Duration::from_secs(20),
            within: seconds(self.bmc_retry_timeout),
        }
    }

    pub(crate) fn soft_power_off_timeout(&self) -> Duration {
        seconds(self.soft_power_off_timeout)
    }

    pub(crate) fn callback_timeout(&self) -> Duration {
        seconds(self.deploy_callback_timeout)
    }

    /// How long a step waits for something outside of the controller.
    pub(crate) fn callback_timeout_of(&self, flow: Flow) -> Duration {
        seconds(match flow {
            Flow::Deploy => self.deploy_callback_timeout,
            Flow::Clean => self.clean_callback_timeout,
            Flow::Service => self.service_callback_timeout,
        })
    }

    pub(crate) fn inspect_timeout(&self) -> Duration {
        seconds(self.inspect_wait_timeout)
    }

    pub(crate) fn rescue_timeout(&self) -> Duration {
        seconds(self.rescue_callback_timeout)
    }

    pub(crate) fn out_of_band_timeout(&self) -> Duration {
        seconds(self.out_of_band_step_timeout)
    }

    pub(crate) fn out_of_band_interval(&self) -> Duration {
        seconds(self.out_of_band_step_interval)
    }

    pub(crate) fn interval(&self) -> Duration {
        seconds(self.check_provision_state_interval)
    }

    pub(crate) fn restart_grace(&self) -> Duration {
        seconds(self.restart_grace)
    }

    pub(crate) fn shutdown_timeout(&self) -> Duration {
        seconds(self.graceful_shutdown_timeout)
    }
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}
