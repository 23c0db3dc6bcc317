//! Collections: pages, and members that come with their collection where the BMC offers it.

use http::Method;
use tracing::debug;

use super::{
    auth::ROOT,
    client::Client,
    document::Document,
    transport::{self, Call},
};
use crate::bmc::BmcError;

/// Pages of one collection.
const MAX_PAGES: usize = 16;
/// Members of one collection.
const MAX_MEMBERS: usize = 1024;
/// Members of one collection that are read one by one.
const MAX_SINGLE: usize = 256;

/// Members as a collection has them.
#[derive(Default)]
struct Members {
    /// Those that are there as a whole.
    whole: Vec<Document>,
    /// Links of the others.
    links: Vec<String>,
    /// What the BMC answered instead of a page.
    refusal: Option<BmcError>,
}

/// What becomes of what the BMC does not show though it names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is left out: the rest is of use.
    LeftOut,
    /// It is an error: what is not shown would count as gone.
    Fails,
}

/// Whether a refusal says that there is no such thing.
fn is_absent(error: &BmcError) -> bool {
    matches!(error, BmcError::Refused { status: 404 | 405 | 410 | 501, .. })
}

impl Client {
    /// The service root, read once.
    pub(super) async fn root(&self) -> Result<&Document, BmcError> {
        self.root.get_or_try_init(|| self.get(ROOT)).await
    }

    /// Reads a resource that the machine works without: what is not there, refused or nonsense is left out.
    pub(super) async fn look(&self, link: &str) -> Result<Option<Document>, BmcError> {
        match self.get(link).await {
            Ok(document) => Ok(Some(document)),
            Err(error @ (BmcError::Refused { .. } | BmcError::Malformed { .. }))
                if !transport::is_spent() =>
            {
                debug!(bmc = self.transport.address, %error, "a resource is left out");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The links of a collection's members, page after page.
    pub(super) async fn members(&self, link: &str) -> Result<Vec<String>, BmcError> {
        Ok(self.pages(link).await?.links)
    }

    /// A collection's members. `None`: what cannot be read is left out.
    pub(in crate::bmc) async fn documents(&self, link: &str) -> Result<Vec<Document>, BmcError> {
        self.documents_or(link, Unread::LeftOut).await
    }

    /// The same; `unread` says what becomes of what cannot be read. A collection that is not there has no members.
    pub(super) async fn documents_or(&self, link: &str, unread: Unread) -> Result<Vec<Document>, BmcError> {
        self.whole("the members of a list", self.all_documents(link, unread)).await
    }

    async fn all_documents(&self, link: &str, unread: Unread) -> Result<Vec<Document>, BmcError> {
        let (mut found, mut is_expanded) = (Members::default(), false);
        if self.root().await?.flag("/ProtocolFeaturesSupported/ExpandQuery/NoLinks") == Some(true) {
            let query = if link.contains('?') { '&' } else { '?' };
            found = self.pages(&format!("{link}{query}$expand=.")).await?;
            is_expanded = found.refusal.is_none();
        }
        if !is_expanded {
            found = self.pages(link).await?;
        }
        if let (Unread::Fails, Some(error)) = (unread, found.refusal.take_if(|error| !is_absent(error))) {
            return Err(error);
        }
        let missing = found.links.into_iter().filter(|link| !found.whole.iter().any(|d| d.path == *link));
        let missing: Vec<_> = missing.take(MAX_SINGLE).collect();
        let mut documents = found.whole;
        for link in missing {
            documents.extend(match unread {
                Unread::LeftOut => self.look(&link).await?,
                Unread::Fails => self.find(&link).await?,
            });
        }
        Ok(documents)
    }

    async fn pages(&self, link: &str) -> Result<Members, BmcError> {
        let mut found = Members::default();
        let mut next = Some(link.to_owned());
        let mut seen = Vec::new();
        while let Some(link) = next.take().filter(|link| !seen.contains(link) && seen.len() < MAX_PAGES) {
            let call = Call { method: &Method::GET, link: &link, body: None, if_match: None };
            let answer = self.send(call).await?;
            if !answer.status.is_success() {
                found.refusal = Some(self.refusal(&call, &answer).into());
                break;
            }
            let page = self.document(&call, &answer)?;
            for member in page.items("/Members") {
                let Some(link) = member.get("@odata.id").and_then(|link| link.as_str()) else { continue };
                if found.links.len() >= MAX_MEMBERS {
                    return Ok(found);
                }
                found.links.push(link.to_owned());
                let is_whole = member.as_object().is_some_and(|m| m.keys().any(|k| !k.starts_with('@')));
                if is_whole {
                    found.whole.extend(page.part(member.clone()));
                }
            }
            next = page.text("/Members@odata.nextLink").map(str::to_owned);
            seen.push(link);
        }
        Ok(found)
    }
}
