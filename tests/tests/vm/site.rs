//! A site under test: one virtual machine with its BMC, one controller, one image server.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use bessemer_tests::{
    harness::{Api, Controller, agent_artifacts},
    lab::{Lab, Machine, MachineDefinition, image_server::ImageServer},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// The name of the machine and of its node.
pub const NODE: &str = "node-1";
/// How a lab machine calls the host's loopback.
const HOST_AS_SEEN_BY_MACHINES: &str = "10.0.2.2";

/// What a test wants different.
pub struct Setup {
    /// The machine.
    pub machine: MachineDefinition,
    /// More lines (TOML) for the controller's configuration.
    pub configuration: &'static str,
}

impl Setup {
    pub fn new(machine: MachineDefinition) -> Self {
        Self { machine, configuration: "" }
    }
}

/// The site. Everything stops when it is dropped.
pub struct Site {
    pub images: ImageServer,
    pub lab: Lab,
    pub controller: Controller,
    folder: TempDir,
}

/// What a command of the operator printed.
#[derive(Debug)]
pub struct Said {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Site {
    /// Starts a machine (off), an image server and a controller that answers.
    pub async fn start(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [images, lab] = ["images", "lab"].map(|name| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        });
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let images = ImageServer::start(&images, listen).await.unwrap();
        let lab = Lab::start(&lab, vec![setup.machine]).await.unwrap();
        let configuration = images_configuration() + setup.configuration;
        let iso = agent_artifacts::deploy_iso().unwrap();
        let controller = Controller::start(folder.path(), &iso, &configuration).await.unwrap();
        Self { images, lab, controller, folder }
    }

    pub fn controller_log(&self) -> String {
        std::fs::read_to_string(self.controller.log()).unwrap_or_default()
    }

    pub fn machine(&self) -> &Machine {
        self.lab.machine(NODE)
    }

    pub fn api(&self) -> Api {
        self.controller.api()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes `file` downloadable and returns its URL as machines see it.
    pub fn publish(&self, file: &Path) -> String {
        let name = file.file_name().unwrap().to_str().unwrap();
        let served = self.folder.path().join("images").join(name);
        if !served.exists() {
            std::fs::hard_link(file, &served).or_else(|_| std::os::unix::fs::symlink(file, &served)).unwrap();
        }
        self.url(name)
    }

    /// The URL of a file as machines see it.
    pub fn url(&self, name: &str) -> String {
        format!("http://{HOST_AS_SEEN_BY_MACHINES}:{}/{name}", self.images.address().port())
    }

    /// Runs `bessemer` as an operator does.
    pub async fn bessemer(&self, arguments: &[&str]) -> Said {
        bessemer(&self.api(), arguments).await
    }

    /// Runs `bessemer`, which must succeed.
    pub async fn must(&self, arguments: &[&str]) -> Said {
        let said = self.bessemer(arguments).await;
        assert!(said.success, "bessemer {arguments:?}: {said:?}\n{}", self.story());
        said
    }

    /// Arguments that create the node with the machine's BMC.
    pub fn create_arguments(&self, address: &str, system: &str) -> Vec<String> {
        let credentials = self.machine().credentials();
        [
            "node",
            "create",
            "--name",
            NODE,
            "--driver",
            "redfish",
            "--driver-info",
            &format!("redfish_address={address}"),
            "--driver-info",
            &format!("redfish_system_id={system}"),
            "--driver-info",
            &format!("redfish_username={}", credentials.user),
            "--driver-info",
            &format!("redfish_password={}", credentials.password.reveal()),
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Enrols the machine and makes it available.
    pub async fn enrol(&self) {
        let machine = self.machine();
        let create = self.create_arguments(machine.bmc_url().as_str(), machine.system_path());
        self.must(&create.iter().map(String::as_str).collect::<Vec<_>>()).await;
        self.must(&["node", "manage", NODE, "--wait", "--timeout", "60"]).await;
        self.must(&["node", "provide", NODE, "--wait", "--timeout", "60"]).await;
    }

    /// The node as the API shows it.
    pub async fn node(&self) -> Value {
        self.api().node(NODE).await.unwrap()
    }

    /// Waits until `condition` holds for the node.
    pub async fn wait_for(&self, what: &str, within: Duration, condition: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + within;
        loop {
            let node = self.node().await;
            if condition(&node) {
                return node;
            }
            assert!(Instant::now() < deadline, "not in time: {what}; the node is {node:#}\n{}", self.story());
            sleep(Duration::from_millis(300)).await;
        }
    }

    /// Waits for a provision state.
    pub async fn wait_for_state(&self, state: &str, within: Duration) -> Value {
        self.wait_for(state, within, |node| node["provision_state"] == state).await
    }

    /// Everything that helps to understand a failed test.
    pub fn story(&self) -> String {
        let serial = std::fs::read(self.machine().serial_log()).unwrap_or_default();
        let tail = &serial[serial.len().saturating_sub(6000)..];
        let log = self.controller_log();
        let log_tail: String = log.chars().skip(log.chars().count().saturating_sub(8000)).collect();
        format!("--- controller:\n{log_tail}\n--- serial console:\n{}", String::from_utf8_lossy(tail))
    }

    /// The disk's first MiB and its last 33 sectors hold nothing: it cannot boot and has no partition table.
    pub fn assert_disk_has_no_partition_table(&self) {
        let mut disk = File::open(self.machine().disk_path(0).unwrap()).unwrap();
        let mut head = vec![0; 1 << 20];
        disk.read_exact(&mut head).unwrap();
        assert!(head.iter().all(|byte| *byte == 0), "the disk's first MiB was written\n{}", self.story());
        let mut tail = vec![0; 33 * 512];
        disk.seek(SeekFrom::End(-(33 * 512))).unwrap();
        disk.read_exact(&mut tail).unwrap();
        assert!(tail.iter().all(|byte| *byte == 0), "the disk's last sectors were written");
    }
}

/// Runs `bessemer` as an operator of that controller does.
pub async fn bessemer(api: &Api, arguments: &[&str]) -> Said {
    let output = tokio::process::Command::new(binary("bessemer"))
        .args(["--url", api.base()])
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The controller's configuration for images: its allowed folder, and that machines know the image server by another
/// address.
pub fn images_configuration() -> String {
    let image = agent_artifacts::demo_image().unwrap();
    format!(
        "[images]\ncheck_http_sources = false\nfile_url_allowed_paths = [{:?}]\n",
        image.parent().unwrap()
    )
}

/// A binary of this workspace, beside the folder of the test's own.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join(name);
    assert!(
        path.exists(),
        "{} is not built: run `make test`, or `cargo build --workspace --bins` before",
        path.display()
    );
    path
}

/// The Debian disk image, packed or not, with its SHA-256.
pub fn debian(name: &str) -> (PathBuf, String) {
    let folder = agent_artifacts::demo_image().unwrap().parent().unwrap().to_owned();
    let sums = std::fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    let line = sums.lines().find(|line| line.ends_with(&format!(" {name}"))).unwrap();
    (folder.join(name), line.split_whitespace().next().unwrap().to_owned())
}
