//! `bessemer bmc probe`.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::{
    bmc::{self, Bmc, BmcError, MediaKind, queue, quirks},
    cli::{
        arguments::{Pair, object},
        output::{Output, line},
        secret_of,
    },
    node::Node,
};

/// How long one question may take.
const WITHIN: Duration = Duration::from_secs(120);

/// `bessemer bmc probe …`
#[derive(Debug, Args)]
pub(in crate::cli) struct Probe {
    /// Address or URL of the BMC.
    address: String,
    /// How it is spoken with.
    #[arg(long, default_value = "redfish")]
    driver: Protocol,
    /// User at the BMC.
    #[arg(long)]
    username: Option<String>,
    /// File with that user's password.
    // Not the name of the API's own option: clap would hand that one's file on to the BMC.
    #[arg(long, value_name = "FILE", requires = "username")]
    bmc_password_file: Option<PathBuf>,
    /// More of driver_info, such as redfish_verify_ca=false.
    #[arg(long, value_name = "KEY=VALUE")]
    driver_info: Vec<Pair>,
    /// Folder with rules about BMCs, besides those of this program.
    #[arg(long, value_name = "FOLDER")]
    quirks: Option<PathBuf>,
}

/// A hardware type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Redfish,
    Ilo,
    Ipmi,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Redfish => "redfish",
            Self::Ilo => "ilo",
            Self::Ipmi => "ipmi",
        }
    }
}

/// The answers so far.
struct Report {
    rows: Vec<Value>,
    is_quiet: bool,
}

impl Probe {
    /// Runs it.
    pub(super) async fn run(self, output: Output) -> anyhow::Result<()> {
        quirks::load(self.quirks.as_deref()).context("the quirks cannot be used")?;
        let bmc = bmc::open(&self.node()?)?;
        let mut report = Report { rows: Vec::new(), is_quiet: output.is_json() };
        // Everything else would say the same of a BMC that cannot be spoken with.
        report.ask("power", async { Ok(bmc.power.state().await?.to_string()) }).await?;
        let identity = ask_all(&bmc, &mut report).await;
        bmc::close_sessions().await;
        let matched = quirks::of(&identity);
        if output.is_json() {
            return Ok(output.object(&json!({
                "identity": identity, "quirks": matched.rules, "quirk_values": matched.quirks, "answers": report.rows,
            }))?);
        }
        output.rows(&["what", "answer", "calls", "seconds"], &report.rows)?;
        let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
        line(&format!(
            "vendor {}, model {}, BMC {}, firmware {}",
            or_unknown(&identity.vendor),
            or_unknown(&identity.model),
            or_unknown(&identity.bmc),
            or_unknown(&identity.firmware)
        ))?;
        let rules = if matched.rules.is_empty() { "none".to_owned() } else { matched.rules.join(", ") };
        line(&format!("quirks: {rules}"))?;
        Ok(())
    }

    /// A node that would be enrolled like that.
    fn node(&self) -> anyhow::Result<Node> {
        let name = self.driver.name();
        let mut node = Node::new(name);
        node.driver_info.insert(format!("{name}_address"), self.address.clone().into());
        if let Some(user) = &self.username {
            node.driver_info.insert(format!("{name}_username"), user.clone().into());
        }
        if let Some(file) = &self.bmc_password_file {
            let password = secret_of(file)?;
            node.driver_info.insert(format!("{name}_password"), password.reveal().into());
        }
        node.driver_info.extend(object(&self.driver_info));
        Ok(node)
    }
}

