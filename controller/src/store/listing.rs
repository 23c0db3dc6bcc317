//! Which nodes a listing shows, and in which order: all of it in SQL.

use bessemer_proto::ids::NodeId;

use super::{
    Store, StoreError, columns,
    db::{Db, Sql},
    not_found, unreadable,
};
use crate::node::{Node, ProvisionState};

/// Which nodes are meant. The default is all.
#[derive(Clone, Debug, Default)]
pub struct NodeFilter {
    /// Only in these states; empty means all.
    pub provision_states: Vec<ProvisionState>,
    /// Only of this driver.
    pub driver: Option<String>,
    /// Only of this resource class.
    pub resource_class: Option<String>,
    /// Only with this instance.
    pub instance_uuid: Option<String>,
    /// Only with an instance of this name.
    pub instance_name: Option<String>,
    /// Only with (true) or without (false) an instance.
    pub associated: Option<bool>,
    /// Only in (true) or out of (false) maintenance.
    pub maintenance: Option<bool>,
    /// Only retired (true) or not retired (false) ones.
    pub retired: Option<bool>,
    /// Only with this fault.
    pub fault: Option<String>,
    /// Only of this conductor group.
    pub conductor_group: Option<String>,
    /// Only of this chassis.
    pub chassis_uuid: Option<String>,
    /// Only of this owner.
    pub owner: Option<String>,
    /// Only of this lessee.
    pub lessee: Option<String>,
    /// Only those whose owner or lessee this project is.
    pub project: Option<String>,
    /// Only in one of these shards; empty means any.
    pub shards: Vec<String>,
    /// Only in a shard (true) or in none (false).
    pub sharded: Option<bool>,
    /// Only children of this node.
    pub parent_node: Option<String>,
    /// Only those that are no child of another node.
    pub parents_only: bool,
    /// Only those whose description has this in it, in upper or lower case.
    pub description_contains: Option<String>,
    /// Only these; empty means all.
    pub uuids: Vec<NodeId>,
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub struct NodeQuery {
    /// Which nodes.
    pub filter: NodeFilter,
    /// The field to sort by; `None` is the order of creation, which also decides between equals.
    pub sort_key: Option<&'static str>,
    /// From the last to the first.
    pub descending: bool,
    /// The UUID of the node that the page comes after, whether the filter matches it or not.
    pub marker: Option<String>,
    /// How many at most; `None` is all.
    pub limit: Option<u32>,
    /// Leaves `driver_info` and `instance_info` empty: nothing needs to be decrypted.
    pub without_secrets: bool,
}

impl Store {
    /// A page of a listing. [`StoreError::NotFound`] when there is no node of the marker.
    pub async fn page_of_nodes(&self, query: &NodeQuery) -> Result<Vec<Node>, StoreError> {
        let mut sql = Sql::new(if query.without_secrets { BARE_COLUMNS } else { COLUMNS });
        let key = query.sort_key.map(|field| sort_expression(&self.inner.db, field)).transpose()?;
        filter(&mut sql, &query.filter);
        if let Some(marker) = &query.marker {
            self.after(&mut sql, marker, key.as_deref(), query.descending).await?;
        }
        let (direction, nulls) = if query.descending { ("DESC", "LAST") } else { ("ASC", "FIRST") };
        sql.push(" ORDER BY ");
        if let Some(key) = &key {
            sql.push(&format!("{key} {direction} NULLS {nulls}, "));
        }
        sql.push(&format!("seq {direction}"));
        if let Some(limit) = query.limit {
            sql.push(" LIMIT ").bind(limit);
        }
        let rows = self.inner.db.rows("list nodes", &sql).await?;
        rows.iter().map(|row| self.node_of(row, !query.without_secrets)).collect()
    }

    /// Nodes in order of creation.
    pub async fn nodes(&self, filter: &NodeFilter) -> Result<Vec<Node>, StoreError> {
        self.page_of_nodes(&NodeQuery { filter: filter.clone(), ..NodeQuery::default() }).await
    }

    /// The ids of nodes in order of creation.
    pub async fn node_ids(&self, wanted: &NodeFilter) -> Result<Vec<NodeId>, StoreError> {
        let mut sql = Sql::new("SELECT uuid FROM nodes WHERE 1 = 1");
        filter(&mut sql, wanted);
        sql.push(" ORDER BY seq");
        self.ids(sql).await
    }

    /// The ids of nodes that are reserved or whose power is being changed.
    pub async fn unsettled_nodes(&self) -> Result<Vec<NodeId>, StoreError> {
        self.ids(Sql::new("SELECT uuid FROM nodes WHERE unsettled = 1 ORDER BY seq")).await
    }

    async fn ids(&self, sql: Sql) -> Result<Vec<NodeId>, StoreError> {
        let rows = self.inner.db.rows("list nodes", &sql).await?;
        let id = |text: &str| text.parse().map_err(|error| unreadable("Node", text, error));
        rows.iter().map(|row| id(row.text(0)?)).collect()
    }

