//! `bessemer bmc`: looks at BMCs, and at the rules about those that differ from their standard.

mod probe;
mod quirks;
mod record;

use clap::Subcommand;

use super::{Remote, output::Output, with_client};

/// `bessemer bmc …`
#[derive(Debug, Subcommand)]
pub(super) enum BmcCommand {
    /// Says what a BMC can do, which quirks are known of it and how long its answers take. Changes nothing. Works without
    /// a controller.
    Probe(Box<probe::Probe>),
    /// Keeps what a BMC answers, without what tells whose it is or how to get in, for tests to replay. Changes nothing.
    /// Works without a controller.
    Record(Box<record::Record>),
    /// Shows the rules about BMCs that differ from their standard which the controller uses.
    Quirks(quirks::Quirks),
}

impl BmcCommand {
    /// Runs it.
    pub(super) fn run(self, remote: &Remote) -> anyhow::Result<()> {
        match self {
            Self::Probe(probe) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(probe.run(Output::new(remote.output)))
            }
            Self::Record(record) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(record.run(Output::new(remote.output)))
            }
            Self::Quirks(quirks) if quirks.is_local() => quirks.check(Output::new(remote.output)),
            Self::Quirks(quirks) => {
                with_client(remote, async |client, output| quirks.run(&client, output).await)
            }
        }
    }
}
