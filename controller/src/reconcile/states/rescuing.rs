//! `rescuing`, `rescue wait`: the machine boots into a rescue system. `unrescuing`: back into its own.

use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;

use super::{
    State,
    fake_work::{self, Work},
};
use crate::{
    node::{Node, ProvisionState},
    reconcile::{context::Context, error::Failure, outcome::Outcome, rescue},
};

pub(super) struct Rescuing;
pub(super) struct RescueWait;
pub(super) struct Unrescuing;

const DELAY: &str = "fake_rescue_delay";

#[async_trait]
impl State for Rescuing {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Outcome, Failure> {
        fake_work::refuse_absent(node, "rescue")?;
        match fake_work::go_on(node, cx, "rescue.rescue", DELAY).await? {
            Work::Done => Ok(Outcome::done()),
            Work::Until(_) => Ok(Outcome::go(ProvisionState::RescueWait)),
        }
    }

    async fn clean_up(&self, node: &mut Node, _cx: &Context) {
        clean_up(node);
    }
}

#[async_trait]
impl State for RescueWait {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Outcome, Failure> {
        fake_work::wait(node, cx, ProvisionState::Rescuing, DELAY, cx.config.rescue_timeout())
    }

    async fn clean_up(&self, node: &mut Node, _cx: &Context) {
        clean_up(node);
    }
}

#[async_trait]
impl State for Unrescuing {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Outcome, Failure> {
        fake_work::refuse_absent(node, "rescue")?;
        // There is no waiting state on the way back, as in Ironic.
        loop {
            match fake_work::go_on(node, cx, "rescue.unrescue", DELAY).await? {
                Work::Done => break,
                Work::Until(until) => {
                    let left = (until - Utc::now()).to_std().unwrap_or(Duration::ZERO);
                    cx.doing(node, "waiting for the machine to boot its own system", left).await?;
                    tokio::time::sleep(left).await;
                }
            }
        }
        rescue::forget(node);
        Ok(Outcome::done())
    }

    async fn clean_up(&self, node: &mut Node, _cx: &Context) {
        fake_work::forget(node);
    }
}

fn clean_up(node: &mut Node) {
    fake_work::forget(node);
    rescue::forget(node);
}
