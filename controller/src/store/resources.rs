//! Small resources of the API: JSON documents found by UUID or name, sealed as a whole.

use bessemer_proto::ids::NodeId;
use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{
    Store, StoreError, corrupt,
    db::{Must, Row, Sql, Written},
    nodes::must_exist,
    not_found, time_of,
};

const COLUMNS: &str = "SELECT uuid, created, updated, version, document FROM resources WHERE kind = ";
const SEALED_COLUMN: &str = "document";

/// A small resource of the API: a JSON document found by UUID or name.
pub trait Resource: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Tells the rows of one type from those of others: `chassis`, `portgroup`.
    const KIND: &'static str;
    /// How messages call it: `Chassis`, `Portgroup`.
    const WHAT: &'static str;
    /// Its UUID.
    fn uuid(&self) -> Uuid;
    /// Its name, unique within the kind.
    fn name(&self) -> Option<&str> {
        None
    }
    /// The node it belongs to: it is removed with that node.
    fn node(&self) -> Option<NodeId> {
        None
    }
    /// One more value that is unique within the kind: the field's name, and the value.
    fn unique(&self) -> Option<(&'static str, String)> {
        None
    }
}

/// A resource as it is stored.
#[derive(Clone, PartialEq)]
pub struct Stored<R> {
    /// The resource.
    pub value: R,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When it was last written.
    pub updated_at: Option<DateTime<Utc>>,
    /// Counts up with each write: a writer that read an older one is refused.
    pub version: i64,
}

