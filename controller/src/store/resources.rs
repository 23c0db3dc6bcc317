//! Small resources of the API: JSON documents found by UUID or name, sealed as a whole.

use bessemer_proto::ids::NodeId;
use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{QueryBuilder, Row as _, Sqlite, Transaction, sqlite::SqliteRow};
use uuid::Uuid;

use super::{Store, StoreError, corrupt, database, is_unique_violation, not_found, time_of};

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
        let document = self.seal_resource(value)?;
        let mut transaction = self.begin("add a resource").await?;
        node_must_exist(&mut transaction, value).await?;
        let result = sqlx::query(
            "INSERT INTO resources (kind, uuid, name, other, node, created, version, document) \
             VALUES ($1, $2, $3, $4, $5, $6, 0, $7)",
        )
        .bind(R::KIND)
        .bind(value.uuid().to_string())
        .bind(value.name())
        .bind(value.unique().map(|(_, text)| text))
        .bind(value.node().map(|node| node.to_string()))
        .bind(created)
        .bind(document)
        .execute(&mut *transaction)
        .await;
        match result {
            Err(error) if is_unique_violation(&error) => Err(taken(&mut transaction, value).await?),
            Err(error) => Err(database("add a resource")(error)),
            Ok(_) => {
                transaction.commit().await.map_err(database("add a resource"))?;
                let (value, created_at) = (value.clone(), time_of(created));
                Ok(Stored { value, created_at, updated_at: None, version: 0 })
            }
        }
    }

    /// The resource with that UUID or name.
    pub async fn resource<R: Resource>(&self, ident: &str) -> Result<Stored<R>, StoreError> {
        let (condition, key) = match ident.parse::<Uuid>() {
            Ok(uuid) => (" AND uuid = ", uuid.to_string()),
            Err(_) => (" AND name = ", ident.to_owned()),
        };
        let row = QueryBuilder::<Sqlite>::new(COLUMNS)
            .push_bind(R::KIND)
            .push(condition)
            .push_bind(key)
            .build()
            .fetch_optional(&self.inner.read)
            .await
            .map_err(database("read a resource"))?;
        let missing = || not_found(R::WHAT, ident.chars().take(255).collect::<String>());
        self.resource_of(&row.ok_or_else(missing)?)
    }

    /// Resources in order of creation, all or those of a node.
    pub async fn resources<R: Resource>(
        &self,
        of_node: Option<NodeId>,
    ) -> Result<Vec<Stored<R>>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        query.push_bind(R::KIND);
        if let Some(node) = of_node {
            query.push(" AND node = ").push_bind(node.to_string());
        }
        query.push(" ORDER BY seq");
        let rows = query.build().fetch_all(&self.inner.read).await.map_err(database("list resources"))?;
        rows.iter().map(|row| self.resource_of(row)).collect()
    }

    /// Writes a resource whose `version` is the one read; counts it up, sets `updated_at`.
    pub async fn update_resource<R: Resource>(&self, stored: &mut Stored<R>) -> Result<(), StoreError> {
        let (value, updated) = (&stored.value, Utc::now().timestamp_micros());
        let document = self.seal_resource(value)?;
        let mut transaction = self.begin("write a resource").await?;
        node_must_exist(&mut transaction, value).await?;
        let result = sqlx::query(
            "UPDATE resources SET name = $1, other = $2, node = $3, updated = $4, version = $5, document = $6 \
             WHERE kind = $7 AND uuid = $8 AND version = $9",
        )
        .bind(value.name())
        .bind(value.unique().map(|(_, text)| text))
        .bind(value.node().map(|node| node.to_string()))
        .bind(updated)
        .bind(stored.version + 1)
        .bind(document)
        .bind(R::KIND)
        .bind(value.uuid().to_string())
        .bind(stored.version)
        .execute(&mut *transaction)
        .await;
        match result {
            Err(error) if is_unique_violation(&error) => return Err(taken(&mut transaction, value).await?),
            Err(error) => return Err(database("write a resource")(error)),
            Ok(done) if done.rows_affected() == 0 => {
                return Err(missing_or_newer(&mut transaction, value).await?);
            }
            Ok(_) => transaction.commit().await.map_err(database("write a resource"))?,
        }
        stored.version += 1;
        stored.updated_at = Some(time_of(updated));
        Ok(())
    }

    /// Removes a resource.
    pub async fn delete_resource<R: Resource>(&self, uuid: Uuid) -> Result<(), StoreError> {
        let done = sqlx::query("DELETE FROM resources WHERE kind = $1 AND uuid = $2")
            .bind(R::KIND)
            .bind(uuid.to_string())
            .execute(&self.inner.write)
            .await
            .map_err(database("remove a resource"))?;
        if done.rows_affected() == 0 { Err(not_found(R::WHAT, uuid)) } else { Ok(()) }
    }

    fn seal_resource<R: Resource>(&self, value: &R) -> Result<String, StoreError> {
        let uuid = value.uuid().to_string();
        let plain = serde_json::to_vec(value).map_err(corrupt(R::WHAT, &uuid))?;
        self.inner
            .sealer
            .seal(&place::<R>(&uuid), SEALED_COLUMN, &plain)
            .map_err(|_| StoreError::Sealed { what: R::WHAT, ident: uuid })
    }

    fn resource_of<R: Resource>(&self, row: &SqliteRow) -> Result<Stored<R>, StoreError> {
        let read = database("read a resource");
        let uuid: &str = row.try_get(0).map_err(&read)?;
        let plain = self
            .inner
            .sealer
            .unseal(&place::<R>(uuid), SEALED_COLUMN, row.try_get(4).map_err(&read)?)
            .map_err(|_| StoreError::Sealed { what: R::WHAT, ident: uuid.to_owned() })?;
        Ok(Stored {
            value: serde_json::from_slice(&plain).map_err(corrupt(R::WHAT, uuid))?,
            created_at: time_of(row.try_get(1).map_err(&read)?),
            updated_at: row.try_get::<Option<i64>, _>(2).map_err(&read)?.map(time_of),
            version: row.try_get(3).map_err(&read)?,
        })
    }
}

