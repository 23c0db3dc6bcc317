//! Fetches over HTTP and HTTPS: what a server may do to us, and what we let it.
//!
//! [`Fetcher`] sends requests, [`Object`] is one version of what a URL names, [`Body`] its bytes, which go on after a
//! broken connection, and [`in_order`] several range requests at once, put back in order. A body is complete only
//! when the announced length has arrived. URLs are shown without user, password and query: the query of a temporary
//! URL is its key.

mod attempts;
mod body;
mod client;
mod error;
mod identity;
pub mod in_order;
mod object;
mod tls;

use std::sync::Arc;

use url::Url;

pub use body::Body;
pub use client::{CONNECT_TIMEOUT, FetchOptions, Fetcher, READ_TIMEOUT};
pub use error::FetchError;
pub use object::{FetchCounts, Object};

use crate::steps::StepReport;

/// The whole of a small file.
pub async fn read(
    fetcher: &Arc<Fetcher>,
    url: &Url,
    limit: usize,
    report: Arc<dyn StepReport>,
) -> Result<Vec<u8>, FetchError> {
    let (_, mut body) = Object::open(fetcher.clone(), url, report).await?;
    let mut content = Vec::new();
    while let Some(chunk) = body.next().await? {
        if content.len() + chunk.len() > limit {
            return Err(FetchError::TooLong { url: shown(url), limit });
        }
        content.extend_from_slice(&chunk);
    }
    Ok(content)
}

/// The URL without user, password, query and fragment.
#[must_use]
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs that cannot have either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

#[cfg(test)]
mod tests;
