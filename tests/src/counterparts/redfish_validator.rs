//! DMTF's Redfish-Service-Validator: walks a service and compares every property with the published schemas.
//!
//! It runs offline: the schemas come from the crate `nv-redfish-schema`, and its own download is turned off.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::process::Command;

use super::{
    Answer, CounterpartError,
    program::{in_venv, run},
};

/// A walk takes seconds for a service of our size.
const LIMIT: Duration = Duration::from_secs(600);

/// What the validator found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Properties and resources that are right.
    pub passed: u32,
    /// What it warns of.
    pub warned: u32,
    /// What breaks a schema.
    pub failed: u32,
    /// What breaks a schema (`FAIL`) or is suspicious (`WARN`), with the resource: `/redfish/v1/: FAIL - Id …`.
    pub complaints: Vec<String>,
}

/// Validates the service at `url` (scheme, host and port) with basic authentication; reports go to `folder`.
pub async fn validate(
    url: &str,
    user: &str,
    password: &str,
    folder: &Path,
) -> Result<Report, CounterpartError> {
    let schemas = folder.join("schemas");
    let reports = folder.join("reports");
    copy_schemas(&schemas)?;
    let mut command = Command::new(in_venv("rf_service_validator")?);
    command.current_dir(folder).args(["--rhost", url, "--user", user, "--password", password]);
    command.args(["--authtype", "Basic", "--skipschema", "--logdir"]).arg(&reports);
    command.arg("--schema_directory").arg(&schemas);
    let answer = run(command, LIMIT).await?;
    let mut report = read_summary(&answer)?;
    for log in logs_below(&reports)? {
        let text = fs::read_to_string(&log).map_err(CounterpartError::file("read", &log))?;
        report.complaints.extend(complaints(&text));
    }
    Ok(report)
}

/// The validator is given its own folder: it makes and changes files there.
fn copy_schemas(to: &Path) -> Result<(), CounterpartError> {
    fs::create_dir_all(to).map_err(CounterpartError::file("create", to))?;
    for from in nv_redfish_schema::glob_redfish_xml().iter().map(Path::new) {
        let name = from.file_name().unwrap_or_default();
        fs::copy(from, to.join(name)).map_err(CounterpartError::file("copy", from))?;
    }
    Ok(())
}

/// Its summary is a table with a head `| PASS | WARN | FAIL | NOT TESTED |` and one row of numbers.
fn read_summary(answer: &Answer) -> Result<Report, CounterpartError> {
    let plain = without_colours(&answer.stdout);
    let cells = |line: &str| -> Vec<String> { line.split('|').map(|cell| cell.trim().to_owned()).collect() };
    let mut lines = plain.lines().skip_while(|line| !(line.contains("| ") && line.contains("NOT TESTED")));
    let numbers: Vec<u32> = lines
        .by_ref()
        .skip(1)
        .map(cells)
        .map(|cells| cells.iter().filter_map(|cell| cell.parse().ok()).collect::<Vec<u32>>())
        .find(|numbers| numbers.len() == 4)
        .unwrap_or_default();
    let [passed, warned, failed, _] = numbers[..] else {
        let output = answer.to_string();
        return Err(CounterpartError::Output {
            program: "rf_service_validator",
            expected: "summary",
            output,
        });
    };
    Ok(Report { passed, warned, failed, complaints: Vec::new() })
}

/// It makes a folder with one log for each run.
fn logs_below(reports: &Path) -> Result<Vec<PathBuf>, CounterpartError> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>, CounterpartError> {
        let entries = fs::read_dir(folder).and_then(|entries| entries.map(|e| Ok(e?.path())).collect());
        entries.map_err(CounterpartError::file("read", folder))
    };
    let mut logs = Vec::new();
    for run in list(reports)? {
        logs.extend(list(&run)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "log")));
    }
    Ok(logs)
}

/// What its log says against the service: lines `TIME - NAME - ERROR - FAIL - PROPERTY (VALUE): WHY` after a line
/// `… - Validating URI...`.
fn complaints(log: &str) -> Vec<String> {
    let mut resource = "";
    let mut found = Vec::new();
    for line in log.lines() {
        if let Some((_, uri)) = line.split_once(" - Validating ") {
            resource = uri.trim_end_matches("...");
        } else if let Some((_, text)) =
            line.split_once(" - ERROR - ").or_else(|| line.split_once(" - WARNING - "))
            && (text.starts_with("FAIL - ") || text.starts_with("WARN - "))
        {
            found.push(format!("{resource}: {text}"));
        }
    }
    found
}

/// Leaves out terminal sequences (`ESC [ … letter`).
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character == '\u{1b}' {
            rest.by_ref().take_while(|c| !c.is_ascii_alphabetic()).for_each(drop);
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_is_read_through_colours() {
        let stdout = "Validating /redfish/v1/...\n\n+----+\n|      PASS      |      WARN      |      FAIL      \
                      |   NOT TESTED   |\n+----+\n| \u{1b}[32m     45       \u{1b}[0m | 0 | \u{1b}[31m 2 \u{1b}[0m | 7 |\n";
        let answer = Answer { code: Some(1), stdout: stdout.into(), stderr: String::new() };
        let report = read_summary(&answer).unwrap();
        assert_eq!((report.passed, report.warned, report.failed), (45, 0, 2));
        assert!(read_summary(&Answer { stdout: "Could not set up the service".into(), ..answer }).is_err());
    }

    #[test]
    fn complaints_name_the_resource() {
        let log = "t - RedfishServiceValidator - INFO - Validating /redfish/v1/Systems/1...\n\
                   t - RedfishServiceValidator - INFO - PASS - Id (1): PASS\n\
                   t - RedfishServiceValidator - ERROR - FAIL - Name (3): Type Error: not a string.\n";
        assert_eq!(complaints(log), ["/redfish/v1/Systems/1: FAIL - Name (3): Type Error: not a string."]);
    }
}
