//! `deploy.write_image`: the agent streams the image to the disk.

use async_trait::async_trait;
use bessemer_proto::step::{WriteImageReceipt, names::WRITE_IMAGE};

use super::{
    Progress, Step, Waiting,
    agent_step::{self, Ended},
    record::Record,
};
use crate::{
    node::Node,
    reconcile::{context::Context, error::Failure},
};

pub(super) struct WriteImage;

#[async_trait]
impl Step for WriteImage {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
        match agent_step::ended::<WriteImageReceipt>(node, cx, WRITE_IMAGE).await? {
            None => {
                cx.doing(node, "waiting for the image to be found at its source", cx.images.stage_timeout())
                    .await?;
                let arguments = cx.images.stage(node).await?;
                agent_step::start(node, cx, WRITE_IMAGE, &arguments, cx.config.write_image_timeout).await?;
                Ok(Progress::Wait)
            }
            Some(Ended::NotYet) => Ok(Progress::Wait),
            Some(Ended::With(receipt)) => {
                tracing::info!(
                    node = %node.uuid, device = receipt.device.name, digest = %receipt.digest,
                    bytes = receipt.bytes_written, seconds = receipt.seconds, "image written"
                );
                let mut record = Record::of(node)?;
                record.receipt = Some(receipt);
                record.keep(node)?;
                Ok(Progress::Done)
            }
        }
    }

    async fn waiting(&self, node: &Node, cx: &Context) -> Result<Waiting, Failure> {
        agent_step::waiting(node, cx, WRITE_IMAGE).await
    }
}
