//! The steps of an agent on a hollow machine. An image is really fetched and proved, and what fits of it is written
//! to the file of the first disk; hardware is only claimed.

use async_trait::async_trait;
use bessemer_agent::steps::{Registry, Step, StepContext, StepError, arguments};
use bessemer_proto::{
    digest::{Digest, DigestAlgorithm},
    inventory::{Boot, Cpu, Disk, Inventory, Memory, NetworkInterface, SystemVendor},
    step::{
        BootEntryMethod, DigestSource, ImageFormat, InspectResult, NoArguments, SetBootEntryArguments,
        SetBootEntryResult, WriteConfigDriveArguments, WriteConfigDriveResult, WriteImageArguments,
        WriteImageReceipt, WriteWork, WrittenDevice, names,
    },
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};
use tokio::sync::mpsc;

use crate::lab::{Guest, MachineDefinition};

/// What is kept of an image for the disk's file.
const WRITTEN: usize = 1 << 20;

/// What the controller asked the machine to do.
#[derive(Clone, Copy)]
pub(super) enum PowerWish {
    Off,
    Reboot,
}

/// The steps of one boot; `own` replace those of the same name.
pub(super) fn registry(
    guest: &Guest,
    definition: &MachineDefinition,
    wishes: &mpsc::Sender<PowerWish>,
    own: Registry,
) -> Registry {
    let mut all = Registry::default()
        .with(Inspect(definition.clone()))
        .with(WriteImage(guest.clone(), device(definition)))
        .with(WriteConfigDrive)
        .with(SetBootEntry)
        .with(SwitchPower(names::POWER_OFF, PowerWish::Off, wishes.clone()))
        .with(SwitchPower(names::REBOOT, PowerWish::Reboot, wishes.clone()));
    for name in own.names() {
        if let Some(step) = own.get(&name) {
            all = all.with(Shared(step));
        }
    }
    all
}

/// A step that was taken out of a registry.
struct Shared(std::sync::Arc<dyn Step>);

#[async_trait]
impl Step for Shared {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    async fn run(&self, arguments: Value, context: StepContext) -> Result<Value, StepError> {
        self.0.run(arguments, context).await
    }
}

fn answer(result: impl serde::Serialize) -> Result<Value, StepError> {
    serde_json::to_value(result).map_err(|error| anyhow::Error::from(error).into())
}

fn device(definition: &MachineDefinition) -> WrittenDevice {
    let disk = definition.disks.first();
    WrittenDevice {
        name: "/dev/sda".into(),
        serial: disk.and_then(|disk| disk.serial.clone()),
        wwn: disk.and_then(|disk| disk.wwn).map(|wwn| format!("{wwn:#018x}")),
        model: Some("Hollow Disk".into()),
        size: disk.map_or(0, |disk| disk.size_bytes),
    }
}

struct Inspect(MachineDefinition);

#[async_trait]
impl Step for Inspect {
    fn name(&self) -> &'static str {
        names::INSPECT
    }

    async fn run(&self, given: Value, _: StepContext) -> Result<Value, StepError> {
        arguments::<NoArguments>(given)?;
        let machine = &self.0;
        let disk = |(number, disk): (usize, &crate::lab::DiskDefinition)| Disk {
            name: format!("/dev/sd{}", char::from(b'a' + u8::try_from(number).unwrap_or_default())),
            model: Some("Hollow Disk".into()),
            size: disk.size_bytes,
            serial: disk.serial.clone(),
            wwn: disk.wwn.map(|wwn| format!("{wwn:#018x}")),
            logical_sectors: 512,
            physical_sectors: 512,
            ..Disk::default()
        };
        answer(InspectResult {
            inventory: Inventory {
                interfaces: vec![NetworkInterface {
                    name: "eth0".into(),
                    mac_address: machine.mac.clone(),
                    has_carrier: true,
                    ..NetworkInterface::default()
                }],
                cpu: Cpu {
                    model_name: "Hollow Processor".into(),
                    count: machine.cpus,
                    architecture: "x86_64".into(),
                    socket_count: 1,
                    ..Cpu::default()
                },
                disks: machine.disks.iter().enumerate().map(disk).collect(),
                memory: Memory {
                    total: u64::from(machine.memory_mib) << 20,
                    physical_mb: machine.memory_mib.into(),
                },
                system_vendor: SystemVendor {
                    product_name: Some("Lab Machine".into()),
                    serial_number: Some(machine.name.clone()),
                    manufacturer: Some("Bessemer".into()),
                    ..SystemVendor::default()
                },
                boot: Boot { current_boot_mode: "uefi".into(), ..Boot::default() },
                hostname: Some(machine.name.clone()),
            },
        })
    }
}

