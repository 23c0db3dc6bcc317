//! What the write path is to reach, as ratios: they hold on any machine.

use serde::Serialize;

use crate::{
    cases::Medium,
    images::Form,
    report::{CaseFigures, Report, SubjectFigures},
    stages,
    subjects::{BMAPTOOL, QEMU_IMG, TEE_SHA256SUM},
};

/// Most memory for raw and gzip, and for all others, in MiB.
const MEMORY: [f64; 2] = [32.0, 64.0];

/// One goal and what came of it.
#[derive(Serialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) wanted: String,
    /// Nothing when somebody failed.
    pub(crate) got: Option<f64>,
    pub(crate) met: bool,
}

impl Goal {
    fn at_least(what: impl Into<String>, wanted: f64, got: Option<f64>) -> Self {
        let met = got.is_some_and(|got| got >= wanted);
        Self { what: what.into(), wanted: format!("at least {wanted}"), got, met }
    }

    fn at_most_mib(what: impl Into<String>, wanted: f64, got: Option<f64>) -> Self {
        let met = got.is_some_and(|got| got <= wanted);
        Self { what: what.into(), wanted: format!("at most {wanted} MiB"), got, met }
    }

    pub(crate) fn measured(&self) -> String {
        self.got.map_or_else(|| "nothing: failed".to_owned(), |got| format!("{got:.2}"))
    }

    pub(crate) fn verdict(&self) -> &'static str {
        if self.met { "met" } else { "MISSED" }
    }
}

/// Those of the cases that ran.
pub(crate) fn all(report: &Report) -> Vec<Goal> {
    let mut goals = speed(report);
    goals.extend(memory(report));
    goals.extend(report.cases.iter().map(never_slower));
    goals
}

fn speed(report: &Report) -> Vec<Goal> {
    let raw = [stages::NETWORK[0], stages::SHA256, &stages::write_name(Medium::Ram)];
    let zstd = [stages::decode_name(Form::Zstd3), stages::write_name(Medium::Ram)];
    let zstd = zstd.each_ref().map(String::as_str);
    let wall = SubjectFigures::wall;
    let goals = [
        (RAW, "as fast as its slowest stage alone", 0.8, of_slowest(report, RAW, &raw)),
        (RAW, "times as fast as curl, tee sha256sum, dd", 4.0, times(report, RAW, TEE_SHA256SUM, wall)),
        (RAW, "times as fast as bmaptool", 1.4, times(report, RAW, BMAPTOOL, wall)),
        (RAW, "times as fast as qemu-img", 1.4, times(report, RAW, QEMU_IMG, wall)),
        (MANIFEST, "times as fast as bmaptool", 3.0, times(report, MANIFEST, BMAPTOOL, wall)),
        (ZSTD, "as fast as the slower of decoding and writing alone", 0.8, of_slowest(report, ZSTD, &zstd)),
        (
            RAW,
            "times less CPU than curl, tee sha256sum, dd",
            4.0,
            times(report, RAW, TEE_SHA256SUM, SubjectFigures::cpu),
        ),
    ];
    let ran = goals.into_iter().filter(|(case, ..)| report.case(case).is_some());
    ran.map(|(case, what, wanted, got)| Goal::at_least(format!("{case}: {what}"), wanted, got)).collect()
}

/// Names of cases with goals of their own.
const RAW: &str = "raw";
const MANIFEST: &str = "raw, manifest";
const ZSTD: &str = "zstd -3";

/// How many times as much `whom` takes of `what` as the agent.
fn times(
    report: &Report,
    case: &str,
    whom: &str,
    what: impl Fn(&SubjectFigures) -> Option<f64>,
) -> Option<f64> {
    let case = report.case(case)?;
    Some(what(case.subject(whom)?)? / what(case.ours()?)?)
}