/// Two kinds may have the same UUID: the seal tells them apart.
fn place<R: Resource>(uuid: &str) -> String {
    format!("{}/{uuid}", R::KIND)
}

/// Asked first, so that a missing node is told apart without reading an error's text.
async fn node_must_exist<R: Resource>(
    transaction: &mut Transaction<'_, Sqlite>,
    value: &R,
) -> Result<(), StoreError> {
    let Some(node) = value.node() else { return Ok(()) };
    let found: Option<i64> = sqlx::query_scalar("SELECT seq FROM nodes WHERE uuid = $1")
        .bind(node.to_string())
        .fetch_optional(&mut **transaction)
        .await
        .map_err(database("read a node"))?;
    found.map(drop).ok_or_else(|| not_found("Node", node))
}

/// Which of the unique values another row holds.
async fn taken<R: Resource>(
    transaction: &mut Transaction<'_, Sqlite>,
    value: &R,
) -> Result<StoreError, StoreError> {
    let uuid = value.uuid().to_string();
    let name = value.name().map(|name| ("name", name.to_owned()));
    for (column, unique) in [("name", name), ("other", value.unique())] {
        let Some((field, text)) = unique else { continue };
        let holder: Option<String> = QueryBuilder::<Sqlite>::new("SELECT uuid FROM resources WHERE kind = ")
            .push_bind(R::KIND)
            .push(format!(" AND {column} = "))
            .push_bind(&text)
            .build_query_scalar()
            .fetch_optional(&mut **transaction)
            .await
            .map_err(database("read a resource"))?;
        if holder.is_some_and(|holder| holder != uuid) {
            return Ok(StoreError::Duplicate { what: R::WHAT, field, value: text });
        }
    }
    Ok(StoreError::Duplicate { what: R::WHAT, field: "uuid", value: uuid })
}

async fn missing_or_newer<R: Resource>(
    transaction: &mut Transaction<'_, Sqlite>,
    value: &R,
) -> Result<StoreError, StoreError> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT version FROM resources WHERE kind = $1 AND uuid = $2")
            .bind(R::KIND)
            .bind(value.uuid().to_string())
            .fetch_optional(&mut **transaction)
            .await
            .map_err(database("read a resource"))?;
    Ok(match found {
        None => not_found(R::WHAT, value.uuid()),
        Some(_) => StoreError::Conflict { what: R::WHAT, ident: value.uuid().to_string() },
    })
}
