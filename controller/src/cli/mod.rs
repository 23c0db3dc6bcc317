//! The operator's command line: `bessemer serve` is the controller, everything else a client of its REST API.

mod arguments;
mod bmc;
mod client;
mod config_drive;
mod console;
mod demo;
mod deploy;
mod image;
mod logs;
mod node;
mod output;
mod port;
mod serve;
mod socket;
#[cfg(test)]
mod tests;
mod verbs;
mod wait;

use std::{io, process::ExitCode};

use anyhow::Context as _;
use bessemer_proto::secret::Secret;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use client::{Client, Credentials};
use output::{Format, Output};

/// Turns bare metal into running machines.
#[derive(Debug, Parser)]
#[command(name = "bessemer", version, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    remote: Remote,
}

/// Where the controller is and how its answers are shown.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Controller")]
struct Remote {
    /// URL of the controller's API.
    #[arg(long, env = "BESSEMER_URL", default_value = "http://127.0.0.1:6385", global = true)]
    url: String,
    /// File with CA certificates (PEM) that the API's certificate may be signed by, instead of the public ones.
    #[arg(long, env = "BESSEMER_CA", global = true, value_name = "FILE")]
    ca: Option<std::path::PathBuf>,
    /// User of the API; needs a password.
    #[arg(long, env = "BESSEMER_USER", global = true, requires = "password_file")]
    user: Option<String>,
    /// File with that user's password.
    #[arg(long, env = "BESSEMER_PASSWORD_FILE", global = true, value_name = "FILE")]
    password_file: Option<std::path::PathBuf>,
    /// File with a token of Keystone.
    #[arg(long, env = "BESSEMER_TOKEN_FILE", global = true, value_name = "FILE", conflicts_with = "user")]
    token_file: Option<std::path::PathBuf>,
    /// How answers are shown.
    #[arg(short, long, default_value = "table", global = true)]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the controller.
    Serve(serve::Serve),
    /// Looks at the configuration file.
    #[command(subcommand)]
    Config(serve::ConfigCommand),
    /// Machines.
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Network interfaces of machines.
    #[command(subcommand)]
    Port(port::PortCommand),
    /// BMCs.
    #[command(subcommand)]
    Bmc(bmc::BmcCommand),
    Console(console::Console),
    /// Disk images.
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Writes an operating system to a machine's disk and boots it.
    Deploy(Box<deploy::Deploy>),
}

/// Commands that work without a controller.
const LOCAL: [&str; 3] = ["serve", "config", "image"];

/// The command line; what works without a controller does not offer the options that reach one.
fn command_line() -> clap::Command {
    let line = Arguments::command();
    let remote = line.get_arguments().filter(|argument| argument.is_global_set());
    let hidden: Vec<_> = remote.map(|argument| argument.clone().global(false).hide(true)).collect();
    LOCAL.iter().fold(line, |line, name| line.mut_subcommand(name, |command| command.args(&hidden)))
}

/// Parses the command line and runs what it says. 0: done. 1: failed, the reason is on standard error.
/// 2: the command line is wrong.
pub fn main() -> ExitCode {
    let arguments = Arguments::from_arg_matches(&command_line().get_matches());
    let arguments = arguments.unwrap_or_else(|error| error.exit());
    // Every TLS connection of this process uses ring; a second installation is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let closed =
                error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe);
            if !closed {
                eprintln!("bessemer: {}", output::printable(&chain(&error)));
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let remote = arguments.remote;
    match arguments.command {
        Command::Serve(serve) => serve.run(),
        Command::Config(command) => command.run(),
        Command::Bmc(command) => command.run(&remote),
        Command::Image(command) => command.run(),
        Command::Node(command) => {
            with_client(&remote, async |client, output| command.run(&client, &output).await)
        }
        Command::Port(command) => {
            with_client(&remote, async |client, output| command.run(&client, &output).await)
        }
        Command::Console(console) => {
            with_client(&remote, async |client, output| console.run(&client, &output).await)
        }
        Command::Deploy(deploy) => {
            with_client(&remote, async |client, output| deploy.run(&client, &output).await)
        }
    }
}

fn with_client(
    remote: &Remote,
    work: impl AsyncFnOnce(Client, Output) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut client = Client::new(&remote.url, remote.ca.as_deref())?;
    if let (Some(user), Some(file)) = (&remote.user, &remote.password_file) {
        client = client.with_credentials(Credentials::Password(user.clone(), secret_of(file)?));
    } else if let Some(file) = &remote.token_file {
        client = client.with_credentials(Credentials::Token(secret_of(file)?));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work(client, Output::new(remote.output)))
}

/// The first line of a file.
fn secret_of(path: &std::path::Path) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(Secret::new(text.lines().next().unwrap_or_default()))
}

/// The error with its causes, each said once.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{}: {cause}", text.trim_end_matches('.'));
        }
    }
    text
}
