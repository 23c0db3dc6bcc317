//! Whole deploys of hollow machines through the real controller, for each profile of a BMC and for each fault: a deploy
//! succeeds, or fails within a bound and says why. Writes `target/bmc-matrix.md`.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod cases;
mod site;
mod table;

use cases::Case;
use futures_util::StreamExt as _;
use site::Site;

/// Deploys at the same time: more would be slow because of the machine that tests run on.
const AT_ONCE: usize = 16;

async fn check(part: &str, title: &str, mut cases: Vec<Case>) {
    cases.iter_mut().enumerate().for_each(|(number, case)| case.number = number);
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), &cases).await;
    let deploys = futures_util::stream::iter(&cases).map(|case| site.deploy(case));
    let mut rows: Vec<_> = deploys.buffer_unordered(AT_ONCE).collect().await;
    rows.sort_by_key(|row| row.case.number);
    table::keep(part, title, &rows);
    let complaints: Vec<_> = rows.iter().filter_map(table::Row::complaint).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_profile_is_deployed_or_refused_with_the_reason() {
    check("1-profiles", "Each profile", cases::profiles()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_at_each_operation_ends_well_or_with_the_reason() {
    check("2-standard", "Each fault at each operation of the plain BMC", cases::faults("standard")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_profile_survives_a_bmc_that_stumbles() {
    check("3-stumbles", "Profiles with a few faults", cases::stumbles()).await;
}
