//! Nodes.

use bessemer_proto::ids::NodeId;
use chrono::Utc;
use serde_json::Value;

use super::{
    HistoryEvent, Store, StoreError, columns, corrupt,
    db::{Must, Row, Sql, Written},
    history, not_found,
};
use crate::node::{Dictionary, Node};

/// Plans in `driver_internal_info`: the arguments of their steps may be secrets.
const PLANS: [&str; 3] = ["deploy_steps", "clean_steps", "service_steps"];
/// What their arguments are sealed for.
const STEPS: &str = "steps";

/// What of a node's row is not made of columns.
struct Sealed {
    document: String,
    driver_info: String,
    instance_info: String,
}

impl Store {
    /// Adds a node. [`StoreError::Duplicate`] when uuid, name or instance_uuid is taken.
    pub async fn create_node(&self, node: &Node) -> Result<(), StoreError> {
        let sealed = self.seal_node(node)?;
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for (name, value) in columns::of(node) {
            names.push(name);
            values.push(value);
        }
        let mut sql = Sql::new("INSERT INTO nodes (uuid, version, document, driver_info, instance_info, ");
        sql.push(&names.join(", ")).push(") VALUES (").bind(node.uuid.to_string());
        sql.push(", ").bind(node.version).push(", ").bind(sealed.document);
        sql.push(", ").bind(sealed.driver_info).push(", ").bind(sealed.instance_info);
        sql.push(", ").bind_list(values).push(")");
        match self.inner.db.run("add a node", sql).await {
            Err(error) if error.is_unique_violation() => Err(self.taken(node, true).await?),
            result => result.map(drop),
        }
    }

    /// The node with that UUID or name.
    pub async fn node(&self, ident: &str) -> Result<Node, StoreError> {
        let columns = "SELECT uuid, version, document, driver_info, instance_info FROM nodes WHERE ";
        let mut sql = Sql::new(columns);
        match ident.parse::<NodeId>() {
            Ok(uuid) => sql.push("uuid = ").bind(uuid.to_string()),
            Err(_) => sql.push("name = ").bind(ident),
        };
        let row = self.inner.db.row("read a node", &sql).await?;
        let missing = || not_found("Node", ident.chars().take(255).collect::<String>());
        self.node_of(&row.ok_or_else(missing)?, true)
    }

    /// Writes a node whose `version` is the one read; counts it up, sets `updated_at`. Together with a line of
    /// history when there is one, in one transaction.
    pub async fn update_node(&self, node: &mut Node, event: Option<&HistoryEvent>) -> Result<(), StoreError> {
        let mut next = node.clone();
        next.version += 1;
        next.updated_at = Some(Utc::now());
        let sealed = self.seal_node(&next)?;
        let mut sql = Sql::new("UPDATE nodes SET ");
        columns::set(&mut sql, &next);
        sql.push(", version = ").bind(next.version).push(", document = ").bind(sealed.document);
        sql.push(", driver_info = ").bind(sealed.driver_info);
        sql.push(", instance_info = ").bind(sealed.instance_info);
        sql.push(" WHERE uuid = ").bind(next.uuid.to_string()).push(" AND version = ").bind(node.version);
        let mut all = vec![sql.must(Must::Change)];
        if let Some(event) = event {
            all.extend(history::lines(node.uuid, event)?);
            all.extend(self.message_lines(&next, event));
        }
        match self.inner.db.write("write a node", &all).await {
            Err(error) if error.is_unique_violation() => return Err(self.taken(&next, false).await?),
            Err(error) => return Err(error),
            Ok(Written::Missed(_)) => return Err(self.missing_or_newer(node).await?),
            Ok(Written::All(_)) => {}
        }
        *node = next;
        Ok(())
    }

    /// Removes a node with all that hangs on it.
    pub async fn delete_node(&self, node: NodeId) -> Result<(), StoreError> {
        let sql = Sql::new("DELETE FROM nodes WHERE uuid = $1").with(node.to_string());
        match self.inner.db.run("remove a node", sql).await? {
            0 => Err(not_found("Node", node)),
            _ => Ok(()),
        }
    }

