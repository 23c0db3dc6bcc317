//! One running QEMU: from exec to exit. It dies with the thread that started it, with this value, or when told.

use std::{fs::File, path::Path, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    sync::mpsc,
    time::timeout,
};

use super::{
    LabError, log,
    qmp::{Qmp, QmpError, QmpEvent},
};

const GREETING_WITHIN: Duration = Duration::from_secs(30);
const QUIT_WITHIN: Duration = Duration::from_secs(5);
const QEMU: &str = "qemu-system-x86_64";

/// Why a running QEMU needs attention.
pub(super) enum Occurrence {
    /// The guest did something; QEMU is paused.
    Guest(QmpEvent),
    /// QEMU is gone by itself.
    Died,
}

/// A running QEMU.
pub(super) struct Process {
    child: Child,
    qmp: Qmp,
    events: mpsc::Receiver<QmpEvent>,
}

impl Process {
    /// Starts QEMU in `folder` and waits until it answers.
    pub(super) async fn start(folder: &Path, arguments: &[String]) -> Result<Self, LabError> {
        let messages = folder.join("qemu.log");
        let stderr = File::create(&messages).map_err(LabError::file("create", &messages))?;
        // setpriv has the kernel kill QEMU when the thread that started it dies, whatever the reason.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", QEMU, "-nodefaults", "-no-user-config"])
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| LabError::Spawn { program: "setpriv", source })?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(LabError::Qemu { messages: "no pipe to QEMU".into() });
        };
        match Qmp::open(stdout, stdin, GREETING_WITHIN).await {
            Ok((qmp, events)) => Ok(Self { child, qmp, events }),
            Err(error) => {
                let _ = child.kill().await;
                let words = log::tail(&messages);
                Err(LabError::Qemu { messages: format!("{error}\n{words}") })
            }
        }
    }

    /// Waits until the guest or QEMU itself ends. Safe to cancel.
    pub(super) async fn next(&mut self) -> Occurrence {
        tokio::select! {
            biased;
            Some(event) = self.events.recv() => Occurrence::Guest(event),
            _ = self.child.wait() => Occurrence::Died,
        }
    }

    /// Runs a QMP command.
    pub(super) async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.qmp.execute(command, arguments).await
    }

    /// Cuts the power. Returns when the process is gone.
    pub(super) async fn stop(mut self) {
        // `quit` stops the processors at once and closes disk images in order.
        let _ = self.qmp.execute("quit", json!({})).await;
        if timeout(QUIT_WITHIN, self.child.wait()).await.is_err() {
            tracing::warn!("QEMU did not quit; killing it");
            let _ = self.child.kill().await;
        }
    }
}
