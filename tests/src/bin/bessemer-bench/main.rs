//! `bessemer-bench`: the agent's write path beside what a user would take instead. docs/benchmarks.md has more.
//!
//! [`images`] and [`server`] serve disk images, [`target`] is where they are written to, [`subjects`] are who writes,
//! [`cases`] says what is compared, [`stages`] are the limits, [`measure`] runs and counts, [`report`] and [`goals`]
//! show what came of it.
#![forbid(unsafe_code)]

mod cases;
mod direct;
mod goals;
mod images;
mod measure;
mod report;
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
use serde_json::Value;

use crate::{
    cases::{Case, Medium, Parts},
    images::Image,
    measure::prepare,
    report::{CaseFigures, Report, StageFigures, SubjectFigures},
    server::Server,
    subjects::Subject,
    target::Target,
};

/// A file system in memory.
const RAM: &str = "/dev/shm";

/// Measures the agent's write path beside what a user would take instead.
#[derive(Parser)]
#[command(name = "bessemer-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the benchmark: a table on standard output, all figures in CACHE/latest.json.
    Run(Run),
    /// Runs a shell script and counts what it uses.
    #[command(hide = true)]
    Measure { result: PathBuf, script: String },
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
    /// Where packed images are kept.
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
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Measure { result, script } => measure::main(&result, &script),
        Command::Run(run) => {
            run.run()?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Run {
    fn run(mut self) -> Result<()> {
        ensure!(self.rounds > 0, "at least one round is needed");
        fs::create_dir_all(&self.cache)?;
        for path in [&mut self.cache, &mut self.agent, &mut self.bessemer] {
            *path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
        }
        let work = tempfile::Builder::new().prefix("bessemer-bench-").tempdir_in(RAM)?;
        let server = Server::start(work.path(), &self.cache)?;
        let (debian, noise) = self.images()?;
        let help = prepare(&self.agent.to_string_lossy(), &["write", "--help"])?;
        let manifests = help.contains("--manifest").then(|| self.bessemer.clone());
        let parts = Parts { agent: &self.agent, server: &server, debian: &debian, noise: &noise, manifests };
        let mut cases = cases::all(&parts)?;
        cases.retain(|case| self.only.as_ref().is_none_or(|only| case.name.contains(only.as_str())));

        let mut report = self.report(&debian)?;
        report.stages = self.stages(&debian, &server, work.path())?;
        for case in &cases {
            report.cases.push(self.case(case, work.path())?);
        }
        report.goals = goals::all(&report);
        print!("{}", report.markdown()?);
        fs::write(self.cache.join("latest.json"), serde_json::to_vec_pretty(&report)?)?;
        Ok(())
    }

    fn images(&self) -> Result<(Image, Image)> {
        if self.quick {
            return Ok((Image::sample(&self.cache, &self.image)?, Image::noise(&self.cache, 64)?));
        }
        Ok((Image::debian(&self.cache, &self.image, self.gib)?, Image::noise(&self.cache, 1024)?))
    }

    fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds }
    }

    fn report(&self, image: &Image) -> Result<Report> {
        let processors = fs::read_to_string("/proc/cpuinfo")?;
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let count = std::thread::available_parallelism()?;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        Ok(Report {
            machine: format!("{count} x {}, Linux {}", model.map_or("?", |(_, name)| name), kernel.trim()),
            image: image.name.clone(),
            image_bytes: image.bytes,
            image_data_bytes: image.data_bytes(),
            rounds: self.rounds(),
            load_before: fs::read_to_string("/proc/loadavg")?.split(' ').take(1).collect(),
            stages: Vec::new(),
            cases: Vec::new(),
            goals: Vec::new(),
        })
    }

    fn target(&self, medium: Medium, bytes: u64) -> Result<Target> {
        let folder = match medium {
            Medium::Ram => Path::new(RAM),
            Medium::Disk => &self.cache,
        };
        Target::new(folder, bytes)
    }

    fn stages(&self, image: &Image, server: &Server, work: &Path) -> Result<Vec<StageFigures>> {
        let targets =
            [Medium::Ram, Medium::Disk].map(|medium| Ok((medium, self.target(medium, image.bytes)?)));
        let targets = targets.into_iter().collect::<Result<Vec<_>>>()?;
        let mut figures = Vec::<StageFigures>::new();
        for round in 1..=self.rounds() {
            eprintln!("bench: stages alone, round {round}");
            for (name, seconds) in stages::all(image, server, work, &targets)? {
                match figures.iter_mut().find(|stage| stage.name == name) {
                    Some(stage) => stage.seconds.push(seconds),
                    None => figures.push(StageFigures { name, seconds: vec![seconds] }),
                }
            }
        }
        Ok(figures)
    }

    fn case(&self, case: &Case<'_>, work: &Path) -> Result<CaseFigures> {
        let target = self.target(case.medium, case.image.bytes)?;
        // From now on it is in the page cache.
        std::io::copy(&mut fs::File::open(case.image.packed(case.form)?)?, &mut std::io::sink())?;
        let figures = |subject: &Subject| SubjectFigures {
            name: subject.name.clone(),
            runs: Vec::new(),
            receipts: Vec::new(),
        };
        let mut subjects: Vec<SubjectFigures> = case.subjects.iter().map(figures).collect();
        for round in 1..=self.rounds() {
            for (subject, figures) in case.subjects.iter().zip(&mut subjects) {
                let context = || format!("{}: {}", case.name, subject.name);
                target.prepare(case.image, subject.before).with_context(context)?;
                let run = measure::run(work, target.device(), &subject.script).with_context(context)?;
                eprintln!("bench: {}: {}: {:.2} s", case.name, subject.name, run.used.wall_seconds);
                check(subject, work, &run.stdout, &mut figures.receipts).with_context(context)?;
                if round == 1 {
                    target.verify(case.image, subject.after).with_context(context)?;
                }
                figures.runs.push(run.used);
            }
        }
        Ok(CaseFigures {
            name: case.name.to_owned(),
            form: Some(case.form),
            bytes: case.image.bytes,
            subjects,
        })
    }
}

/// What a subject said: the agent its receipt, a pipeline its digest.
fn check(subject: &Subject, work: &Path, stdout: &str, receipts: &mut Vec<Value>) -> Result<()> {
    if let Some(digest) = &subject.digest {
        let path = work.join("sum");
        let sum = fs::read_to_string(&path)?;
        ensure!(sum.starts_with(digest.as_str()), "the digest is {}, not {digest}", sum.trim());
        fs::remove_file(path)?;
    }
    if subject.ours() {
        let last: Value = serde_json::from_str(stdout.lines().last().unwrap_or_default())?;
        receipts.push(last.get("receipt").context("the agent gave no receipt")?.clone());
    }
    Ok(())
}
