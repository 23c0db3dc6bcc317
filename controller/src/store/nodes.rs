//! Nodes.

use bessemer_proto::ids::NodeId;
use chrono::Utc;
use sqlx::{QueryBuilder, Row as _, Sqlite, Transaction, sqlite::SqliteRow};

use super::{
    HistoryEvent, NodeFilter, Store, StoreError, corrupt, database, history, is_unique_violation, not_found,
    unreadable,
};
use crate::node::{Dictionary, Node};

const COLUMNS: &str = "SELECT uuid, version, document, driver_info, instance_info FROM nodes ";

/// A node as its row holds it.
struct Sealed {
    document: String,
    driver_info: String,
    instance_info: String,
}

impl Store {
    /// Adds a node. [`StoreError::Duplicate`] when uuid, name or instance_uuid is taken.
    pub async fn create_node(&self, node: &Node) -> Result<(), StoreError> {
        let sealed = self.seal_node(node)?;
        let mut transaction = self.begin("add a node").await?;
        let result = sqlx::query(
            "INSERT INTO nodes (uuid, name, instance_uuid, provision_state, driver, resource_class, \
             maintenance, unsettled, version, document, driver_info, instance_info) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(node.uuid.to_string())
        .bind(&node.name)
        .bind(&node.instance_uuid)
        .bind(node.provision_state.as_str())
        .bind(&node.driver)
        .bind(&node.resource_class)
        .bind(i64::from(node.maintenance))
        .bind(unsettled(node))
        .bind(node.version)
        .bind(sealed.document)
        .bind(sealed.driver_info)
        .bind(sealed.instance_info)
        .execute(&mut *transaction)
        .await;
        match result {
            Err(error) if is_unique_violation(&error) => Err(taken(&mut transaction, node, true).await?),
            Err(error) => Err(database("add a node")(error)),
            Ok(_) => transaction.commit().await.map_err(database("add a node")),
        }
    }

    /// The node with that UUID or name.
    pub async fn node(&self, ident: &str) -> Result<Node, StoreError> {
        let (condition, key) = match ident.parse::<NodeId>() {
            Ok(uuid) => ("WHERE uuid = ", uuid.to_string()),
            Err(_) => ("WHERE name = ", ident.to_owned()),
        };
        let row = QueryBuilder::<Sqlite>::new(COLUMNS)
            .push(condition)
            .push_bind(key)
            .build()
            .fetch_optional(&self.inner.read)
            .await
            .map_err(database("read a node"))?;
        self.node_of(&row.ok_or_else(|| not_found("Node", ident.chars().take(255).collect::<String>()))?)
    }

    /// Nodes in order of creation.
    pub async fn nodes(&self, filter: &NodeFilter) -> Result<Vec<Node>, StoreError> {
        let rows = filtered(COLUMNS, filter)
            .build()
            .fetch_all(&self.inner.read)
            .await
            .map_err(database("list nodes"))?;
        rows.iter().map(|row| self.node_of(row)).collect()
    }

    /// The ids of nodes in order of creation.
    pub async fn node_ids(&self, filter: &NodeFilter) -> Result<Vec<NodeId>, StoreError> {
        self.ids(filtered("SELECT uuid FROM nodes ", filter)).await
    }

    /// The ids of nodes that are reserved or whose power is being changed.
    pub async fn unsettled_nodes(&self) -> Result<Vec<NodeId>, StoreError> {
        self.ids(QueryBuilder::new("SELECT uuid FROM nodes WHERE unsettled = 1 ORDER BY seq")).await
    }

    /// Writes a node whose `version` is the one read; counts it up, sets `updated_at`. Together with a line of
    /// history when there is one, in one transaction.
    pub async fn update_node(&self, node: &mut Node, event: Option<&HistoryEvent>) -> Result<(), StoreError> {
        let mut next = node.clone();
        next.version += 1;
        next.updated_at = Some(Utc::now());
        let sealed = self.seal_node(&next)?;
        let mut transaction = self.begin("write a node").await?;
        let result = sqlx::query(
            "UPDATE nodes SET name = $1, instance_uuid = $2, provision_state = $3, driver = $4, \
             resource_class = $5, maintenance = $6, unsettled = $7, version = $8, document = $9, \
             driver_info = $10, instance_info = $11 WHERE uuid = $12 AND version = $13",
        )
        .bind(&next.name)
        .bind(&next.instance_uuid)
        .bind(next.provision_state.as_str())
        .bind(&next.driver)
        .bind(&next.resource_class)
        .bind(i64::from(next.maintenance))
        .bind(unsettled(&next))
        .bind(next.version)
        .bind(sealed.document)
        .bind(sealed.driver_info)
        .bind(sealed.instance_info)
        .bind(next.uuid.to_string())
        .bind(node.version)
        .execute(&mut *transaction)
        .await;
        match result {
            Err(error) if is_unique_violation(&error) => {
                return Err(taken(&mut transaction, &next, false).await?);
            }
            Err(error) => return Err(database("write a node")(error)),
            Ok(done) if done.rows_affected() == 0 => {
                return Err(missing_or_newer(&mut transaction, node).await?);
            }
            Ok(_) => {}
        }
        if let Some(event) = event {
            history::add(&mut transaction, node.uuid, event).await?;
            self.add_messages(&mut transaction, &next, event).await?;
        }
        transaction.commit().await.map_err(database("write a node"))?;
        *node = next;
        Ok(())
    }

    /// Removes a node with all that hangs on it.
    pub async fn delete_node(&self, node: NodeId) -> Result<(), StoreError> {
        let done = sqlx::query("DELETE FROM nodes WHERE uuid = $1")
            .bind(node.to_string())
            .execute(&self.inner.write)
            .await
            .map_err(database("remove a node"))?;
        if done.rows_affected() == 0 { Err(not_found("Node", node)) } else { Ok(()) }
    }

    async fn ids(&self, mut query: QueryBuilder<Sqlite>) -> Result<Vec<NodeId>, StoreError> {
        let ids: Vec<String> =
            query.build_query_scalar().fetch_all(&self.inner.read).await.map_err(database("list nodes"))?;
        ids.iter().map(|id| id.parse().map_err(|error| unreadable("Node", id, error))).collect()
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
        let bare = Node { driver_info: Dictionary::new(), instance_info: Dictionary::new(), ..node.clone() };
        Ok(Sealed {
            document: serde_json::to_string(&bare).map_err(corrupt("Node", &uuid))?,
            driver_info: seal("driver_info", &node.driver_info)?,
            instance_info: seal("instance_info", &node.instance_info)?,
        })
    }

    fn node_of(&self, row: &SqliteRow) -> Result<Node, StoreError> {
        let text = |column| row.try_get::<&str, _>(column).map_err(database("read a node"));
        let uuid = text(0)?;
        let unseal = |column: &'static str, sealed| -> Result<Dictionary, StoreError> {
            let plain = self
                .inner
                .sealer
                .unseal(uuid, column, sealed)
                .map_err(|_| StoreError::Sealed { what: "Node", ident: uuid.to_owned() })?;
            serde_json::from_slice(&plain).map_err(corrupt("Node", uuid))
        };
        let mut node: Node = serde_json::from_str(text(2)?).map_err(corrupt("Node", uuid))?;
        node.version = row.try_get(1).map_err(database("read a node"))?;
        node.driver_info = unseal("driver_info", text(3)?)?;
        node.instance_info = unseal("instance_info", text(4)?)?;
        Ok(node)
    }
}

