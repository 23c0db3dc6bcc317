//! Who is measured: a server of the API that runs here, and what it holds.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use bessemer_tests::{counterparts::postgresql::PostgreSql, harness::Controller};
use serde_json::{Value, json};

use crate::load::{Connection, request};

const START_LIMIT: Duration = Duration::from_secs(120);

/// A server.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    process: u32,
    running: Running,
}

enum Running {
    Bessemer { _both: Box<(Controller, Option<PostgreSql>)> },
    Ironic(Child),
}

impl Subject {
    /// The controller, with SQLite or PostgreSQL; `more` is of its configuration.
    pub(crate) async fn bessemer(folder: &Path, database: Option<PostgreSql>, more: &str) -> Result<Self> {
        let deploy_iso = folder.join("deploy.iso");
        fs::write(&deploy_iso, [0; 2048])?;
        let store = database.as_ref().map(|database| format!("[store]\nurl = \"{}\"\n", database.url()));
        let extra = format!("{}{more}", store.as_deref().unwrap_or_default());
        let controller = Controller::start(folder, &deploy_iso, &extra).await?;
        let address = controller.api().base().trim_start_matches("http://").parse()?;
        let process = controller.process().context("the controller has ended")?;
        let name = format!("Bessemer, {}", if store.is_some() { "PostgreSQL" } else { "SQLite" });
        let running = Running::Bessemer { _both: Box::new((controller, database)) };
        Ok(Self { name, address, process, running })
    }

    /// The real Ironic of the virtual environment `venv`: one process, SQLite. With `polls` its machines have Redfish and
    /// are looked at so often, in seconds; else they are fake.
    pub(crate) async fn ironic(folder: &Path, venv: &Path, polls: Option<u32>) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let configuration = folder.join("ironic.conf");
        fs::write(&configuration, ironic_configuration(folder, port, polls))?;
        let path = format!("{}:{}", venv.join("bin").display(), std::env::var("PATH").unwrap_or_default());
        let program = |name: &str| {
            let mut command = Command::new(venv.join("bin").join(name));
            command.arg("--config-file").arg(&configuration).env("PATH", &path).stdin(Stdio::null());
            command
        };
        let log = fs::File::create(folder.join("log.txt"))?;
        let made = program("ironic-dbsync")
            .arg("create_schema")
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            .status()?;
        if !made.success() {
            bail!("ironic-dbsync ended with {made}");
        }
        let child = program("ironic").stdout(log.try_clone()?).stderr(log).spawn()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let subject = Self {
            name: "Ironic 39.0.0, SQLite".into(),
            address,
            process: child.id(),
            running: Running::Ironic(child),
        };
        let deadline = Instant::now() + START_LIMIT;
        while subject.get("/v1/conductors").await.is_err() {
            if Instant::now() > deadline {
                bail!("Ironic did not answer within {} s", START_LIMIT.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(subject)
    }

    /// A GET's body.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.ask("GET", path, "").await
    }

    /// One request, which must be answered with 2xx.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        let mut connection = Connection::open(self.address).await?;
        let (status, answer) = connection.ask(&request(method, path, self.address, body)).await?;
        if !(200..300).contains(&status) {
            bail!("{method} {path} was answered {status}: {}", String::from_utf8_lossy(answer));
        }
        Ok(serde_json::from_slice(answer).unwrap_or_default())
    }

    /// Creates fake nodes; answers their UUIDs and how many a second were made.
    pub(crate) async fn fill(&self, count: usize) -> Result<(Vec<String>, f64)> {
        let mut connection = Connection::open(self.address).await?;
        let (mut nodes, started) = (Vec::with_capacity(count), Instant::now());
        for number in 0..count {
            let class = if number % 10 == 0 { "gold" } else { "tin" };
            let body = json!({
                "driver": "fake-hardware", "name": format!("node-{number}"), "resource_class": class,
                "properties": { "cpus": 16, "memory_mb": 65536, "local_gb": 900, "cpu_arch": "x86_64" },
                "instance_info": {
                    "image_source": "http://127.0.0.1:1/image.raw", "image_os_hash_algo": "sha256", "image_os_hash_value": "0".repeat(64),
                },
                "extra": { "rack": number / 40, "place": number % 40 },
            });
            let request = request("POST", "/v1/nodes", self.address, &body.to_string());
            let (status, answer) = connection.ask(&request).await?;
            let node: Value = serde_json::from_slice(answer).unwrap_or_default();
            let Some(uuid) = node.get("uuid").and_then(Value::as_str).filter(|_| status == 201) else {
                bail!("creating a node was answered {status}: {}", String::from_utf8_lossy(answer));
            };
            nodes.push(uuid.to_owned());
        }
        Ok((nodes, count as f64 / started.elapsed().as_secs_f64()))
    }

    /// Seconds that its process has computed so far.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        crate::polls::cpu_seconds(self.process)
    }

    /// MiB of memory that its process has now, and the most it had.
    pub(crate) fn memory(&self) -> Result<(f64, f64)> {
        let path = PathBuf::from(format!("/proc/{}/status", self.process));
        let status = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib / 1024.0)
        };
        mib("VmRSS:").zip(mib("VmHWM:")).context("a process without memory")
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Running::Ironic(child) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ironic_configuration(folder: &Path, port: u16, polls: Option<u32>) -> String {
    let folder = folder.display();
    let kinds = [
        ("bios", "no-bios"),
        ("boot", "redfish-virtual-media"),
        ("console", "no-console"),
        ("deploy", "direct"),
        ("firmware", "no-firmware"),
        ("inspect", "no-inspect"),
        ("management", "redfish"),
        ("power", "redfish"),
        ("raid", "no-raid"),
        ("rescue", "no-rescue"),
        ("vendor", "no-vendor"),
    ];
    let (hardware, polls) = match polls {
        None => ("fake-hardware", String::new()),
        Some(seconds) => (
            "redfish",
            format!("[conductor]\nsync_power_state_interval = {seconds}\nsync_power_state_workers = 8\n"),
        ),
    };
    let interface = |(kind, redfish): &(&str, &str)| {
        let name = if hardware == "redfish" { redfish } else { "fake" };
        format!("enabled_{kind}_interfaces = {name}\n")
    };
    let interfaces: String = kinds.iter().map(interface).collect();
    format!(
        "[DEFAULT]\nauth_strategy = noauth\nrpc_transport = none\ndebug = false\nlog_dir = {folder}\nstate_path = {folder}\n\
         host = localhost\nmy_ip = 127.0.0.1\nenabled_hardware_types = {hardware}\n{interfaces}\
         enabled_network_interfaces = noop\ndefault_network_interface = noop\nenabled_storage_interfaces = noop\n\
         [api]\nhost_ip = 127.0.0.1\nport = {port}\napi_workers = 1\n\
         [database]\nconnection = sqlite:///{folder}/ironic.sqlite\n\
         [deploy]\nhttp_root = {folder}\n[dhcp]\ndhcp_provider = none\n\
         [service_catalog]\nauth_type = none\nendpoint_override = http://127.0.0.1:{port}\n\
         [oslo_messaging_notifications]\ndriver = noop\n{polls}"
    )
}
