//! Virtual machines, each with a virtual BMC: QEMU (emulated, never KVM) behind Redfish, and behind RIBCL as an older iLO; its
//! profile says how the BMC differs from the plain one. Also hollow machines, and BMCs that replay a recording.
//!
//! ```no_run
//! # async fn example() -> Result<(), bessemer_tests::lab::LabError> {
//! use std::time::Duration;
//! use bessemer_tests::lab::{Firmware, Lab, MachineDefinition};
//!
//! let folder = tempfile::tempdir().expect("a folder");
//! let lab = Lab::start(folder.path(), vec![MachineDefinition::new("node-1", Firmware::Ovmf)]).await?;
//! let machine = lab.machine("node-1");
//! println!("{} {}", machine.bmc_url(), machine.credentials().user);
//! // ... drive it through Redfish, then look at what it printed:
//! machine.wait_for_serial("login:", Duration::from_secs(120)).await?;
//! lab.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! A machine behaves as hardware does: it keeps its disks and UEFI variables across power cycles; a boot override
//! is used up by one start, also when the guest resets itself; media are changed while it runs; power can be cut
//! at any moment. QEMU dies with the lab, whatever ends the lab. A [`hollow`] machine has only the state of one.

pub mod bmc;
mod boot;
mod definition;
mod efi_variables;
mod flash;
pub mod hollow;
pub mod image_server;
pub mod log;
mod machine;
mod process;
mod qemu;
pub mod qmp;
pub mod replay;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

pub use bmc::{Profile, profile::MediaLocation};
pub use boot::{BootMode, BootOverride, BootTarget, OverrideEnabled};
pub use definition::{
    BmcDefinition, Body, Certificate, Credentials, DiskBus, DiskDefinition, DiskFormat, Firmware, HollowBody,
    MachineDefinition, SecondMedium,
};
pub use hollow::{BootEvent, BootSource, Guest};
pub use log::LogReader;
pub use machine::{Medium, Post, Power, Slot, Status};

