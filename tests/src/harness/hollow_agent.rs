//! The deploy ramdisk of a hollow machine: when the machine boots the deploy ISO, the agent's own link enrols and
//! holds its session over the real wire, and the steps of [`super::hollow_steps`] answer. It dies with the power.

use std::{sync::Arc, time::Duration};

use bessemer_agent::{
    link::{Link, LinkOptions, LinkParts, clock::Clock, resolve::Resolver},
    report::Report,
    runner::Runner,
    steps::{Registry, Roots},
};
use bessemer_proto::boot_parameters::{
    BootParameters, region,
    region::{DESCRIPTOR_BYTES, DESCRIPTOR_OFFSET, Region},
};
use reqwest::{StatusCode, header};
use tokio::{
    sync::{broadcast, mpsc},
    task::AbortHandle,
};
use tokio_util::sync::CancellationToken;

use super::hollow_steps::{self, PowerWish};
use crate::lab::{BootEvent, BootSource, Guest, Machine, MachineDefinition};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long the last result may take to be stored before the power goes.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

/// Plays the guest of one hollow machine for as long as it lives.
pub struct HollowAgent {
    task: AbortHandle,
}

impl Drop for HollowAgent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HollowAgent {
    /// Waits for the machine's boots from now on.
    #[must_use]
    pub fn start(machine: &Machine) -> Self {
        Self::with(machine, Registry::default())
    }

    /// The same with steps of a test's own; they come before those of the same name.
    #[must_use]
    pub fn with(machine: &Machine, steps: Registry) -> Self {
        let (boots, guest) = (machine.boots(), machine.guest());
        let definition = machine.definition().clone();
        let task = tokio::spawn(async move { live(boots, guest, definition, steps).await });
        Self { task: task.abort_handle() }
    }
}

async fn live(
    mut boots: broadcast::Receiver<BootEvent>,
    guest: Guest,
    definition: MachineDefinition,
    steps: Registry,
) {
    loop {
        let boot = match boots.recv().await {
            Ok(boot) => boot,
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let BootSource::Cd(url) = boot.source.clone() else { continue };
        let ended = boot.ended.clone();
        let life = run(&url, boot, &guest, &definition, steps.clone());
        if let Some(Err(error)) = ended.run_until_cancelled(life).await {
            tracing::warn!(machine = %definition.name, url, "the agent ended: {error:#}");
        }
    }
}

/// One life of the agent.
async fn run(
    url: &str,
    boot: BootEvent,
    guest: &Guest,
    definition: &MachineDefinition,
    steps: Registry,
) -> anyhow::Result<()> {
    let parameters = parameters(url).await?;
    tracing::info!(machine = %definition.name, node = %parameters.node, "agent starts");
    let clock = Clock::new();
    if let Some(seconds) = parameters.time_floor {
        clock.set_floor(seconds);
    }
    let report = Report::new(clock.clone());
    let (wishes, mut wished) = mpsc::channel(1);
    let registry = hollow_steps::registry(guest, definition, &wishes, steps);
    let shutdown = boot.ended.child_token();
    let runner = Runner::new(registry, Roots::default(), report.clone(), shutdown.clone());
    let parts = LinkParts {
        parameters: Arc::new(parameters),
        clock,
        resolver: Resolver::default(),
        runner: runner.clone(),
        report,
        shutdown: CancellationToken::new(),
    };
    let first_delay = Duration::from_millis(50);
    let options = LinkOptions { first_delay, longest_delay: Duration::from_secs(1), ..Default::default() };
    let link = Link::new(parts, options)?;
    // Whatever ends this life, no step goes on.
    let _steps = shutdown.drop_guard();
    let wish = async {
        let wish = wished.recv().await;
        // The step's result comes first: afterwards there is nobody left to send it.
        runner.settled(SETTLED_WITHIN).await;
        wish
    };
    tokio::select! {
        ended = link.run() => Ok(ended?),
        Some(wish) = wish => {
            match wish {
                PowerWish::Off => guest.power_off().await?,
                PowerWish::Reboot => guest.reboot().await?,
            }
            Ok(())
        }
    }
}

/// What is in the ISO's region, by the few ranges that a machine needs.
async fn parameters(url: &str) -> anyhow::Result<BootParameters> {
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN).build()?;
    let descriptor = range(&client, url, DESCRIPTOR_OFFSET, DESCRIPTOR_BYTES as u64).await?;
    let place = Region::from_descriptor(&descriptor)?;
    let content = range(&client, url, place.offset, place.length).await?;
    let text = region::text(&content)?.ok_or_else(|| anyhow::anyhow!("{url} has no boot parameters"))?;
    Ok(BootParameters::parse(text)?.parameters)
}

async fn range(client: &reqwest::Client, url: &str, offset: u64, length: u64) -> anyhow::Result<Vec<u8>> {
    let range = format!("bytes={offset}-{}", offset + length - 1);
    let answer = client.get(url).header(header::RANGE, range).send().await?;
    anyhow::ensure!(answer.status() == StatusCode::PARTIAL_CONTENT, "{url} was answered {}", answer.status());
    Ok(answer.bytes().await?.to_vec())
}