/// The time of the slowest of `stages`, in times of the agent for the whole `case`.
fn of_slowest(report: &Report, case: &str, stages: &[&str]) -> Option<f64> {
    let slowest = stages.iter().filter_map(|name| report.stage(name)).reduce(f64::max)?;
    Some(slowest / report.case(case)?.ours()?.wall()?)
}

fn memory(report: &Report) -> Vec<Goal> {
    let small = |case: &&CaseFigures| matches!(case.form, Some(Form::Raw | Form::Gzip));
    let (raw, others): (Vec<_>, Vec<_>) = report.cases.iter().partition(small);
    [("peak memory, raw and gzip", raw), ("peak memory, all others", others)]
        .into_iter()
        .zip(MEMORY)
        .filter(|((_, cases), _)| !cases.is_empty())
        .map(|((what, cases), wanted)| Goal::at_most_mib(what, wanted, peak(&cases)))
        .collect()
}

/// The agent's largest, if it never failed.
fn peak(cases: &[&CaseFigures]) -> Option<f64> {
    let mut largest = None;
    for subject in cases.iter().flat_map(|case| &case.subjects).filter(|subject| subject.ours()) {
        let peak = subject.peak_mib().filter(|_| subject.failure.is_none())?;
        largest = Some(peak.max(largest.unwrap_or_default()));
    }
    largest
}

fn never_slower(case: &CaseFigures) -> Goal {
    let others = case.subjects.iter().filter(|subject| !subject.ours());
    let fastest = others.filter_map(SubjectFigures::wall).reduce(f64::min);
    let ours = case.ours().and_then(SubjectFigures::wall);
    let got = fastest.zip(ours).map(|(fastest, ours)| fastest / ours);
    Goal::at_least(format!("{}: times as fast as the fastest of the others", case.name), 1.0, got)
}

#[cfg(test)]
mod tests {
    use super::{CaseFigures, SubjectFigures, never_slower, peak};
    use crate::{measure::Used, subjects::OURS};

    fn subject(name: &str, seconds: &[f64], failure: Option<&str>) -> SubjectFigures {
        let run = |&wall_seconds: &f64| Used { wall_seconds, cpu_seconds: 1.0, peak_kib: 2048 };
        SubjectFigures {
            name: name.to_owned(),
            proof: "none",
            runs: seconds.iter().map(run).collect(),
            receipts: Vec::new(),
            failure: failure.map(str::to_owned),
        }
    }

    fn case(subjects: Vec<SubjectFigures>) -> CaseFigures {
        CaseFigures { name: "case".to_owned(), form: None, bytes: 1, subjects }
    }

    #[test]
    fn the_fastest_of_the_others_counts() {
        let ours = subject(OURS, &[2.0, 1.0, 9.0], None);
        let goal = never_slower(&case(vec![ours, subject("a", &[5.0], None), subject("b", &[3.0], None)]));
        assert_eq!((goal.got, goal.met), (Some(1.5), true));
        let goal = never_slower(&case(vec![subject(OURS, &[2.0], None), subject("a", &[1.0], None)]));
        assert_eq!((goal.got, goal.met), (Some(0.5), false));
    }

    #[test]
    fn who_fails_meets_no_goal() {
        let ours = || subject(OURS, &[1.0], Some("hung"));
        let goal = never_slower(&case(vec![ours(), subject("a", &[5.0], None)]));
        assert_eq!((goal.got, goal.met), (None, false));
        assert_eq!(peak(&[&case(vec![ours()])]), None);
        assert_eq!(peak(&[&case(vec![subject(OURS, &[1.0], None)])]), Some(2.0));
    }

    #[test]
    fn who_failed_at_last_is_compared_by_what_worked() {
        let other = subject("a", &[3.0], Some("hung"));
        assert_eq!(never_slower(&case(vec![subject(OURS, &[1.0], None), other])).got, Some(3.0));
        let other = subject("a", &[], Some("hung"));
        assert!(!never_slower(&case(vec![subject(OURS, &[1.0], None), other])).met);
    }
}
