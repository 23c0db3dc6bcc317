//! Vendor methods: what only some interfaces can do. A visible list.

use bessemer_proto::secret::Secret;
use serde_json::{Map, Value};
use url::Url;

use crate::bmc::MediaKind;

const MAX_EVENT_TYPES: usize = 32;
const MAX_HEADERS: usize = 32;
/// Bytes of a raw command.
const MAX_RAW: usize = 200;

/// A method of a vendor interface.
#[derive(Debug, PartialEq, Eq)]
pub struct Method {
    /// Its name in the path.
    pub name: &'static str,
    /// The HTTP method it is called with.
    pub http: &'static str,
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
    /// Subscribes to events.
    Subscribe,
    /// Shows one subscription.
    Subscription,
    /// Shows all subscriptions.
    Subscriptions,
    /// Ends a subscription.
    Unsubscribe,
    /// Sends a command in the BMC's own bytes.
    Raw,
    /// Restarts the BMC.
    Reset,
    /// Boots an ISO image.
    BootIso,
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
    /// The machine is to be restarted into the image at this URL.
    BootIso(Url),
    /// Something about subscriptions to events.
    Events(Events),
    /// These bytes are to be sent to the BMC; its bytes are the answer.
    Raw(Vec<u8>),
    /// The BMC is to be restarted; warm: only its software.
    Reset {
        /// Only its software.
        warm: bool,
    },
}

/// What is wanted of the subscriptions to events at a BMC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Events {
    /// A new one.
    Create {
        /// Where events are posted to.
        destination: Url,
        /// `Alert`, …
        types: Vec<String>,
        /// Comes back with each event.
        context: Option<String>,
        /// Go with each event; may hold secrets.
        headers: Vec<(String, Secret)>,
    },
    /// To see one.
    Get(String),
    /// To see all.
    List,
    /// One is to end.
    Delete(String),
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
        http: "POST",
        description: "Does nothing",
        in_background: true,
        locks: true,
        kind: Kind::Nothing,
    },
];

const REDFISH: &[Method] = &[
    EJECT,
    events(
        "create_subscription",
        "POST",
        "Has the BMC post its events to the URL Destination. Optional: Context, EventTypes (default Alert), Protocol \
         (Redfish), HttpHeaders (a list of objects).",
        Kind::Subscribe,
    ),
    events(
        "delete_subscription",
        "DELETE",
        "Ends the subscription to events that argument id names.",
        Kind::Unsubscribe,
    ),
    events("get_all_subscriptions", "GET", "Shows all subscriptions to events.", Kind::Subscriptions),
    events(
        "get_subscription",
        "GET",
        "Shows the subscription to events that argument id names.",
        Kind::Subscription,
    ),
];

const fn events(name: &'static str, http: &'static str, description: &'static str, kind: Kind) -> Method {
    Method { name, http, description, in_background: false, locks: true, kind }
}

const IPMITOOL: &[Method] = &[
    Method {
        name: "send_raw",
        http: "POST",
        description: "Sends a command to the BMC and answers with its data. Argument raw_bytes: network function, \
                      command and data, such as \"0x06 0x01\".",
        in_background: false,
        locks: true,
        kind: Kind::Raw,
    },
    Method {
        name: "bmc_reset",
        http: "POST",
        description: "Restarts the BMC. Argument warm: true (default) for its software only, false for all of it.",
        in_background: true,
        locks: true,
        kind: Kind::Reset,
    },
];

const ILO: &[Method] = &[
    EJECT,
    Method {
        name: "boot_into_iso",
        http: "POST",
        description: "Attaches an ISO image in virtual media and restarts the machine into it, once. Argument \
                      boot_iso_href: its http or https URL. The node must be manageable, or in maintenance.",
        in_background: true,
        locks: true,
        kind: Kind::BootIso,
    },
];

const EJECT: Method = Method {
    name: "eject_vmedia",
    http: "POST",
    description: "Ejects virtual media. Argument boot_device: cd, dvd, usb or floppy; without it, all.",
    in_background: true,
    locks: true,
    kind: Kind::Eject,
};

const fn bar(
    name: &'static str,
    word: &'static str,
    description: &'static str,
    in_background: bool,
    locks: bool,
) -> Method {
    Method { name, http: "POST", description, in_background, locks, kind: Kind::Bar(word) }
}

/// The methods of a vendor interface.
#[must_use]
pub fn methods(driver: &str, interface: &str) -> &'static [Method] {
    match (driver, interface) {
        ("fake-hardware", "fake") => FAKE,
        ("ipmi", "ipmitool") => IPMITOOL,
        ("redfish", "redfish") => REDFISH,
        ("ilo", "ilo") => ILO,
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
        Kind::Subscriptions => Work::Events(Events::List),
        Kind::Subscription => Work::Events(Events::Get(required(method, arguments, "id")?)),
        Kind::Unsubscribe => Work::Events(Events::Delete(required(method, arguments, "id")?)),
        Kind::Subscribe => Work::Events(subscription(method, arguments)?),
        Kind::Raw => match arguments.get("raw_bytes").and_then(Value::as_str) {
            None => return Err("Parameter raw_bytes (string) was not specified.".to_owned()),
            Some(text) => Work::Raw(bytes(text)?),
        },
        Kind::Reset => match arguments.get("warm") {
            None | Some(Value::Null) => Work::Reset { warm: true },
            Some(Value::Bool(warm)) => Work::Reset { warm: *warm },
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Work::Reset { warm: true },
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Work::Reset { warm: false },
            Some(_) => return Err("warm must be true or false".to_owned()),
        },
        Kind::BootIso => Work::BootIso(iso(arguments)?),
    };
    Ok(Call { method, work })
}

