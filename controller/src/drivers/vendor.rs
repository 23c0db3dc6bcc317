//! Vendor methods: what only some interfaces can do. A visible list.

use serde_json::{Map, Value};

use crate::bmc::MediaKind;

/// A method of a vendor interface.
#[derive(Debug, PartialEq, Eq)]
pub struct Method {
    /// Its name in the path.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// Whether it is answered before it is done.
    pub in_background: bool,
    /// Whether nobody else may work on the node meanwhile.
    pub locks: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Says whether the argument `bar` is this word.
    Bar(&'static str),
    /// Does nothing.
    Nothing,
    /// Ejects virtual media.
    Eject,
}

/// A call with its arguments checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which.
    pub method: &'static Method,
    /// What to do.
    pub work: Work,
}

/// What a call comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// This is the answer.
    Say(Value),
    /// These virtual media are to be ejected.
    Eject(Vec<MediaKind>),
}

/// How a call went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// This is the answer.
    Answer(Value),
    /// It happens in the background.
    Accepted,
}

const FAKE: &[Method] = &[
    bar("second_method", "kazoo", "Tells in the background whether bar is kazoo", true, true),
    bar("third_method_sync", "meow", "Tells whether bar is meow", false, true),
    bar("fourth_method_shared_lock", "woof", "Tells in the background whether bar is woof", true, false),
    Method {
        name: "log_passthrough",
        description: "Does nothing",
        in_background: true,
        locks: true,
        kind: Kind::Nothing,
    },
];

const REDFISH: &[Method] = &[Method {
    name: "eject_vmedia",
    description: "Ejects virtual media. Argument boot_device: cd, dvd, usb or floppy; without it, all.",
    in_background: true,
    locks: true,
    kind: Kind::Eject,
}];

const fn bar(
    name: &'static str,
    word: &'static str,
    description: &'static str,
    in_background: bool,
    locks: bool,
) -> Method {
    Method { name, description, in_background, locks, kind: Kind::Bar(word) }
}

/// The methods of a vendor interface.
#[must_use]
pub fn methods(driver: &str, interface: &str) -> &'static [Method] {
    match (driver, interface) {
        ("fake-hardware", "fake") => FAKE,
        ("redfish", "redfish") => REDFISH,
        _ => &[],
    }
}

/// Checks the arguments of a call.
pub fn parse(method: &'static Method, arguments: &Map<String, Value>) -> Result<Call, String> {
    let work = match method.kind {
        Kind::Nothing => Work::Say(Value::Null),
        Kind::Bar(word) => match arguments.get("bar") {
            None | Some(Value::Null) => {
                return Err(format!("Parameter 'bar' not passed to method '{}'.", method.name));
            }
            Some(given) => Work::Say(Value::Bool(given.as_str() == Some(word))),
        },
        Kind::Eject => match arguments.get("boot_device").map(Value::as_str) {
            None => Work::Eject(vec![MediaKind::Cd, MediaKind::Floppy]),
            Some(Some("cd" | "dvd" | "CD" | "DVD")) => Work::Eject(vec![MediaKind::Cd]),
            Some(Some("usb" | "floppy" | "USBStick" | "Floppy")) => Work::Eject(vec![MediaKind::Floppy]),
            Some(_) => return Err("boot_device must be cd, dvd, usb or floppy".to_owned()),
        },
    };
    Ok(Call { method, work })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(driver: &str, interface: &str, name: &str, arguments: Value) -> Result<Work, String> {
        let method = methods(driver, interface).iter().find(|method| method.name == name).unwrap();
        parse(method, arguments.as_object().unwrap()).map(|call| call.work)
    }

    #[test]
    fn arguments_are_checked() {
        let fake = |arguments| call("fake-hardware", "fake", "third_method_sync", arguments);
        assert_eq!(fake(json!({"bar": "meow"})), Ok(Work::Say(json!(true))));
        assert_eq!(fake(json!({"bar": "woof"})), Ok(Work::Say(json!(false))));
        assert!(fake(json!({})).unwrap_err().contains("'bar' not passed"));
        let eject = |arguments| call("redfish", "redfish", "eject_vmedia", arguments);
        assert_eq!(eject(json!({"boot_device": "usb"})), Ok(Work::Eject(vec![MediaKind::Floppy])));
        assert_eq!(eject(json!({})), Ok(Work::Eject(vec![MediaKind::Cd, MediaKind::Floppy])));
        assert!(eject(json!({"boot_device": "tape"})).is_err());
        assert!(methods("redfish", "no-vendor").is_empty());
    }
}
