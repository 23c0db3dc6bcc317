//! The real controller as a child process, on ports and a state folder of its own.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use toml::{Table, Value};

use super::{Api, HarnessError};
use crate::lab::log;

const READY_WITHIN: Duration = Duration::from_secs(30);
const DRAIN_WITHIN: Duration = Duration::from_secs(30);
/// What a virtual machine of the lab calls the host's loopback.
const HOST: &str = "10.0.2.2";
/// What an agent outside of a virtual machine calls it.
const LOOPBACK: &str = "127.0.0.1";

/// A controller. Its process dies with this value, without a chance to drain.
pub struct Controller {
    folder: PathBuf,
    binary: PathBuf,
    api: Api,
    child: Option<Child>,
}

impl Controller {
    /// Starts the controller with its state below `folder`, and waits until it answers. `extra` is TOML that is merged
    /// over the configuration, such as `[conductor]\ndeploy_callback_timeout = 60`.
    pub async fn start(folder: &Path, deploy_iso: &Path, extra: &str) -> Result<Self, HarnessError> {
        Self::start_trusting(folder, deploy_iso, extra, HOST, None).await
    }

    /// The same for [hollow machines](crate::lab::hollow), whose agents run here and not in a virtual machine.
    pub async fn start_for_hollow(
        folder: &Path,
        deploy_iso: &Path,
        extra: &str,
    ) -> Result<Self, HarnessError> {
        Self::start_trusting(folder, deploy_iso, extra, LOOPBACK, None).await
    }

    /// The same when `extra` says that the API is served by HTTPS; its certificate is signed by the authority of this
    /// file.
    pub async fn start_tls(
        folder: &Path,
        deploy_iso: &Path,
        extra: &str,
        authority: &Path,
    ) -> Result<Self, HarnessError> {
        let authority = fs::read(authority).map_err(HarnessError::file("read", authority))?;
        Self::start_trusting(folder, deploy_iso, extra, HOST, Some(authority)).await
    }

    async fn start_trusting(
        folder: &Path,
        deploy_iso: &Path,
        extra: &str,
        host: &str,
        authority: Option<Vec<u8>>,
    ) -> Result<Self, HarnessError> {
        let folder = folder.join("controller");
        fs::create_dir_all(&folder).map_err(HarnessError::file("create", &folder))?;
        let ports = free_ports().map_err(HarnessError::file("find free ports for", &folder))?;
        let mut configuration = configuration(&folder, deploy_iso, host, ports);
        merge(&mut configuration, extra.parse::<Table>()?);
        let file = folder.join("bessemer.toml");
        fs::write(&file, configuration.to_string()).map_err(HarnessError::file("write", &file))?;
        let scheme = if authority.is_some() { "https" } else { "http" };
        let api = Api::new(format!("{scheme}://127.0.0.1:{}", ports[0]), authority.as_deref())?;
        let mut controller = Self { folder, binary: program()?, api, child: None };
        controller.restart().await?;
        Ok(controller)
    }

    /// Its API.
    #[must_use]
    pub fn api(&self) -> Api {
        self.api.clone()
    }

