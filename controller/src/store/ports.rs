//! Ports: network interfaces of nodes.

use bessemer_proto::ids::NodeId;
use sqlx::{QueryBuilder, Row as _, Sqlite, sqlite::SqliteRow};

use super::{Store, StoreError, corrupt, database, is_unique_violation, not_found};
use crate::node::Port;

const COLUMNS: &str = "SELECT uuid, document FROM ports ";

impl Store {
    /// Adds a port. [`StoreError::Duplicate`] when the MAC address is taken.
    pub async fn create_port(&self, port: &Port) -> Result<(), StoreError> {
        let document = document_of(port)?;
        // Asks for the node first, so that a missing one is told apart without reading an error's text.
        let mut transaction = self.begin("add a port").await?;
        let node: Option<i64> = sqlx::query_scalar("SELECT seq FROM nodes WHERE uuid = $1")
            .bind(port.node.to_string())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(database("read a node"))?;
        if node.is_none() {
            return Err(not_found("Node", port.node));
        }
        let address: Option<i64> = sqlx::query_scalar("SELECT seq FROM ports WHERE address = $1")
            .bind(&port.address)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(database("read a port"))?;
        if address.is_some() {
            return Err(duplicate("address", port.address.clone()));
        }
        sqlx::query("INSERT INTO ports (uuid, node, address, document) VALUES ($1, $2, $3, $4)")
            .bind(port.uuid.to_string())
            .bind(port.node.to_string())
            .bind(&port.address)
            .bind(document)
            .execute(&mut *transaction)
            .await
            .map_err(|error| match is_unique_violation(&error) {
                true => duplicate("uuid", port.uuid.to_string()),
                false => database("add a port")(error),
            })?;
        transaction.commit().await.map_err(database("add a port"))
    }

    /// The port with that UUID.
    pub async fn port(&self, uuid: &str) -> Result<Port, StoreError> {
        let row = QueryBuilder::<Sqlite>::new(COLUMNS)
            .push("WHERE uuid = ")
            .push_bind(uuid.to_ascii_lowercase())
            .build()
            .fetch_optional(&self.inner.read)
            .await
            .map_err(database("read a port"))?;
        port_of(&row.ok_or_else(|| not_found("Port", uuid.chars().take(255).collect::<String>()))?)
    }

    /// Ports in order of creation, all or a node's, all or with that MAC address.
    pub async fn ports(&self, node: Option<NodeId>, address: Option<&str>) -> Result<Vec<Port>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        query.push("WHERE 1 = 1");
        if let Some(node) = node {
            query.push(" AND node = ").push_bind(node.to_string());
        }
        if let Some(address) = address {
            query.push(" AND address = ").push_bind(address.to_ascii_lowercase());
        }
        query.push(" ORDER BY seq");
        let rows = query.build().fetch_all(&self.inner.read).await.map_err(database("list ports"))?;
        rows.iter().map(port_of).collect()
    }

    /// Writes a port.
    pub async fn update_port(&self, port: &Port) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE ports SET node = $1, address = $2, document = $3 WHERE uuid = $4")
            .bind(port.node.to_string())
            .bind(&port.address)
            .bind(document_of(port)?)
            .bind(port.uuid.to_string())
            .execute(&self.inner.write)
            .await
            .map_err(|error| match is_unique_violation(&error) {
                true => duplicate("address", port.address.clone()),
                false => database("write a port")(error),
            })?;
        if done.rows_affected() == 0 { Err(not_found("Port", port.uuid)) } else { Ok(()) }
    }

    /// Removes a port.
    pub async fn delete_port(&self, uuid: &str) -> Result<(), StoreError> {
        let done = sqlx::query("DELETE FROM ports WHERE uuid = $1")
            .bind(uuid.to_ascii_lowercase())
            .execute(&self.inner.write)
            .await
            .map_err(database("remove a port"))?;
        if done.rows_affected() == 0 { Err(not_found("Port", uuid)) } else { Ok(()) }
    }
}

fn duplicate(field: &'static str, value: String) -> StoreError {
    StoreError::Duplicate { what: "A port", field, value }
}

fn document_of(port: &Port) -> Result<String, StoreError> {
    serde_json::to_string(port).map_err(corrupt("Port", &port.uuid.to_string()))
}

fn port_of(row: &SqliteRow) -> Result<Port, StoreError> {
    let uuid: &str = row.try_get(0).map_err(database("read a port"))?;
    let document: &str = row.try_get(1).map_err(database("read a port"))?;
    serde_json::from_str(document).map_err(corrupt("Port", uuid))
}
