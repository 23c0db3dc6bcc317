//! Executions of in-band steps.

use bessemer_proto::ids::{NodeId, StepId};
use serde_json::Value;

use super::{
    StepOutcome, StepRow, Store, StoreError, corrupt,
    db::{Must, Row, Sql, Written},
    nodes::must_exist,
    not_found, time_of, unreadable,
};

const SEALED_COLUMN: &str = "arguments";

impl Store {
    /// Adds a step.
    pub async fn create_step(&self, step: &StepRow) -> Result<(), StoreError> {
        let id = step.id.to_string();
        let plain = serde_json::to_vec(&step.arguments).map_err(corrupt("Step", &id))?;
        let arguments = self
            .inner
            .sealer
            .seal(&id, SEALED_COLUMN, &plain)
            .map_err(|_| StoreError::Sealed { what: "Step", ident: id.clone() })?;
        let (succeeded, outcome) = step.outcome.as_ref().map(|o| columns_of(&id, o)).transpose()?.unzip();
        let sql = Sql::new(
            "INSERT INTO steps (id, node, boot, name, attempt, arguments, deadline_seconds, succeeded, \
             outcome, created) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .with(id)
        .with(step.node.to_string())
        .with(step.boot.to_string())
        .with(step.name.as_str())
        .with(step.attempt)
        .with(arguments)
        .with(step.deadline_seconds)
        .with(succeeded)
        .with(outcome)
        .with(step.created.timestamp_micros());
        match self.inner.db.write("add a step", &[must_exist(step.node), sql]).await? {
            Written::Missed(_) => Err(not_found("Node", step.node)),
            Written::All(_) => Ok(()),
        }
    }

    /// The step of that id.
    pub async fn step(&self, id: StepId) -> Result<StepRow, StoreError> {
        let sql = Sql::new(
            "SELECT id, node, boot, name, attempt, arguments, deadline_seconds, succeeded, outcome, created \
             FROM steps WHERE id = $1",
        )
        .with(id.to_string());
        let row = self.inner.db.row("read a step", &sql).await?;
        self.step_of(&row.ok_or_else(|| not_found("Step", id))?)
    }

    /// Writes the outcome of a step of that node, once: a second one changes nothing. Unknown ids are an error.
    pub async fn finish_step(
        &self,
        node: NodeId,
        id: StepId,
        outcome: &StepOutcome,
    ) -> Result<(), StoreError> {
        let (succeeded, text) = columns_of(&id.to_string(), outcome)?;
        let find = Sql::new("SELECT seq FROM steps WHERE id = $1 AND node = $2")
            .with(id.to_string())
            .with(node.to_string());
        let finish = "UPDATE steps SET succeeded = $1, outcome = $2 WHERE id = $3 AND succeeded IS NULL";
        let finish = Sql::new(finish).with(succeeded).with(text).with(id.to_string());
        match self.inner.db.write("finish a step", &[find.must(Must::Find), finish]).await? {
            Written::Missed(_) => Err(not_found("Step", id)),
            Written::All(_) => Ok(()),
        }
    }

    fn step_of(&self, row: &Row) -> Result<StepRow, StoreError> {
        let id = row.text(0)?;
        let odd = |problem: &dyn std::fmt::Display| unreadable("Step", id, problem);
        let arguments = self
            .inner
            .sealer
            .unseal(id, SEALED_COLUMN, row.text(5)?)
            .map_err(|_| StoreError::Sealed { what: "Step", ident: id.to_owned() })?;
        let outcome = row.maybe_text(8)?;
        Ok(StepRow {
            id: id.parse().map_err(|error| odd(&error))?,
            node: row.text(1)?.parse().map_err(|error| odd(&error))?,
            boot: row.text(2)?.parse().map_err(|error| odd(&error))?,
            name: row.text(3)?.to_owned(),
            attempt: u32::try_from(row.number(4)?).map_err(|error| odd(&error))?,
            arguments: serde_json::from_slice(&arguments).map_err(corrupt("Step", id))?,
            deadline_seconds: u32::try_from(row.number(6)?).map_err(|error| odd(&error))?,
            outcome: match row.maybe_number(7)? {
                None => None,
                Some(0) => Some(StepOutcome::Failed(outcome.unwrap_or_default().to_owned())),
                Some(_) => Some(StepOutcome::Succeeded(
                    serde_json::from_str(outcome.unwrap_or("null")).map_err(corrupt("Step", id))?,
                )),
            },
            created: time_of(row.number(9)?),
        })
    }
}

fn columns_of(id: &str, outcome: &StepOutcome) -> Result<(i64, String), StoreError> {
    Ok(match outcome {
        StepOutcome::Succeeded(result) => {
            (1, serde_json::to_string::<Value>(result).map_err(corrupt("Step", id))?)
        }
        StepOutcome::Failed(error) => (0, error.clone()),
    })
}