impl Report {
    /// Asks one thing. Wrong credentials end it all: to go on would lock the account.
    async fn ask(
        &mut self,
        what: &str,
        question: impl Future<Output = Result<String, BmcError>>,
    ) -> anyhow::Result<()> {
        let (before, started) = (queue::total().number, Instant::now());
        if !self.is_quiet {
            eprintln!("asking for {what} …");
        }
        let answer = tokio::time::timeout(WITHIN, question).await;
        let seconds = (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        let (answer, is_ok) = match answer {
            Ok(Ok(answer)) => (answer, true),
            Ok(Err(
                error @ (BmcError::Credentials { .. }
                | BmcError::DriverInfo(_)
                | BmcError::Certificate { .. }),
            )) => {
                return Err(error.into());
            }
            Ok(Err(error @ BmcError::Unreachable { .. })) if self.rows.is_empty() => return Err(error.into()),
            Ok(Err(error)) => (error.to_string(), false),
            Err(_) => (format!("no answer within {} s", WITHIN.as_secs()), false),
        };
        let calls = queue::total().number - before;
        self.rows
            .push(json!({"what": what, "answer": answer, "ok": is_ok, "calls": calls, "seconds": seconds}));
        Ok(())
    }

    /// The same, where the BMC or the driver may lack it.
    async fn ask_of<C>(
        &mut self,
        what: &str,
        capability: Option<&C>,
        question: impl AsyncFnOnce(&C) -> Result<String, BmcError>,
    ) -> anyhow::Result<()>
    where
        C: ?Sized,
    {
        match capability {
            Some(capability) => self.ask(what, question(capability)).await,
            None => {
                let row = json!({"what": what, "answer": "not with this driver", "ok": false, "calls": 0, "seconds": 0.0});
                self.rows.push(row);
                Ok(())
            }
        }
    }
}

/// Asks for all that can be read; what fails is in the report. Answers with what the BMC says of itself.
async fn ask_all(bmc: &Bmc, report: &mut Report) -> quirks::Identity {
    let mut identity = quirks::Identity::default();
    if let Err(error) = ask_each(bmc, report, &mut identity).await {
        report.rows.push(
            json!({"what": "the rest", "answer": error.to_string(), "ok": false, "calls": 0, "seconds": 0.0}),
        );
    }
    identity
}

async fn ask_each(bmc: &Bmc, report: &mut Report, identity: &mut quirks::Identity) -> anyhow::Result<()> {
    ask_about_boots(bmc, report, identity).await?;
    ask_about_parts(bmc, report).await?;
    ask_about_care(bmc, report).await
}

fn words(words: Vec<String>) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn known(text: Option<String>) -> String {
    text.unwrap_or_else(|| "it does not say".to_owned())
}

async fn ask_about_boots(
    bmc: &Bmc,
    report: &mut Report,
    identity: &mut quirks::Identity,
) -> anyhow::Result<()> {
    report
        .ask_of("identity", bmc.overview.as_deref(), async |overview| {
            *identity = overview.identity().await?;
            Ok(known(identity.model.clone()))
        })
        .await?;
    report
        .ask_of("health", bmc.overview.as_deref(), async |overview| {
            Ok(known(overview.health().await?.map(|health| health.to_string())))
        })
        .await?;
    report
        .ask_of("boot devices", bmc.boot_device.as_deref(), async |device| {
            Ok(words(device.supported().await?.iter().map(ToString::to_string).collect()))
        })
        .await?;
    report
        .ask_of("boot mode", bmc.boot_mode.as_deref(), async |mode| {
            Ok(known(mode.mode().await?.map(|mode| mode.to_string())))
        })
        .await?;
    report
        .ask_of("Secure Boot", bmc.secure_boot.as_deref(), async |secure_boot| {
            Ok(known(
                secure_boot.enabled().await?.map(|on| if on { "on".to_owned() } else { "off".to_owned() }),
            ))
        })
        .await?;
    report
        .ask_of("virtual media", bmc.virtual_media.as_deref(), async |media| {
            media.ready().await?;
            let floppy = media.has(MediaKind::Floppy).await?;
            let slots = media.slots().await?;
            let shown = slots.iter().map(|slot| slot.media_types.join("/")).collect();
            Ok(format!("{}{}", words(shown), if floppy { "" } else { "; no floppy or USB stick" }))
        })
        .await
}

async fn ask_about_parts(bmc: &Bmc, report: &mut Report) -> anyhow::Result<()> {
    report
        .ask_of("BIOS settings", bmc.bios.as_deref(), async |bios| {
            Ok(format!("{} settings", bios.read().await?.len()))
        })
        .await?;
    report
        .ask_of("firmware", bmc.firmware.as_deref(), async |firmware| {
            let shown = |component: &crate::node::hardware::FirmwareComponent| {
                format!("{} {}", component.component, component.current_version.as_deref().unwrap_or("?"))
            };
            Ok(words(firmware.components().await?.iter().take(8).map(shown).collect()))
        })
        .await?;
    report
        .ask_of("RAID", bmc.raid.as_deref(), async |raid| {
            let all = raid.controllers().await?;
            Ok(words(
                all.iter()
                    .map(|one| {
                        format!("{}: {} disks, {} volumes", one.id, one.drives.len(), one.volumes.len())
                    })
                    .collect(),
            ))
        })
        .await?;
    report
        .ask_of("inventory", bmc.inventory.as_deref(), async |inventory| {
            let found = inventory.look().await?;
            let of = |key: &str| found.properties.get(key).map_or("?".to_owned(), ToString::to_string);
            Ok(format!("{} CPUs, {} MiB, {} GiB", of("cpus"), of("memory_mb"), of("local_gb")))
        })
        .await
}

async fn ask_about_care(bmc: &Bmc, report: &mut Report) -> anyhow::Result<()> {
    report
        .ask_of("sensors", bmc.sensors.as_deref(), async |sensors| {
            Ok(format!("{} sensors", sensors.sensors().await?.len()))
        })
        .await?;
    report
        .ask_of("log", bmc.log.as_deref(), async |log| {
            Ok(log.entries(1).await?.pop().map_or("empty".to_owned(), |entry| entry.message))
        })
        .await?;
    report
        .ask_of("lights", bmc.indicators.as_deref(), async |lights| {
            Ok(words(lights.lights().await?.into_iter().map(|light| light.id).collect()))
        })
        .await?;
    report
        .ask_of("console", bmc.console.as_deref(), async |console| {
            let serial = if console.has_serial().await? { "serial" } else { "no serial console" };
            Ok(console.graphical().await?.map_or(serial.to_owned(), |url| format!("{serial}, {url}")))
        })
        .await?;
    report
        .ask_of("clock", bmc.manager.as_deref(), async |manager| {
            Ok(known(manager.clock().await?.map(|clock| clock.to_rfc3339())))
        })
        .await?;
    report
        .ask_of("event subscriptions", bmc.events.as_deref(), async |events| {
            Ok(format!("{} subscriptions", events.list().await?.len()))
        })
        .await
}
