//! `bessemer-bench`: the agent's write path beside what a user would take instead. docs/benchmarks.md has more.
//!
//! [`images`] and [`server`] serve disk images, [`target`] is where they are written to, [`subjects`] are who writes,
//! [`cases`] says what is compared, [`stages`] are the limits, [`bench`] lets them run in turn, [`measure`] counts,
//! [`report`] and [`goals`] show what came of it. All that happens in a [`room`] of its own.
#![forbid(unsafe_code)]

mod bench;
mod cases;
mod direct;
mod goals;
mod images;
mod measure;
mod report;
mod room;
mod server;
mod stages;
mod subjects;
mod target;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};

use crate::{
    bench::Bench,
    cases::Parts,
    images::Image,
    measure::Runner,
    report::{Report, put},
    server::Server,
};

/// Measures the agent's write path beside what a user would take instead.
#[derive(Parser)]
#[command(name = "bessemer-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the benchmark: tables on standard output, all figures in CACHE/latest.json. Fails when something that was
    /// measured failed; a goal that was missed is no failure.
    Run(Run),
    /// Runs a shell script and counts what it uses.
    #[command(hide = true)]
    Measure {
        #[arg(long)]
        limit: u32,
        result: PathBuf,
        script: String,
    },
}

#[derive(Args)]
struct Run {
    /// The agent.
    #[arg(long)]
    agent: PathBuf,
    /// The controller, which makes manifests.
    #[arg(long)]
    bessemer: PathBuf,
    /// A raw disk image of Debian.
    #[arg(long)]
    image: PathBuf,
    /// Where packed images are kept, and the disk that is not in memory.
    #[arg(long)]
    cache: PathBuf,
    /// Size that the image is grown to.
    #[arg(long, default_value_t = 4)]
    gib: u64,
    /// How often each runs.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only cases with this in their names.
    #[arg(long)]
    only: Option<String>,
    /// One round with small images: shows that everything works, measures nothing.
    #[arg(long)]
    quick: bool,
    /// Put the tables between the marks of this file, or into a new one, instead of on standard output.
    #[arg(long)]
    write_to: Option<PathBuf>,
    /// Set by the program itself.
    #[arg(long, hide = true)]
    inside: bool,
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Measure { limit, result, script } => measure::main(limit, &result, &script),
        Command::Run(run) if !run.inside => room::run("--inside"),
        Command::Run(run) => {
            room::furnish()?;
            run.run()
        }
    }
}

impl Run {
    fn run(mut self) -> Result<ExitCode> {
        ensure!(self.rounds > 0, "at least one round is needed");
        fs::create_dir_all(&self.cache)?;
        for path in [&mut self.cache, &mut self.agent, &mut self.bessemer] {
            *path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
        }
        let work = tempfile::tempdir_in(room::RAM)?;
        let server = Server::start(work.path(), &self.cache)?;
        let (debian, noise) = self.images()?;
        let parts = Parts {
            agent: &self.agent,
            bessemer: &self.bessemer,
            server: &server,
            debian: &debian,
            noise: &noise,
        };
        let mut cases = cases::all(&parts)?;
        cases.retain(|case| self.only.as_ref().is_none_or(|only| case.name.contains(only.as_str())));
        let bench = Bench {
            server: &server,
            image: &debian,
            cases: &cases,
            disks: &self.cache,
            runner: Runner { folder: work.path(), limit: if self.quick { 60 } else { 180 } },
        };

        let mut report = Report::new(&debian, self.quick)?;
        bench.run(if self.quick { 1 } else { self.rounds }, &mut report)?;
        report.finish()?;
        self.show(&report)?;
        Ok(if report.all_worked() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn images(&self) -> Result<(Image, Image)> {
        if self.quick {
            return Ok((Image::sample(&self.cache, &self.image)?, Image::noise(&self.cache, 64)?));
        }
        Ok((Image::debian(&self.cache, &self.image, self.gib)?, Image::noise(&self.cache, 1024)?))
    }

    fn show(&self, report: &Report) -> Result<()> {
        fs::write(self.cache.join("latest.json"), serde_json::to_vec_pretty(report)?)?;
        let tables = report.markdown()?;
        match self.write_to.as_deref() {
            None => print!("{tables}"),
            Some(path) => write_to(path, &tables)?,
        }
        Ok(())
    }
}

fn write_to(path: &Path, tables: &str) -> Result<()> {
    let text = match path.exists() {
        true => put(&fs::read_to_string(path)?, tables)
            .with_context(|| format!("{} has no place for figures", path.display()))?,
        false => tables.to_owned(),
    };
    Ok(fs::write(path, text)?)
}