/// A body that was read to its end.
struct Fetched {
    beginning: Vec<u8>,
    bytes: u64,
    sha256: Vec<u8>,
    sha512: Vec<u8>,
}

async fn fetch(url: &str, context: &StepContext) -> anyhow::Result<Fetched> {
    let client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build()?;
    let answer = client.get(url).send().await?.error_for_status()?;
    let total = answer.content_length().unwrap_or_default();
    let (mut sha256, mut sha512) = (Sha256::new(), Sha512::new());
    let (mut beginning, mut bytes) = (Vec::new(), 0);
    let mut body = answer.bytes_stream();
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        sha256.update(&chunk);
        sha512.update(&chunk);
        beginning.extend(chunk.iter().take(WRITTEN.saturating_sub(beginning.len())));
        bytes += chunk.len() as u64;
        context.report.progress("writing", bytes, total);
    }
    let (sha256, sha512) = (sha256.finalize().to_vec(), sha512.finalize().to_vec());
    Ok(Fetched { beginning, bytes, sha256, sha512 })
}

fn prove(fetched: &Fetched, wanted: &Digest, url: &str) -> anyhow::Result<()> {
    let found = match wanted.algorithm() {
        DigestAlgorithm::Sha256 => &fetched.sha256,
        DigestAlgorithm::Sha512 => &fetched.sha512,
    };
    anyhow::ensure!(found == wanted.bytes(), "{url} has another digest than {}", wanted.hex());
    Ok(())
}

struct WriteImage(Guest, WrittenDevice);

#[async_trait]
impl Step for WriteImage {
    fn name(&self) -> &'static str {
        names::WRITE_IMAGE
    }

    async fn run(&self, given: Value, context: StepContext) -> Result<Value, StepError> {
        let wanted: WriteImageArguments = arguments(given)?;
        let DigestSource::Value(digest) = wanted.digest else {
            return Err(anyhow::anyhow!("a hollow machine reads no checksum files").into());
        };
        let fetched = fetch(wanted.url.as_str(), &context).await?;
        prove(&fetched, &digest, wanted.url.as_str())?;
        self.0.write_disk(&fetched.beginning).map_err(anyhow::Error::from)?;
        answer(WriteImageReceipt {
            device: self.1.clone(),
            digest,
            manifest_digest: None,
            format: ImageFormat::Raw,
            bytes_received: fetched.bytes,
            bytes_written: fetched.bytes,
            seconds: 0.1,
            seconds_to_first_byte: 0.01,
            peak_memory_kib: 1024,
            choice: Vec::new(),
            work: WriteWork::default(),
        })
    }
}

struct WriteConfigDrive;

#[async_trait]
impl Step for WriteConfigDrive {
    fn name(&self) -> &'static str {
        names::WRITE_CONFIG_DRIVE
    }

    async fn run(&self, given: Value, context: StepContext) -> Result<Value, StepError> {
        let wanted: WriteConfigDriveArguments = arguments(given)?;
        let fetched = fetch(wanted.url.reveal(), &context).await?;
        prove(&fetched, &wanted.digest, "the config drive")?;
        answer(WriteConfigDriveResult {
            device: wanted.device.name,
            partition: 2,
            partition_offset: 1 << 30,
            partition_size: 64 << 20,
            bytes_written: fetched.bytes,
            reused: false,
        })
    }
}

struct SetBootEntry;

#[async_trait]
impl Step for SetBootEntry {
    fn name(&self) -> &'static str {
        names::SET_BOOT_ENTRY
    }

    async fn run(&self, given: Value, _: StepContext) -> Result<Value, StepError> {
        arguments::<SetBootEntryArguments>(given)?;
        let method = BootEntryMethod::RemovablePath;
        answer(SetBootEntryResult { method, loader: None, entry: None, label: None })
    }
}

struct SwitchPower(&'static str, PowerWish, mpsc::Sender<PowerWish>);

#[async_trait]
impl Step for SwitchPower {
    fn name(&self) -> &'static str {
        self.0
    }

    async fn run(&self, given: Value, _: StepContext) -> Result<Value, StepError> {
        arguments::<NoArguments>(given)?;
        // A second wish changes nothing.
        let _ = self.2.try_send(self.1);
        Ok(json!({}))
    }
}
