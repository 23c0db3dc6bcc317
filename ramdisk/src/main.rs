//! Command line of the ramdisk builder.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use bessemer_ramdisk::{
    build::{self, Built, KernelSource, Recipe},
    debian,
    initramfs::{Addition, DEFAULT_LEVEL},
    iso::BootConfig,
    kernel, medium,
    modules::{self, ModuleList},
};
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "bessemer-ramdisk",
    version,
    about = "Packs Bessemer's agent and a Linux kernel into a deploy ramdisk"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build deploy.iso, vmlinuz, initramfs.zst and manifest.json
    Build(BuildArgs),
    /// Show where an ISO's parameters region is, and what is on the ISO
    Inspect {
        /// The ISO
        iso: PathBuf,
    },
    /// Write boot parameters into an ISO, to boot it without a controller's file server
    SetParameters {
        /// The ISO; it is changed
        iso: PathBuf,
        /// Text of key=value lines
        parameters: PathBuf,
    },
    /// Print the list of kernel modules that is used without --modules
    Modules,
}

#[derive(Args)]
struct BuildArgs {
    /// The agent, a static x86-64 program
    #[arg(long, value_name = "FILE")]
    agent: PathBuf,
    /// Folder for the results
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// An unpacked linux-image package; without it Debian's current kernel is downloaded by apt
    #[arg(long, value_name = "DIR")]
    kernel_root: Option<PathBuf>,
    /// Where downloaded kernels are kept [default: $XDG_CACHE_HOME/bessemer or ~/.cache/bessemer]
    #[arg(long, value_name = "DIR", env = "BESSEMER_CACHE")]
    cache: Option<PathBuf>,
    /// Kernel modules to include instead of the built-in list
    #[arg(long, value_name = "LIST-FILE")]
    modules: Option<PathBuf>,
    /// One more kernel module; can be repeated
    #[arg(long = "module", value_name = "NAME")]
    extra_modules: Vec<String>,
    /// A file or folder for the ramdisk; can be repeated
    #[arg(long = "add", value_name = "FILE:/path")]
    additions: Vec<Addition>,
    /// Serial consoles; can be repeated, the last one shows the agent's messages
    #[arg(long = "console", value_name = "CONSOLE", default_value = "ttyS0,115200")]
    consoles: Vec<String>,
    /// Extra kernel arguments
    #[arg(long, value_name = "ARGUMENTS", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// How hard to compress the ramdisk, from 1 (fast) to 19 (small)
    #[arg(long, value_name = "LEVEL", default_value_t = DEFAULT_LEVEL, value_parser = clap::value_parser!(i32).range(1..=19))]
    level: i32,
    /// Time stamps of the results, seconds since 1970
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH", default_value_t = 0)]
    epoch: u64,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bessemer-ramdisk: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Build(args) => {
            let built = build::build(&recipe(args)?)?;
            print_summary(&built);
        }
        Command::Inspect { iso } => {
            debian::check_program(debian::XORRISO)?;
            print_inspection(&medium::inspect(&iso)?);
        }
        Command::SetParameters { iso, parameters } => medium::set_parameters(&iso, &parameters)?,
        Command::Modules => print!("{}", modules::DEFAULT),
    }
    Ok(())
}

fn recipe(args: BuildArgs) -> anyhow::Result<Recipe> {
    let text = match &args.modules {
        Some(path) => fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
        None => modules::DEFAULT.to_owned(),
    };
    let mut list: ModuleList = text.parse()?;
    args.extra_modules.iter().for_each(|name| list.add(name));
    let kernel = match args.kernel_root {
        Some(root) => KernelSource::Root(root),
        None => {
            let cache = args.cache.or_else(kernel::default_cache);
            KernelSource::Debian(cache.context("no place to keep the kernel: give one with --cache DIR")?)
        }
    };
    Ok(Recipe {
        agent: args.agent,
        out: args.out,
        kernel,
        modules: list,
        additions: args.additions,
        boot: BootConfig::new(&args.consoles, &args.append)?,
        level: args.level,
        epoch: args.epoch,
    })
}

fn print_summary(built: &Built) {
    let manifest = &built.manifest;
    for warning in &built.warnings {
        eprintln!("warning: {warning}");
    }
    let module_bytes: u64 = manifest.modules.values().sum();
    println!("kernel release  {}", manifest.kernel);
    println!("agent           {:>11} bytes", manifest.agent.bytes);
    println!("modules         {:>11} bytes in {} modules", module_bytes, manifest.modules.len());
    for (name, content) in &manifest.files {
        println!("{name:<15} {:>11} bytes  sha256 {}", content.bytes, content.sha256);
    }
    if !manifest.firmware_not_included.is_empty() {
        let names: Vec<&str> = manifest.firmware_not_included.keys().map(String::as_str).collect();
        println!("firmware is not included for {} (see --add)", names.join(", "));
    }
}

fn print_inspection(inspection: &medium::Inspection) {
    let region = inspection.region;
    println!("parameters region  {} bytes at {}", region.length, region.offset);
    println!("parameters         {}", if inspection.filled { "present" } else { "empty" });
    println!("kernel             {} bytes", inspection.kernel_bytes);
    println!("initramfs          {} bytes", inspection.initramfs_bytes);
}
