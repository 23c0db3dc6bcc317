//! The figures, and how they are shown.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::{
    goals::Goal,
    images::Form,
    measure::{Used, median},
    subjects::OURS,
};

/// Everything that was measured.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) image: String,
    pub(crate) image_bytes: u64,
    pub(crate) image_data_bytes: u64,
    pub(crate) rounds: usize,
    pub(crate) load_before: String,
    pub(crate) stages: Vec<StageFigures>,
    pub(crate) cases: Vec<CaseFigures>,
    pub(crate) goals: Vec<Goal>,
}

/// A stage alone.
#[derive(Serialize)]
pub(crate) struct StageFigures {
    pub(crate) name: String,
    /// For the whole image, each round.
    pub(crate) seconds: Vec<f64>,
}

/// A case.
#[derive(Serialize)]
pub(crate) struct CaseFigures {
    pub(crate) name: String,
    #[serde(skip)]
    pub(crate) form: Option<Form>,
    pub(crate) bytes: u64,
    pub(crate) subjects: Vec<SubjectFigures>,
}

/// A subject of a case.
#[derive(Serialize)]
pub(crate) struct SubjectFigures {
    pub(crate) name: String,
    pub(crate) runs: Vec<Used>,
    /// The agent's receipts.
    pub(crate) receipts: Vec<Value>,
}

impl SubjectFigures {
    pub(crate) fn ours(&self) -> bool {
        self.name.starts_with(OURS)
    }

    pub(crate) fn wall(&self) -> f64 {
        median(self.runs.iter().map(|run| run.wall_seconds).collect())
    }

    pub(crate) fn cpu(&self) -> f64 {
        median(self.runs.iter().map(|run| run.cpu_seconds).collect())
    }

    /// Largest of all runs; the agent's own word where there is one.
    pub(crate) fn peak_mib(&self) -> f64 {
        let own = self.receipts.iter().filter_map(|receipt| receipt.get("peak_memory_kib")?.as_u64()).max();
        let kib = own.or_else(|| self.runs.iter().map(|run| run.peak_kib).max()).unwrap_or_default();
        kib as f64 / 1024.0
    }
}

impl CaseFigures {
    pub(crate) fn subject(&self, name: &str) -> Option<&SubjectFigures> {
        self.subjects.iter().find(|subject| subject.name == name)
    }
}

impl Report {
    pub(crate) fn case(&self, name: &str) -> Option<&CaseFigures> {
        self.cases.iter().find(|case| case.name == name)
    }

    pub(crate) fn stage(&self, name: &str) -> Option<f64> {
        let stage = self.stages.iter().find(|stage| stage.name == name)?;
        Some(median(stage.seconds.clone()))
    }

    /// As markdown.
    pub(crate) fn markdown(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        writeln!(text, "{}; load before {}", self.machine, self.load_before)?;
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        writeln!(
            text,
            "Image {}: {:.2} GiB, {:.2} GiB of it data; medians of {} interleaved rounds\n",
            self.image,
            gib(self.image_bytes),
            gib(self.image_data_bytes),
            self.rounds
        )?;
        self.write_stages(&mut text)?;
        self.write_cases(&mut text)?;
        writeln!(text, "| goal | wanted | got | |\n|---|---|---|---|")?;
        for goal in &self.goals {
            let word = if goal.met { "PASS" } else { "MISS" };
            writeln!(text, "| {} | {} | {} | {word} |", goal.what, goal.wanted, goal.got)?;
        }
        Ok(text)
    }

    fn write_stages(&self, text: &mut String) -> std::fmt::Result {
        if self.stages.is_empty() {
            return Ok(());
        }
        writeln!(text, "| stage alone | s | MB/s of the image |\n|---|---|---|")?;
        for stage in &self.stages {
            let seconds = median(stage.seconds.clone());
            writeln!(text, "| {} | {seconds:.2} | {:.0} |", stage.name, rate(self.image_bytes, seconds))?;
        }
        writeln!(text)
    }

    fn write_cases(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "| case | who | wall s | CPU s | peak MiB | MB/s | bessemer is faster |")?;
        writeln!(text, "|---|---|---|---|---|---|---|")?;
        for case in &self.cases {
            let ours = case.subject(OURS).map(SubjectFigures::wall);
            for subject in &case.subjects {
                let wall = subject.wall();
                let times = match ours {
                    Some(ours) if !subject.ours() => format!("{:.2} x", wall / ours),
                    _ => String::new(),
                };
                // The bars of a pipeline would end the cell.
                let name = subject.name.replace('|', "\\|");
                writeln!(
                    text,
                    "| {} | {name} | {wall:.2} | {:.2} | {:.0} | {:.0} | {times} |",
                    case.name,
                    subject.cpu(),
                    subject.peak_mib(),
                    rate(case.bytes, wall)
                )?;
            }
        }
        writeln!(text)
    }
}

fn rate(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / seconds / 1e6
}
