//! The machine's console.

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

use crate::bmc::BmcError;

/// A serial console that is open. Dropping it ends it.
pub trait SerialLine: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> SerialLine for T {}

/// Consoles.
#[async_trait]
pub trait Console: Send + Sync {
    /// Whether there is a serial console, without opening it.
    async fn has_serial(&self) -> Result<bool, BmcError>;
    /// Opens the serial console. A session that somebody else left open is ended first.
    async fn serial(&self) -> Result<Box<dyn SerialLine>, BmcError>;
    /// Where a person sees the graphical console in a browser; `None`: nowhere.
    async fn graphical(&self) -> Result<Option<Url>, BmcError>;
}
