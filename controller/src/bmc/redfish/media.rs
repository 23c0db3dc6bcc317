//! Virtual media: below the system, or below its managers.

use async_trait::async_trait;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{debug, info};
use url::Url;

use super::{Machine, client::Refusal, document::Document, messages::Message};
use crate::bmc::{BmcError, Changed, MediaKind, MediaSlot, VirtualMedia, queue::Retry};

const INSERT: &str = "VirtualMedia.InsertMedia";
const EJECT: &str = "VirtualMedia.EjectMedia";
const ATTEMPTS_AFTER_EJECTION: u32 = 4;
const MAX_BODIES: usize = 8;
pub(in crate::bmc) const ANOTHER_MEDIUM: &str = "another medium is inserted: eject it at the BMC";
pub(in crate::bmc) const NOT_INSERTED: &str =
    "the medium was accepted but is not inserted: can the BMC reach this controller's file server?";
/// Messages that name a parameter which is missing.
const MISSING: [&str; 3] = ["ActionParameterMissing", "PropertyMissing", "CreateFailedMissingReqProperties"];
/// Messages that name one which is not wanted.
const UNKNOWN: [&str; 4] =
    ["ActionParameterUnknown", "ActionParameterNotSupported", "PropertyUnknown", "PropertyNotWritable"];
/// Messages of BMCs that want to be paid for virtual media: the standard, Dell, HPE, Supermicro.
const NO_LICENCE: [&str; 4] = ["LicenseRequired", "LIC501", "LicenseKeyRequired", "OemLicenseNotPassed"];

#[async_trait]
impl VirtualMedia for Machine {
    async fn ready(&self) -> Result<(), BmcError> {
        let slots = self.slots_of(MediaKind::Cd).await?;
        if slots.is_empty() {
            return Err(self.client.unsupported("insert a medium: it has no virtual CD or DVD drive"));
        }
        for slot in &slots {
            let by_patch = || self.client.allows(&slot.0.path, &Method::PATCH);
            if slot.has_action() || by_patch().await? != Some(false) {
                return Ok(());
            }
        }
        let names: Vec<_> = slots.iter().map(|slot| slot.0.id()).collect();
        Err(self.client.unsupported(format!(
            "insert a medium by Redfish: it shows virtual drives ({}) and takes none of them (no action InsertMedia, no \
             PATCH); newer firmware may",
            names.join(", ")
        )))
    }

    async fn insert(&self, kind: MediaKind, url: &Url) -> Result<Changed, BmcError> {
        self.client.whole("the insertion of a medium", self.insert_somewhere(kind, url)).await
    }

    async fn eject(&self, kind: MediaKind) -> Result<Changed, BmcError> {
        self.client.whole("the ejection of media", self.eject_all(kind)).await
    }

    async fn has(&self, kind: MediaKind) -> Result<bool, BmcError> {
        Ok(!self.slots_of(kind).await?.is_empty())
    }

    async fn slots(&self) -> Result<Vec<MediaSlot>, BmcError> {
        let mut slots = self.slots_of(MediaKind::Cd).await?;
        slots.extend(self.slots_of(MediaKind::Floppy).await?);
        Ok(slots.iter().map(Slot::shown).collect())
    }
}

fn name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Cd => "CD or DVD drive",
        MediaKind::Floppy => "floppy drive or USB stick",
    }
}

fn try_next(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED
    )
}

/// One virtual drive.
struct Slot(Document);

impl Slot {
    fn takes(&self, kinds: &[&str]) -> bool {
        let types = self.0.texts("/MediaTypes").unwrap_or_default();
        types.iter().any(|known| kinds.contains(known))
    }

    fn occupied(&self) -> bool {
        self.0.flag("/Inserted").unwrap_or_else(|| self.0.text("/Image").is_some())
    }

    /// Whether it has this very image. BMCs may shorten the name of the image or leave it out.
    fn holds(&self, url: &Url) -> bool {
        self.occupied() && self.0.text("/Image") == Some(url.as_str())
    }

    fn has_action(&self) -> bool {
        self.0.action_target(INSERT).is_some()
    }

    fn shown(&self) -> MediaSlot {
        let types = self.0.texts("/MediaTypes").unwrap_or_default();
        MediaSlot {
            media_types: types.into_iter().map(|text| text.chars().take(32).collect()).collect(),
            inserted: self.occupied(),
            image: self.0.text("/Image").unwrap_or_default().chars().take(2048).collect(),
        }
    }

    fn holds_something_else(&self, url: &Url) -> bool {
        self.0.text("/Image").is_some_and(|image| image.contains("://") && image != url.as_str())
    }
}

