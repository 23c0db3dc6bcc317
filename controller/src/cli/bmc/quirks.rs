//! `bessemer bmc quirks`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::{
    bmc::quirks::{Identity, Library, Source},
    cli::{
        client::Client,
        output::{Output, line},
    },
};

const COLUMNS: &[&str] = &["name", "match", "set", "about", "source"];

/// `bessemer bmc quirks …`
#[derive(Debug, Args)]
pub(in crate::cli) struct Quirks {
    /// Has the controller read its folder again first.
    #[arg(long, conflicts_with = "check")]
    reload: bool,
    /// Checks a file or folder of rules without a controller, together with those of this program.
    #[arg(long, value_name = "PATH")]
    check: Option<PathBuf>,
    /// With --check: which rules there are for a BMC of this maker.
    #[arg(long, requires = "check")]
    vendor: Option<String>,
    /// … in a machine of this model.
    #[arg(long, requires = "check")]
    model: Option<String>,
    /// … with this name of the BMC itself, such as "iLO 5".
    #[arg(long, requires = "check")]
    bmc: Option<String>,
    /// … with this version of the BMC's firmware.
    #[arg(long, requires = "check")]
    firmware: Option<String>,
}

impl Quirks {
    /// Whether no controller is asked.
    pub(super) fn is_local(&self) -> bool {
        self.check.is_some()
    }

    /// Asks the controller.
    pub(super) async fn run(self, client: &Client, output: Output) -> anyhow::Result<()> {
        let answer = match self.reload {
            true => client.put(&["bmc", "quirks"], &json!({})).await?,
            false => client.get(&["bmc", "quirks"], &[]).await?,
        };
        output.rows(COLUMNS, answer["quirks"].as_array().map(Vec::as_slice).unwrap_or_default())?;
        if let Some(problem) = answer["problem"].as_str() {
            anyhow::bail!(
                "what is in {} now is not in force: {problem}",
                answer["folder"].as_str().unwrap_or("?")
            );
        }
        Ok(())
    }

    /// Checks rules here.
    pub(super) fn check(self, output: Output) -> anyhow::Result<()> {
        let path = self.check.clone().unwrap_or_default();
        let mut library = Library::built_in()?;
        match path.is_dir() {
            true => library.add_folder(&path)?,
            false => library.add_file(&path)?,
        }
        let identity =
            Identity { vendor: self.vendor, model: self.model, bmc: self.bmc, firmware: self.firmware };
        if identity == Identity::default() {
            let is_own = |source: &Source| matches!(source, Source::File(_));
            let own = library.rules().filter(|(_, source)| is_own(source)).count();
            line(&format!("{} can be used: {own} rules", path.display()))?;
            return Ok(());
        }
        let matched = library.of(&identity);
        let rows: Vec<Value> = library
            .rules()
            .filter(|(rule, _)| matched.rules.contains(&rule.name))
            .map(|(rule, source)| {
                json!({"name": rule.name, "match": rule.condition(), "set": rule.set, "about": rule.about,
                    "source": source.to_string()})
            })
            .collect();
        Ok(output.rows(COLUMNS, &rows)?)
    }
}
