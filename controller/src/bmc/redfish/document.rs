//! JSON from a BMC: nothing in it is taken for granted.

use serde_json::Value;

use crate::bmc::BmcError;

/// Links followed out of one list.
const MAX_MEMBERS: usize = 256;
const MAX_TEXT: usize = 1024;

/// A resource that was read.
#[derive(Clone, Debug)]
pub(in crate::bmc) struct Document {
    pub(in crate::bmc) value: Value,
    pub(in crate::bmc) path: String,
    pub(in crate::bmc) address: String,
    pub(in crate::bmc) etag: Option<String>,
}

impl Document {
    /// A string that is not empty, by JSON pointer.
    pub(in crate::bmc) fn text(&self, pointer: &str) -> Option<&str> {
        self.value.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
    }

    pub(in crate::bmc) fn flag(&self, pointer: &str) -> Option<bool> {
        self.value.pointer(pointer)?.as_bool()
    }

    /// A string fit to be shown and kept: one line, not too long.
    pub(in crate::bmc) fn shown(&self, pointer: &str) -> Option<String> {
        shown(self.value.pointer(pointer)?)
    }

    pub(in crate::bmc) fn number(&self, pointer: &str) -> Option<f64> {
        self.value.pointer(pointer)?.as_f64().filter(|number| number.is_finite())
    }

    /// A whole number that is not negative.
    pub(in crate::bmc) fn whole(&self, pointer: &str) -> Option<u64> {
        self.value.pointer(pointer).and_then(whole)
    }

    /// The items of a list.
    pub(in crate::bmc) fn items(&self, pointer: &str) -> impl Iterator<Item = &Value> {
        self.value.pointer(pointer).and_then(Value::as_array).into_iter().flatten().take(MAX_MEMBERS)
    }

    /// The link or links of a property that holds one or many.
    pub(in crate::bmc) fn links_or_link(&self, pointer: &str) -> Vec<String> {
        match self.link(pointer) {
            Some(link) => vec![link.to_owned()],
            None => self.links(pointer),
        }
    }

    /// A part as a document of its own: a member of an expanded collection.
    pub(in crate::bmc) fn part(&self, value: Value) -> Option<Self> {
        let path = value.get("@odata.id")?.as_str().filter(|path| !path.is_empty())?.to_owned();
        let etag = value.get("@odata.etag").and_then(Value::as_str).map(str::to_owned);
        Some(Self { value, path, address: self.address.clone(), etag })
    }

    /// Its `Id`; the end of its path when it has none.
    pub(in crate::bmc) fn id(&self) -> String {
        self.shown("/Id").unwrap_or_else(|| {
            let end = self.path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            end.chars().take(128).collect()
        })
    }

    /// The strings of a list; `None` when there is no list.
    pub(in crate::bmc) fn texts(&self, pointer: &str) -> Option<Vec<&str>> {
        let list = self.value.pointer(pointer)?.as_array()?;
        Some(list.iter().filter_map(Value::as_str).take(MAX_MEMBERS).collect())
    }

    /// The link of a navigation property.
    pub(in crate::bmc) fn link(&self, pointer: &str) -> Option<&str> {
        self.value.pointer(pointer)?.get("@odata.id")?.as_str().filter(|link| !link.is_empty())
    }

    /// The links of a collection or list of links.
    pub(in crate::bmc) fn links(&self, pointer: &str) -> Vec<String> {
        let list = self.value.pointer(pointer).and_then(Value::as_array);
        let links = list.into_iter().flatten().filter_map(|item| item.get("@odata.id")?.as_str());
        links.take(MAX_MEMBERS).map(str::to_owned).collect()
    }

    /// An action by its name, such as `VirtualMedia.InsertMedia`.
    pub(in crate::bmc) fn action(&self, name: &str) -> Option<&Value> {
        self.value.get("Actions")?.get(format!("#{name}"))
    }

    /// Where an action is posted to.
    pub(in crate::bmc) fn action_target(&self, name: &str) -> Option<&str> {
        self.action(name)?.get("target")?.as_str().filter(|target| !target.is_empty())
    }

    pub(in crate::bmc) fn malformed(&self, problem: impl Into<String>) -> BmcError {
        BmcError::Malformed {
            address: self.address.clone(),
            what: format!("GET {}", self.path),
            problem: problem.into(),
        }
    }
}

/// A string fit to be shown and kept.
pub(in crate::bmc) fn shown(value: &Value) -> Option<String> {
    let text = value.as_str()?.chars().take(MAX_TEXT);
    let text: String = text.map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A whole number that is not negative, whether it is written as one or not: `16`, `16.0`.
pub(in crate::bmc) fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|number| (0.0..=9e15).contains(number))?;
        // In range, so nothing is lost but the fraction.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
        let whole = number as u64;
        Some(whole)
    })
}
