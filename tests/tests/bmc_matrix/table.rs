//! The table of results: `target/bmc-matrix.md`.

use std::{fs, path::PathBuf};

use crate::cases::{Case, End};

/// One deploy and how it ended.
pub(crate) struct Row {
    pub(crate) case: Case,
    pub(crate) result: String,
    pub(crate) seconds: f64,
    /// Requests to the BMC.
    pub(crate) calls: usize,
    /// Those that change the power.
    pub(crate) resets: usize,
    pub(crate) last_error: String,
}

impl Row {
    /// What is wrong with how it ended.
    pub(crate) fn complaint(&self) -> Option<String> {
        let deployed = self.result == "deployed";
        let right = match self.case.end {
            End::Deployed => deployed,
            End::Failed(reason) => !deployed && self.last_error.contains(reason),
            End::Refused(reason) => !deployed && self.last_error.contains(reason) && self.resets == 0,
        };
        (!right || self.result.starts_with("late")).then(|| {
            format!(
                "{}: {} with {} resets, wanted {:?}: {}",
                self.case.title(),
                self.result,
                self.resets,
                self.case.end,
                self.last_error
            )
        })
    }
}

fn rows(rows: &[Row]) -> String {
    let mut text = "| profile | driver | operation | fault | result | seconds | BMC calls | reason |\n\
                    |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        let Case { profile, driver, operation, fault, .. } = &row.case;
        let reason: String = row.last_error.replace('|', "/").chars().take(300).collect();
        text += &format!(
            "| {profile} | {driver} | {operation} | {fault} | {} | {:.1} | {} | {reason} |\n",
            row.result, row.seconds, row.calls
        );
    }
    text
}

/// The build's folder for results, which is that of this program.
fn target() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    // target/debug/deps/bmc_matrix-0123
    this.ancestors().nth(3).unwrap().to_owned()
}

/// Prints a part of the table, keeps it, and puts all parts together: tests run in processes of their own.
pub(crate) fn keep(part: &str, title: &str, all: &[Row]) {
    let text = format!("## {title}\n\n{}\n", rows(all));
    println!("{text}");
    let folder = target().join("bmc-matrix");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{part}.md")), text).unwrap();
    let mut parts: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    parts.sort();
    let texts: Vec<String> = parts.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let unfinished = target().join(format!("bmc-matrix.{part}"));
    fs::write(&unfinished, format!("# Deploys by profile, operation and fault\n\n{}", texts.concat()))
        .unwrap();
    fs::rename(unfinished, target().join("bmc-matrix.md")).unwrap();
}
