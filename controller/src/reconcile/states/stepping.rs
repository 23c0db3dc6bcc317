//! The states that run the steps of a plan: working on them, waiting for one, held by one. They are the same for
//! deploys, cleanings and services.

use async_trait::async_trait;
use chrono::Utc;

use super::State;
use crate::{
    node::{Node, plan::Flow},
    reconcile::{context::Context, error::Failure, outcome::Outcome, steps},
};

/// `deploying`, `cleaning`, `servicing`: runs steps one after the other, from where it was.
pub(super) struct Working(pub(super) Flow);

/// `wait call-back`, `clean wait`, `service wait`: the step under way waits. Changes nothing; the working state takes
/// over when the wait ends.
pub(super) struct Waiting(pub(super) Flow);

/// `deploy hold`, `clean hold`, `service hold`: until somebody says `unhold` or `abort`.
pub(super) struct Held(pub(super) Flow);

#[async_trait]
impl State for Working {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Outcome, Failure> {
        steps::work(self.0, node, cx).await
    }

    async fn clean_up(&self, node: &mut Node, cx: &Context) {
        steps::clean_up(self.0, node, cx).await;
    }
}

#[async_trait]
impl State for Waiting {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Outcome, Failure> {
        steps::wait(self.0, node, cx).await
    }

    async fn clean_up(&self, node: &mut Node, cx: &Context) {
        steps::clean_up(self.0, node, cx).await;
    }
}

#[async_trait]
impl State for Held {
    async fn run(&self, node: &mut Node, _cx: &Context) -> Result<Outcome, Failure> {
        let since = node.provision_updated_at.unwrap_or_else(Utc::now);
        Ok(Outcome::hold(format!(
            "held by a step since {}, without a deadline: unhold lets it go on, abort ends it",
            since.format("%Y-%m-%d %H:%M:%S UTC")
        )))
    }

    async fn clean_up(&self, node: &mut Node, cx: &Context) {
        steps::clean_up(self.0, node, cx).await;
    }
}
