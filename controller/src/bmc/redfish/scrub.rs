//! Takes out of a BMC's answers what tells who owns it and how to get in. The same value becomes the same stand-in
//! wherever it is, also inside of links, so that what belongs together still does.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::LazyLock,
};

use bessemer_proto::secret::Secret;
use regex::{Captures, Regex};
use serde_json::Value;

/// Shorter texts are only replaced where they stand alone: inside of others they may be anything.
const SHORTEST_INSIDE: usize = 5;
/// Different values of a kind.
const MAX_VALUES: usize = 10_000;
const SCRUBBED: &str = "scrubbed";

/// Addresses of network cards, of other ports (8 bytes), and UUIDs, wherever they are; addresses in URLs.
static PATTERNS: LazyLock<[(Kind, Option<Regex>); 3]> = LazyLock::new(|| {
    let regex = |text: &str| Regex::new(text).ok();
    [
        (Kind::Uuid, regex(r"\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b")),
        (Kind::Mac, regex(r"\b[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5,7}\b")),
        (Kind::Address, regex(r"(?:[a-z]://(?:[^/\s@]*@)?)((?:[0-9]{1,3}\.){3}[0-9]{1,3})\b")),
    ]
});

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Serial,
    Uuid,
    Mac,
    Address,
    Host,
    User,
    Secret,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Serial => "serial numbers and tags",
            Self::Uuid => "UUIDs",
            Self::Mac => "MAC addresses and WWNs",
            Self::Address => "IP addresses",
            Self::Host => "host names",
            Self::User => "user names",
            Self::Secret => "passwords, keys, tokens and certificates",
        }
    }

    /// What a property of that name holds.
    fn of(key: &str) -> Option<Self> {
        let key = key.rsplit('.').next()?.to_ascii_lowercase().replace(['_', ' ', '-'], "");
        let has = |words: &[&str]| words.iter().any(|word| key.contains(word));
        let is = |words: &[&str]| words.contains(&key.as_str());
        let secret = ["password", "passphrase", "secret", "token", "licensekey", "community", "privatekey"];
        if has(&secret) || has(&["certificatestring", "sshkey", "publickey", "encryptionkey"]) {
            Some(Self::Secret)
        } else if has(&["serialnumber", "servicetag", "assettag", "servicecode"])
            || is(&["sku", "wwn", "wwpn", "wwnn", "durablename", "nodeid", "identifier"])
        {
            Some(Self::Serial)
        } else if has(&["uuid", "guid"]) {
            Some(Self::Uuid)
        } else if has(&["macaddress"]) {
            Some(Self::Mac)
        } else if has(&["hostname", "fqdn", "domainname", "dnsracname", "ntpserver"]) {
            Some(Self::Host)
        } else if is(&["address", "gateway", "ipaddress"])
            || has(&["nameserver", "ipv4address", "ipv6address"])
        {
            Some(Self::Address)
        } else if key.ends_with("username") || is(&["user", "accountname"]) {
            Some(Self::User)
        } else {
            None
        }
    }

    /// Whether a value of such a property tells anything.
    fn tells(self, text: &str) -> bool {
        let known =
            ["", "none", "n/a", "na", "unknown", "null", "not specified", "not available", "default string"];
        let plain = text.trim().to_ascii_lowercase();
        let first = plain.chars().next();
        match self {
            _ if known.contains(&plain.as_str()) || plain.starts_with("to be filled") => false,
            Self::Address => text.parse::<IpAddr>().is_ok_and(worth_hiding),
            Self::Serial | Self::Uuid => plain.chars().any(|c| Some(c) != first),
            _ => true,
        }
    }

    fn stand_in(self, number: usize, instead_of: &str) -> String {
        match self {
            Self::Serial => format!("SCRUBBED{number:04}"),
            Self::Uuid => format!("00000000-0000-4000-8000-{number:012x}"),
            Self::Mac => {
                let (high, low) = (number >> 8 & 0xff, number & 0xff);
                let bytes = instead_of.split([':', '-']).count();
                let separator = if instead_of.contains('-') { "-" } else { ":" };
                let mut all = vec!["02".to_owned()];
                all.resize(bytes.max(3) - 2, "00".to_owned());
                all.extend([format!("{high:02x}"), format!("{low:02x}")]);
                all.join(separator)
            }
            Self::Address if instead_of.contains(':') => format!("2001:db8::{number:x}"),
            // TEST-NET-2 and the network for benchmarks: as many as there may be.
            Self::Address => format!("198.18.{}.{}", number >> 8 & 0xff, number & 0xff),
            Self::Host => format!("host-{number}.example"),
            Self::User => format!("user-{number}"),
            Self::Secret => SCRUBBED.to_owned(),
        }
    }
}

