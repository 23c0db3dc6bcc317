//! Which languages an iLO speaks: found out once, by asking without a password where that is answered, and remembered
//! for a while.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::Method;
use serde_json::Value;
use tracing::info;

use super::{link::Link, ribcl};
use crate::bmc::{
    BmcError,
    redfish::{AuthType, Authorization, Call},
};

/// iLOs remembered at once.
const CAPACITY: usize = 16_384;
/// An update that nobody told us of may have taught it more.
const REMEMBERED: Duration = Duration::from_secs(3600);
const REDFISH: &str = "/redfish/v1/";
const RIS: &str = "/rest/v1";

/// What answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Languages {
    /// iLO 5 or newer: Redfish.
    Redfish,
    /// iLO 4 or older: RIBCL, and perhaps more.
    Ribcl {
        /// Its REST interface of before Redfish.
        ris: bool,
        /// The part of Redfish that newer firmware of iLO 4 has.
        redfish: bool,
    },
}

static KNOWN: LazyLock<Mutex<HashMap<String, (Languages, Instant)>>> = LazyLock::new(Mutex::default);

fn known() -> MutexGuard<'static, HashMap<String, (Languages, Instant)>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is remembered of an iLO.
pub(super) fn remembered(link: &Link) -> Option<Languages> {
    let known = known();
    let (languages, at) = known.get(&link.address)?;
    (at.elapsed() < REMEMBERED).then_some(*languages)
}

/// After a restart or an update it may speak others.
pub(super) fn forget(link: &Link) {
    known().remove(&link.address);
}

/// What an iLO speaks.
pub(super) async fn languages(link: &Arc<Link>) -> Result<Languages, BmcError> {
    if let Some(found) = remembered(link) {
        return Ok(found);
    }
    let found = ask(link).await?;
    info!(bmc = link.address, ?found, "an iLO was asked what it speaks");
    let mut known = known();
    if known.len() >= CAPACITY
        && let Some(oldest) = known.iter().min_by_key(|(_, (_, at))| *at).map(|(key, _)| key.clone())
    {
        known.remove(&oldest);
    }
    known.insert(link.address.clone(), (found, Instant::now()));
    Ok(found)
}

async fn ask(link: &Arc<Link>) -> Result<Languages, BmcError> {
    let redfish = match root(link, REDFISH).await? {
        None => false,
        Some(root) => match maker(&root) {
            Some("Hpe") => return Ok(Languages::Redfish),
            Some(_) => true,
            None => {
                return Err(link.unsupported(
                    "be driven as an iLO, since it is none: use hardware type redfish for this machine",
                ));
            }
        },
    };
    let is_ris = |root: &Value| root["Type"].as_str().is_some_and(|name| name.starts_with("ServiceRoot."));
    let ris = root(link, RIS).await?.is_some_and(|root| is_ris(&root));
    if !redfish && !ris {
        only_ribcl(link).await?;
    }
    Ok(Languages::Ribcl { ris, redfish })
}

/// An iLO that has nothing but RIBCL, unlike one of any kind whose web server is still starting, speaks RIBCL.
async fn only_ribcl(link: &Arc<Link>) -> Result<(), BmcError> {
    match ribcl::is_spoken(link).await {
        Err(BmcError::Unsupported { .. }) => Err(link.malformed(
            &format!("GET {REDFISH}"),
            "it speaks neither Redfish nor RIS nor RIBCL: perhaps it is still starting, or none of them is enabled",
        )),
        spoken => spoken,
    }
}

/// Whose parts a service root of Redfish has.
fn maker(root: &Value) -> Option<&'static str> {
    let oem = root.get("Oem");
    ["Hpe", "Hp"].into_iter().find(|name| oem.and_then(|oem| oem.get(name)).is_some())
}

/// A service root; `None`: there is none.
async fn root(link: &Link, path: &str) -> Result<Option<Value>, BmcError> {
    let client = link.json(AuthType::Basic)?;
    let call = Call { method: &Method::GET, link: path, body: None, if_match: None };
    let answer = client.transport.send(call, &Authorization::Nothing).await?;
    Ok(match answer.status.as_u16() {
        // A web page answers to everything.
        200..300 => serde_json::from_slice(&answer.body).ok().filter(Value::is_object),
        // Only who is let in sees what it is.
        401 | 403 => client.find(path).await?.map(|root| root.value),
        300..=499 | 501 => None,
        // A busy iLO proves nothing.
        status => return Err(link.refused(&call.what(), status, "it is busy, or broken")),
    })
}
