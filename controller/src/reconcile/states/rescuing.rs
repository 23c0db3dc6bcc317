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
        refuse_absent(node)?;
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
        match fake_work::until(node)? {
            Some(until) if Utc::now() < until => {
                cx.wake(node.uuid, until);
                Ok(Outcome::pause(format!("waiting as long as {DELAY} in driver_info asks for"), until))
            }
            _ => Ok(Outcome::go(ProvisionState::Rescuing)),
        }
    }

    async fn clean_up(&self, node: &mut Node, _cx: &Context) {
        clean_up(node);
    }
}

#[async_trait]
impl State for Unrescuing {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Outcome, Failure> {
        refuse_absent(node)?;
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

fn refuse_absent(node: &Node) -> Result<(), Failure> {
    match node.interfaces.get("rescue").map(String::as_str) {
        Some("fake") => Ok(()),
        _ => Err(Failure::Node(format!(
            "Driver {} does not support rescue (disabled or not implemented).",
            node.driver
        ))),
    }
}

fn clean_up(node: &mut Node) {
    fake_work::forget(node);
    rescue::forget(node);
}
