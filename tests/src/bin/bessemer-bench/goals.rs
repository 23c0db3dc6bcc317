//! What the write path is to reach, as ratios: they hold on any machine.

use serde::Serialize;

use crate::{
    cases::Medium,
    images::Form,
    report::{CaseFigures, Report, SubjectFigures},
    stages,
    subjects::OURS,
};

const TEE_SHA256SUM: &str = "curl | tee sha256sum | dd";
const QEMU_IMG: &str = "qemu-img convert -m 1 -t none";
const BMAPTOOL: &str = "bmaptool copy --bmap";

/// One goal and what came of it.
#[derive(Serialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) wanted: String,
    pub(crate) got: String,
    pub(crate) met: bool,
}

impl Goal {
    fn at_least(what: impl Into<String>, wanted: f64, got: f64) -> Self {
        let (what, met) = (what.into(), got >= wanted);
        Self { what, wanted: format!(">= {wanted}"), got: format!("{got:.2}"), met }
    }

    fn at_most_mib(what: impl Into<String>, wanted: f64, got: f64) -> Self {
        let (what, met) = (what.into(), got <= wanted);
        Self { what, wanted: format!("<= {wanted} MiB"), got: format!("{got:.1} MiB"), met }
    }
}

/// Those of which the figures are there.
pub(crate) fn all(report: &Report) -> Vec<Goal> {
    let times = |case: &str, whom: &str| faster(report, case, whom, SubjectFigures::wall);
    let raw = [stages::NETWORK[0], stages::SHA256, &stages::write_name(Medium::Ram)];
    let zstd = [stages::decode_name(Form::Zstd3), stages::write_name(Medium::Ram)];
    let zstd = zstd.each_ref().map(String::as_str);
    let ratios = [
        ("raw: speed of the slowest stage alone", 0.8, of_slowest(report, "raw", &raw)),
        ("raw: times as fast as curl, tee sha256sum, dd", 4.0, times("raw", TEE_SHA256SUM)),
        ("raw: times as fast as bmaptool", 1.4, times("raw", BMAPTOOL)),
        ("raw: times as fast as qemu-img", 1.4, times("raw", QEMU_IMG)),
        ("raw with a manifest: times as fast as bmaptool", 3.0, times("raw, manifest", BMAPTOOL)),
        (
            "zstd -3: speed of the slower of decoding and writing alone",
            0.8,
            of_slowest(report, "zstd -3", &zstd),
        ),
        (
            "raw: times less CPU than curl, tee sha256sum, dd",
            4.0,
            faster(report, "raw", TEE_SHA256SUM, SubjectFigures::cpu),
        ),
    ];
    let ratios =
        ratios.into_iter().filter_map(|(what, wanted, got)| Some(Goal::at_least(what, wanted, got?)));
    let small = |case: &&CaseFigures| matches!(case.form, Some(Form::Raw | Form::Gzip)) && !manifest(case);
    let memory = [
        ("peak memory, raw and gzip", 32.0, peak(report.cases.iter().filter(small))),
        ("peak memory, all others", 64.0, peak(report.cases.iter().filter(|case| !small(case)))),
    ];
    let memory =
        memory.into_iter().filter_map(|(what, wanted, got)| Some(Goal::at_most_mib(what, wanted, got?)));
    ratios.chain(memory).chain(report.cases.iter().filter_map(never_slower)).collect()
}

fn manifest(case: &CaseFigures) -> bool {
    case.name.ends_with("manifest")
}

/// How many times as much `whom` takes of `what`.
fn faster(report: &Report, case: &str, whom: &str, what: impl Fn(&SubjectFigures) -> f64) -> Option<f64> {
    let case = report.case(case)?;
    Some(what(case.subject(whom)?) / what(case.subject(OURS)?))
}

/// The time of the slowest of `stages`, in times of the agent for the whole `case`.
fn of_slowest(report: &Report, case: &str, stages: &[&str]) -> Option<f64> {
    let slowest = stages.iter().filter_map(|name| report.stage(name)).reduce(f64::max)?;
    Some(slowest / report.case(case)?.subject(OURS)?.wall())
}

fn peak<'a>(cases: impl Iterator<Item = &'a CaseFigures>) -> Option<f64> {
    let ours = cases.flat_map(|case| &case.subjects).filter(|subject| subject.ours());
    ours.map(SubjectFigures::peak_mib).reduce(f64::max)
}

fn never_slower(case: &CaseFigures) -> Option<Goal> {
    let others = case.subjects.iter().filter(|subject| !subject.ours());
    let fastest = others.map(SubjectFigures::wall).reduce(f64::min)?;
    let what = format!("{}: times as fast as the fastest of the others", case.name);
    Some(Goal::at_least(what, 1.0, fastest / case.subject(OURS)?.wall()))
}
