//! `bessemer bmc record`.

use std::{
    fs,
    io::{self, Write as _},
    path::{Component, Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::{
    bmc::{
        self,
        redfish::{Bounds, Recorded, Recording},
    },
    cli::{
        arguments::{Pair, object},
        output::{Output, line},
        secret_of,
    },
    node::Dictionary,
};

/// `bessemer bmc record …`
#[derive(Debug, Args)]
pub(in crate::cli) struct Record {
    /// Address or URL of the BMC, which speaks Redfish.
    address: String,
    /// Folder for the recording, new or empty.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// User at the BMC.
    #[arg(long)]
    username: Option<String>,
    /// File with that user's password.
    // Not the name of the API's own option: clap would hand that one's file on to the BMC.
    #[arg(long, value_name = "FILE", requires = "username")]
    bmc_password_file: Option<PathBuf>,
    /// More of driver_info, such as redfish_verify_ca=false.
    #[arg(long, value_name = "KEY=VALUE")]
    driver_info: Vec<Pair>,
    /// Most resources that are read.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    resources: u32,
    /// Most MiB of answers.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=512))]
    mib: u32,
    /// Most seconds that it takes.
    #[arg(long, default_value_t = 900, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
}

impl Record {
    /// Runs it.
    pub(super) async fn run(self, output: Output) -> anyhow::Result<()> {
        // First, so that no walk is in vain.
        empty_folder(&self.out)?;
        let bounds = Bounds {
            resources: self.resources as usize,
            bytes: (self.mib as usize) << 20,
            time: Duration::from_secs(self.seconds.into()),
        };
        let recorded = bmc::redfish::record(&self.driver_info()?, bounds).await;
        bmc::close_sessions().await;
        let recording = recorded?;
        write(&self.out, &recording)?;
        let scrubbed: Value =
            recording.scrubbed.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect();
        if output.is_json() {
            return Ok(output.object(&json!({
                "answers": recording.answers.len(), "scrubbed": scrubbed, "left_out": recording.left_out,
            }))?);
        }
        line(&format!("{} answers are in {}", recording.answers.len(), self.out.display()))?;
        for (kind, count) in &recording.scrubbed {
            line(&format!("scrubbed: {count} {kind}"))?;
        }
        for note in &recording.left_out {
            line(&format!("left out: {note}"))?;
        }
        line(
            "Look through the folder before you give it away: what is scrubbed is known by name or form only.",
        )?;
        Ok(())
    }

    fn driver_info(&self) -> anyhow::Result<Dictionary> {
        let mut info = Dictionary::new();
        info.insert("redfish_address".to_owned(), self.address.clone().into());
        if let Some(user) = &self.username {
            info.insert("redfish_username".to_owned(), user.clone().into());
        }
        if let Some(file) = &self.bmc_password_file {
            info.insert("redfish_password".to_owned(), secret_of(file)?.reveal().into());
        }
        info.extend(object(&self.driver_info));
        Ok(info)
    }
}

fn empty_folder(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    let mut entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    if entries.next().is_some() {
        bail!("the folder {} is not empty: name a new one", folder.display());
    }
    Ok(())
}

/// The answers as DMTF's mock-ups have them (`redfish/v1/…/index.json`), and `recording.json`, which says what is where.
fn write(folder: &Path, recording: &Recording) -> anyhow::Result<()> {
    let mut answers = Vec::new();
    for (number, answer) in recording.answers.iter().enumerate() {
        let text = serde_json::to_string_pretty(&answer.body)?;
        let named = file_of(answer).filter(|file| write_new(&folder.join(file), &text).is_ok());
        let file = match named {
            Some(file) => file,
            // Also when its name is too long, or taken by another one's file or folder.
            None => {
                let file = PathBuf::from(format!("others/{number}.json"));
                let path = folder.join(&file);
                write_new(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
                file
            }
        };
        answers.push(json!({
            "path": answer.path, "status": answer.status, "etag": answer.etag, "allow": answer.allow, "file": file,
        }));
    }
    let scrubbed: Value =
        recording.scrubbed.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect();
    let index = json!({
        "format": 1, "made_by": format!("bessemer {}", env!("CARGO_PKG_VERSION")),
        "scrubbed": scrubbed, "left_out": recording.left_out, "answers": answers,
    });
    let path = folder.join("recording.json");
    fs::write(&path, serde_json::to_string_pretty(&index)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::File::create_new(path)?.write_all(text.as_bytes())
}

/// `None`: the path has a query or cannot be a path of files.
fn file_of(answer: &Recorded) -> Option<PathBuf> {
    let sane = |c: char| c.is_ascii_alphanumeric() || "/._-:()@+,%~ ".contains(c);
    let bare = answer.path.strip_prefix('/').filter(|path| path.chars().all(sane) && path.len() < 512)?;
    let path = PathBuf::from(bare.trim_end_matches('/')).join("index.json");
    path.components().all(|part| matches!(part, Component::Normal(_))).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_throws_a_recording_away() {
        let folder = tempfile::tempdir().unwrap();
        let long = format!("/redfish/v1/{}", "x".repeat(300));
        let paths =
            ["/redfish/v1/", "/redfish/v1/index.json", "/redfish/v1/a", "/redfish/v1//a", long.as_str()];
        let answers = paths.map(|path| Recorded {
            path: path.to_owned(),
            status: 200,
            etag: None,
            allow: None,
            body: json!({"of": path}),
        });
        let recording = Recording { answers: answers.into(), left_out: Vec::new(), scrubbed: Vec::new() };
        write(folder.path(), &recording).unwrap();
        let read = |file: &str| -> Value {
            serde_json::from_str(&fs::read_to_string(folder.path().join(file)).unwrap()).unwrap()
        };
        let index = read("recording.json");
        for (number, path) in paths.iter().enumerate() {
            let answer = &index["answers"][number];
            assert_eq!(answer["path"], *path);
            assert_eq!(read(answer["file"].as_str().unwrap())["of"], *path);
        }
    }
}
