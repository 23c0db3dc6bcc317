//! `bessemer-lab`: virtual machines with virtual BMCs to try Bessemer on.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use bessemer_proto::secret::Secret;
use bessemer_tests::lab::{
    Body, Credentials, Firmware, HollowBody, Lab, Machine, MachineDefinition, Profile, bmc::Fault,
    image_server::ImageServer, replay::Replay,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

/// Virtual machines with virtual BMCs (Redfish) to try Bessemer on.
#[derive(Parser)]
#[command(name = "bessemer-lab", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts machines, all off, and their BMCs; prints one line of JSON for each; runs until interrupted.
    Run(Run),
    /// Answers as a recording of `bessemer bmc record` says, to whoever logs in.
    Replay {
        /// The recording's folder.
        folder: PathBuf,
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// Serves the files of a folder over HTTP, with ranges.
    ImageServer {
        /// The folder.
        folder: PathBuf,
        /// Where to listen. A lab machine reaches the host's 127.0.0.1 as 10.0.2.2.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
}

#[derive(Args)]
struct Run {
    /// The folder for disks, logs and firmware variables. They last: a second run finds them again.
    #[arg(long)]
    dir: PathBuf,
    /// How many machines.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    machines: u8,
    /// Their firmware.
    #[arg(long, value_enum, default_value_t = FirmwareName::Uefi)]
    firmware: FirmwareName,
    /// Memory of each machine in MiB.
    #[arg(long, default_value_t = 1024)]
    memory: u32,
    /// Disk of each machine, such as 8G or 512M.
    #[arg(long, default_value = "8G", value_parser = parse_size)]
    disk_size: u64,
    /// TCP port of the first machine's BMC, the others follow. 0: any free ports.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The BMCs' user.
    #[arg(long, default_value = "admin")]
    user: String,
    /// A file with the BMCs' password. Default: one is made up and kept in DIR/password.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// HTTPS with self-signed certificates instead of HTTP.
    #[arg(long)]
    tls: bool,
    /// How the BMCs differ from the plain one: the name of a known profile, or a file (see tests/profiles).
    #[arg(long, default_value = "standard")]
    profile: String,
    /// Only the machines' state, without virtual machines: what a boot would do is only logged.
    #[arg(long)]
    hollow: bool,
    /// Misbehaviour of each BMC, METHOD:PATH:TIMES:KIND such as POST:InsertMedia:3:status=503. May be given again.
    #[arg(long)]
    fault: Vec<Fault>,
}

#[derive(Clone, Copy, ValueEnum)]
enum FirmwareName {
    /// UEFI without Secure Boot.
    Uefi,
    /// Legacy BIOS.
    Bios,
    /// UEFI with Secure Boot turned on.
    SecureBoot,
}

fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is no size: write 8G or 512M");
    let (number, factor) = match text.strip_suffix('G') {
        Some(number) => (number, 1 << 30),
        None => (text.strip_suffix('M').ok_or_else(wrong)?, 1 << 20),
    };
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).filter(|&size| size > 0).ok_or_else(wrong)
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let result = match Cli::parse().command {
        Command::Run(options) => run(options).await,
        Command::Replay { folder, listen } => replay(&folder, listen).await,
        Command::ImageServer { folder, listen } => serve_images(&folder, listen).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bessemer-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Run) -> anyhow::Result<()> {
    fs::create_dir_all(&options.dir).with_context(|| format!("cannot create {}", options.dir.display()))?;
    let password_file = options.password_file.clone().unwrap_or_else(|| options.dir.join("password"));
    let password = password(&password_file, options.password_file.is_none())?;
    let credentials = Credentials { user: options.user.clone(), password };
    let file = Path::new(&options.profile);
    let profile = if file.exists() { Profile::read(file) } else { Profile::named(&options.profile) }?;
    let definitions =
        (1..=options.machines).map(|number| define(&options, number, &credentials, &profile)).collect();
    let lab = Lab::start(&options.dir, definitions).await?;
    for (machine, fault) in lab.machines().iter().flat_map(|m| options.fault.iter().map(move |f| (m, f))) {
        machine.faults().arm(fault.clone());
    }
    for machine in lab.machines() {
        println!("{}", describe(machine, &password_file));
    }
    std::io::stdout().flush()?;
    interrupted().await?;
    lab.stop().await;
    Ok(())
}

/// Machine `number`. What tells it from others depends on the number only, so a second run makes the same ones.
fn define(options: &Run, number: u8, credentials: &Credentials, profile: &Profile) -> MachineDefinition {
    let firmware = match options.firmware {
        FirmwareName::Uefi => Firmware::Ovmf,
        FirmwareName::Bios => Firmware::SeaBios,
        FirmwareName::SecureBoot => Firmware::OvmfSecureBoot,
    };
    let mut machine = MachineDefinition::new(format!("machine-{number}"), firmware);
    machine.uuid = Uuid::from_u128(0x6265_7373_656d_4572_8000_0000_0000_0000 + u128::from(number));
    machine.mac = format!("52:54:00:be:55:{number:02x}");
    machine.memory_mib = options.memory;
    for disk in &mut machine.disks {
        disk.size_bytes = options.disk_size;
    }
    if options.hollow {
        machine.body = Body::Hollow(HollowBody::default());
    }
    machine.bmc.tls = options.tls;
    machine.bmc.profile = profile.clone();
    machine.bmc.credentials = credentials.clone();
    if options.port != 0 {
        machine.bmc.port = options.port.saturating_add(u16::from(number - 1));
    }
    machine
}

fn describe(machine: &Machine, password_file: &Path) -> serde_json::Value {
    serde_json::json!({
        "name": machine.definition().name,
        "uuid": machine.definition().uuid,
        "address": machine.bmc_url(),
        "system": machine.system_path(),
        "user": machine.credentials().user,
        "password_file": password_file,
        "mac": machine.definition().mac,
        "disk": machine.disk_path(0),
        "serial_log": machine.serial_log(),
        "serial_socket": machine.folder().join("serial.sock"),
    })
}

/// The password in `file`; a new one is made there when it is the lab's own file and not there yet.
fn password(file: &Path, own: bool) -> anyhow::Result<Secret> {
    if own && !file.exists() {
        let made = Credentials::random().password;
        let mut options = fs::OpenOptions::new();
        let created = options.write(true).create_new(true).mode(0o600).open(file);
        let mut created = created.with_context(|| format!("cannot create {}", file.display()))?;
        writeln!(created, "{}", made.reveal()).with_context(|| format!("cannot write {}", file.display()))?;
        return Ok(made);
    }
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        bail!("{} is empty: write the password into its first line", file.display());
    }
    Ok(Secret::new(line))
}

async fn replay(folder: &Path, listen: SocketAddr) -> anyhow::Result<()> {
    let replay = Replay::start(folder, listen).await?;
    println!("{}", replay.url());
    std::io::stdout().flush()?;
    interrupted().await
}

async fn serve_images(folder: &Path, listen: SocketAddr) -> anyhow::Result<()> {
    let server = ImageServer::start(folder, listen).await?;
    println!("http://{}/", server.address());
    std::io::stdout().flush()?;
    interrupted().await
}

async fn interrupted() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
