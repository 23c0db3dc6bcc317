//! The BMC's messages (DSP0266, "Error responses"; registries: DSP2065) as sentences for people, and as ids to decide by.

use serde_json::Value;

const MAX_SENTENCE_CHARS: usize = 500;
const MAX_MESSAGES: usize = 8;
const MAX_ARGUMENTS: usize = 8;
const NO_REASON: &str = "it gave no reason";

/// What messages of the Base registry mean, for BMCs that send their ids only; `%1` is the first argument.
const BASE: &[(&str, &str)] = &[
    ("AccessDenied", "access to %1 is denied"),
    ("AccountLocked", "the account is locked"),
    ("ActionNotSupported", "it does not have the action %1"),
    ("ActionParameterDuplicate", "action %1 was sent with parameter %2 twice"),
    ("ActionParameterMissing", "action %1 needs the parameter %2"),
    ("ActionParameterNotSupported", "parameter %1 of action %2 is not supported"),
    ("ActionParameterUnknown", "action %1 has no parameter %2"),
    ("ActionParameterValueConflict", "parameter %1 does not go with the value of %2"),
    ("ActionParameterValueError", "the value of parameter %1 of action %2 is wrong"),
    ("ActionParameterValueFormatError", "the value %1 of parameter %2 has the wrong form"),
    ("ActionParameterValueNotInList", "the value %1 of parameter %2 is not one of those it knows"),
    ("ActionParameterValueTypeError", "the value %1 of parameter %2 is of the wrong type"),
    ("ConditionInRelatedResource", "something that it depends on is not well"),
    ("CouldNotEstablishConnection", "it cannot connect to %1"),
    ("CreateFailedMissingReqProperties", "the property %1 is missing"),
    ("CreateLimitReachedForResource", "there are as many as it can have"),
    ("EmptyJSON", "the request was empty"),
    ("GeneralError", "it failed and does not say at what"),
    ("InsufficientPrivilege", "the user may not do that"),
    ("InsufficientStorage", "it has no room left"),
    ("InternalError", "it failed inside; restarting the BMC may help"),
    ("InvalidObject", "%1 is not valid"),
    ("InvalidURI", "%1 does not exist"),
    ("LicenseRequired", "a licence is missing"),
    ("MalformedJSON", "the request was no JSON to it"),
    ("NoOperation", "there was nothing to change"),
    ("NoValidSession", "the session has ended"),
    ("OperationFailed", "a part of the operation failed"),
    ("OperationNotAllowed", "this may not be done"),
    ("OperationTimeout", "a part of the operation took too long"),
    ("PasswordChangeRequired", "the password must be changed first, at %1"),
    ("PreconditionFailed", "it was changed by somebody else meanwhile"),
    ("PreconditionRequired", "it wants an entity tag"),
    ("PropertyMissing", "the property %1 is missing"),
    ("PropertyNotUpdated", "the property %1 was not changed"),
    ("PropertyNotWritable", "the property %1 can only be read"),
    ("PropertyUnknown", "it has no property %1"),
    ("PropertyValueConflict", "the property %1 does not go with the value of %2"),
    ("PropertyValueError", "the value of property %1 is wrong"),
    ("PropertyValueFormatError", "the value %1 of property %2 has the wrong form"),
    ("PropertyValueIncorrect", "the value %2 of property %1 is wrong"),
    ("PropertyValueNotInList", "the value %1 of property %2 is not one of those it knows"),
    ("PropertyValueOutOfRange", "the value %1 of property %2 is out of its range"),
    ("PropertyValueTypeError", "the value %1 of property %2 is of the wrong type"),
    ("ResourceAlreadyExists", "there is one already with %2 %3"),
    ("ResourceAtUriUnauthorized", "it was not let in at %1"),
    ("ResourceCannotBeDeleted", "this cannot be removed"),
    ("ResourceExhaustion", "%1 is used up"),
    ("ResourceInStandby", "it is in standby"),
    ("ResourceInUse", "it is busy with another change"),
    ("ResourceMissingAtURI", "there is nothing at %1"),
    ("ResourceNotFound", "there is no %1 called %2"),
    ("ServiceDisabled", "the service at %1 is switched off"),
    ("ServiceInUnknownState", "its service is in an unknown state; restarting the BMC may help"),
    ("ServiceShuttingDown", "it is shutting down"),
    ("ServiceTemporarilyUnavailable", "it is not available for now; it says to come back in %1 s"),
    ("SessionLimitExceeded", "it has as many sessions as it can have"),
    ("SourceDoesNotSupportProtocol", "%1 does not speak %2"),
    ("StringValueTooLong", "%1 is too long"),
    ("UnableToModifyDuringSystemPOST", "this cannot be changed during the machine's self-test"),
    ("UnrecognizedRequestBody", "it does not understand the request"),
];

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bmc) struct Message {
    /// Without registry and version: `ActionParameterMissing`; empty when it has none.
    pub(super) id: String,
    pub(super) arguments: Vec<String>,
    /// In the BMC's words or ours; empty when there are none.
    pub(super) text: String,
    /// It tells of trouble.
    pub(super) is_bad: bool,
}

