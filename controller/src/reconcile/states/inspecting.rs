//! `inspecting`, `inspect wait`: finds out what the machine is made of.

use async_trait::async_trait;
use chrono::Utc;

use super::{
    State,
    fake_work::{self, Work},
};
use crate::{
    bmc::fake,
    drivers,
    node::{Dictionary, Node, ProvisionState},
    reconcile::{
        context::Context,
        error::Failure,
        inspection::{self, out_of_band},
        outcome::Outcome,
    },
};

pub(super) struct Inspecting;
pub(super) struct InspectWait;

const STEP: &str = "inspect.inspect_hardware";
const DELAY: &str = "fake_inspect_delay";

#[async_trait]
impl State for Inspecting {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Outcome, Failure> {
        node.inspection_started_at.get_or_insert_with(Utc::now);
        if node.interfaces.get("inspect").is_some_and(|name| name != "fake" && !drivers::is_absent(name)) {
            out_of_band::inspect(node, cx).await?;
            node.inspection_started_at = None;
            return Ok(Outcome::done());
        }
        fake_work::refuse_absent(node, "inspect")?;
        if let Work::Until(_) = fake_work::go_on(node, cx, STEP, DELAY).await? {
            return Ok(Outcome::go(ProvisionState::InspectWait));
        }
        node.inspection_started_at = None;
        match fake::inventory(&node.driver_info)? {
            Some(found) => inspection::take(node, found, Dictionary::new(), cx).await?,
            None => inspection::take_nothing(node, cx).await?,
        }
        Ok(Outcome::done())
    }

    async fn clean_up(&self, node: &mut Node, _cx: &Context) {
        clean_up(node);
    }
}

#[async_trait]
impl State for InspectWait {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Outcome, Failure> {
        fake_work::wait(node, cx, ProvisionState::Inspecting, DELAY, cx.config.inspect_timeout())
    }

    async fn clean_up(&self, node: &mut Node, _cx: &Context) {
        clean_up(node);
    }
}

fn clean_up(node: &mut Node) {
    fake_work::forget(node);
    node.inspection_started_at = None;
}