/// Slots of a kind, best first. No slot serves both kinds, so that a CD and a floppy can be in at the same time.
/// `bootable`: the ids of those that machines boot from, where not all are.
fn sort_out(mut slots: Vec<Slot>, kind: MediaKind, bootable: Option<&[String]>) -> Vec<Slot> {
    if let Some(bootable) = bootable {
        slots.retain(|slot| bootable.contains(&slot.0.id()) == (kind == MediaKind::Cd));
        slots.retain(|slot| kind == MediaKind::Cd || slot.takes(&["Floppy", "USBStick"]));
        return slots;
    }
    let (floppies, others): (Vec<_>, Vec<_>) =
        slots.into_iter().partition(|slot| slot.takes(&["Floppy", "USBStick"]));
    let (mut both, only_floppy): (Vec<_>, Vec<_>) =
        floppies.into_iter().partition(|slot| slot.takes(&["CD", "DVD"]));
    // Among drives for everything those without the action are for browsers.
    if both.iter().any(Slot::has_action) {
        both.retain(Slot::has_action);
    }
    let mut cd: Vec<_> = others.into_iter().filter(|slot| slot.takes(&["CD", "DVD"])).collect();
    let mut floppy = only_floppy;
    if !cd.is_empty() {
        floppy.append(&mut both);
    } else if floppy.is_empty() && both.len() > 1 {
        floppy.extend(both.pop());
    }
    cd.append(&mut both);
    cd.sort_by_key(|slot| !slot.takes(&["CD"]));
    match kind {
        MediaKind::Cd => cd,
        MediaKind::Floppy => floppy,
    }
}

/// The body with what the BMC's messages ask for; `None` when they ask for nothing new.
fn adapted(body: &Value, messages: &[Message], transfer: &str) -> Option<Value> {
    let mut next = body.clone();
    for message in messages {
        let names = message.arguments.iter().filter_map(|argument| argument.rsplit(['/', '.']).next());
        for name in names {
            let value = match name {
                "TransferProtocolType" => json!(transfer),
                "TransferMethod" => json!("Stream"),
                "Inserted" | "WriteProtected" => json!(true),
                // Asked for, and not used: the image is public.
                "UserName" | "Password" => json!("none"),
                _ => continue,
            };
            let id = message.id.as_str();
            if MISSING.contains(&id) {
                next[name] = value;
            } else if UNKNOWN.contains(&id) {
                next.as_object_mut().and_then(|next| next.remove(name));
            }
        }
    }
    (next != *body).then_some(next)
}

impl Refusal {
    /// The BMC wants to be paid for it.
    pub(in crate::bmc) fn wants_licence(&self) -> bool {
        NO_LICENCE.iter().any(|id| self.says(id))
    }
}

