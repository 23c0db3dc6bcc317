//! `cleaning`: between two users. There are no clean steps yet, so nodes pass through.

use async_trait::async_trait;

use super::State;
use crate::{
    node::Node,
    reconcile::{config::NO_CLEAN_STEPS, context::Context, error::Failure, outcome::Outcome},
};

pub(super) struct Cleaning;

#[async_trait]
impl State for Cleaning {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Outcome, Failure> {
        if node.automated_clean.unwrap_or(cx.config.automated_clean) {
            return Ok(Outcome::fail(NO_CLEAN_STEPS));
        }
        Ok(Outcome::done())
    }
}
