//! Where images come from, how they are kept, and how agents get them.

pub mod ranges;

use bessemer_proto::step::WriteImageArguments;

use crate::node::Node;

/// Stages images; cheap to clone.
#[derive(Clone)]
pub struct Images {}

/// Why an image cannot be used. Each sentence names the `instance_info` key to mend.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// `instance_info` lacks something or holds nonsense.
    #[error("{0}")]
    InstanceInfo(String),
    /// The source does not have it.
    #[error("image {url} is not to be had: {problem}")]
    Source {
        /// Where it was looked for, without query.
        url: String,
        /// What came back.
        problem: String,
    },
    /// The bytes are not the declared ones.
    #[error("image {url} has digest {got}, instance_info declares {expected}: fix the digest or the image")]
    Digest {
        /// Where.
        url: String,
        /// What it hashes to.
        got: String,
        /// What it should.
        expected: String,
    },
    /// The cache.
    #[error("image {url} could not be kept in {path}")]
    Cache {
        /// Where from.
        url: String,
        /// Where to.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

#[allow(
    unused_variables,
    clippy::todo,
    clippy::unused_async,
    reason = "skeleton, replaced by the owner of this room"
)]
impl Images {
    pub(crate) fn stage_timeout(&self) -> std::time::Duration {
        std::time::Duration::from_secs(60)
    }
    /// Checks `instance_info` without I/O: what `node validate` says.
    pub fn check(&self, node: &Node) -> Result<(), ImageError> {
        todo!()
    }
    /// Makes the image of `instance_info` reachable for an agent and says how: http(s) sources are passed on
    /// after a HEAD request, `file://` sources and `image_download_source=local` are staged and served.
    pub async fn stage(&self, node: &Node) -> Result<WriteImageArguments, ImageError> {
        todo!()
    }
}
