//! The figures, and how they are shown.

use std::{
    fmt::{self, Write as _},
    fs,
    time::Instant,
};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;

use crate::{
    goals::{self, Goal},
    images::{Form, Image},
    measure::{Used, median, prepare},
    subjects::OURS,
};

/// Packages with which the agent is compared, and the server.
const PACKAGES: [&str; 9] =
    ["bmap-tools", "coreutils", "curl", "gzip", "nginx-light", "openssl", "qemu-utils", "xz-utils", "zstd"];
/// Marks of the place for the tables in a document.
const PLACE: [&str; 2] = ["<!-- figures: make bench writes them -->\n", "<!-- end of figures -->\n"];

/// Everything that was measured.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) programs: String,
    pub(crate) image: String,
    pub(crate) image_bytes: u64,
    pub(crate) image_data_bytes: u64,
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    /// How busy the machine was in the last minute.
    pub(crate) load_before: String,
    pub(crate) seconds: f64,
    pub(crate) stages: Vec<StageFigures>,
    pub(crate) cases: Vec<CaseFigures>,
    pub(crate) goals: Vec<Goal>,
    #[serde(skip)]
    started: Instant,
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
    pub(crate) proof: &'static str,
    pub(crate) runs: Vec<Used>,
    /// The agent's receipts.
    pub(crate) receipts: Vec<Value>,
    /// Why there are no more runs.
    pub(crate) failure: Option<String>,
}

impl SubjectFigures {
    pub(crate) fn ours(&self) -> bool {
        self.name.starts_with(OURS)
    }

    pub(crate) fn wall(&self) -> Option<f64> {
        median(self.runs.iter().map(|run| run.wall_seconds))
    }

    pub(crate) fn cpu(&self) -> Option<f64> {
        median(self.runs.iter().map(|run| run.cpu_seconds))
    }

    /// Largest of all runs; the agent's own word where there is one.
    pub(crate) fn peak_mib(&self) -> Option<f64> {
        let own = self.receipts.iter().filter_map(|receipt| receipt.get("peak_memory_kib")?.as_u64()).max();
        let kib = own.or_else(|| self.runs.iter().map(|run| run.peak_kib).max())?;
        Some(kib as f64 / 1024.0)
    }

    /// Seconds of the fastest and the slowest run.
    fn range(&self) -> Option<(f64, f64)> {
        let walls = || self.runs.iter().map(|run| run.wall_seconds);
        Some((walls().reduce(f64::min)?, walls().reduce(f64::max)?))
    }
}

impl CaseFigures {
    pub(crate) fn subject(&self, name: &str) -> Option<&SubjectFigures> {
        self.subjects.iter().find(|subject| subject.name == name)
    }

    /// The agent, if it never failed.
    pub(crate) fn ours(&self) -> Option<&SubjectFigures> {
        self.subject(OURS).filter(|subject| subject.failure.is_none())
    }
}

