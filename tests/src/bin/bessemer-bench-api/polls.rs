//! What it costs to watch the power of many machines: the CPU time of a poll, and so how many BMCs one core can poll.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use bessemer_tests::lab::{Lab, Machine, MachineDefinition};
use serde_json::{Value, json};

use crate::subject::Subject;

/// Ironic looks at fewer: its polls take longer, and it must keep up.
const IRONIC_BMCS: usize = 50;
/// Both products' default, which the result is for.
const DEFAULT_INTERVAL: f64 = 120.0;
const WINDOW: Duration = Duration::from_secs(60);
const SETTLE_LIMIT: Duration = Duration::from_secs(300);

/// Of one product.
struct Polled {
    name: String,
    bmcs: usize,
    polls: f64,
    requests: usize,
    cpu_seconds: f64,
}

/// Measures both, as markdown.
pub(crate) async fn compare(bmcs: usize, ironic: Option<&Path>) -> Result<String> {
    let mut all = vec![measure(bmcs, 5, None).await?];
    if let Some(venv) = ironic {
        all.push(measure(bmcs.min(IRONIC_BMCS), 10, Some(venv)).await?);
    }
    markdown(&all)
}

/// `interval`: seconds between two polls of a BMC.
async fn measure(bmcs: usize, interval: u32, ironic: Option<&Path>) -> Result<Polled> {
    let folder = tempfile::tempdir()?;
    let hollow = |number| {
        let mut machine = MachineDefinition::hollow(format!("node-{number}"));
        machine.disks.clear();
        machine.bmc.tls = true;
        machine
    };
    let lab = Lab::start(folder.path(), (0..bmcs).map(hollow).collect()).await?;
    let subject = match ironic {
        Some(venv) => Subject::ironic(folder.path(), venv, Some(interval)).await?,
        None => Subject::bessemer(folder.path(), None, &watching(interval)).await?,
    };
    eprintln!("{}: {bmcs} BMCs, each polled every {interval} s", subject.name);
    for machine in lab.machines() {
        enrol(&subject, machine).await?;
    }
    settle(&subject, bmcs).await?;
    // The first round opens sessions and learns what each BMC has.
    tokio::time::sleep(Duration::from_secs((2 * interval).into())).await;
    let (cpu, requests, began) = (subject.cpu_seconds()?, requests(&lab), Instant::now());
    tokio::time::sleep(WINDOW).await;
    let polls = began.elapsed().as_secs_f64() / f64::from(interval) * bmcs as f64;
    let polled = Polled {
        name: subject.name.clone(),
        bmcs,
        polls,
        requests: self::requests(&lab).saturating_sub(requests),
        cpu_seconds: subject.cpu_seconds()? - cpu,
    };
    // Each poll asks for the system at least: fewer requests mean that it did not keep up.
    if (polled.requests as f64) < polled.polls * 0.9 {
        bail!(
            "{}: {} requests only in {:.0} polls: it does not keep up",
            polled.name,
            polled.requests,
            polls
        );
    }
    drop(subject);
    lab.stop().await;
    Ok(polled)
}

/// All BMCs of this benchmark are in one subnet.
fn watching(interval: u32) -> String {
    format!(
        "[conductor]\nsync_power_state_interval = {interval}\nsync_power_state_workers = 32\nbmc_polls_per_subnet = 32\n"
    )
}

fn requests(lab: &Lab) -> usize {
    lab.machines().iter().map(|machine| machine.faults().calls().len()).sum()
}

async fn enrol(subject: &Subject, machine: &Machine) -> Result<()> {
    let credentials = machine.credentials();
    let node = json!({
        "driver": "redfish", "name": machine.definition().name,
        "driver_info": {
            // Ironic takes even the path "/" for the root of the service.
            "redfish_address": machine.bmc_url().as_str().trim_end_matches('/'), "redfish_system_id": machine.system_path(),
            "redfish_username": credentials.user, "redfish_password": credentials.password.reveal(),
            "redfish_verify_ca": false,
        },
    });
    let node = subject.ask("POST", "/v1/nodes", &node.to_string()).await?;
    let uuid = node.get("uuid").and_then(Value::as_str).context("a node without uuid")?;
    let path = format!("/v1/nodes/{uuid}/states/provision");
    subject.ask("PUT", &path, &json!({"target": "manage"}).to_string()).await?;
    Ok(())
}

/// Until all are manageable.
async fn settle(subject: &Subject, nodes: usize) -> Result<()> {
    let deadline = Instant::now() + SETTLE_LIMIT;
    loop {
        let path = "/v1/nodes?provision_state=manageable&fields=uuid&limit=1000";
        let answer = subject.get(path).await?;
        let ready = answer.get("nodes").and_then(Value::as_array).map_or(0, Vec::len);
        if ready >= nodes {
            return Ok(());
        }
        if Instant::now() > deadline {
            let one = subject.get("/v1/nodes?fields=provision_state,last_error&limit=1").await?;
            bail!("{}: {ready} of {nodes} nodes are manageable in time; one of them: {one}", subject.name);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

impl Polled {
    fn cpu_ms(&self) -> f64 {
        self.cpu_seconds * 1000.0 / self.polls
    }

    /// How many BMCs keep one core busy when each is polled at the default interval.
    fn per_core(&self) -> f64 {
        DEFAULT_INTERVAL * 1000.0 / self.cpu_ms()
    }
}

fn markdown(all: &[Polled]) -> Result<String> {
    let mut text = String::from(
        "| who | BMCs | polls/s | requests of a poll | CPU ms of a poll | BMCs that one core polls every 120 s |\n|---|---|---|---|---|---|\n",
    );
    for one in all {
        let (rate, each) = (one.polls / WINDOW.as_secs_f64(), one.requests as f64 / one.polls);
        let (name, bmcs) = (&one.name, one.bmcs);
        let (cpu, per_core) = (one.cpu_ms(), one.per_core());
        writeln!(text, "| {name} | {bmcs} | {rate:.1} | {each:.1} | {cpu:.2} | {per_core:.0} |")?;
    }
    if let [ours, theirs] = all {
        writeln!(
            text,
            "\nA poll by {} takes {:.0} times the CPU time.",
            theirs.name,
            theirs.cpu_ms() / ours.cpu_ms()
        )?;
    }
    Ok(text)
}

/// Seconds that a process and those that it started have computed so far.
pub(crate) fn cpu_seconds(process: u32) -> Result<f64> {
    let all: Vec<_> = fs::read_dir("/proc")?.flatten().filter_map(|entry| times(&entry.path())).collect();
    let (mut family, mut ticks) = (vec![process], 0.0);
    while let Some(member) = family.pop() {
        ticks += all.iter().filter(|one| one.process == member).map(|one| one.ticks).sum::<f64>();
        family.extend(all.iter().filter(|one| one.parent == member).map(|one| one.process));
    }
    // USER_HZ, which is 100 on every architecture that we build for.
    Ok(ticks / 100.0)
}

/// What proc_pid_stat(5) tells of a process: fields 1, 4, and 14 and 15 together.
struct Times {
    process: u32,
    parent: u32,
    ticks: f64,
}

fn times(folder: &Path) -> Option<Times> {
    let process = folder.file_name()?.to_str()?.parse().ok()?;
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    Some(Times { process, parent: fields.get(1)?.parse().ok()?, ticks: ticks(14)? + ticks(15)? })
}
