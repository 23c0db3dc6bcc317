//! PostgreSQL of Debian: one empty database on a free port of the loopback interface. Nobody here wrote it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nix::unistd::{Uid, User};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command as Process},
    time::{Instant, sleep},
};

use super::{CounterpartError, namespace::free_port};

const NAME: &str = "postgres";
/// Where Debian puts each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// It will not run as root.
const USER: &str = "nobody";
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running server. It ends with this value.
#[derive(Debug)]
pub struct PostgreSql {
    /// Others than root must get there.
    folder: TempDir,
    programs: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl PostgreSql {
    /// Makes an empty server and starts it.
    pub async fn start() -> Result<Self, CounterpartError> {
        let folder = tempfile::tempdir().map_err(CounterpartError::file("create", "a temporary folder"))?;
        let (path, programs) = (folder.path().to_owned(), programs()?);
        if Uid::effective().is_root() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .map_err(CounterpartError::file("open to others", &path))?;
            let user = User::from_name(USER).ok().flatten();
            let ids = user.map(|user| (Some(user.uid.as_raw()), Some(user.gid.as_raw())));
            let (user, group) = ids.unwrap_or_default();
            chown(&path, user, group).map_err(CounterpartError::file("give away", &path))?;
        }
        let mut server = Self { folder, programs, port: free_port()?, process: None };
        server.make()?;
        server.restart().await?;
        Ok(server)
    }

    /// `postgres://bessemer@127.0.0.1:PORT/postgres`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://bessemer@127.0.0.1:{}/postgres", self.port)
    }

    /// Kills it at once, as when its machine fails.
    pub async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill().await;
        }
    }

    /// Starts it again with the same data and port, and waits until it answers.
    pub async fn restart(&mut self) -> Result<(), CounterpartError> {
        self.kill().await;
        let data = self.data();
        let _ = fs::remove_file(data.join("postmaster.pid"));
        let log = self.folder.path().join("log.txt");
        let output = fs::OpenOptions::new().create(true).append(true).open(&log);
        let output = output.map_err(CounterpartError::file("open", &log))?;
        let errors = output.try_clone().map_err(CounterpartError::file("open", &log))?;
        let mut command = Process::from(as_user(&self.programs.join("postgres")));
        command.arg("-D").arg(&data).args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k", ""]);
        command.stdin(Stdio::null()).stdout(output).stderr(errors).kill_on_drop(true);
        let process = command.spawn();
        self.process =
            Some(process.map_err(|source| CounterpartError::Start { program: NAME.into(), source })?);
        let deadline = Instant::now() + START_LIMIT;
        while !self.answers() {
            if Instant::now() > deadline {
                let problem = format!("did not answer within {} s", START_LIMIT.as_secs());
                let log = fs::read_to_string(&log).unwrap_or_default();
                return Err(CounterpartError::NotUp { program: NAME, problem, log });
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn make(&self) -> Result<(), CounterpartError> {
        let mut command = as_user(&self.programs.join("initdb"));
        command.arg("-D").arg(self.data()).args([
            "-U",
            "bessemer",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
        ]);
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|source| CounterpartError::Start { program: "initdb".into(), source })?;
        if output.status.success() {
            return Ok(());
        }
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(CounterpartError::NotUp {
            program: "initdb",
            problem: format!("ended with {}", output.status),
            log,
        })
    }

    fn answers(&self) -> bool {
        let mut command = Command::new(self.programs.join("pg_isready"));
        command.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        command.status().is_ok_and(|status| status.success())
    }
}

/// The newest version that is installed.
fn programs() -> Result<PathBuf, CounterpartError> {
    let versions = fs::read_dir(VERSIONS).map_err(CounterpartError::file("list", VERSIONS))?;
    let mut versions: Vec<PathBuf> = versions.flatten().map(|entry| entry.path().join("bin")).collect();
    versions.retain(|folder| folder.join(NAME).is_file());
    versions.sort();
    versions.pop().ok_or_else(|| CounterpartError::Missing { path: PathBuf::from(VERSIONS) })
}

/// A program that dies with the thread that started it, and does not run as root.
fn as_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if Uid::effective().is_root() {
        command.args(["--reuid", USER, "--regid", "nogroup", "--clear-groups"]);
    }
    command.arg(program).current_dir("/");
    command
}
