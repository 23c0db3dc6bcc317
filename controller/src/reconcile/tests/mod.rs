//! The engine with the real store, fleet, media and images; only the machine is simulated.

mod agent;
mod allocations;
mod deploy;
mod ilo;
mod killed;
mod life;
mod machine;
mod out_of_band;
mod power;
mod recovery;
mod requests;
mod steps;
mod volumes;
mod watch;
mod works;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{Router, routing::any};
use bessemer_proto::{
    boot_parameters::region::{self, DESCRIPTOR_BYTES, DESCRIPTOR_OFFSET, REGION_BYTES, Region},
    ids::NodeId,
};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::machine::Machine;
use super::*;
use crate::{
    agents::{self, Fleet, authority::Authority},
    bmc::BmcError,
    boot::{self, MediaShelf},
    config_drive::{self, ConfigDrives},
    console::{self, Consoles},
    image::{self, Images},
    node::{Node, ProvisionState, Verb},
    store::Store,
};

const REGION: Region = Region { offset: 100_000, length: REGION_BYTES as u64 };

/// A controller that can be killed and started again, and one machine.
struct World {
    folder: tempfile::TempDir,
    machine: Machine,
    config: Config,
    store: Store,
    engine: Engine,
    servers: CancellationToken,
    agents: SocketAddr,
    files: SocketAddr,
    source: SocketAddr,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            check_provision_state_interval: 1,
            power_state_change_timeout: 5,
            // A refusal is one at once.
            bmc_retry_timeout: 0,
            restart_grace: 0,
            ..Config::default()
        };
        change(&mut config);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("deploy.iso"), iso()).unwrap();
        let source = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source_address = source.local_addr().unwrap();
        let image = Router::new().route("/disk.raw", any(|| async { "image" }));
        tokio::spawn(async move { axum::serve(source, image).await });
        let any_port: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let machine = Machine::default();
        let life = Life::start(folder.path().into(), &config, &machine, [any_port; 2]).await;
        let Life { store, engine, servers, agents, files } = life;
        Self { folder, machine, config, store, engine, servers, agents, files, source: source_address }
    }

    /// As SIGKILL does: nothing is finished, connections break. Then a new start at the same ports.
    async fn kill(&mut self) {
        self.servers.cancel();
        self.engine.inner.abandon.cancel();
        self.engine.inner.stop.cancel();
        self.engine.inner.tasks.close();
        self.engine.inner.tasks.wait().await;
        self.store.close().await;
        let life =
            Life::start(self.folder.path().into(), &self.config, &self.machine, [self.agents, self.files]);
        let Life { store, engine, servers, .. } = life.await;
        (self.store, self.engine, self.servers) = (store, engine, servers);
    }

    async fn node(&self, id: NodeId) -> Node {
        self.store.node(&id.to_string()).await.unwrap()
    }

    /// A node of our machine in `enroll`.
    async fn enrolled(&self) -> NodeId {
        let mut node = Node::new("redfish");
        node.name = Some(format!("node-{}", node.uuid));
        node.driver_info.insert("redfish_address".into(), json!("http://bmc.test"));
        node.instance_info = self.instance_info();
        node.instance_uuid = Some(uuid::Uuid::new_v4().to_string());
        crate::drivers::complete(&mut node).unwrap();
        self.store.create_node(&node).await.unwrap();
        node.uuid
    }

    fn instance_info(&self) -> Map<String, Value> {
        let info = json!({
            "image_source": format!("http://{}/disk.raw", self.source),
            "image_os_hash_algo": "sha256",
            "image_os_hash_value": "ab".repeat(32),
        });
        info.as_object().unwrap().clone()
    }

    async fn available(&self) -> NodeId {
        let id = self.enrolled().await;
        self.ask(id, Verb::Manage).await.unwrap();
        self.reaches(id, ProvisionState::Manageable).await;
        self.ask(id, Verb::Provide).await.unwrap();
        self.reaches(id, ProvisionState::Available).await;
        id
    }

    async fn active(&self) -> NodeId {
        let id = self.available().await;
        self.ask(id, Verb::Deploy).await.unwrap();
        self.reaches(id, ProvisionState::Active).await;
        id
    }

    async fn ask(&self, node: NodeId, verb: Verb) -> Result<(), RequestError> {
        self.engine.provision(node, verb, &Map::new()).await
    }

    /// Waits for a state; another resting state is a failure of the test.
    async fn reaches(&self, id: NodeId, state: ProvisionState) -> Node {
        let node = self.until(id, |node| node.provision_state == state || !node.provision_state.is_moving());
        let node = node.await;
        assert_eq!(node.provision_state, state, "{:?}", node.last_error);
        node
    }

    async fn until(&self, id: NodeId, is_so: impl Fn(&Node) -> bool) -> Node {
        let found = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let node = self.node(id).await;
                if is_so(&node) {
                    return node;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        match found.await {
            Ok(node) => node,
            Err(_) => panic!("never happened; the node is {:#?}", self.node(id).await),
        }
    }
}

