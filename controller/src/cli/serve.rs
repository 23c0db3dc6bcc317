//! `bessemer serve` and `bessemer config`.

use std::{
    io::{self, IsTerminal as _},
    net::SocketAddr,
    path::PathBuf,
};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use super::{demo, output::line};
use crate::{api::access::Gate, app, config};

/// `bessemer serve …`
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The configuration file (TOML); an empty one works.
    #[arg(long, env = "BESSEMER_CONFIG", value_name = "FILE", required_unless_present = "demo")]
    config: Option<PathBuf>,
    /// Runs a controller with a few machines that do not exist, to try the API: in a temporary folder, only on this
    /// address of the machine itself, without touching anything else.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true,
          default_missing_value = "127.0.0.1:6385")]
    demo: Option<SocketAddr>,
    /// How log lines are written.
    #[arg(long, default_value = "human")]
    log_format: LogFormat,
    /// What is logged: a level, or directives as in RUST_LOG. Default: RUST_LOG, else info.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Human,
    Json,
}

/// `bessemer config …`
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Checks it and the file of users; other files and servers are looked at on start.
    Check {
        /// The configuration file (TOML).
        #[arg(long, env = "BESSEMER_CONFIG", value_name = "FILE")]
        config: PathBuf,
    },
}

impl Serve {
    /// Runs the controller until it is told to stop.
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.start_logging()?;
        if let Some(address) = self.demo {
            return demo::run(address);
        }
        let Some(path) = &self.config else { anyhow::bail!("--config is missing") };
        let config = config::load(path)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(app::run(config, CancellationToken::new()))?;
        Ok(())
    }

    fn start_logging(&self) -> anyhow::Result<()> {
        let filter = match &self.log_level {
            Some(directives) => EnvFilter::try_new(directives_of(directives))
                .with_context(|| format!("--log-level {directives} cannot be used: try info or debug"))?,
            None => EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| EnvFilter::new(if self.demo.is_some() { "warn" } else { "info" })),
        };
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(io::stderr().is_terminal())
            .with_writer(io::stderr);
        let started = match self.log_format {
            LogFormat::Human => builder.try_init(),
            LogFormat::Json => builder.json().flatten_event(true).try_init(),
        };
        started.map_err(|error| anyhow::anyhow!(error)).context("the log cannot be started")
    }
}

/// A bare level below info is for this program: what its libraries think of each byte drowns it.
fn directives_of(text: &str) -> String {
    match text.parse::<LevelFilter>() {
        Ok(level) if level > LevelFilter::INFO => {
            format!("info,bessemer_controller={level},bessemer_proto={level}")
        }
        _ => text.to_owned(),
    }
}

impl ConfigCommand {
    /// Runs it.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self::Check { config: path } = self;
        let config = config::load(&path)?;
        Gate::check(&config.api, &config.state_dir)?;
        line(&format!("{} is fine", path.display()))?;
        Ok(())
    }
}
