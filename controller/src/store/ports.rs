//! Ports: network interfaces of nodes.

use bessemer_proto::ids::NodeId;

use super::{
    Store, StoreError, corrupt,
    db::{Must, Row, Sql, Written},
    nodes::must_exist,
    not_found,
};
use crate::node::Port;

const COLUMNS: &str = "SELECT uuid, document FROM ports ";

impl Store {
    /// Adds a port. [`StoreError::Duplicate`] when the MAC address is taken.
    pub async fn create_port(&self, port: &Port) -> Result<(), StoreError> {
        let sql = Sql::new("INSERT INTO ports (uuid, node, address, document) VALUES ($1, $2, $3, $4)")
            .with(port.uuid.to_string())
            .with(port.node.to_string())
            .with(port.address.as_str())
            .with(document_of(port)?);
        match self.inner.db.write("add a port", &[must_exist(port.node), sql]).await {
            Err(error) if error.is_unique_violation() => Err(self.port_taken(port, true).await?),
            Ok(Written::Missed(_)) => Err(not_found("Node", port.node)),
            result => result.map(drop),
        }
    }

    /// The port with that UUID.
    pub async fn port(&self, uuid: &str) -> Result<Port, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push("WHERE uuid = ").bind(uuid.to_ascii_lowercase());
        let row = self.inner.db.row("read a port", &sql).await?;
        port_of(&row.ok_or_else(|| not_found("Port", uuid.chars().take(255).collect::<String>()))?)
    }

    /// Ports in order of creation, all or a node's, all or with that MAC address.
    pub async fn ports(&self, node: Option<NodeId>, address: Option<&str>) -> Result<Vec<Port>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push("WHERE 1 = 1");
        if let Some(node) = node {
            sql.push(" AND node = ").bind(node.to_string());
        }
        if let Some(address) = address {
            sql.push(" AND address = ").bind(address.to_ascii_lowercase());
        }
        sql.push(" ORDER BY seq");
        self.inner.db.rows("list ports", &sql).await?.iter().map(port_of).collect()
    }

    /// Writes a port.
    pub async fn update_port(&self, port: &Port) -> Result<(), StoreError> {
        let sql = Sql::new("UPDATE ports SET node = $1, address = $2, document = $3 WHERE uuid = $4")
            .with(port.node.to_string())
            .with(port.address.as_str())
            .with(document_of(port)?)
            .with(port.uuid.to_string());
        match self.inner.db.write("write a port", &[must_exist(port.node), sql.must(Must::Change)]).await {
            Err(error) if error.is_unique_violation() => Err(self.port_taken(port, false).await?),
            Ok(Written::Missed(0)) => Err(not_found("Node", port.node)),
            Ok(Written::Missed(_)) => Err(not_found("Port", port.uuid)),
            result => result.map(drop),
        }
    }

    /// Removes a port.
    pub async fn delete_port(&self, uuid: &str) -> Result<(), StoreError> {
        let sql = Sql::new("DELETE FROM ports WHERE uuid = $1").with(uuid.to_ascii_lowercase());
        match self.inner.db.run("remove a port", sql).await? {
            0 => Err(not_found("Port", uuid)),
            _ => Ok(()),
        }
    }

    /// Which of the unique values of `port` another row holds.
    async fn port_taken(&self, port: &Port, is_new: bool) -> Result<StoreError, StoreError> {
        let sql = Sql::new("SELECT uuid FROM ports WHERE address = $1").with(port.address.as_str());
        let uuid = port.uuid.to_string();
        let holder = self.inner.db.row("read a port", &sql).await?;
        Ok(match holder.as_ref().map(|row| row.text(0)).transpose()? {
            Some(holder) if is_new || holder != uuid => duplicate("address", port.address.clone()),
            _ => duplicate("uuid", uuid),
        })
    }
}

fn duplicate(field: &'static str, value: String) -> StoreError {
    StoreError::Duplicate { what: "A port", field, value }
}

fn document_of(port: &Port) -> Result<String, StoreError> {
    serde_json::to_string(port).map_err(corrupt("Port", &port.uuid.to_string()))
}

fn port_of(row: &Row) -> Result<Port, StoreError> {
    serde_json::from_str(row.text(1)?).map_err(corrupt("Port", row.text(0)?))
}