fn worth_hiding(address: IpAddr) -> bool {
    let is_mask = matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 255);
    !(address.is_unspecified() || address.is_loopback() || is_mask)
}

/// What is known before anything is read.
#[derive(Default)]
pub(super) struct Known {
    pub(super) host: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
}

/// Learns what there is to replace.
#[derive(Default)]
pub(super) struct Scrubber {
    /// What was found, in small letters, and the number of its stand-in.
    values: BTreeMap<(Kind, String), usize>,
    /// The same without separators: one value written in two ways has one stand-in.
    numbers: BTreeMap<(Kind, String), usize>,
    counts: BTreeMap<Kind, usize>,
}

impl Scrubber {
    pub(super) fn new(known: &Known) -> Self {
        let mut scrubber = Self::default();
        if let Some(host) = &known.host {
            let bare = host.trim_matches(['[', ']']);
            match bare.parse::<IpAddr>() {
                Ok(address) if !worth_hiding(address) => {}
                Ok(_) => scrubber.add(Kind::Address, bare),
                Err(_) => scrubber.add(Kind::Host, bare),
            }
        }
        if let Some(user) = &known.user {
            scrubber.add(Kind::User, user);
        }
        if let Some(password) = &known.password {
            scrubber.add(Kind::Secret, password.reveal());
        }
        scrubber
    }

    fn add(&mut self, kind: Kind, text: &str) {
        let (text, count) = (text.to_lowercase(), self.counts.entry(kind).or_default());
        let bare = if kind == Kind::Mac { bare(&text) } else { text.clone() };
        if text.is_empty() || *count >= MAX_VALUES {
            return;
        }
        let number = *self.numbers.entry((kind, bare)).or_insert_with(|| {
            *count += 1;
            *count
        });
        self.values.insert((kind, text), number);
    }

    /// Notes what a document tells.
    pub(super) fn learn(&mut self, value: &Value) {
        self.learn_below("", value);
    }

    fn learn_below(&mut self, key: &str, value: &Value) {
        match value {
            Value::String(text) => {
                if let Some(kind) = Kind::of(key).filter(|kind| kind.tells(text)) {
                    self.add(kind, text);
                }
                for (kind, pattern) in PATTERNS.iter() {
                    for found in pattern.iter().flat_map(|pattern| pattern.captures_iter(text)) {
                        let Some(part) = found.get(1).or_else(|| found.get(0)) else { continue };
                        if kind.tells(part.as_str()) {
                            self.add(*kind, part.as_str());
                        }
                    }
                }
            }
            Value::Array(all) => all.iter().for_each(|one| self.learn_below(key, one)),
            Value::Object(object) => object.iter().for_each(|(key, one)| self.learn_below(key, one)),
            _ => {}
        }
    }

    /// From what was learnt.
    pub(super) fn replacer(self) -> Replacer {
        let (mut inside, mut whole, mut users) = (HashMap::new(), HashMap::new(), Vec::new());
        for ((kind, text), number) in &self.values {
            let stand_in = kind.stand_in(*number, text);
            let is_specific = match kind {
                Kind::User => false,
                Kind::Serial => text.chars().any(|c| c.is_ascii_digit()),
                Kind::Host => text.chars().any(|c| c.is_ascii_digit() || ".-".contains(c)),
                _ => true,
            };
            if is_specific && text.len() >= SHORTEST_INSIDE {
                if *kind == Kind::Mac {
                    // Ids are made of them, without separators.
                    inside.insert(bare(text), bare(&stand_in));
                }
                inside.insert(text.clone(), stand_in.clone());
            }
            if *kind == Kind::User && text.len() > 2 {
                users.push((text.clone(), stand_in.clone()));
            }
            whole.insert(text.clone(), stand_in);
        }
        let mut texts: Vec<&String> = inside.keys().collect();
        texts.sort_by_key(|text| (std::cmp::Reverse(text.len()), text.as_str()));
        let pattern: Vec<String> = texts.into_iter().map(|text| regex::escape(text)).collect();
        let pattern = (!pattern.is_empty()).then(|| pattern.join("|"));
        let pattern = pattern.and_then(|text| {
            regex::RegexBuilder::new(&text).case_insensitive(true).size_limit(1 << 28).build().ok()
        });
        Replacer { pattern, inside, whole, users, counts: self.counts }
    }
}

fn bare(text: &str) -> String {
    text.replace([':', '-'], "")
}

