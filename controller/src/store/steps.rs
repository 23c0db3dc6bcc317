//! Executions of in-band steps.

use bessemer_proto::ids::{NodeId, StepId};
use serde_json::Value;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{StepOutcome, StepRow, Store, StoreError, corrupt, database, not_found, time_of, unreadable};

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
        sqlx::query(
            "INSERT INTO steps (id, node, boot, name, attempt, arguments, deadline_seconds, succeeded, \
             outcome, created) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(&id)
        .bind(step.node.to_string())
        .bind(step.boot.to_string())
        .bind(&step.name)
        .bind(i64::from(step.attempt))
        .bind(arguments)
        .bind(i64::from(step.deadline_seconds))
        .bind(succeeded)
        .bind(outcome)
        .bind(step.created.timestamp_micros())
        .execute(&self.inner.write)
        .await
        .map(drop)
        .map_err(database("add a step"))
    }

    /// The step of that id.
    pub async fn step(&self, id: StepId) -> Result<StepRow, StoreError> {
        let row = sqlx::query(
            "SELECT id, node, boot, name, attempt, arguments, deadline_seconds, succeeded, outcome, created \
             FROM steps WHERE id = $1",
        )
        .bind(id.to_string())
        .fetch_optional(&self.inner.read)
        .await
        .map_err(database("read a step"))?;
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
        let mut transaction = self.begin("finish a step").await?;
        let found: Option<i64> = sqlx::query_scalar("SELECT seq FROM steps WHERE id = $1 AND node = $2")
            .bind(id.to_string())
            .bind(node.to_string())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(database("read a step"))?;
        if found.is_none() {
            return Err(not_found("Step", id));
        }
        sqlx::query("UPDATE steps SET succeeded = $1, outcome = $2 WHERE id = $3 AND succeeded IS NULL")
            .bind(succeeded)
            .bind(text)
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(database("finish a step"))?;
        transaction.commit().await.map_err(database("finish a step"))
    }

    fn step_of(&self, row: &SqliteRow) -> Result<StepRow, StoreError> {
        let read = database("read a step");
        let text = |column: usize| row.try_get::<&str, _>(column).map_err(&read);
        let number = |column: usize| row.try_get::<i64, _>(column).map_err(&read);
        let id = text(0)?;
        let odd = |problem: &dyn std::fmt::Display| unreadable("Step", id, problem);
        let arguments = self
            .inner
            .sealer
            .unseal(id, SEALED_COLUMN, text(5)?)
            .map_err(|_| StoreError::Sealed { what: "Step", ident: id.to_owned() })?;
        let succeeded: Option<i64> = row.try_get(7).map_err(&read)?;
        let outcome: Option<String> = row.try_get(8).map_err(&read)?;
        Ok(StepRow {
            id: id.parse().map_err(|error| odd(&error))?,
            node: text(1)?.parse().map_err(|error| odd(&error))?,
            boot: text(2)?.parse().map_err(|error| odd(&error))?,
            name: text(3)?.to_owned(),
            attempt: u32::try_from(number(4)?).map_err(|error| odd(&error))?,
            arguments: serde_json::from_slice(&arguments).map_err(corrupt("Step", id))?,
            deadline_seconds: u32::try_from(number(6)?).map_err(|error| odd(&error))?,
            outcome: match (succeeded, outcome) {
                (None, _) => None,
                (Some(0), text) => Some(StepOutcome::Failed(text.unwrap_or_default())),
                (Some(_), text) => Some(StepOutcome::Succeeded(
                    serde_json::from_str(text.as_deref().unwrap_or("null")).map_err(corrupt("Step", id))?,
                )),
            },
            created: time_of(number(9)?),
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
