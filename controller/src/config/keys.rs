//! Which keys there are: asked of the `Config` types themselves, so that no second list can be wrong.

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, Visitor, value::Error},
    forward_to_deserialize_any,
};
use toml::de::DeTable;

use super::Config;
use crate::{agents, api, bmc, boot, console, drivers, files, image, notify, reconcile, sensors, store};

/// Says which keys a section has.
type Keys = fn() -> &'static [&'static str];

/// The sections and their keys, in the order of the documentation.
pub(super) const SECTIONS: &[(&str, Keys)] = &[
    ("store", keys_of::<store::Config>),
    ("api", keys_of::<api::Config>),
    ("keystone", keys_of::<api::access::keystone::Config>),
    ("agents", keys_of::<agents::Config>),
    ("files", keys_of::<files::Config>),
    ("boot", keys_of::<boot::Config>),
    ("images", keys_of::<image::Config>),
    ("bmc", keys_of::<bmc::Config>),
    ("conductor", keys_of::<reconcile::Config>),
    ("console", keys_of::<console::Config>),
    ("ilo", keys_of::<drivers::IloConfig>),
    ("sensor_data", keys_of::<sensors::Config>),
    ("notifications", keys_of::<notify::Config>),
];

/// A key that does not exist.
pub(super) struct Unknown {
    /// Byte offset in the file.
    pub(super) at: usize,
    pub(super) key: String,
    pub(super) section: String,
    pub(super) nearest: Option<String>,
}

/// The first unknown key of a file.
pub(super) fn unknown(file: &DeTable<'_>) -> Option<Unknown> {
    let top = unknown_in(file, "the top of the file", keys_of::<Config>());
    top.or_else(|| {
        file.iter().find_map(|(name, value)| {
            let (section, keys) = SECTIONS.iter().find(|(section, _)| *section == name.get_ref())?;
            unknown_in(value.get_ref().as_table()?, &format!("section [{section}]"), keys())
        })
    })
}

fn unknown_in(table: &DeTable<'_>, section: &str, known: &[&str]) -> Option<Unknown> {
    let (key, _) = table.iter().find(|(key, _)| !known.contains(&key.get_ref().as_ref()))?;
    let name: String = key.get_ref().chars().take(64).collect();
    Some(Unknown {
        at: key.span().start,
        section: section.to_owned(),
        nearest: nearest(&name, known, section),
        key: name,
    })
}

/// The nearest key of the same section, else where a key of that very name is.
fn nearest(name: &str, known: &[&str], section: &str) -> Option<String> {
    let near = known
        .iter()
        .map(|key| (strsim::damerau_levenshtein(name, key), *key))
        .min()
        .filter(|(distance, key)| *distance <= key.len().max(3) / 3)
        .map(|(_, key)| key.to_owned());
    near.or_else(|| {
        SECTIONS
            .iter()
            .find(|(other, keys)| !section.contains(other) && keys().contains(&name))
            .map(|(other, _)| format!("{name} in section [{other}]"))
    })
}

/// The fields of a struct, as serde knows them.
pub(super) fn keys_of<T: Deserialize<'static>>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // Always fails: it only asks.
    T::deserialize(FieldNames(&mut fields)).err();
    fields
}

struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Err(Error::custom("only the names were wanted"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