    /// Its configuration file.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.folder.join("bessemer.toml")
    }

    /// Its log, from all its lives.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("bessemer.log")
    }

    /// The number of its process while it runs.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Kills it at once, as when the power fails.
    pub async fn kill(&mut self) -> Result<(), HarnessError> {
        match self.child.take() {
            Some(mut child) => child.kill().await.map_err(HarnessError::file("kill", &self.binary)),
            None => Ok(()),
        }
    }

    /// Asks it to end and waits until it has.
    pub async fn stop(&mut self) -> Result<(), HarnessError> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let wrong = |error: rustix::io::Errno| HarnessError::file("end", &self.binary)(error.into());
            kill_process(pid, Signal::TERM).map_err(wrong)?;
        }
        match timeout(DRAIN_WITHIN, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(self.problem(format!("ended with {status}"))),
            Ok(Err(source)) => Err(HarnessError::file("wait for", &self.binary)(source)),
            Err(_) => Err(self.problem(format!("did not end within {} s", DRAIN_WITHIN.as_secs()))),
        }
    }

    /// Starts it again on the same state and ports, and waits until it answers.
    pub async fn restart(&mut self) -> Result<(), HarnessError> {
        self.kill().await?;
        let (file, log) = (self.configuration(), self.log());
        let output = fs::OpenOptions::new().create(true).append(true).open(&log);
        let output = output.map_err(HarnessError::file("open", &log))?;
        let errors = output.try_clone().map_err(HarnessError::file("open", &log))?;
        // setpriv has the kernel kill it when the thread that started it dies, whatever the reason.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(&self.binary)
            .args(["serve", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(HarnessError::file("start", &self.binary))?;
        self.child = Some(child);
        self.wait_until_ready().await
    }

    async fn wait_until_ready(&mut self) -> Result<(), HarnessError> {
        let deadline = Instant::now() + READY_WITHIN;
        while self.api.get("/v1").await.is_err() {
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                self.child = None;
                return Err(self.problem(format!("ended at once with {status}")));
            }
            if Instant::now() >= deadline {
                return Err(self.problem(format!("did not answer within {} s", READY_WITHIN.as_secs())));
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    fn problem(&self, problem: String) -> HarnessError {
        HarnessError::Controller { problem, log: log::tail(&self.log()) }
    }
}

/// `BESSEMER_BIN`, or `bessemer` beside the program that runs the tests.
/// The program `bessemer`: controller and command line.
pub fn program() -> Result<PathBuf, HarnessError> {
    let path = match std::env::var_os("BESSEMER_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let this = std::env::current_exe().map_err(HarnessError::file("find", "the test's program"))?;
            // target/debug/deps/test-0123 or target/debug/program
            let mut folders = this.ancestors().skip(1);
            let found =
                folders.find(|folder| !folder.ends_with("deps")).map(|folder| folder.join("bessemer"));
            found.unwrap_or_else(|| PathBuf::from("bessemer"))
        }
    };
    path.canonicalize().map_err(|_| HarnessError::Binary { path })
}

/// Three ports that are free now: API, agents, files. They must last over a restart, so the controller cannot choose.
fn free_ports() -> std::io::Result<[u16; 3]> {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener?.local_addr()?.port();
    }
    Ok(ports)
}

fn configuration(folder: &Path, deploy_iso: &Path, host: &str, [api, agents, files]: [u16; 3]) -> Table {
    let section = |pairs: Vec<(&str, Value)>| {
        Value::Table(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    };
    let local = |port: u16| Value::from(format!("127.0.0.1:{port}"));
    let path = |path: &Path| Value::from(path.display().to_string());
    let agents = vec![
        ("listen", local(agents)),
        ("advertise", Value::Array(vec![Value::from(format!("{host}:{agents}"))])),
    ];
    let files = vec![
        ("listen", local(files)),
        ("url_for_bmcs", Value::from(format!("http://127.0.0.1:{files}"))),
        ("url_for_agents", Value::from(format!("http://{host}:{files}"))),
    ];
    let all = [
        ("state_dir", path(&folder.join("state"))),
        ("advertise_address", Value::from(host)),
        ("api", section(vec![("listen", local(api))])),
        ("agents", section(agents)),
        ("files", section(files)),
        ("boot", section(vec![("deploy_iso", path(deploy_iso))])),
    ];
    all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Merges tables key by key; anything else is replaced.
fn merge(into: &mut Table, more: Table) {
    for (key, value) in more {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(more)) => merge(into, more),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_configuration_is_merged_section_by_section() {
        let mut all = configuration(Path::new("/f"), Path::new("/deploy.iso"), HOST, [1, 2, 3]);
        merge(
            &mut all,
            "[agents]\ntoken_lifetime = 5\n[conductor]\ndeploy_callback_timeout = 60".parse().unwrap(),
        );
        assert_eq!(all["agents"]["advertise"][0].as_str(), Some("10.0.2.2:2"));
        assert_eq!(all["agents"]["token_lifetime"].as_integer(), Some(5));
        assert_eq!(all["conductor"]["deploy_callback_timeout"].as_integer(), Some(60));
        let text = all.to_string();
        assert_eq!(text.parse::<Table>().unwrap(), all, "it is read as it was meant:\n{text}");
    }
}
