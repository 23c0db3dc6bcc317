//! Wiring: which process this is, what it owns, and how it ends.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use bessemer_proto::boot_parameters::BootParameters;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::{
    init::{self, drivers::Drivers, network::Network},
    link::{Link, LinkOptions, LinkParts, clock::Clock, resolve::Resolver},
    parameters::{self, Patience},
    report::{Console, LogLayer, Report},
    runner::Runner,
    steps::{Registry, Roots, power::PowerSwitch},
    write_command,
};

/// Steps block in threads of their own; the link needs little.
const WORKER_THREADS: usize = 2;
/// An address is waited for this long before the first call; calls are repeated anyway.
const NETWORK_DEADLINE: Duration = Duration::from_secs(60);
/// The controller gets this long to store the result of `power_off`.
const ACKNOWLEDGE_DEADLINE: Duration = Duration::from_secs(10);
/// A running step and the link get this long to end.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(35);

/// Bessemer's agent: writes and verifies this machine's disks on behalf of its controller.
///
/// As PID 1 of a ramdisk it takes no arguments. As an ordinary process it leaves drivers, network, clock and power
/// to whoever started it.
#[derive(Debug, Parser)]
#[command(name = "bessemer-agent", version)]
struct Arguments {
    /// File of boot parameters, one key=value a line. Without it they are searched as in a ramdisk: on removable
    /// media, in the deploy ISO, on the kernel command line.
    #[arg(long, value_name = "FILE")]
    parameters: Option<PathBuf>,
    /// Let the steps power_off and reboot act on this machine.
    #[arg(long)]
    allow_power: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    // Its help, exit codes included, is that of its arguments.
    Write(Box<write_command::Write>),
}

/// Runs an agent with these steps until it is told to end. The whole `main` of an agent, the vendors' ones too.
#[must_use]
pub fn main(registry: Registry) -> ExitCode {
    if init::is_pid1() {
        init::supervise();
    }
    let ramdisk = init::is_child_of_pid1();
    // What the kernel hands to init are not our arguments.
    let mut arguments = if ramdisk {
        Arguments { parameters: None, allow_power: true, command: None }
    } else {
        Arguments::parse()
    };
    // Already installed only when a vendor's main did it.
    rustls::crypto::ring::default_provider().install_default().ok();
    if let Some(Command::Write(write)) = arguments.command.take() {
        return write_command::main(*write);
    }

    let agent = Agent::new(registry, arguments, ramdisk);
    let result = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()
        .context("the agent's threads cannot be started")
        .and_then(|runtime| {
            let result = runtime.block_on(agent.run());
            // A thread that hangs in a bad drive must not keep the process.
            runtime.shutdown_background();
            result
        });
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", crate::report::layer::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    };
    agent.console.flush();
    code
}

struct Agent {
    registry: Registry,
    arguments: Arguments,
    /// The agent owns the machine: drivers, network, clock, power.
    ramdisk: bool,
    roots: Roots,
    clock: Arc<Clock>,
    report: Report,
    log: LogLayer,
    console: Arc<Console>,
    power: Arc<PowerSwitch>,
    shutdown: CancellationToken,
}

