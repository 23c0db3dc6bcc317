//! `bessemer port`.

use clap::Subcommand;
use serde_json::json;

use super::{client::Client, output::Output};

const COLUMNS: &[&str] = &["uuid", "address", "node_uuid", "pxe_enabled"];

/// `bessemer port …`
#[derive(Debug, Subcommand)]
pub(super) enum PortCommand {
    /// Adds a network interface to a node.
    Create {
        /// MAC address.
        address: String,
        /// UUID or name of the node.
        #[arg(long)]
        node: String,
        /// Whether the machine may boot from it.
        #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
        pxe_enabled: bool,
    },
    /// Lists network interfaces.
    List {
        /// Only of this node.
        #[arg(long)]
        node: Option<String>,
    },
}

impl PortCommand {
    /// Runs it.
    pub(super) async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Create { address, node, pxe_enabled } => {
                let body = json!({"address": address, "node_ident": node, "pxe_enabled": pxe_enabled});
                let port = client.post(&["ports"], &body).await?;
                output.object(&port)?;
            }
            Self::List { node } => {
                let mut query = vec![("fields", COLUMNS.join(","))];
                query.extend(node.map(|node| ("node", node)));
                output.rows(COLUMNS, &client.list("ports", query).await?)?;
            }
        }
        Ok(())
    }
}