/// Names the resource only: the document may hold secrets.
impl<R: Resource> std::fmt::Debug for Stored<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(R::WHAT)
            .field("uuid", &self.value.uuid())
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Adds a resource. [`StoreError::Duplicate`] when a unique value is taken, [`StoreError::NotFound`] when its
    /// node is not there.
    pub async fn create_resource<R: Resource>(&self, value: &R) -> Result<Stored<R>, StoreError> {
        let created = Utc::now().timestamp_micros();
        let sql = Sql::new(
            "INSERT INTO resources (kind, uuid, name, other, node, created, version, document) \
             VALUES ($1, $2, $3, $4, $5, $6, 0, $7)",
        )
        .with(R::KIND)
        .with(value.uuid().to_string())
        .with(value.name())
        .with(value.unique().map(|(_, text)| text))
        .with(value.node().map(|node| node.to_string()))
        .with(created)
        .with(self.seal_resource(value)?);
        let mut all: Vec<Sql> = value.node().map(must_exist).into_iter().collect();
        all.push(sql);
        match self.inner.db.write("add a resource", &all).await {
            Err(error) if error.is_unique_violation() => return Err(self.resource_taken(value).await?),
            Err(error) => return Err(error),
            Ok(Written::Missed(_)) => return Err(node_missing(value)),
            Ok(Written::All(_)) => {}
        }
        Ok(Stored { value: value.clone(), created_at: time_of(created), updated_at: None, version: 0 })
    }

    /// The resource with that UUID or name.
    pub async fn resource<R: Resource>(&self, ident: &str) -> Result<Stored<R>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.bind(R::KIND);
        match ident.parse::<Uuid>() {
            Ok(uuid) => sql.push(" AND uuid = ").bind(uuid.to_string()),
            Err(_) => sql.push(" AND name = ").bind(ident),
        };
        let row = self.inner.db.row("read a resource", &sql).await?;
        let missing = || not_found(R::WHAT, ident.chars().take(255).collect::<String>());
        self.resource_of(&row.ok_or_else(missing)?)
    }

    /// Resources in order of creation, all or those of a node.
    pub async fn resources<R: Resource>(
        &self,
        of_node: Option<NodeId>,
    ) -> Result<Vec<Stored<R>>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.bind(R::KIND);
        if let Some(node) = of_node {
            sql.push(" AND node = ").bind(node.to_string());
        }
        sql.push(" ORDER BY seq");
        let rows = self.inner.db.rows("list resources", &sql).await?;
        rows.iter().map(|row| self.resource_of(row)).collect()
    }

    /// Writes a resource whose `version` is the one read; counts it up, sets `updated_at`.
    pub async fn update_resource<R: Resource>(&self, stored: &mut Stored<R>) -> Result<(), StoreError> {
        let (value, updated) = (&stored.value, Utc::now().timestamp_micros());
        let sql = Sql::new(
            "UPDATE resources SET name = $1, other = $2, node = $3, updated = $4, version = $5, document = $6 \
             WHERE kind = $7 AND uuid = $8 AND version = $9",
        )
        .with(value.name())
        .with(value.unique().map(|(_, text)| text))
        .with(value.node().map(|node| node.to_string()))
        .with(updated)
        .with(stored.version + 1)
        .with(self.seal_resource(value)?)
        .with(R::KIND)
        .with(value.uuid().to_string())
        .with(stored.version);
        let mut all: Vec<Sql> = value.node().map(must_exist).into_iter().collect();
        all.push(sql.must(Must::Change));
        match self.inner.db.write("write a resource", &all).await {
            Err(error) if error.is_unique_violation() => return Err(self.resource_taken(value).await?),
            Err(error) => return Err(error),
            Ok(Written::Missed(index)) if index + 1 < all.len() => return Err(node_missing(value)),
            Ok(Written::Missed(_)) => return Err(self.resource_missing_or_newer(value).await?),
            Ok(Written::All(_)) => {}
        }
        stored.version += 1;
        stored.updated_at = Some(time_of(updated));
        Ok(())
    }

    /// Removes a resource.
    pub async fn delete_resource<R: Resource>(&self, uuid: Uuid) -> Result<(), StoreError> {
        let sql = Sql::new("DELETE FROM resources WHERE kind = $1 AND uuid = $2");
        let sql = sql.with(R::KIND).with(uuid.to_string());
        match self.inner.db.run("remove a resource", sql).await? {
            0 => Err(not_found(R::WHAT, uuid)),
            _ => Ok(()),
        }
    }

    /// Removes a resource as it was read: [`StoreError::Conflict`] when it was written since.
    pub async fn delete_unchanged_resource<R: Resource>(&self, read: &Stored<R>) -> Result<(), StoreError> {
        let sql = Sql::new("DELETE FROM resources WHERE kind = $1 AND uuid = $2 AND version = $3");
        let sql = sql.with(R::KIND).with(read.value.uuid().to_string()).with(read.version);
        match self.inner.db.run("remove a resource", sql).await? {
            0 => Err(self.resource_missing_or_newer(&read.value).await?),
            _ => Ok(()),
        }
    }

    fn seal_resource<R: Resource>(&self, value: &R) -> Result<String, StoreError> {
        let uuid = value.uuid().to_string();
        let plain = serde_json::to_vec(value).map_err(corrupt(R::WHAT, &uuid))?;
        self.inner
            .sealer
            .seal(&place::<R>(&uuid), SEALED_COLUMN, &plain)
            .map_err(|_| StoreError::Sealed { what: R::WHAT, ident: uuid })
    }

    fn resource_of<R: Resource>(&self, row: &Row) -> Result<Stored<R>, StoreError> {
        let uuid = row.text(0)?;
        let plain = self
            .inner
            .sealer
            .unseal(&place::<R>(uuid), SEALED_COLUMN, row.text(4)?)
            .map_err(|_| StoreError::Sealed { what: R::WHAT, ident: uuid.to_owned() })?;
        Ok(Stored {
            value: serde_json::from_slice(&plain).map_err(corrupt(R::WHAT, uuid))?,
            created_at: time_of(row.number(1)?),
            updated_at: row.maybe_number(2)?.map(time_of),
            version: row.number(3)?,
        })
    }

    async fn resource_missing_or_newer<R: Resource>(&self, value: &R) -> Result<StoreError, StoreError> {
        let sql = Sql::new("SELECT version FROM resources WHERE kind = $1 AND uuid = $2");
        let sql = sql.with(R::KIND).with(value.uuid().to_string());
        Ok(match self.inner.db.row("read a resource", &sql).await? {
            None => not_found(R::WHAT, value.uuid()),
            Some(_) => StoreError::Conflict { what: R::WHAT, ident: value.uuid().to_string() },
        })
    }

    /// Which of the unique values another row holds.
    async fn resource_taken<R: Resource>(&self, value: &R) -> Result<StoreError, StoreError> {
        let uuid = value.uuid().to_string();
        let name = value.name().map(|name| ("name", name.to_owned()));
        for (column, unique) in [("name", name), ("other", value.unique())] {
            let Some((field, text)) = unique else { continue };
            let mut sql = Sql::new("SELECT uuid FROM resources WHERE kind = ");
            sql.bind(R::KIND).push(" AND ").push(column).push(" = ").bind(text.as_str());
            let holder = self.inner.db.row("read a resource", &sql).await?;
            if holder.as_ref().map(|row| row.text(0)).transpose()?.is_some_and(|holder| holder != uuid) {
                return Ok(StoreError::Duplicate { what: R::WHAT, field, value: text });
            }
        }
        Ok(StoreError::Duplicate { what: R::WHAT, field: "uuid", value: uuid })
    }
}

/// Two kinds may have the same UUID: the seal tells them apart.
fn place<R: Resource>(uuid: &str) -> String {
    format!("{}/{uuid}", R::KIND)
}

fn node_missing<R: Resource>(value: &R) -> StoreError {
    not_found("Node", value.node().map(|node| node.to_string()).unwrap_or_default())
}
