//! `bessemer-bench-api`: how fast the API is, with SQLite and PostgreSQL, and how many BMCs can be polled, beside the
//! real Ironic.

mod cases;
mod load;
mod polls;
mod report;
mod subject;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use bessemer_tests::counterparts::postgresql::PostgreSql;
use clap::Parser;

use crate::{report::Figures, subject::Subject};

/// Pages are compared at this size, which Ironic also has.
const IRONIC_NODES: usize = 100;
const IRONIC_LIVES: usize = 20;

/// Measures the API.
#[derive(Parser)]
struct Arguments {
    /// Virtual environment with the real Ironic; without one it is not measured.
    #[arg(long)]
    ironic: Option<PathBuf>,
    /// Nodes that the controller has.
    #[arg(long, default_value_t = 10_000)]
    nodes: usize,
    /// Nodes that live through all states at once.
    #[arg(long, default_value_t = 1_000)]
    lives: usize,
    /// Seconds of each kind of request.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Only subjects with this in their names.
    #[arg(long, default_value = "")]
    only: String,
    /// Measures how many BMCs a core can poll instead, with so many of them.
    #[arg(long)]
    bmcs: Option<usize>,
    /// Document to write the tables into.
    #[arg(long)]
    write_to: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(bmcs) = arguments.bmcs {
        let table = polls::compare(bmcs, arguments.ironic.as_deref()).await?;
        return publish(&arguments, &format!("{}\n\n{table}", machine()?));
    }
    let mut all = Vec::new();
    for name in ["SQLite", "PostgreSQL", "Ironic"] {
        if !name.contains(&arguments.only) {
            continue;
        }
        let folder = tempfile::tempdir()?;
        let subject = match (name, &arguments.ironic) {
            ("SQLite", _) => Subject::bessemer(folder.path(), None, "").await?,
            ("PostgreSQL", _) => {
                Subject::bessemer(folder.path(), Some(PostgreSql::start().await?), "").await?
            }
            (_, Some(venv)) => Subject::ironic(folder.path(), venv, None).await?,
            _ => continue,
        };
        let (nodes, lives) = match name {
            "Ironic" => (IRONIC_NODES, IRONIC_LIVES),
            _ => (arguments.nodes, arguments.lives),
        };
        eprintln!("{}: {nodes} nodes", subject.name);
        all.push(measure(&subject, nodes, lives, Duration::from_secs_f64(arguments.seconds)).await?);
    }
    let tables = report::markdown(&all, &machine()?)?;
    publish(&arguments, &tables)
}

fn publish(arguments: &Arguments, tables: &str) -> Result<()> {
    println!("{tables}");
    match &arguments.write_to {
        Some(path) => write(path, tables),
        None => Ok(()),
    }
}

async fn measure(subject: &Subject, nodes: usize, lives: usize, duration: Duration) -> Result<Figures> {
    let (nodes, created_per_second) = subject.fill(nodes).await?;
    let cases = cases::requests(subject, &nodes, duration).await?;
    let (after_requests, _) = subject.memory()?;
    let stages = cases::lives(subject, nodes.get(..lives).unwrap_or(&nodes)).await?;
    let (after_lives, peak) = subject.memory()?;
    let memory_mib = [after_requests, after_lives, peak];
    Ok(Figures {
        subject: subject.name.clone(),
        nodes: nodes.len(),
        created_per_second,
        cases,
        stages,
        memory_mib,
    })
}

fn machine() -> Result<String> {
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let count = std::thread::available_parallelism()?;
    let load: String = fs::read_to_string("/proc/loadavg")?.split(' ').take(1).collect();
    let date = chrono::Utc::now().format("%Y-%m-%d");
    Ok(format!("{date}; {count} x {}; load at the end {load}.", model.map_or("?", |(_, name)| name)))
}

fn write(path: &Path, tables: &str) -> Result<()> {
    let document = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let document = report::placed(&document, tables).context("the document has no place for the tables")?;
    fs::write(path, document).with_context(|| format!("writing {}", path.display()))
}