impl Agent {
    fn new(registry: Registry, arguments: Arguments, ramdisk: bool) -> Self {
        let roots = Roots::default();
        let clock = Clock::new();
        let report = Report::new(clock.clone());
        let console = if ramdisk { Console::kernel(&roots.sys, &roots.dev) } else { Console::stderr() };
        let console = Arc::new(console);
        let log = LogLayer::new(console.clone(), report.clone());
        // Fails only when a vendor's main has set a subscriber: then that one is used.
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(log.clone())).ok();
        let shown = console.clone();
        std::panic::set_hook(Box::new(move |panic| {
            tracing::error!(target: "bessemer_agent::panic", "{panic}");
            // It may be the last thing that this process does.
            shown.flush();
        }));
        let power = PowerSwitch::process();
        if arguments.allow_power {
            power.permit();
        }
        let shutdown = CancellationToken::new();
        Self { registry, arguments, ramdisk, roots, clock, report, log, console, power, shutdown }
    }

    async fn run(&self) -> anyhow::Result<()> {
        tracing::info!(version = crate::link::AGENT_VERSION, ramdisk = self.ramdisk, "agent starts");
        let network = if self.ramdisk { Some(self.own_machine().await?) } else { None };
        let parameters = self.parameters().await?;
        self.log.set_debug(parameters.debug);
        if let Some(seconds) = parameters.time_floor {
            self.clock.set_floor(seconds);
        }
        let controllers = parameters.controllers.join(",");
        tracing::info!(node = %parameters.node, boot = %parameters.boot, controllers, "boot parameters are read");
        if let Some(network) = &network {
            network.configure(parameters.network.clone());
            if !network.usable(NETWORK_DEADLINE).await {
                tracing::warn!(
                    "no interface has an address yet: check cables, switch ports and the DHCP server"
                );
            }
        }
        self.serve(parameters).await
    }

    /// Drivers and links: they take their time, so they come before everything else.
    async fn own_machine(&self) -> anyhow::Result<Network> {
        init::kmsg::follow(self.report.clone());
        let drivers = tokio::task::spawn_blocking(Drivers::start);
        let network = Network::start(&self.roots.sys, &self.roots.proc, Path::new("/etc"))
            .context("the kernel's network cannot be configured")?;
        if drivers.await.is_err() {
            tracing::error!("loading drivers broke off; going on with those that are there");
        }
        Ok(network)
    }

    async fn parameters(&self) -> anyhow::Result<BootParameters> {
        if let Some(path) = &self.arguments.parameters {
            return Ok(parameters::from_file(path)?);
        }
        let found = parameters::find(&self.roots, &Patience::default()).await?;
        tracing::info!(source = %found.source, "boot parameters are taken");
        for warning in &found.parsed.warnings {
            tracing::warn!("{warning}");
        }
        Ok(found.parsed.parameters)
    }

    async fn serve(&self, parameters: BootParameters) -> anyhow::Result<()> {
        let runner = Runner::new(
            self.registry.clone(),
            self.roots.clone(),
            self.report.clone(),
            self.shutdown.clone(),
        );
        let link_shutdown = CancellationToken::new();
        let parts = LinkParts {
            parameters: Arc::new(parameters),
            clock: self.clock.clone(),
            resolver: Resolver::default(),
            runner: runner.clone(),
            report: self.report.clone(),
            shutdown: link_shutdown.clone(),
        };
        let options = LinkOptions { set_system_clock: self.ramdisk, ..LinkOptions::default() };
        let link = Link::new(parts, options)?;
        let mut link = tokio::spawn(async move { link.run().await });

        let mut terminate = signal(SignalKind::terminate()).context("signals cannot be caught")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be caught")?;
        let power = tokio::select! {
            ended = &mut link => {
                // Nobody wants this boot any more: no step may go on behind the controller's back.
                self.shutdown.cancel();
                if !runner.idle(SHUTDOWN_DEADLINE).await {
                    tracing::warn!("a step does not stop; going on");
                }
                ended.context("the link to the controller broke")??;
                return Ok(());
            }
            action = self.power.requested() => Some(action),
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
        };
        if power.is_some() && !runner.settled(ACKNOWLEDGE_DEADLINE).await {
            tracing::warn!("the controller did not store the last result; going on");
        }
        tracing::info!(?power, "agent ends");
        self.shutdown.cancel();
        if !runner.idle(SHUTDOWN_DEADLINE).await {
            tracing::warn!("a step does not stop; going on");
        }
        link_shutdown.cancel();
        tokio::time::timeout(SHUTDOWN_DEADLINE, &mut link).await.ok();
        match power {
            None => Ok(()),
            Some(action) => {
                self.console.flush();
                let error = tokio::task::spawn_blocking(move || init::power::act(action)).await?;
                Err(anyhow::Error::new(error).context("the machine cannot be switched off or restarted"))
            }
        }
    }
}
