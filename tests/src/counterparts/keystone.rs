//! OpenStack Keystone: SQLite, Fernet tokens, some people. Nobody here wrote it.
//!
//! What is in it is said in `serve_keystone.py`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use super::{CounterpartError, namespace::free_port, program::in_venv};

const NAME: &str = "keystone";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/counterparts/serve_keystone.py");
/// Its Python takes half a minute of a slow core to make everything.
const START_LIMIT: Duration = Duration::from_secs(180);

/// A running Keystone. It ends with this value.
#[derive(Debug)]
pub struct Keystone {
    folder: PathBuf,
    port: u16,
    baremetal: String,
    token_seconds: u32,
    process: Option<Child>,
}

impl Keystone {
    /// The password of every user.
    pub const PASSWORD: &'static str = "secret";

    /// Chooses where it will be: its files in a new folder `keystone` of `folder`, and a port. Tokens will live for
    /// `token_seconds`.
    pub fn prepare(folder: &Path, token_seconds: u32) -> Result<Self, CounterpartError> {
        let folder = folder.join(NAME);
        fs::create_dir(&folder).map_err(CounterpartError::file("create", &folder))?;
        Ok(Self { folder, port: free_port()?, baremetal: String::new(), token_seconds, process: None })
    }

    /// Makes and starts it. Its catalog says that the bare-metal service is at `baremetal`.
    pub async fn start(&mut self, baremetal: &str) -> Result<(), CounterpartError> {
        baremetal.clone_into(&mut self.baremetal);
        self.restart().await
    }

    /// Starts it again with tokens that live for so long.
    pub async fn set_token_lifetime(&mut self, seconds: u32) -> Result<(), CounterpartError> {
        self.token_seconds = seconds;
        self.restart().await
    }

    /// `http://127.0.0.1:PORT/v3`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v3", self.port)
    }

    /// Ends it, as when it fails.
    pub async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill().await;
        }
    }

    async fn restart(&mut self) -> Result<(), CounterpartError> {
        self.stop().await;
        let log = self.folder.join("log.txt");
        let errors = fs::OpenOptions::new().create(true).append(true).open(&log);
        let errors = errors.map_err(CounterpartError::file("open", &log))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(in_venv("python")?).arg(SCRIPT).arg(&self.folder);
        command.args([self.port.to_string(), self.baremetal.clone(), self.token_seconds.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).kill_on_drop(true);
        let process = command.spawn();
        let mut process =
            process.map_err(|source| CounterpartError::Start { program: NAME.into(), source })?;
        let output = process.stdout.take();
        self.process = Some(process);
        let said_ready = async {
            let mut lines = BufReader::new(output?).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if line == "ready" {
                    return Some(());
                }
            }
            None
        };
        let problem = match timeout(START_LIMIT, said_ready).await {
            Ok(Some(())) => return Ok(()),
            Ok(None) => "ended".to_owned(),
            Err(_) => format!("did not come up within {} s", START_LIMIT.as_secs()),
        };
        let log = fs::read_to_string(&log).unwrap_or_default();
        Err(CounterpartError::NotUp { program: NAME, problem, log })
    }

    /// A token of `user` for project `project`; without one, for the whole system.
    pub async fn token(&self, user: &str, project: Option<&str>) -> Result<String, CounterpartError> {
        let domain = json!({ "id": "default" });
        let scope = match project {
            Some(project) => json!({ "project": { "name": project, "domain": domain } }),
            None => json!({ "system": { "all": true } }),
        };
        let user = json!({ "name": user, "domain": domain, "password": Self::PASSWORD });
        let identity = json!({ "methods": ["password"], "password": { "user": user } });
        let body = json!({ "auth": { "identity": identity, "scope": scope } });
        let answer = client()?.post(format!("{}/auth/tokens", self.url())).json(&body).send().await;
        let answer = answer.map_err(|error| wrong(error.to_string()))?;
        let token = answer.headers().get("X-Subject-Token").and_then(|token| token.to_str().ok());
        token.map(str::to_owned).ok_or_else(|| wrong(answer.status().to_string()))
    }

    /// Takes a token back.
    pub async fn revoke(&self, token: &str) -> Result<(), CounterpartError> {
        let request = client()?.delete(format!("{}/auth/tokens", self.url()));
        let answer = request.header("X-Auth-Token", token).header("X-Subject-Token", token).send().await;
        match answer {
            Ok(answer) if answer.status() == StatusCode::NO_CONTENT => Ok(()),
            Ok(answer) => Err(wrong(answer.status().to_string())),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// The id of a project.
    pub async fn project(&self, name: &str) -> Result<String, CounterpartError> {
        let token = self.token("admin", Some("admin")).await?;
        let request =
            client()?.get(format!("{}/projects?name={name}", self.url())).header("X-Auth-Token", token);
        let answer = request.send().await.map_err(|error| wrong(error.to_string()))?;
        let answer: Value = answer.json().await.map_err(|error| wrong(error.to_string()))?;
        let id = answer.pointer("/projects/0/id").and_then(Value::as_str);
        id.map(str::to_owned).ok_or_else(|| wrong(answer.to_string()))
    }

    /// The environment of a command line that logs in as `user` of project `demo`.
    #[must_use]
    pub fn environment(&self, user: &str) -> Vec<(String, String)> {
        let all = [
            ("OS_AUTH_TYPE", "v3password"),
            ("OS_AUTH_URL", &self.url()),
            ("OS_USERNAME", user),
            ("OS_PASSWORD", Self::PASSWORD),
            ("OS_PROJECT_NAME", "demo"),
            ("OS_USER_DOMAIN_ID", "default"),
            ("OS_PROJECT_DOMAIN_ID", "default"),
            ("OS_REGION_NAME", "RegionOne"),
        ];
        all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

fn client() -> Result<Client, CounterpartError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().map_err(|error| wrong(error.to_string()))
}

fn wrong(output: String) -> CounterpartError {
    CounterpartError::Output { program: NAME, expected: "token", output }
}