/// How long the lab waits for its machines to end.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// What can go wrong in the lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A definition that cannot work.
    #[error("machine \"{name}\": {problem}")]
    Definition {
        /// The machine.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A file that cannot be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program that cannot be started.
    #[error("cannot start {program}: is it installed? (Debian: qemu-system-x86, qemu-utils, util-linux)")]
    Spawn {
        /// The program.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// QEMU ended at once.
    #[error("QEMU does not start: {messages}")]
    Qemu {
        /// Its words.
        messages: String,
    },
    /// QEMU does not do what it is asked.
    #[error("the machine cannot be controlled")]
    Qmp(#[from] qmp::QmpError),
    /// The BMC's port cannot be used.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The BMC's certificate or its client for images cannot be made.
    #[error("cannot prepare TLS: {0}")]
    Tls(String),
    /// A profile of a BMC that cannot be used.
    #[error("profile \"{name}\": {problem}")]
    Profile {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The machine's task has ended.
    #[error("the lab is stopped")]
    Stopped,
    /// A text did not appear in time.
    #[error("\"{text}\" did not appear in {} within {seconds} s; its end is:\n{tail}", path.display())]
    NotSeen {
        /// What was waited for.
        text: String,
        /// Where.
        path: PathBuf,
        /// How long.
        seconds: u64,
        /// The end of the file.
        tail: String,
    },
    /// A machine did not get into a state in time.
    #[error("machine \"{name}\" did not {what} within {seconds} s")]
    NotInTime {
        /// The machine.
        name: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        seconds: u64,
    },
}

impl LabError {
    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

/// Some machines and their BMCs. Dropping it stops them; [`Lab::stop`] also waits until they are gone.
pub struct Lab {
    machines: Vec<Machine>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Lab {
    /// Makes the machines in folders below `folder` and starts their BMCs. The machines are off.
    pub async fn start(folder: &Path, definitions: Vec<MachineDefinition>) -> Result<Self, LabError> {
        let mut lab =
            Self { machines: Vec::new(), stop: CancellationToken::new(), tasks: TaskTracker::new() };
        for definition in definitions {
            let machine = Machine::start(folder, definition, &lab).await?;
            lab.machines.push(machine);
        }
        Ok(lab)
    }

    /// All machines, in the order of their definitions.
    #[must_use]
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The machine of that name.
    ///
    /// # Panics
    /// When there is none: a mistake in the test.
    #[must_use]
    pub fn machine(&self, name: &str) -> &Machine {
        match self.machines.iter().find(|machine| machine.definition.name == name) {
            Some(machine) => machine,
            None => panic!("the lab has no machine \"{name}\""),
        }
    }

    /// Cuts the power of all machines and waits until QEMU and the BMCs are gone.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(STOP_WITHIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("the lab did not stop in time");
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// One machine of the lab.
pub struct Machine {
    definition: MachineDefinition,
    folder: PathBuf,
    disks: Vec<PathBuf>,
    handle: machine::Handle,
    bmc: bmc::Address,
    faults: bmc::Faults,
}

impl Machine {
    async fn start(folder: &Path, definition: MachineDefinition, lab: &Lab) -> Result<Self, LabError> {
        definition.check()?;
        let folder = folder.join(&definition.name);
        let media = folder.join("media");
        std::fs::create_dir_all(&media).map_err(LabError::file("create", &media))?;
        let folder = folder.canonicalize().map_err(LabError::file("find", &folder))?;
        let (handle, disks) =
            machine::spawn(definition.clone(), &folder, lab.stop.child_token(), &lab.tasks)?;
        let faults = bmc::Faults::new(handle.clone());
        let bmc =
            bmc::Bmc::new(definition.clone(), folder.join("media"), disks.clone(), handle.clone(), &faults)?;
        let address = bmc.serve(lab.stop.child_token(), &lab.tasks).await?;
        Ok(Self { definition, folder, disks, handle, bmc: address, faults })
    }

    /// What it was made from.
    #[must_use]
    pub fn definition(&self) -> &MachineDefinition {
        &self.definition
    }

    /// Its folder: `serial.log`, `serial.sock` (to type on its console), `qemu.log`, disks, variables, media.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The BMC's address, such as `http://127.0.0.1:8000/`.
    #[must_use]
    pub fn bmc_url(&self) -> &Url {
        &self.bmc.url
    }

    /// The BMC's certificate in PEM, when it speaks HTTPS.
    #[must_use]
    pub fn bmc_certificate(&self) -> Option<&str> {
        self.bmc.certificate.as_deref()
    }

    /// The Redfish path of the machine.
    #[must_use]
    pub fn system_path(&self) -> &str {
        &self.bmc.system
    }

    /// The BMC's account.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.definition.bmc.credentials
    }

    /// The file of disk `number`, counted from 0.
    #[must_use]
    pub fn disk_path(&self, number: usize) -> Option<&Path> {
        self.disks.get(number).map(PathBuf::as_path)
    }

    /// What the machine is like now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.handle.status()
    }

    /// Misbehaviour of the BMC and the firmware, for tests.
    #[must_use]
    pub fn faults(&self) -> &bmc::Faults {
        &self.faults
    }

    /// Changes the power behind the BMC's back, as a hand at the plug or button does.
    pub async fn power(&self, change: Power) -> Result<(), LabError> {
        self.handle.power(change).await
    }

    /// What a hollow machine boots from now on. A machine that really runs says nothing here.
    #[must_use]
    pub fn boots(&self) -> tokio::sync::broadcast::Receiver<BootEvent> {
        self.handle.boots()
    }

    /// What a guest can do to its machine.
    #[must_use]
    pub fn guest(&self) -> Guest {
        Guest::new(self.handle.clone(), self.disks.first().cloned())
    }

    /// Waits until the machine is on or off.
    pub async fn wait_for_power(&self, on: bool, within: Duration) -> Result<(), LabError> {
        let what = if on { "turn on" } else { "turn off" };
        self.wait_for(|status| status.on == on, what, within).await
    }

    /// Waits until the machine was started `starts` times since the lab began, its own resets included.
    pub async fn wait_for_starts(&self, starts: u64, within: Duration) -> Result<(), LabError> {
        self.wait_for(|status| status.starts >= starts, "start so often", within).await
    }

    async fn wait_for(
        &self,
        mut condition: impl FnMut(&Status) -> bool,
        what: &'static str,
        within: Duration,
    ) -> Result<(), LabError> {
        let mut watch = self.handle.watch();
        match tokio::time::timeout(within, watch.wait_for(|status| condition(status))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(LabError::Stopped),
            Err(_) => {
                let name = self.definition.name.clone();
                Err(LabError::NotInTime { name, what, seconds: within.as_secs() })
            }
        }
    }

    /// The serial console's log: everything since the machine was made, across power cycles.
    #[must_use]
    pub fn serial_log(&self) -> PathBuf {
        self.folder.join("serial.log")
    }

    /// Waits until `text` stands anywhere in the serial console's log.
    pub async fn wait_for_serial(&self, text: &str, within: Duration) -> Result<String, LabError> {
        LogReader::from_start(self.serial_log()).wait_for(text, within).await
    }
}
