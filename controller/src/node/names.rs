//! Names of nodes.

use uuid::Uuid;

/// Longest name, in characters.
pub const MAX_NAME: usize = 255;
/// Words that cannot be node names because they are paths.
const RESERVED_NAMES: &[&str] = &[
    "allocation",
    "bios",
    "children",
    "detail",
    "firmware",
    "history",
    "inventory",
    "logs",
    "maintenance",
    "management",
    "portgroups",
    "ports",
    "states",
    "traits",
    "validate",
    "vendor_passthru",
    "vifs",
    "vmedia",
    "volume",
];

/// Whether it is a path of the API and therefore no name.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED_NAMES.contains(&name)
}

/// Refuses what cannot be the name of a node; the error is a sentence.
pub fn check_name(name: &str, refusal: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
    let is_long = name.chars().count() > MAX_NAME;
    if is_long || name.is_empty() || !name.chars().all(allowed) || name.chars().all(|c| c == '.') {
        let name: String = name.chars().take(64).collect();
        return Err(format!("{refusal} '{name}'"));
    }
    if name.parse::<Uuid>().is_ok() {
        return Err(format!("Cannot use the name '{name}' for a node: it is a UUID."));
    }
    if is_reserved(name) {
        return Err(format!("The word '{name}' is reserved and can not be used as a node name."));
    }
    Ok(())
}
