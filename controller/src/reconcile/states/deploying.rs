//! `deploying`: runs the steps of the plan, one after the other, from where it was.

use async_trait::async_trait;

use super::State;
use crate::{
    node::{Node, ProvisionState},
    reconcile::{
        context::Context,
        deploy::{self, Progress},
        error::Failure,
        machine,
        outcome::Outcome,
    },
};

pub(super) struct Deploying;

#[async_trait]
impl State for Deploying {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Outcome, Failure> {
        while let Some(step) = deploy::current_step(node)? {
            if deploy::show_step(node, &step)? {
                cx.save(node).await?;
            }
            match deploy::step_of(&step)?.run(node, cx).await.map_err(|failure| in_step(&step, failure))? {
                Progress::AwaitAgent => return Ok(Outcome::go(ProvisionState::WaitCallBack)),
                Progress::Done => {
                    tracing::info!(node = %node.uuid, step = step.label(), "deploy step done");
                    deploy::next_step(node)?;
                    cx.save(node).await?;
                }
            }
        }
        deploy::finish(node)?;
        Ok(Outcome::done())
    }

    async fn clean_up(&self, node: &mut Node, cx: &Context) {
        clean_up(node, cx).await;
    }
}

pub(super) fn in_step(step: &crate::node::plan::PlannedStep, failure: Failure) -> Failure {
    match failure {
        Failure::Node(reason) => Failure::Node(format!("Deploy step {} failed: {reason}", step.label())),
        store @ Failure::Store(_) => store,
    }
}

pub(super) async fn clean_up(node: &mut Node, cx: &Context) {
    deploy::cancel_agent_step(node, cx).await;
    machine::abandon(node, cx).await;
    deploy::forget(node);
}
