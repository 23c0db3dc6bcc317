//! `bessemer serve --demo`: a controller with machines that do not exist.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{client::Client, output::line, wait};
use crate::{app, config::Config, node::ProvisionState};

/// A machine of the demo: its name, its `driver_info`, and what is asked of it until its state is shown.
struct Machine {
    name: &'static str,
    about: &'static str,
    info: Value,
    verbs: &'static [Step],
}

/// A verb, and the state that is waited for after it.
type Step = (&'static str, ProvisionState);

const MANAGE: Step = ("manage", ProvisionState::Manageable);
const PROVIDE: Step = ("provide", ProvisionState::Available);
const DEPLOY: Step = ("active", ProvisionState::Active);

fn machines() -> [Machine; 6] {
    let machine = |name, about, info, verbs| Machine { name, about, info, verbs };
    [
        machine("new", "just registered", json!({}), &[]),
        machine("managed", "its BMC answers", json!({}), &[MANAGE]),
        machine("free", "ready to be deployed", json!({"fake_power_delay": 1}), &[MANAGE, PROVIDE]),
        machine("used", "deployed", json!({}), &[MANAGE, PROVIDE, DEPLOY]),
        machine(
            "slow",
            "each step takes some seconds",
            json!({"fake_deploy_delay": "10,20", "fake_vendor_delay": 10, "fake_bios_delay": 5}),
            &[MANAGE, PROVIDE],
        ),
        machine("broken", "its deploys fail", json!({"fake_fail_step": "deploy.deploy"}), &[MANAGE, PROVIDE]),
    ]
}

/// Runs until SIGTERM or SIGINT. The folder goes with it.
pub(super) fn run(address: SocketAddr) -> anyhow::Result<()> {
    anyhow::ensure!(
        address.ip().is_loopback(),
        "--demo={address}: the demo does not ask who calls, so it only listens on this machine itself, as 127.0.0.1"
    );
    let folder =
        tempfile::Builder::new().prefix("bessemer-demo-").tempdir().context("making a temporary folder")?;
    let config = config(address, folder.path().to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        let _guard = stop.clone().drop_guard();
        let controller = app::run(config, stop.clone());
        let guide = async {
            match fill(address).await {
                Ok(()) => explain(address, folder.path()).map_err(anyhow::Error::from),
                error => error,
            }
        };
        tokio::pin!(controller);
        tokio::select! {
            ended = &mut controller => return ended.map_err(anyhow::Error::from),
            done = guide => if let Err(error) = done {
                stop.cancel();
                controller.await.ok();
                return Err(error.context("filling the demo"));
            },
        }
        controller.await.map_err(anyhow::Error::from)
    });
    drop(runtime);
    ended
}

fn config(address: SocketAddr, state_dir: std::path::PathBuf) -> Config {
    let mut config =
        Config { state_dir, advertise_address: Some("127.0.0.1".to_owned()), ..Config::default() };
    config.api.listen = address;
    // Nothing dials these, so any free port will do.
    config.agents.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.files.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config
}

/// Registers the machines and brings each into its state, through the API.
async fn fill(address: SocketAddr) -> anyhow::Result<()> {
    let client = Client::new(&format!("http://{address}"), None)?;
    let mut tries = 0;
    while let Err(error) = client.get(&["drivers"], &[]).await {
        tries += 1;
        anyhow::ensure!(error.is_transient() && tries < 100, error);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for machine in machines() {
        let body = json!({
            "driver": "fake-hardware", "name": machine.name, "driver_info": machine.info,
            "description": machine.about, "resource_class": "demo",
        });
        client.post(&["nodes"], &body).await?;
        for (verb, state) in machine.verbs {
            let path = ["nodes", machine.name, "states", "provision"];
            client.put(&path, &json!({"target": verb})).await?;
            wait::until(&client, machine.name, *state, Duration::from_secs(60), |_| Ok(())).await?;
        }
    }
    Ok(())
}

fn explain(address: SocketAddr, folder: &std::path::Path) -> std::io::Result<()> {
    let url = match address.port() {
        6385 if address.ip().is_ipv4() => String::new(),
        _ => format!("export BESSEMER_URL=http://{address}\n"),
    };
    line(&format!(
        "The demo runs at http://{address}, with its state in {folder} until it ends (Ctrl-C).\n\
         The machines do not exist; all else is real. In another terminal:\n\n\
         {url}bessemer node list\n\
         bessemer node clean managed --step power.power_on --step power.hold --wait\n\
         bessemer node unhold managed --wait\n\
         bessemer node service used --step power.reboot --wait\n\
         bessemer node undeploy used --wait\n\
         bessemer node history used\n\n\
         or with Ironic's own client:\n\n\
         export OS_AUTH_TYPE=none OS_ENDPOINT=http://{address}\n\
         baremetal node deploy slow --wait\n\
         baremetal node deploy broken --wait\n\
         baremetal node show broken --fields provision_state last_error\n",
        folder = folder.display()
    ))
}