    /// Adds the condition that a row comes after the marker's.
    async fn after(
        &self,
        sql: &mut Sql,
        marker: &str,
        key: Option<&str>,
        descending: bool,
    ) -> Result<(), StoreError> {
        let mut place = Sql::new("SELECT seq, CAST(CASE WHEN ");
        place.push(key.unwrap_or("seq")).push(" IS NULL THEN 1 ELSE 0 END AS BIGINT)");
        place.push(" FROM nodes WHERE uuid = ").bind(marker.to_ascii_lowercase());
        let row = self.inner.db.row("find the marker", &place).await?;
        let missing = || not_found("Node", marker.chars().take(255).collect::<String>());
        let row = row.ok_or_else(missing)?;
        let (seq, is_null) = (row.number(0)?, row.number(1)? != 0);
        let beyond = if descending { "<" } else { ">" };
        let Some(key) = key else {
            sql.push(&format!(" AND seq {beyond} ")).bind(seq);
            return Ok(());
        };
        // Nulls are the smallest, as in the order.
        match (is_null, descending) {
            (true, true) => sql.push(&format!(" AND ({key} IS NULL AND seq < ")).bind(seq).push(")"),
            (true, false) => sql.push(&format!(" AND ({key} IS NOT NULL OR seq > ")).bind(seq).push(")"),
            (false, _) => {
                sql.push(&format!(" AND ({key} {beyond} (SELECT {key} FROM nodes WHERE seq = ")).bind(seq);
                sql.push(&format!(") OR ({key} = (SELECT {key} FROM nodes WHERE seq = ")).bind(seq);
                sql.push(&format!(") AND seq {beyond} ")).bind(seq).push(")");
                sql.push(&if descending { format!(" OR {key} IS NULL)") } else { ")".to_owned() })
            }
        };
        Ok(())
    }
}

const COLUMNS: &str = "SELECT uuid, version, document, driver_info, instance_info FROM nodes WHERE 1 = 1";
const BARE_COLUMNS: &str = "SELECT uuid, version, document FROM nodes WHERE 1 = 1";

/// What to sort by for a field: its column, else the document's value. Field names are the API's own, never a client's.
fn sort_expression(db: &Db, field: &'static str) -> Result<String, StoreError> {
    if columns::SORTABLE.contains(&field) {
        return Ok(field.to_owned());
    }
    if !field.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
        return Err(unreadable("Sort key", field, "it is no field's name"));
    }
    Ok(match field.strip_suffix("_interface") {
        Some(kind) => db.document_text(&["interfaces", kind]),
        None => db.document_text(&[field]),
    })
}

fn filter(sql: &mut Sql, wanted: &NodeFilter) {
    let texts = [
        (" AND driver = ", &wanted.driver),
        (" AND resource_class = ", &wanted.resource_class),
        (" AND instance_uuid = ", &wanted.instance_uuid),
        (" AND instance_name = ", &wanted.instance_name),
        (" AND fault = ", &wanted.fault),
        (" AND conductor_group = ", &wanted.conductor_group),
        (" AND chassis_uuid = ", &wanted.chassis_uuid),
        (" AND owner = ", &wanted.owner),
        (" AND lessee = ", &wanted.lessee),
        (" AND parent_node = ", &wanted.parent_node),
    ];
    for (condition, value) in texts {
        if let Some(value) = value {
            sql.push(condition).bind(value.as_str());
        }
    }
    // Written out, so that the partial indices serve.
    let flags = [
        (wanted.associated, " AND instance_uuid IS NOT NULL", " AND instance_uuid IS NULL"),
        (wanted.sharded, " AND shard IS NOT NULL", " AND shard IS NULL"),
        (wanted.maintenance, " AND maintenance = 1", " AND maintenance = 0"),
        (wanted.retired, " AND retired = 1", " AND retired = 0"),
        (wanted.parents_only.then_some(true), " AND parent_node IS NULL", ""),
    ];
    for (asked, yes, no) in flags {
        if let Some(asked) = asked {
            sql.push(if asked { yes } else { no });
        }
    }
    if let Some(project) = &wanted.project {
        sql.push(" AND (owner = ").bind(project.as_str());
        sql.push(" OR lessee = ").bind(project.as_str()).push(")");
    }
    let states = wanted.provision_states.iter().map(|state| state.as_str().to_owned());
    let uuids = wanted.uuids.iter().map(ToString::to_string);
    one_of(sql, "provision_state", states.collect());
    one_of(sql, "shard", wanted.shards.clone());
    one_of(sql, "uuid", uuids.collect());
    if let Some(part) = &wanted.description_contains {
        let part = part.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        sql.push(" AND description_folded LIKE ").bind(format!("%{part}%")).push(" ESCAPE '\\'");
    }
}

fn one_of(sql: &mut Sql, column: &str, values: Vec<String>) {
    if !values.is_empty() {
        sql.push(&format!(" AND {column} IN (")).bind_list(values).push(")");
    }
}
