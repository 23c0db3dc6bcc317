//! RIS, the REST interface of iLO 4 at `/rest/v1` (HPE "Managing HPE servers using the HPE RESTful API"): JSON as in
//! Redfish, of which it was the draft, with links in `links.…href`, `Type` with a version, and HP's own parts in `Oem.Hp`.

mod bios;
mod boot;
mod firmware;
mod inventory;
mod manager;
mod media;
mod power;
mod secure_boot;

use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokio::time::Instant;

pub(super) use self::bios::OF_MODE;
use super::{Link, Pace};
use crate::bmc::{
    Bmc, BmcError,
    redfish::{AuthType, Client, Document},
};

const ROOT: &str = "/rest/v1";
/// Members of a list that are looked at, and pages.
const MAX_MEMBERS: usize = 64;
const MAX_PAGES: usize = 8;
/// Where the machine is in its self-test.
const POST_STATE: &str = "/Oem/Hp/PostState";

/// One machine behind its iLO.
pub(super) struct Ris {
    client: Client,
    link: Arc<Link>,
    system: OnceLock<String>,
    manager: OnceLock<String>,
}

/// What RIS has. It lacks sensors, RAID and logs in a form worth reading.
pub(super) fn bmc(ris: &Arc<Ris>) -> Bmc {
    Bmc {
        boot_device: Some(ris.clone()),
        boot_mode: Some(ris.clone()),
        secure_boot: Some(ris.clone()),
        virtual_media: Some(ris.clone()),
        nmi: Some(ris.clone()),
        bios: Some(ris.clone()),
        firmware: Some(ris.clone()),
        firmware_update: Some(ris.clone()),
        overview: Some(ris.clone()),
        inventory: Some(ris.clone()),
        manager: Some(ris.clone()),
        ..Bmc::only_power(ris.clone())
    }
}

impl Ris {
    pub(super) fn new(link: Arc<Link>) -> Result<Self, BmcError> {
        let client = link.json(AuthType::Basic)?;
        Ok(Self { client, link, system: OnceLock::new(), manager: OnceLock::new() })
    }

    fn pace(&self) -> &Pace {
        &self.link.pace
    }

    fn unsupported(&self, what: impl Into<String>) -> BmcError {
        self.link.unsupported(what)
    }

    /// The machine: iLO 4 has one.
    async fn system(&self) -> Result<Document, BmcError> {
        self.only("/links/Systems", "ComputerSystem.", &self.system).await
    }

    /// The iLO.
    async fn manager(&self) -> Result<Document, BmcError> {
        self.only("/links/Managers", "Manager.", &self.manager).await
    }

    /// The first member of a list that the root names.
    async fn only(&self, list: &str, kind: &str, known: &OnceLock<String>) -> Result<Document, BmcError> {
        let path = match known.get() {
            Some(path) => path.clone(),
            None => {
                let root = self.client.get(ROOT).await?;
                let list = href(&root.value, list).ok_or_else(|| root.malformed(format!("no {list}")))?;
                let members = self.member_links(list).await?;
                let first = members.into_iter().next();
                let first = first.ok_or_else(|| root.malformed(format!("nothing in {list}")))?;
                known.get_or_init(|| first).clone()
            }
        };
        self.typed(&path, kind).await
    }

    /// A resource of a type.
    async fn typed(&self, path: &str, kind: &str) -> Result<Document, BmcError> {
        let found = self.client.get(path).await?;
        match found.text("/Type") {
            Some(name) if name.starts_with(kind) => Ok(found),
            _ => Err(found.malformed(format!("something else than a {}", kind.trim_end_matches('.')))),
        }
    }

    /// The links of a list, over its pages.
    async fn member_links(&self, list: &str) -> Result<Vec<String>, BmcError> {
        let mut links = Vec::new();
        let mut path = list.to_owned();
        for _ in 0..MAX_PAGES {
            let page = self.client.get(&path).await?;
            let members = page.value.pointer("/links/Member").and_then(Value::as_array);
            let found = members.into_iter().flatten().filter_map(|member| member.get("href")?.as_str());
            links.extend(found.take(MAX_MEMBERS - links.len()).map(str::to_owned));
            let next = page.value.pointer("/links/NextPage/page").and_then(Value::as_u64);
            match next {
                Some(next) if links.len() < MAX_MEMBERS => path = format!("{list}?page={next}"),
                _ => break,
            }
        }
        Ok(links)
    }

    /// All members of a list that a resource names; none when it names none.
    async fn members(&self, owner: &Document, list: &str) -> Result<Vec<Document>, BmcError> {
        let Some(list) = href(&owner.value, list) else { return Ok(Vec::new()) };
        let mut members = Vec::new();
        for link in self.member_links(list).await? {
            members.extend(self.client.find(&link).await?);
        }
        Ok(members)
    }

    /// What a resource names, if it is there.
    async fn linked(&self, owner: &Document, link: &str) -> Result<Option<Document>, BmcError> {
        match href(&owner.value, link) {
            Some(path) => self.client.find(path).await,
            None => Ok(None),
        }
    }

    /// What the machine is made of is known when its self-test has looked for it. A machine that is off tells of the last.
    async fn wait_for_devices(&self) -> Result<(), BmcError> {
        let until = Instant::now() + self.pace().post;
        loop {
            let system = self.system().await?;
            let is_off = ["/Power", "/PowerState"].iter().any(|power| system.text(power) == Some("Off"));
            // Old firmware does not tell of the self-test.
            let is_told = system.value.pointer(POST_STATE).is_some();
            let has_looked =
                matches!(system.text(POST_STATE), Some("InPostDiscoveryComplete" | "FinishedPost"));
            if is_off || !is_told || has_looked {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(self.no_end_of_post());
            }
            tokio::time::sleep(self.pace().poll_max).await;
        }
    }

    fn no_end_of_post(&self) -> BmcError {
        BmcError::Timeout {
            address: self.link.address.clone(),
            what: "for the end of the machine's self-test".to_owned(),
            seconds: self.pace().post.as_secs(),
        }
    }

    /// Settings that are changed during the self-test are lost: waits until it has ended. A machine that is off takes
    /// them.
    async fn wait_for_post(&self) -> Result<(), BmcError> {
        let until = Instant::now() + self.pace().post;
        loop {
            let system = self.system().await?;
            let state = system.text(POST_STATE);
            if !matches!(state, Some("InPost" | "InPostDiscoveryComplete" | "Reset")) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(self.no_end_of_post());
            }
            tokio::time::sleep(self.pace().poll_max).await;
        }
    }
}

/// The link of a navigation property.
fn href<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.get("href")?.as_str().filter(|link| !link.is_empty())
}