fn required(method: &Method, arguments: &Map<String, Value>, name: &str) -> Result<String, String> {
    match arguments.get(name) {
        Some(Value::String(text)) if !text.is_empty() && text.len() <= 2048 => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        _ => Err(format!("Parameter '{name}' not passed to method '{}'.", method.name)),
    }
}

fn subscription(method: &Method, arguments: &Map<String, Value>) -> Result<Events, String> {
    let destination = required(method, arguments, "Destination")?;
    let destination = Url::parse(&destination).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let destination = destination.ok_or("Destination must be a URL of http or https")?;
    if arguments.get("Protocol").is_some_and(|protocol| protocol != "Redfish") {
        return Err("Protocol must be Redfish".to_owned());
    }
    let types = match arguments.get("EventTypes") {
        None => vec!["Alert".to_owned()],
        Some(Value::Array(list)) if list.len() <= MAX_EVENT_TYPES => {
            let words = list.iter().map(|word| word.as_str().map(str::to_owned));
            words.collect::<Option<_>>().ok_or("EventTypes must be a list of strings")?
        }
        Some(_) => return Err("EventTypes must be a list of strings".to_owned()),
    };
    let context = match arguments.get("Context") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.len() <= 255 => Some(text.clone()),
        Some(_) => return Err("Context must be a string of at most 255 bytes".to_owned()),
    };
    let wrong = || "HttpHeaders must be a list of objects with one string each".to_owned();
    let mut headers = Vec::new();
    match arguments.get("HttpHeaders") {
        None | Some(Value::Null) => {}
        Some(Value::Array(list)) if list.len() <= MAX_HEADERS => {
            for (name, value) in list.iter().filter_map(Value::as_object).flatten() {
                headers.push((name.clone(), Secret::new(value.as_str().ok_or_else(wrong)?)));
            }
        }
        Some(_) => return Err(wrong()),
    }
    Ok(Events::Create { destination, types, context, headers })
}

/// Bytes as people write them for ipmitool: `0x06 0x01`, or decimal.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let byte = |word: &str| match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => u8::from_str_radix(digits, 16),
        None => word.parse(),
    };
    let bytes: Result<Vec<_>, _> = text.split_whitespace().take(MAX_RAW + 1).map(byte).collect();
    bytes
        .ok()
        .filter(|bytes| (2..=MAX_RAW).contains(&bytes.len()))
        .ok_or_else(|| format!("raw_bytes must be 2 to {MAX_RAW} bytes such as \"0x06 0x01\""))
}

fn iso(arguments: &Map<String, Value>) -> Result<Url, String> {
    let given = arguments.get("boot_iso_href").and_then(Value::as_str);
    let given =
        given.ok_or_else(|| "Parameter 'boot_iso_href' not passed to method 'boot_into_iso'.".to_owned())?;
    let url = given.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    // Glance is not asked for it: the iLO fetches it itself.
    url.ok_or_else(|| "boot_iso_href must be an http or https URL that the iLO can fetch".to_owned())
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
        assert_eq!(
            call("redfish", "redfish", "get_subscription", json!({"id": 7})),
            Ok(Work::Events(Events::Get("7".into())))
        );
        assert!(call("redfish", "redfish", "delete_subscription", json!({})).unwrap_err().contains("'id'"));
        let subscribe = |arguments| call("redfish", "redfish", "create_subscription", arguments);
        let made =
            subscribe(json!({"Destination": "https://x/", "HttpHeaders": [{"Authorization": "hunter2"}]}));
        let Ok(Work::Events(Events::Create { types, headers, .. })) = &made else { panic!("{made:?}") };
        assert_eq!((types.len(), headers.len()), (1, 1));
        assert!(!format!("{made:?}").contains("hunter2"));
        for wrong in [
            json!({}),
            json!({"Destination": "ftp://x/"}),
            json!({"Destination": "https://x/", "Protocol": "SNMPv3"}),
            json!({"Destination": "https://x/", "EventTypes": [7]}),
            json!({"Destination": "https://x/", "HttpHeaders": [{"a": 7}]}),
        ] {
            assert!(subscribe(wrong.clone()).is_err(), "{wrong}");
        }
        let raw = |text: &str| call("ipmi", "ipmitool", "send_raw", json!({"raw_bytes": text}));
        assert_eq!(raw("0x06 1"), Ok(Work::Raw(vec![6, 1])));
        for bad in ["", "6", "0x06 0x100", "six one", &"1 ".repeat(201)] {
            assert!(raw(bad).unwrap_err().contains("raw_bytes"), "{bad}");
        }
        let reset = |arguments| call("ipmi", "ipmitool", "bmc_reset", arguments);
        assert_eq!(reset(json!({})), Ok(Work::Reset { warm: true }));
        assert_eq!(reset(json!({"warm": "False"})), Ok(Work::Reset { warm: false }));
        assert!(reset(json!({"warm": 1})).is_err());
        let boot = |arguments| call("ilo", "ilo", "boot_into_iso", arguments);
        let url = "http://10.0.0.1/rescue.iso";
        assert_eq!(boot(json!({"boot_iso_href": url})), Ok(Work::BootIso(url.parse().unwrap())));
        for wrong in
            [json!({}), json!({"boot_iso_href": "8b2a4a9d"}), json!({"boot_iso_href": "file:///etc/passwd"})]
        {
            assert!(boot(wrong).unwrap_err().contains("boot_iso_href"));
        }
    }
}
