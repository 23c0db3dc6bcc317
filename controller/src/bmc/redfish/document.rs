//! JSON from a BMC: nothing in it is taken for granted.

use serde_json::Value;

use crate::bmc::BmcError;

/// Links followed out of one list.
const MAX_MEMBERS: usize = 64;
const MAX_SENTENCE_CHARS: usize = 500;

/// A resource that was read.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) value: Value,
    pub(super) path: String,
    pub(super) address: String,
    pub(super) etag: Option<String>,
}

impl Document {
    /// A string that is not empty, by JSON pointer.
    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        self.value.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
    }

    pub(super) fn flag(&self, pointer: &str) -> Option<bool> {
        self.value.pointer(pointer)?.as_bool()
    }

    /// The strings of a list; `None` when there is no list.
    pub(super) fn texts(&self, pointer: &str) -> Option<Vec<&str>> {
        let list = self.value.pointer(pointer)?.as_array()?;
        Some(list.iter().filter_map(Value::as_str).take(MAX_MEMBERS).collect())
    }

    /// The link of a navigation property.
    pub(super) fn link(&self, pointer: &str) -> Option<&str> {
        self.value.pointer(pointer)?.get("@odata.id")?.as_str().filter(|link| !link.is_empty())
    }

    /// The links of a collection or list of links.
    pub(super) fn links(&self, pointer: &str) -> Vec<String> {
        let list = self.value.pointer(pointer).and_then(Value::as_array);
        let links = list.into_iter().flatten().filter_map(|item| item.get("@odata.id")?.as_str());
        links.take(MAX_MEMBERS).map(str::to_owned).collect()
    }

    /// An action by its name, such as `VirtualMedia.InsertMedia`.
    pub(super) fn action(&self, name: &str) -> Option<&Value> {
        self.value.get("Actions")?.get(format!("#{name}"))
    }

    /// Where an action is posted to.
    pub(super) fn action_target(&self, name: &str) -> Option<&str> {
        self.action(name)?.get("target")?.as_str().filter(|target| !target.is_empty())
    }

    pub(super) fn malformed(&self, problem: impl Into<String>) -> BmcError {
        BmcError::Malformed {
            address: self.address.clone(),
            what: format!("GET {}", self.path),
            problem: problem.into(),
        }
    }
}

/// The BMC's own words in an error answer, shortened, fit for a log.
pub(super) fn error_sentence(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let error = value.get("error").unwrap_or(&value);
    let messages = infos(error).filter_map(|info| info.get("Message")?.as_str());
    let mut sentence = messages.take(8).collect::<Vec<_>>().join(" ");
    if sentence.trim().is_empty() {
        sentence = error.get("message").and_then(Value::as_str).unwrap_or("it gave no reason").to_owned();
    }
    tidy(&sentence)
}

/// The message ids in an error answer, without registry and version: `ActionParameterMissing`.
pub(super) fn message_ids(body: &[u8]) -> Vec<String> {
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let error = value.get("error").unwrap_or(&value);
    let ids = infos(error).filter_map(|info| info.get("MessageId")?.as_str());
    ids.take(8).filter_map(|id| id.rsplit('.').next()).map(str::to_owned).collect()
}

/// `@Message.ExtendedInfo` is a list; some BMCs send a single object.
fn infos(error: &Value) -> impl Iterator<Item = &Value> {
    let info = error.get("@Message.ExtendedInfo");
    let (list, single) = match info {
        Some(Value::Array(list)) => (Some(list), None),
        other => (None, other),
    };
    list.into_iter().flatten().chain(single)
}

/// One line, without control characters, not too long.
fn tidy(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<_> = line.split_whitespace().collect();
    words.join(" ").chars().take(MAX_SENTENCE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_become_sentences_whatever_their_shape() {
        let list = br#"{"error":{"code":"x","message":"general","@Message.ExtendedInfo":[
            {"MessageId":"Base.1.8.ActionParameterMissing","Message":"One is\nmissing."},{"Message":"Two."}, 7]}}"#;
        assert_eq!(error_sentence(list), "One is missing. Two.");
        assert_eq!(message_ids(list), ["ActionParameterMissing"]);
        let single = br#"{"error":{"@Message.ExtendedInfo":{"Message":"Only."}}}"#;
        assert_eq!(error_sentence(single), "Only.");
        assert_eq!(error_sentence(br#"{"error":{"message":"Short."}}"#), "Short.");
        for odd in
            [&b"<html>"[..], b"", b"[]", b"{\"error\":5}", b"{\"error\":{\"@Message.ExtendedInfo\":[[]]}}"]
        {
            assert_eq!(error_sentence(odd), "it gave no reason");
            assert!(message_ids(odd).is_empty());
        }
        let long = format!(r#"{{"error":{{"message":"{}"}}}}"#, "x".repeat(10_000));
        assert_eq!(error_sentence(long.as_bytes()).len(), 500);
    }
}