    fn seal_node(&self, node: &Node) -> Result<Sealed, StoreError> {
        let uuid = node.uuid.to_string();
        let seal = |column, dictionary: &Dictionary| {
            let text = serde_json::to_vec(dictionary).map_err(corrupt("Node", &uuid))?;
            self.inner
                .sealer
                .seal(&uuid, column, &text)
                .map_err(|_| StoreError::Sealed { what: "Node", ident: uuid.clone() })
        };
        let mut bare =
            Node { driver_info: Dictionary::new(), instance_info: Dictionary::new(), ..node.clone() };
        for arguments in step_arguments(&mut bare.driver_internal_info) {
            if let Value::Object(plain) = &*arguments
                && !plain.is_empty()
            {
                *arguments = Value::String(seal(STEPS, plain)?);
            }
        }
        Ok(Sealed {
            document: serde_json::to_string(&bare).map_err(corrupt("Node", &uuid))?,
            driver_info: seal("driver_info", &node.driver_info)?,
            instance_info: seal("instance_info", &node.instance_info)?,
        })
    }

    /// The node of a row: uuid, version, document and, when they are asked for, driver_info and instance_info.
    pub(super) fn node_of(&self, row: &Row, with_secrets: bool) -> Result<Node, StoreError> {
        let uuid = row.text(0)?;
        let unseal = |column: &'static str, sealed: &str| -> Result<Dictionary, StoreError> {
            let plain = self
                .inner
                .sealer
                .unseal(uuid, column, sealed)
                .map_err(|_| StoreError::Sealed { what: "Node", ident: uuid.to_owned() })?;
            serde_json::from_slice(&plain).map_err(corrupt("Node", uuid))
        };
        let mut node: Node = serde_json::from_str(row.text(2)?).map_err(corrupt("Node", uuid))?;
        node.version = row.number(1)?;
        if with_secrets {
            node.driver_info = unseal("driver_info", row.text(3)?)?;
            node.instance_info = unseal("instance_info", row.text(4)?)?;
        }
        for arguments in step_arguments(&mut node.driver_internal_info) {
            if let Value::String(sealed) = &*arguments {
                let plain = if with_secrets { unseal(STEPS, sealed)? } else { Dictionary::new() };
                *arguments = Value::Object(plain);
            }
        }
        Ok(node)
    }

    /// Which of the unique values of `node` another row holds.
    async fn taken(&self, node: &Node, is_new: bool) -> Result<StoreError, StoreError> {
        let uuid = node.uuid.to_string();
        let uniques = [
            ("name", &node.name, "SELECT uuid FROM nodes WHERE name = $1"),
            ("instance_uuid", &node.instance_uuid, "SELECT uuid FROM nodes WHERE instance_uuid = $1"),
        ];
        for (field, value, question) in uniques {
            let Some(value) = value else { continue };
            let sql = Sql::new(question).with(value.as_str());
            let Some(row) = self.inner.db.row("read a node", &sql).await? else { continue };
            if is_new || row.text(0)? != uuid {
                return Ok(StoreError::Duplicate { what: "A node", field, value: value.clone() });
            }
        }
        Ok(StoreError::Duplicate { what: "A node", field: "uuid", value: uuid })
    }

    async fn missing_or_newer(&self, node: &Node) -> Result<StoreError, StoreError> {
        let sql = Sql::new("SELECT version FROM nodes WHERE uuid = $1").with(node.uuid.to_string());
        Ok(match self.inner.db.row("read a node", &sql).await? {
            None => not_found("Node", node.uuid),
            Some(_) => StoreError::Conflict { what: "Node", ident: node.uuid.to_string() },
        })
    }
}

/// The arguments of all planned steps.
fn step_arguments(internal: &mut Dictionary) -> impl Iterator<Item = &mut Value> {
    internal
        .iter_mut()
        .filter(|(name, _)| PLANS.contains(&name.as_str()))
        .filter_map(|(_, plan)| plan.as_array_mut())
        .flatten()
        .filter_map(|step| step.get_mut("args"))
}

/// Asked before a row that hangs on the node is written, so that a missing node is told apart by type.
pub(super) fn must_exist(node: NodeId) -> Sql {
    Sql::new("SELECT seq FROM nodes WHERE uuid = $1").with(node.to_string()).must(Must::Find)
}
