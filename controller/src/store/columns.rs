//! The columns of a node's row that are made of its document, to filter and sort by.

use chrono::{DateTime, Utc};

use super::{
    StoreError, corrupt,
    db::{Db, Sql, Value},
};
use crate::node::Node;

/// Counts up when [`of`] changes: the rows of an older controller are then brought up to date at its start.
const EDITION: &str = "1";

/// The columns and their values.
pub(super) fn of(node: &Node) -> Vec<(&'static str, Value)> {
    let micros = |time: Option<DateTime<Utc>>| time.map(|time| time.timestamp_micros());
    vec![
        ("name", (&node.name).into()),
        ("instance_uuid", (&node.instance_uuid).into()),
        ("instance_name", (&node.instance_name).into()),
        ("provision_state", node.provision_state.as_str().into()),
        ("power_state", node.power_state.map(|state| state.as_str()).into()),
        ("driver", node.driver.as_str().into()),
        ("resource_class", (&node.resource_class).into()),
        ("conductor_group", node.conductor_group.as_str().into()),
        ("chassis_uuid", (&node.chassis_uuid).into()),
        ("parent_node", (&node.parent_node).into()),
        ("owner", (&node.owner).into()),
        ("lessee", (&node.lessee).into()),
        ("shard", (&node.shard).into()),
        ("fault", (&node.fault).into()),
        ("reservation", (&node.reservation).into()),
        ("description_folded", node.description.as_ref().map(|text| text.to_lowercase()).into()),
        ("maintenance", node.maintenance.into()),
        ("retired", node.retired.into()),
        ("unsettled", (node.reservation.is_some() || node.target_power_state.is_some()).into()),
        ("created_at", node.created_at.timestamp_micros().into()),
        ("updated_at", micros(node.updated_at).into()),
        ("provision_updated_at", micros(node.provision_updated_at).into()),
        ("inspection_started_at", micros(node.inspection_started_at).into()),
        ("inspection_finished_at", micros(node.inspection_finished_at).into()),
    ]
}

/// The columns that a listing can be sorted by as they are.
pub(super) const SORTABLE: [&str; 21] = [
    "uuid",
    "name",
    "instance_uuid",
    "instance_name",
    "provision_state",
    "power_state",
    "driver",
    "resource_class",
    "conductor_group",
    "owner",
    "lessee",
    "shard",
    "fault",
    "reservation",
    "maintenance",
    "retired",
    "created_at",
    "updated_at",
    "provision_updated_at",
    "inspection_started_at",
    "inspection_finished_at",
];

/// Fills the columns of rows that an older controller wrote. In one transaction: it happens whole or not at all.
pub(super) async fn refresh(db: &Db) -> Result<(), StoreError> {
    let edition = Sql::new("SELECT value FROM meta WHERE key = 'node-columns'");
    let edition = db.row("read its edition", &edition).await?;
    if edition.as_ref().map(|row| row.text(0)).transpose()? == Some(EDITION) {
        return Ok(());
    }
    let rows = db.rows("read nodes", &Sql::new("SELECT uuid, document FROM nodes ORDER BY seq")).await?;
    let mut all = Vec::with_capacity(rows.len() + 2);
    for row in &rows {
        let uuid = row.text(0)?;
        let node: Node = serde_json::from_str(row.text(1)?).map_err(corrupt("Node", uuid))?;
        let mut sql = Sql::new("UPDATE nodes SET ");
        set(&mut sql, &node);
        sql.push(" WHERE uuid = ").bind(uuid);
        all.push(sql);
    }
    all.push(Sql::new("DELETE FROM meta WHERE key = 'node-columns'"));
    all.push(Sql::new("INSERT INTO meta (key, value) VALUES ('node-columns', $1)").with(EDITION));
    db.write("bring its rows up to date", &all).await.map(drop)
}

/// Pushes `a = $1, b = $2` for all columns.
pub(super) fn set(sql: &mut Sql, node: &Node) {
    for (index, (name, value)) in of(node).into_iter().enumerate() {
        sql.push(if index == 0 { "" } else { ", " }).push(name).push(" = ").bind(value);
    }
}
