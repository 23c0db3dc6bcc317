//! `inspect`: reports what the machine is made of.

use anyhow::Context as _;
use async_trait::async_trait;
use bessemer_proto::step::{InspectResult, NoArguments, names};
use serde_json::Value;

use super::{Step, StepContext, StepError, arguments};
use crate::inventory;

/// The step.
#[derive(Clone, Copy, Default)]
pub struct Inspect;

#[async_trait]
impl Step for Inspect {
    fn name(&self) -> &'static str {
        names::INSPECT
    }

    async fn run(&self, value: Value, context: StepContext) -> Result<Value, StepError> {
        let NoArguments {} = arguments(value)?;
        context.report.progress("inspecting", 0, 0);
        let work = tokio::task::spawn_blocking(move || inventory::collect(&context.roots));
        let collected = context.cancel.run_until_cancelled(work).await.ok_or(StepError::Cancelled)?;
        let inventory =
            collected.context("inspecting ended without a result")?.map_err(anyhow::Error::from)?;
        Ok(serde_json::to_value(InspectResult { inventory }).map_err(anyhow::Error::from)?)
    }
}
