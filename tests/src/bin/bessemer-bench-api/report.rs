//! The figures, and how they are shown.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::cases::{Case, Stage};

/// Marks of the place for the tables in a document.
const PLACE: [&str; 2] = ["<!-- figures: the benchmark writes them -->\n", "<!-- end of figures -->\n"];

/// All of one subject.
#[derive(Serialize)]
pub(crate) struct Figures {
    pub(crate) subject: String,
    pub(crate) nodes: usize,
    pub(crate) created_per_second: f64,
    pub(crate) cases: Vec<Case>,
    pub(crate) stages: Vec<Stage>,
    /// After the requests, after the lives, and the most there was.
    pub(crate) memory_mib: [f64; 3],
}

/// A goal and what was reached.
struct Goal {
    text: &'static str,
    reached: f64,
    met: bool,
}

impl Figures {
    fn case(&self, name: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.name.starts_with(name))
    }

    fn goals(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        let mut goal = |text, reached: Option<f64>, met: fn(f64) -> bool| {
            goals.extend(reached.map(|reached| Goal { text, reached, met: met(reached) }));
        };
        let show = self.case("node show").map(|case| &case.measured);
        goal("node show: at least 5,000 requests/s", show.map(|one| one.per_second), |one| one >= 5000.0);
        goal("node show: p99 under 5 ms", show.map(|one| one.p99_ms), |one| one < 5.0);
        let page = self.case("node list, first page").map(|case| case.measured.p50_ms);
        goal("page of 1,000 nodes: under 30 ms (median)", page, |one| one < 30.0);
        let deploy = self.stages.iter().find(|stage| stage.verb == "active").map(|stage| stage.seconds);
        goal("1,000 fake deployments at once: under 60 s", deploy, |one| one < 60.0);
        goal("resident memory: under 150 MiB at its most", Some(self.memory_mib[2]), |one| one < 150.0);
        goals
    }
}

/// As markdown; the last of `all` with the name of another program is compared with.
pub(crate) fn markdown(all: &[Figures], machine: &str) -> Result<String, fmt::Error> {
    let mut text = format!("{machine}\n");
    for one in all {
        let [requests, lives, peak] = one.memory_mib;
        writeln!(text, "\n### {}: {} nodes\n", one.subject, one.nodes)?;
        writeln!(
            text,
            "| request | clients | requests/s | p50 ms | p99 ms | answer KiB |\n|---|---|---|---|---|---|"
        )?;
        for Case { name, clients, measured } in &one.cases {
            let kib = measured.bytes as f64 / 1024.0;
            let (rate, p50, p99) = (measured.per_second, measured.p50_ms, measured.p99_ms);
            writeln!(text, "| {name} | {clients} | {rate:.0} | {p50:.2} | {p99:.2} | {kib:.1} |")?;
        }
        writeln!(text, "| node create | 1 | {:.0} | | | |", one.created_per_second)?;
        writeln!(text, "\n| all at once | nodes | all accepted s | all there s |\n|---|---|---|---|")?;
        for Stage { verb, state, nodes, accepted_seconds, seconds } in &one.stages {
            writeln!(text, "| {verb} → {state} | {nodes} | {accepted_seconds:.1} | {seconds:.1} |")?;
        }
        writeln!(
            text,
            "\nResident memory: {requests:.0} MiB after the requests, {lives:.0} MiB after the lives, {peak:.0} MiB at its most."
        )?;
    }
    goals(&mut text, all)?;
    ratios(&mut text, all)?;
    Ok(text)
}

fn ours(all: &[Figures]) -> impl Iterator<Item = &Figures> {
    all.iter().filter(|one| one.subject.starts_with("Bessemer"))
}

fn goals(text: &mut String, all: &[Figures]) -> fmt::Result {
    writeln!(text, "\n### Goals\n\n| who | goal | reached | |\n|---|---|---|---|")?;
    for one in ours(all) {
        for Goal { text: goal, reached, met } in one.goals() {
            writeln!(
                text,
                "| {} | {goal} | {reached:.1} | {} |",
                one.subject,
                if met { "met" } else { "missed" }
            )?;
        }
    }
    Ok(())
}

fn ratios(text: &mut String, all: &[Figures]) -> fmt::Result {
    let Some(other) = all.iter().find(|one| one.subject.starts_with("Ironic")) else {
        return writeln!(text, "\nIronic was not measured: it is not installed.");
    };
    writeln!(text, "\n### Beside {} with {} nodes\n", other.subject, other.nodes)?;
    writeln!(
        text,
        "| request | {} requests/s | who | requests/s | times |\n|---|---|---|---|---|",
        other.subject
    )?;
    for case in &other.cases {
        for one in ours(all) {
            let Some(own) = one.cases.iter().find(|own| own.name == case.name) else { continue };
            let (theirs, own) = (case.measured.per_second, own.measured.per_second);
            writeln!(
                text,
                "| {} | {theirs:.0} | {} ({} nodes) | {own:.0} | {:.1} |",
                case.name,
                one.subject,
                one.nodes,
                own / theirs
            )?;
        }
    }
    Ok(())
}

/// The document with the tables in their place.
pub(crate) fn placed(document: &str, tables: &str) -> Option<String> {
    let (before, rest) = document.split_once(PLACE[0])?;
    let (_, after) = rest.split_once(PLACE[1])?;
    Some(format!("{before}{}\n{tables}\n{}{after}", PLACE[0], PLACE[1]))
}