/// The messages of an error answer.
pub(super) fn in_error(body: &[u8]) -> Vec<Message> {
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let error = value.get("error").unwrap_or(&value);
    // Before Redfish it was `Messages`.
    listed(error.get("@Message.ExtendedInfo").or_else(|| error.get("Messages")))
}

/// A list of messages; some BMCs send a single one.
pub(super) fn listed(value: Option<&Value>) -> Vec<Message> {
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(message).take(MAX_MESSAGES).collect(),
        Some(single) => message(single).into_iter().collect(),
        None => Vec::new(),
    }
}

/// The messages' texts as one line, shortened, fit for a log.
pub(super) fn sentence<'a>(messages: impl IntoIterator<Item = &'a Message>) -> String {
    let texts: Vec<_> = messages.into_iter().map(|message| message.text.as_str()).collect();
    tidy(&texts.join(" "))
}

/// What an error answer says, shortened, fit for a log.
pub(super) fn error_sentence(body: &[u8]) -> String {
    let said = sentence(&in_error(body));
    if !said.is_empty() {
        return said;
    }
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let error = value.get("error").unwrap_or(&value);
    let general = tidy(error.get("message").and_then(Value::as_str).unwrap_or_default());
    let code = error.get("code").and_then(Value::as_str).and_then(|code| meaning(last(code), &[]));
    match code {
        _ if !general.is_empty() => general,
        Some(meaning) => meaning,
        None => NO_REASON.to_owned(),
    }
}

fn message(value: &Value) -> Option<Message> {
    let value = value.as_object()?;
    let text_of = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let id = [text_of("MessageId"), text_of("MessageID")].into_iter().find(|id| !id.is_empty());
    let id = last(id.unwrap_or_default());
    let listed = value.get("MessageArgs").and_then(Value::as_array).into_iter().flatten();
    let arguments: Vec<_> = listed.take(MAX_ARGUMENTS).map(argument).collect();
    let own = filled(text_of("Message"), &arguments);
    let text = match own.trim().is_empty() {
        false => own,
        true => meaning(id, &arguments).unwrap_or_else(|| unknown(id, &arguments)),
    };
    let severity = value.get("MessageSeverity").or_else(|| value.get("Severity")).and_then(Value::as_str);
    let is_bad = severity.is_some_and(|severity| !matches!(severity, "OK" | "Informational"));
    Some(Message { id: tidy(id), arguments, text, is_bad })
}

