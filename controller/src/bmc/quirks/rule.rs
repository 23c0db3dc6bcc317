//! One rule: which BMCs it is for, and what it sets.

use serde::{Deserialize, Serialize};

use super::{
    values::Quirks,
    version::{Range, Version},
};

/// Longest text of a BMC that patterns are tried on.
const MAX_TEXT: usize = 256;

/// What a BMC says of itself and its machine. What is not known matches no pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Who made the machine, or the BMC if the machine does not say.
    pub vendor: Option<String>,
    /// Model of the machine: `PowerEdge R650`.
    pub model: Option<String>,
    /// Model or product name of the BMC: `iLO 5`, `14G Monolithic`.
    pub bmc: Option<String>,
    /// Version of the BMC's firmware.
    pub firmware: Option<String>,
}

/// A rule as a file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    /// Unique.
    name: String,
    /// For people: what the BMC does, where that is written.
    about: String,
    #[serde(rename = "match")]
    matches: WrittenMatch,
    set: toml::Table,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenMatch {
    vendor: Vec<String>,
    model: Vec<String>,
    bmc: Vec<String>,
    firmware: Option<String>,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Unique; a later rule of the same name replaces an earlier one.
    pub name: String,
    /// For people: what the BMC does, where that is written.
    pub about: String,
    vendor: Vec<String>,
    model: Vec<String>,
    bmc: Vec<String>,
    firmware: Option<Range>,
    /// The values of [`Quirks`] it sets.
    pub set: toml::Table,
}

impl Rule {
    /// Checks a rule; the text is what is wrong with it.
    pub(super) fn check(written: Written) -> Result<Self, String> {
        let Written { name, about, matches, set } = written;
        let of_rule = |problem: String| format!("rule \"{name}\": {problem}");
        let sane = !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !sane {
            return Err(format!(
                "rule \"{}\": a name has letters, digits, - _ . and is at most 64 long",
                name.escape_debug()
            ));
        }
        let is_any = |pattern: &String| pattern.chars().all(|c| c == '*' || c.is_whitespace());
        let named = [&matches.vendor, &matches.model, &matches.bmc];
        if named.into_iter().all(|patterns| patterns.is_empty() || patterns.iter().any(is_any)) {
            return Err(of_rule("it matches everything: name a vendor, a model or a bmc".to_owned()));
        }
        let firmware = matches.firmware.as_deref().map(Range::parse).transpose().map_err(&of_rule)?;
        // Values are checked here, so that matching cannot fail.
        let values =
            Quirks::deserialize(set.clone()).map_err(|error| of_rule(error.message().trim().to_owned()))?;
        values.check().map_err(of_rule)?;
        Ok(Self {
            name,
            about,
            vendor: matches.vendor,
            model: matches.model,
            bmc: matches.bmc,
            firmware,
            set,
        })
    }

    /// Whether it is for that BMC: all that it names must match, one of the patterns of each suffices.
    #[must_use]
    pub fn fits(&self, identity: &Identity) -> bool {
        let any = |patterns: &[String], text: Option<&str>| {
            patterns.is_empty() || text.is_some_and(|text| patterns.iter().any(|pattern| like(pattern, text)))
        };
        let firmware = || match &self.firmware {
            None => true,
            Some(range) => {
                let version = identity.firmware.as_deref().and_then(Version::find);
                version.is_some_and(|version| range.holds(&version))
            }
        };
        any(&self.vendor, identity.vendor.as_deref())
            && any(&self.model, identity.model.as_deref())
            && any(&self.bmc, identity.bmc.as_deref())
            && firmware()
    }

    /// What it matches on, for people.
    #[must_use]
    pub fn condition(&self) -> String {
        let list = |what: &str, patterns: &[String]| {
            (!patterns.is_empty()).then(|| format!("{what} {}", patterns.join(" | ")))
        };
        let parts = [
            list("vendor", &self.vendor),
            list("model", &self.model),
            list("bmc", &self.bmc),
            self.firmware.as_ref().map(|range| format!("firmware {range}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// Whether a text is as a pattern says, where `*` is any text; upper and lower case are the same.
fn like(pattern: &str, text: &str) -> bool {
    let text: String = text.chars().take(MAX_TEXT).collect::<String>().trim().to_lowercase();
    let pattern = pattern.to_lowercase();
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut pieces: Vec<_> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}