/// Replaces it.
pub(super) struct Replacer {
    pattern: Option<Regex>,
    inside: HashMap<String, String>,
    whole: HashMap<String, String>,
    users: Vec<(String, String)>,
    counts: BTreeMap<Kind, usize>,
}

impl Replacer {
    /// A text, or a link.
    pub(super) fn text(&self, text: &str) -> String {
        let Some(pattern) = &self.pattern else { return text.to_owned() };
        let stand_in = |found: &Captures<'_>| {
            let stand_in = found.get(0).and_then(|part| self.inside.get(&part.as_str().to_lowercase()));
            stand_in.cloned().unwrap_or_else(|| SCRUBBED.to_owned())
        };
        pattern.replace_all(text, stand_in).into_owned()
    }

    /// A document.
    pub(super) fn value(&self, value: &Value) -> Value {
        self.below("", value)
    }

    fn below(&self, key: &str, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.property(key, text)),
            Value::Array(all) => all.iter().map(|one| self.below(key, one)).collect(),
            Value::Object(object) => {
                object.iter().map(|(key, one)| (self.text(key), self.below(key, one))).collect()
            }
            other => other.clone(),
        }
    }

    fn property(&self, key: &str, text: &str) -> String {
        let stand_in = Kind::of(key).and_then(|_| self.whole.get(&text.to_lowercase()));
        if let Some(stand_in) = stand_in {
            return stand_in.clone();
        }
        let mut text = self.text(text);
        // Logs name users in sentences.
        if matches!(key, "Message" | "MessageArgs") {
            for (user, stand_in) in &self.users {
                text = text.replace(user, stand_in);
            }
        }
        text
    }

    /// How many different values of each kind there were.
    pub(super) fn counts(&self) -> Vec<(&'static str, usize)> {
        self.counts.iter().map(|(kind, count)| (kind.name(), *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scrubbed(value: &Value) -> Value {
        let known = Known {
            host: Some("10.20.30.40".to_owned()),
            user: Some("operator".to_owned()),
            password: Some(Secret::new("hunter2!")),
        };
        let mut scrubber = Scrubber::new(&known);
        scrubber.learn(value);
        scrubber.replacer().value(value)
    }

    #[test]
    fn the_same_value_gets_the_same_stand_in_everywhere() {
        let found = scrubbed(&json!({
            "@odata.id": "/redfish/v1/Systems/FCH2114V1AB",
            "SerialNumber": "FCH2114V1AB",
            "UUID": "4C4C4544-0051-3010-8052-B4C04F303432",
            "Links": [{"@odata.id": "/redfish/v1/Systems/FCH2114V1AB/EthernetInterfaces/d08e79112233"}],
            "Description": "of fch2114v1ab, id 4c4c4544-0051-3010-8052-b4c04f303432",
            "MACAddress": "D0:8E:79:11:22:33",
        }));
        assert_eq!(found["@odata.id"], "/redfish/v1/Systems/SCRUBBED0001");
        assert_eq!(found["SerialNumber"], "SCRUBBED0001");
        assert_eq!(
            found["Links"][0]["@odata.id"],
            "/redfish/v1/Systems/SCRUBBED0001/EthernetInterfaces/020000000001"
        );
        assert_eq!(found["MACAddress"], "02:00:00:00:00:01");
        let text = found.to_string().to_lowercase();
        assert!(!text.contains("fch2114v1ab") && !text.contains("4c4c4544"), "{text}");
    }

    #[test]
    fn what_gets_one_in_is_gone_and_what_tells_nothing_stays() {
        let found = scrubbed(&json!({
            "Attributes": {"Users.2.UserName": "root", "Users.2.Password": "calvin", "SNMP.1.AgentCommunity": "public"},
            "Message": "operator logged in from 10.20.30.40 with hunter2!",
            "IPv4Addresses": [{"Address": "10.20.30.41", "SubnetMask": "255.255.255.0", "Gateway": "0.0.0.0"}],
            "HostName": "rack7-node3", "Uri": "https://10.9.8.7/x", "RoleId": "Administrator",
            "FirmwareVersion": "4.40.40.40", "SerialNumber": "Not Specified", "SKU": "", "PasswordSet": true,
        }));
        let text = found.to_string();
        for gone in
            ["calvin", "hunter2", "\"root\"", "operator", "10.20.30", "10.9.8.7", "rack7", "\"public\""]
        {
            assert!(!text.contains(gone), "{gone}: {text}");
        }
        for kept in
            ["255.255.255.0", "0.0.0.0", "Administrator", "4.40.40.40", "Not Specified", "PasswordSet"]
        {
            assert!(text.contains(kept), "{kept}: {text}");
        }
        assert_eq!(found["SKU"], "");
    }
}