/// One life of the controller.
struct Life {
    store: Store,
    engine: Engine,
    servers: CancellationToken,
    agents: SocketAddr,
    files: SocketAddr,
}

impl Life {
    async fn start(folder: PathBuf, config: &Config, machine: &Machine, ports: [SocketAddr; 2]) -> Self {
        let [agents_listener, files_listener] = [listen(ports[0]).await, listen(ports[1]).await];
        let (agents, files) = (agents_listener.local_addr().unwrap(), files_listener.local_addr().unwrap());
        let store = crate::store::tests::open_in(&folder.join("state")).await;
        let authority = Authority::open(&folder.join("state/ca")).unwrap();
        let pokes = Pokes::new();
        let poker = pokes.clone();
        let fleet = Fleet::new(
            agents::Config::default(),
            vec![agents.to_string()],
            store.clone(),
            authority,
            Arc::new(move |node| poker.poke(node)),
        );
        let base: url::Url = format!("http://{files}/").parse().unwrap();
        let shelf = MediaShelf::new(boot::Config { deploy_iso: folder.join("deploy.iso") }, base.clone());
        let images = Images::open(image::Config::default(), folder.join("state/images"), base, None).unwrap();
        let servers = CancellationToken::new();
        tokio::spawn(fleet.clone().serve(agents_listener, servers.clone()));
        let config_drives = ConfigDrives::new(images.clone());
        let router = boot::router(shelf.clone()).merge(config_drive::router(config_drives.clone()));
        tokio::spawn(crate::files::serve(files_listener, router, servers.clone()));
        let bmc = machine.clone();
        let open_bmc: OpenBmc =
            Arc::new(move |node| match node.driver_info.contains_key("redfish_address") {
                _ if node.driver == "fake-hardware" => crate::bmc::open(node),
                true if node.driver == "ilo" => {
                    Ok(bmc.bmc_with(node.driver_info.get("ilo_password").and_then(Value::as_str)))
                }
                true => Ok(bmc.bmc()),
                false => Err(BmcError::DriverInfo("redfish_address is missing in driver_info".into())),
            });
        let engine = Engine::start(Deps {
            store: store.clone(),
            fleet,
            shelf,
            images,
            config_drives,
            consoles: Consoles::new(
                console::Config::default(),
                &folder.join("state/consoles"),
                store.clone(),
                Arc::clone(&open_bmc),
            ),
            open_bmc,
            sensor_data: crate::sensors::Config { send_sensor_data: true, interval: 1, ..Default::default() },
            announcer: crate::notify::Announcer::default(),
            config: config.clone(),
            ilo: crate::drivers::IloConfig {
                clean_priority_clear_secure_boot_keys: 40,
                ..Default::default()
            },
            hostname: "controller-1".into(),
            token_lifetime: Duration::from_secs(60),
            pokes,
        });
        Self { store, engine: engine.await.unwrap(), servers, agents, files }
    }
}

/// A port that was just given up may take a moment.
async fn listen(address: SocketAddr) -> TcpListener {
    for _ in 0..100 {
        if let Ok(listener) = TcpListener::bind(address).await {
            return listener;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{address} cannot be had");
}

/// Enough of a deploy ISO: a descriptor that points to the region, and the region.
fn iso() -> Vec<u8> {
    let mut iso = vec![0; REGION.offset as usize];
    let mut descriptor = [0; DESCRIPTOR_BYTES];
    descriptor[0] = 1;
    descriptor[1..6].copy_from_slice(b"CD001");
    REGION.write_pointer(&mut descriptor);
    let at = DESCRIPTOR_OFFSET as usize;
    iso[at..at + DESCRIPTOR_BYTES].copy_from_slice(&descriptor);
    iso.extend(region::fill("").unwrap());
    iso
}

fn http_client() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).build().unwrap()
}