fn unsettled(node: &Node) -> i64 {
    i64::from(node.reservation.is_some() || node.target_power_state.is_some())
}

fn filtered(select: &str, filter: &NodeFilter) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(format!("{select}WHERE 1 = 1"));
    if !filter.provision_states.is_empty() {
        query.push(" AND provision_state IN (");
        let mut states = query.separated(", ");
        for state in &filter.provision_states {
            states.push_bind(state.as_str());
        }
        query.push(")");
    }
    let texts = [
        (" AND driver = ", &filter.driver),
        (" AND resource_class = ", &filter.resource_class),
        (" AND instance_uuid = ", &filter.instance_uuid),
    ];
    for (condition, value) in texts {
        if let Some(value) = value {
            query.push(condition).push_bind(value.clone());
        }
    }
    match filter.associated {
        Some(true) => drop(query.push(" AND instance_uuid IS NOT NULL")),
        Some(false) => drop(query.push(" AND instance_uuid IS NULL")),
        None => {}
    }
    if let Some(maintenance) = filter.maintenance {
        query.push(" AND maintenance = ").push_bind(i64::from(maintenance));
    }
    query.push(" ORDER BY seq");
    query
}

/// Which of the unique values of `node` another row holds.
async fn taken(
    transaction: &mut Transaction<'_, Sqlite>,
    node: &Node,
    is_new: bool,
) -> Result<StoreError, StoreError> {
    let uuid = node.uuid.to_string();
    let duplicate =
        |field, value: &str| StoreError::Duplicate { what: "A node", field, value: value.to_owned() };
    let named: Option<String> = sqlx::query_scalar("SELECT uuid FROM nodes WHERE name = $1")
        .bind(&node.name)
        .fetch_optional(&mut **transaction)
        .await
        .map_err(database("read a node"))?;
    if let (Some(holder), Some(name)) = (named, &node.name)
        && (is_new || holder != uuid)
    {
        return Ok(duplicate("name", name));
    }
    let holder: Option<String> = sqlx::query_scalar("SELECT uuid FROM nodes WHERE instance_uuid = $1")
        .bind(&node.instance_uuid)
        .fetch_optional(&mut **transaction)
        .await
        .map_err(database("read a node"))?;
    if let (Some(holder), Some(instance)) = (holder, &node.instance_uuid)
        && (is_new || holder != uuid)
    {
        return Ok(duplicate("instance_uuid", instance));
    }
    Ok(duplicate("uuid", &uuid))
}

async fn missing_or_newer(
    transaction: &mut Transaction<'_, Sqlite>,
    node: &Node,
) -> Result<StoreError, StoreError> {
    let found: Option<i64> = sqlx::query_scalar("SELECT version FROM nodes WHERE uuid = $1")
        .bind(node.uuid.to_string())
        .fetch_optional(&mut **transaction)
        .await
        .map_err(database("read a node"))?;
    Ok(match found {
        None => not_found("Node", node.uuid),
        Some(_) => StoreError::Conflict { what: "Node", ident: node.uuid.to_string() },
    })
}
