//! A program, or several, in process and mount namespaces of their own: nothing of the host is touched, and whatever
//! was started there ends with its owner. Needs root.

use std::{
    fs::{self, File},
    io,
    net::{SocketAddr, TcpListener},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::CounterpartError;

/// How long they have to end before `unshare` is killed, which ends them too but unseen.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A shell script as process 1 of its namespaces. It must end with its standard input.
#[derive(Debug)]
pub(super) struct Namespace {
    name: &'static str,
    process: Child,
    log: PathBuf,
}

impl Namespace {
    /// Runs `script` with `folder` and `arguments`; what it prints goes to `log.txt` in the folder.
    pub(super) fn start(
        name: &'static str,
        script: &str,
        folder: &Path,
        arguments: &[&Path],
    ) -> Result<Self, CounterpartError> {
        if !fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
            let source = io::Error::new(io::ErrorKind::PermissionDenied, "namespaces need root");
            return Err(CounterpartError::Start { program: name.into(), source });
        }
        let log = folder.join("log.txt");
        let output = File::create(&log).map_err(CounterpartError::file("create", &log))?;
        let errors = output.try_clone().map_err(CounterpartError::file("use", &log))?;
        let path = folder.join("start.sh");
        fs::write(&path, script).map_err(CounterpartError::file("write", &path))?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash"]);
        command.arg(path).arg(folder).args(arguments);
        command.stdin(Stdio::piped()).stdout(output).stderr(errors);
        let process = command.spawn();
        let process =
            process.map_err(|source| CounterpartError::Start { program: "unshare".into(), source })?;
        Ok(Self { name, process, log })
    }

    /// Waits until somebody listens at `address`.
    pub(super) async fn wait_for(
        &mut self,
        address: SocketAddr,
        limit: Duration,
    ) -> Result<(), CounterpartError> {
        let deadline = Instant::now() + limit;
        while tokio::net::TcpStream::connect(address).await.is_err() {
            let ended = self.process.try_wait();
            let ended = ended.map_err(|source| CounterpartError::Start { program: self.name.into(), source });
            let problem = match ended? {
                Some(status) => format!("ended with {status}"),
                None if Instant::now() > deadline => {
                    format!("did not answer within {} s", limit.as_secs())
                }
                None => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            };
            return Err(CounterpartError::NotUp { program: self.name, problem, log: self.log() });
        }
        Ok(())
    }

    /// The end of what was printed.
    pub(super) fn log(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let start = text.len().saturating_sub(4000);
        String::from_utf8_lossy(text.get(start..).unwrap_or_default()).into_owned()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The script ends with its standard input, the namespaces with the script, `unshare` when all are gone.
        drop(self.process.stdin.take());
        let deadline = Instant::now() + STOP_LIMIT;
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port of the loopback interface that nobody uses now.
pub(super) fn free_port() -> Result<u16, CounterpartError> {
    let bound = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    let address = bound.map_err(|source| CounterpartError::Start { program: "a listener".into(), source })?;
    Ok(address.port())
}
