//! The real `baremetal` command line of python-ironicclient.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use bessemer_tests::counterparts::ironicclient::IronicClient;
//!
//! let client = IronicClient::new("http://127.0.0.1:6385")?;
//! let nodes = client.json(&["node", "list"]).await?;
//! let refused = client.run(&["node", "show", "nobody"]).await?;
//! assert!(nodes.is_array() && !refused.success());
//! # Ok(())
//! # }
//! ```

use std::{path::PathBuf, time::Duration};

use serde_json::Value;
use tokio::process::Command;

use super::{
    Answer, CounterpartError,
    program::{in_venv, run, without_settings},
};

/// `baremetal` pointed at one API, without authentication.
#[derive(Clone, Debug)]
pub struct IronicClient {
    program: PathBuf,
    endpoint: String,
    timeout: Duration,
}

impl IronicClient {
    /// A client of the API at `endpoint`. A command has half an hour, which covers `node deploy --wait`.
    pub fn new(endpoint: impl Into<String>) -> Result<Self, CounterpartError> {
        let program = in_venv("baremetal")?;
        Ok(Self { program, endpoint: endpoint.into(), timeout: Duration::from_secs(1800) })
    }

    /// The same with another limit for a command.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Runs `baremetal ARGUMENTS`, whatever comes of it.
    pub async fn run(&self, arguments: &[&str]) -> Result<Answer, CounterpartError> {
        run(self.command(arguments), self.timeout).await
    }

    /// Runs `baremetal ARGUMENTS -f json`, which must succeed.
    pub async fn json(&self, arguments: &[&str]) -> Result<Value, CounterpartError> {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["-f", "json"]).collect();
        let answer = self.run(&arguments).await?;
        if !answer.success() {
            let program = format!("baremetal {}", arguments.join(" "));
            return Err(CounterpartError::Failed { program, answer });
        }
        serde_json::from_str(&answer.stdout).map_err(|_| CounterpartError::Output {
            program: "baremetal",
            expected: "JSON",
            output: answer.to_string(),
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        without_settings(&mut command);
        command.args(["--os-auth-type", "none", "--os-endpoint", &self.endpoint]).args(arguments);
        command
    }
}