impl Report {
    /// Without figures.
    pub(crate) fn new(image: &Image, quick: bool) -> Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo")?;
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let count = std::thread::available_parallelism()?;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let programs = [&["-W", "-f", "${Package} ${Version}\n"], PACKAGES.as_slice()].concat();
        let programs = prepare("dpkg-query", &programs).unwrap_or_default();
        Ok(Self {
            date: chrono::Utc::now().format("%Y-%m-%d").to_string(),
            machine: format!("{count} x {}, Linux {}", model.map_or("?", |(_, name)| name), kernel.trim()),
            programs: programs.lines().collect::<Vec<_>>().join(", "),
            image: image.name.clone(),
            image_bytes: image.bytes,
            image_data_bytes: image.data_bytes(),
            quick,
            rounds: 0,
            load_before: fs::read_to_string("/proc/loadavg")?.split(' ').take(1).collect(),
            seconds: 0.0,
            stages: Vec::new(),
            cases: Vec::new(),
            goals: Vec::new(),
            started: Instant::now(),
        })
    }

    /// When everything was measured.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.seconds = self.started.elapsed().as_secs_f64();
        self.goals = goals::all(self);
        Ok(())
    }

    pub(crate) fn case(&self, name: &str) -> Option<&CaseFigures> {
        self.cases.iter().find(|case| case.name == name)
    }

    pub(crate) fn stage(&self, name: &str) -> Option<f64> {
        let stage = self.stages.iter().find(|stage| stage.name == name)?;
        median(stage.seconds.iter().copied())
    }

    fn failures(&self) -> impl Iterator<Item = (&CaseFigures, &SubjectFigures, &str)> {
        self.cases.iter().flat_map(|case| {
            case.subjects.iter().filter_map(move |subject| Some((case, subject, subject.failure.as_deref()?)))
        })
    }

    /// Whether nobody failed.
    pub(crate) fn all_worked(&self) -> bool {
        self.failures().next().is_none()
    }

    /// As markdown.
    pub(crate) fn markdown(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        self.write_head(&mut text)?;
        self.write_stages(&mut text)?;
        self.write_cases(&mut text)?;
        for (case, subject, failure) in self.failures() {
            writeln!(text, "FAILED: {}: `{}`: {}\n", case.name, subject.name, failure.trim())?;
        }
        writeln!(text, "| goal | wanted | measured | |\n|---|---|---|---|")?;
        for goal in &self.goals {
            writeln!(text, "| {} | {} | {} | {} |", goal.what, goal.wanted, goal.measured(), goal.verdict())?;
        }
        Ok(text)
    }

    fn write_head(&self, text: &mut String) -> fmt::Result {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        if self.quick {
            writeln!(text, "**A quick run: it shows that everything works; its figures mean nothing.**\n")?;
        }
        writeln!(text, "{}: {}; load before {}.", self.date, self.machine, self.load_before)?;
        writeln!(
            text,
            "Image {}: {:.2} GiB, {:.2} GiB of it data. Medians of {} rounds, {:.0} minutes in all.",
            self.image,
            gib(self.image_bytes),
            gib(self.image_data_bytes),
            self.rounds,
            (self.seconds / 60.0).ceil()
        )?;
        writeln!(text, "With {}.\n", self.programs)
    }

    fn write_stages(&self, text: &mut String) -> fmt::Result {
        writeln!(text, "| stage alone | s | MB/s of the image |\n|---|---|---|")?;
        for stage in &self.stages {
            let Some(seconds) = median(stage.seconds.iter().copied()) else { continue };
            writeln!(text, "| {} | {seconds:.2} | {:.0} |", stage.name, rate(self.image_bytes, seconds))?;
        }
        writeln!(text)
    }

    fn write_cases(&self, text: &mut String) -> fmt::Result {
        writeln!(
            text,
            "| case | who | proof | wall s | fastest to slowest | CPU s | peak MiB | MB/s | bessemer is |"
        )?;
        writeln!(text, "|---|---|---|---|---|---|---|---|---|")?;
        for case in &self.cases {
            for subject in &case.subjects {
                write_subject(text, case, subject)?;
            }
        }
        writeln!(text)
    }
}

fn write_subject(text: &mut String, case: &CaseFigures, subject: &SubjectFigures) -> fmt::Result {
    // The bars of a pipeline would end the cell.
    let name = subject.name.replace('|', "\\|");
    let name = if subject.ours() { format!("**{name}**") } else { name };
    write!(text, "| {} | {name} | {} | ", case.name, subject.proof)?;
    let (Some(wall), Some((fastest, slowest)), Some(cpu), Some(peak)) =
        (subject.wall(), subject.range(), subject.cpu(), subject.peak_mib())
    else {
        return writeln!(text, "failed | | | | | |");
    };
    let failed = if subject.failure.is_some() { ", then failed" } else { "" };
    let ours = case.subject(OURS).and_then(SubjectFigures::wall).filter(|_| !subject.ours());
    let times = ours.map(|ours| format!("{:.2} x as fast", wall / ours)).unwrap_or_default();
    writeln!(
        text,
        "{wall:.2}{failed} | {fastest:.2} to {slowest:.2} | {cpu:.2} | {peak:.0} | {:.0} | {times} |",
        rate(case.bytes, wall)
    )
}

fn rate(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / seconds / 1e6
}

/// `document` with `tables` in the place for them.
pub(crate) fn put(document: &str, tables: &str) -> Result<String> {
    let [begin, end] = PLACE;
    let (head, rest) = document.split_once(begin).with_context(|| format!("no {}", begin.trim()))?;
    let (_, tail) = rest.split_once(end).with_context(|| format!("no {}", end.trim()))?;
    Ok(format!("{head}{begin}\n{tables}\n{end}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::{PLACE, put};

    #[test]
    fn tables_replace_those_before() {
        let [begin, end] = PLACE;
        let document = format!("a\n{begin}old\n{end}b\n");
        let new = put(&document, "| new |\n").unwrap();
        assert_eq!(new, format!("a\n{begin}\n| new |\n\n{end}b\n"));
        assert_eq!(put(&new, "| new |\n").unwrap(), new);
        assert!(put("nothing", "| new |\n").is_err());
    }
}
