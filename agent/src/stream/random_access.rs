//! Bytes at any place of the image as served, for formats whose tables lie elsewhere than their data.

use async_trait::async_trait;
use bytes::Bytes;

use super::StreamError;

/// An image that can be read at any place.
#[async_trait]
pub trait RandomAccess: Send + Sync {
    /// Bytes of the image as served.
    fn length(&self) -> u64;

    /// Exactly `length` bytes from `offset`; a place outside the image is an error.
    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, StreamError>;
}