impl Machine {
    async fn insert_somewhere(&self, kind: MediaKind, url: &Url) -> Result<Changed, BmcError> {
        let slots = self.slots_of(kind).await?;
        if slots.iter().any(|slot| slot.holds(url)) {
            return Ok(Changed::Already);
        }
        for slot in slots.iter().filter(|slot| slot.occupied()) {
            // Some BMCs call a slot occupied that is not: the insertion shows.
            if let Err(refusal) = self.empty(slot).await? {
                info!(bmc = self.client.transport.address, reason = %refusal.error, "ejection refused");
            }
        }
        let mut refused = None;
        for slot in &slots {
            match self.insert_into(slot, url).await? {
                Ok(()) => return self.wait_until_inserted(slot, url).await.map(|()| Changed::Yes),
                // Some BMCs show slots that take nothing: the next one may.
                Err(refusal) if try_next(refusal.status) => refused = Some(refusal),
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Err(match refused {
            Some(refusal) => refusal.into(),
            None => self.client.unsupported(format!("insert a medium: it has no virtual {}", name(kind))),
        })
    }

    async fn eject_all(&self, kind: MediaKind) -> Result<Changed, BmcError> {
        let mut changed = Changed::Already;
        for slot in self.slots_of(kind).await?.iter().filter(|slot| slot.occupied()) {
            self.empty(slot).await??;
            changed = Changed::Yes;
        }
        Ok(changed)
    }

    /// The system's own drives; its managers' when it has none of that kind.
    async fn slots_of(&self, kind: MediaKind) -> Result<Vec<Slot>, BmcError> {
        let system = self.system().await?;
        let bootable = self.quirks(&system).cd_slots;
        let own = sort_out(self.slots_below(&system).await?, kind, bootable.as_deref());
        if !own.is_empty() {
            return Ok(own);
        }
        let mut slots = Vec::new();
        for manager in self.managers(&system).await? {
            slots.extend(self.slots_below(&manager).await?);
        }
        Ok(sort_out(slots, kind, bootable.as_deref()))
    }

    pub(in crate::bmc) async fn managers(&self, system: &Document) -> Result<Vec<Document>, BmcError> {
        let mut links = system.links("/Links/ManagedBy");
        if links.is_empty()
            && let Some(all) = self.client.root().await?.link("/Managers")
        {
            links = self.client.members(all).await?;
        }
        let mut managers = Vec::new();
        for link in links {
            managers.extend(self.client.find(&link).await?);
        }
        Ok(managers)
    }

    async fn slots_below(&self, owner: &Document) -> Result<Vec<Slot>, BmcError> {
        let Some(link) = owner.link("/VirtualMedia") else { return Ok(Vec::new()) };
        let Some(collection) = self.client.find(link).await? else { return Ok(Vec::new()) };
        if collection.value.get("Members").is_some_and(|members| !members.is_array()) {
            return Err(collection.malformed("Members is no list"));
        }
        let mut slots = Vec::new();
        for link in collection.links("/Members") {
            slots.extend(self.client.find(&link).await?.map(Slot));
        }
        Ok(slots)
    }

    async fn insert_into(&self, slot: &Slot, url: &Url) -> Result<Result<(), Refusal>, BmcError> {
        let full = json!({"Image": url, "Inserted": true, "WriteProtected": true});
        let Some(link) = slot.0.action_target(INSERT) else {
            return self.client.patch(&slot.0.path, &full).await;
        };
        let transfer = url.scheme().to_ascii_uppercase();
        let mut simpler = vec![
            json!({"Image": url, "TransferProtocolType": transfer, "TransferMethod": "Stream"}),
            json!({"Image": url}),
        ];
        let (mut body, mut first) = (full.clone(), None);
        for _ in 0..MAX_BODIES {
            let refusal = match self.insert_patiently(link, &body).await? {
                Err(refusal) if refusal.status == StatusCode::BAD_REQUEST => refusal,
                // An action that is shown and not there.
                Err(refusal) if refusal.status == StatusCode::METHOD_NOT_ALLOWED => {
                    let patched = self.client.patch(&slot.0.path, &full).await?;
                    return Ok(patched.map_err(|_| refusal));
                }
                other => return Ok(other),
            };
            debug!(bmc = self.client.transport.address, reason = %refusal.error, "insertion refused");
            if refusal.wants_licence() {
                return Err(BmcError::Licence {
                    address: self.client.transport.address.clone(),
                    feature: "virtual media",
                    licence: "the one with virtual media (iLO Advanced, iDRAC Enterprise or the like)",
                });
            }
            let asked = adapted(&body, &refusal.messages, &transfer);
            first.get_or_insert(refusal);
            match asked.or_else(|| simpler.pop()) {
                Some(next) => body = next,
                None => break,
            }
        }
        Ok(first.map_or(Ok(()), Err))
    }

    /// Some BMCs answer an insertion right after an ejection with a server error.
    async fn insert_patiently(&self, link: &str, body: &Value) -> Result<Result<(), Refusal>, BmcError> {
        let pause = self.client.transport.pace.media;
        let retry = Retry {
            attempts: ATTEMPTS_AFTER_EJECTION,
            pause,
            factor: 1,
            longest: pause,
            within: self.client.transport.pace.operation,
        };
        let stumbled = |result: &Result<Result<(), Refusal>, BmcError>| {
            let stumbled = matches!(result, Ok(Err(refusal)) if refusal.status.is_server_error());
            if stumbled {
                info!(bmc = self.client.transport.address, "an insertion ended in a server error");
            }
            stumbled.into()
        };
        retry.run(|| self.client.post(link, body), stumbled).await
    }

    /// BMCs say yes before, and sometimes instead of, doing it.
    async fn wait_until_inserted(&self, slot: &Slot, url: &Url) -> Result<(), BmcError> {
        let pace = self.client.transport.pace;
        let until = Instant::now() + pace.task / 4;
        let mut pause = pace.poll;
        loop {
            let found = Slot(self.client.get(&slot.0.path).await?);
            if found.occupied() && !found.holds_something_else(url) {
                return Ok(());
            }
            if Instant::now() + pause > until {
                let problem = if found.occupied() { ANOTHER_MEDIUM } else { NOT_INSERTED };
                return Err(found.0.malformed(problem));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(pace.poll_max);
        }
    }

    /// Ejects. A refusal counts only when the slot is still occupied.
    async fn empty(&self, slot: &Slot) -> Result<Result<(), Refusal>, BmcError> {
        let result = match slot.0.action_target(EJECT) {
            Some(link) => self.client.post(link, &json!({})).await?,
            None => self.client.patch(&slot.0.path, &json!({"Image": null, "Inserted": false})).await?,
        };
        let Err(refusal) = result else { return Ok(Ok(())) };
        let still = Slot(self.client.get(&slot.0.path).await?).occupied();
        Ok(if still { Err(refusal) } else { Ok(()) })
    }
}
