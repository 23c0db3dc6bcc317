//! Lets everybody run, in turn.
//!
//! A round is everything once, so that stages, cases and subjects that are compared with each other are spread over
//! the same time; who begins a case changes from round to round.

use std::{
    fmt,
    fs::{self, File},
    io,
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    cases::{Case, Medium},
    images::Image,
    measure::{Run, Runner},
    report::{CaseFigures, Report, StageFigures, SubjectFigures},
    room::RAM,
    server::Server,
    stages,
    subjects::{SUM, Subject},
    target::Target,
};

/// What runs, and where.
pub(crate) struct Bench<'a> {
    pub(crate) server: &'a Server,
    /// The image of the stages.
    pub(crate) image: &'a Image,
    pub(crate) cases: &'a [Case<'a>],
    /// Folder for the disk that is not in memory.
    pub(crate) disks: &'a Path,
    pub(crate) runner: Runner<'a>,
}

impl Bench<'_> {
    /// So many rounds; what they take goes into `report`.
    pub(crate) fn run(&self, rounds: usize, report: &mut Report) -> Result<()> {
        report.rounds = rounds;
        report.cases = self.cases.iter().map(figures).collect();
        for round in 0..rounds {
            self.stages(round, &mut report.stages)?;
            for (case, figures) in self.cases.iter().zip(&mut report.cases) {
                self.case(round, case, figures)?;
            }
        }
        Ok(())
    }

    fn target(&self, medium: Medium, bytes: u64) -> Result<Target> {
        let folder = match medium {
            Medium::Ram => Path::new(RAM),
            Medium::Disk => self.disks,
        };
        Target::new(folder, bytes)
    }

    fn stages(&self, round: usize, figures: &mut Vec<StageFigures>) -> Result<()> {
        eprintln!("bench: round {}: each stage alone", round + 1);
        let mut targets = Vec::new();
        for medium in [Medium::Ram, Medium::Disk] {
            targets.push((medium, self.target(medium, self.image.bytes)?));
        }
        for (name, seconds) in stages::all(self.image, self.server, self.runner, &mut targets)? {
            match figures.iter_mut().find(|stage| stage.name == name) {
                Some(stage) => stage.seconds.push(seconds),
                None => figures.push(StageFigures { name, seconds: vec![seconds] }),
            }
        }
        Ok(())
    }

    fn case(&self, round: usize, case: &Case<'_>, figures: &mut CaseFigures) -> Result<()> {
        let mut target = self.target(case.medium, case.image.bytes)?;
        // From now on it is in the page cache.
        io::copy(&mut File::open(case.image.packed(case.form)?)?, &mut io::sink())?;
        let count = case.subjects.len();
        for place in 0..count {
            let index = (place + round) % count;
            if let (Some(subject), Some(figures)) =
                (case.subjects.get(index), figures.subjects.get_mut(index))
            {
                self.turn(&Turn { round, case, subject }, &mut target, figures)?;
            }
        }
        Ok(())
    }

    /// Who fails is noted, and out; only a disk that cannot be prepared ends the benchmark.
    fn turn(&self, turn: &Turn<'_>, target: &mut Target, figures: &mut SubjectFigures) -> Result<()> {
        if figures.failure.is_some() {
            return Ok(());
        }
        target.prepare(turn.case.image, turn.subject.before).with_context(|| format!("before {turn}"))?;
        match self.attempt(turn, target) {
            Ok((run, receipt)) => {
                eprintln!("bench: {turn}: {:.2} s", run.used.wall_seconds);
                figures.runs.push(run.used);
                figures.receipts.extend(receipt);
            }
            Err(error) => {
                eprintln!("bench: {turn}: FAILED: {error:#}");
                figures.failure = Some(format!("round {}: {error:#}", turn.round + 1));
            }
        }
        Ok(())
    }

    fn attempt(&self, turn: &Turn<'_>, target: &Target) -> Result<(Run, Option<Value>)> {
        let Turn { round, case, subject } = turn;
        let sum = self.runner.folder.join(SUM);
        // What somebody who was killed left.
        let _ = fs::remove_file(&sum);
        let run = self.runner.run(target.device()?, &subject.script)?;
        if let Some(digest) = &subject.digest {
            let got = fs::read_to_string(sum)?;
            ensure!(got.starts_with(digest.as_str()), "the digest is {}, not {digest}", got.trim());
        }
        let receipt = subject.ours().then(|| receipt(&run.stdout)).transpose()?;
        if *round == 0 {
            target.verify(case.image, subject.after)?;
        }
        Ok((run, receipt))
    }
}

/// One subject of a case in a round.
struct Turn<'a> {
    round: usize,
    case: &'a Case<'a>,
    subject: &'a Subject,
}

impl fmt::Display for Turn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "round {}: {}: {}", self.round + 1, self.case.name, self.subject.name)
    }
}

/// The agent's receipt is its last line.
fn receipt(stdout: &str) -> Result<Value> {
    let last: Value = serde_json::from_str(stdout.lines().last().unwrap_or_default())?;
    Ok(last.get("receipt").context("the agent gave no receipt")?.clone())
}

fn figures(case: &Case<'_>) -> CaseFigures {
    let subject = |subject: &Subject| SubjectFigures {
        name: subject.name.clone(),
        proof: subject.proof,
        runs: Vec::new(),
        receipts: Vec::new(),
        failure: None,
    };
    CaseFigures {
        name: case.name.to_owned(),
        form: Some(case.form),
        bytes: case.image.bytes,
        subjects: case.subjects.iter().map(subject).collect(),
    }
}