fn argument(value: &Value) -> String {
    tidy(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// The last part of `Base.1.8.ActionParameterMissing`.
fn last(id: &str) -> &str {
    id.rsplit('.').next().unwrap_or_default()
}

fn meaning(id: &str, arguments: &[String]) -> Option<String> {
    let (_, template) = BASE.iter().find(|(known, _)| *known == id)?;
    Some(format!("{}.", filled(template, arguments)))
}

fn unknown(id: &str, arguments: &[String]) -> String {
    match arguments {
        _ if id.is_empty() => String::new(),
        [] => format!("{id}."),
        _ => format!("{id} ({}).", arguments.join(", ")),
    }
}

/// Puts arguments into `%1`, `%2`, …; what has no argument is something unnamed.
fn filled(template: &str, arguments: &[String]) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let place = after.chars().next().and_then(|c| c.to_digit(10)).filter(|place| *place > 0);
        match place.and_then(|place| usize::try_from(place - 1).ok()) {
            Some(place) => {
                text.push_str(arguments.get(place).map_or("something", String::as_str));
                rest = after.get(1..).unwrap_or_default();
            }
            None => {
                text.push('%');
                rest = after;
            }
        }
        if text.len() > MAX_SENTENCE_CHARS * 4 {
            break;
        }
    }
    text.push_str(rest);
    text
}

/// One line, without control characters, not too long.
pub(super) fn tidy(text: &str) -> String {
    let start = text.chars().take(MAX_SENTENCE_CHARS * 2);
    let line: String = start.map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<_> = line.split_whitespace().collect();
    words.join(" ").chars().take(MAX_SENTENCE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_become_sentences_whatever_their_shape() {
        let list = br#"{"error":{"code":"x","message":"general","@Message.ExtendedInfo":[
            {"MessageId":"Base.1.8.ActionParameterMissing","Message":"One is\nmissing."},{"Message":"Two."}, 7]}}"#;
        assert_eq!(error_sentence(list), "One is missing. Two.");
        assert_eq!(in_error(list)[0].id, "ActionParameterMissing");
        let single = br#"{"error":{"@Message.ExtendedInfo":{"Message":"Only."}}}"#;
        assert_eq!(error_sentence(single), "Only.");
        assert_eq!(error_sentence(br#"{"error":{"message":"Short."}}"#), "Short.");
        for odd in
            [&b"<html>"[..], b"", b"[]", b"{\"error\":5}", b"{\"error\":{\"@Message.ExtendedInfo\":[[]]}}"]
        {
            assert_eq!(error_sentence(odd), NO_REASON);
            assert!(in_error(odd).is_empty());
        }
        let long = format!(r#"{{"error":{{"message":"{}"}}}}"#, "x".repeat(10_000));
        assert_eq!(error_sentence(long.as_bytes()).len(), 500);
    }

    #[test]
    fn ids_without_text_are_explained() {
        let said = |id: &str, arguments: Value| {
            let info =
                json!({"error": {"@Message.ExtendedInfo": [{"MessageId": id, "MessageArgs": arguments}]}});
            error_sentence(info.to_string().as_bytes())
        };
        assert_eq!(
            said("Base.1.8.ActionParameterMissing", json!(["InsertMedia", "UserName"])),
            "action InsertMedia needs the parameter UserName."
        );
        assert_eq!(said("Base.1.0.PropertyUnknown", json!([])), "it has no property something.");
        assert_eq!(said("IDRAC.2.8.SYS428", json!(["BootMode", 7])), "SYS428 (BootMode, 7).");
        let code = br#"{"error":{"code":"Base.1.0.ResourceInUse"}}"#;
        assert_eq!(error_sentence(code), "it is busy with another change.");
    }

    proptest! {
        #[test]
        fn no_text_and_no_arguments_are_too_odd(template in ".{0,64}", arguments in proptest::collection::vec(".{0,16}", 0..4)) {
            let info = json!([{"MessageId": template, "Message": template, "MessageArgs": arguments}]);
            let messages = listed(Some(&info));
            prop_assert!(sentence(&messages).chars().count() <= MAX_SENTENCE_CHARS);
            prop_assert!(!sentence(&messages).contains(char::is_control));
        }
    }
}
