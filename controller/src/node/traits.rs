//! Traits: names of what a node can do, which allocations ask for and deploy templates go by.

/// Most traits of one node.
pub const MAX_TRAITS: usize = 50;
/// Longest trait.
const MAX_LENGTH: usize = 255;
/// Prefixes of the standard traits of OpenStack (os-traits).
const STANDARD: &[&str] = &["COMPUTE_", "HW_", "MISC_", "OWNER_", "STORAGE_"];

/// Whether a text is a trait: a standard one of OpenStack by its form, or `CUSTOM_…` of `A-Z`, `0-9` and `_`.
#[must_use]
pub fn is_trait(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    let named = |prefix: &str| text.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
    plain && text.len() <= MAX_LENGTH && (named("CUSTOM_") || STANDARD.iter().any(|prefix| named(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traits_have_a_known_prefix_and_plain_letters() {
        for good in
            ["CUSTOM_GOLD", "CUSTOM_1", "HW_CPU_X86_VMX", "MISC_SHARES_VIA_AGGREGATE", "STORAGE_DISK_SSD"]
        {
            assert!(is_trait(good), "{good}");
        }
        let long = format!("CUSTOM_{}", "A".repeat(249));
        for bad in ["", "CUSTOM_", "HW_", "GOLD", "custom_gold", "CUSTOM_GÖLD", "CUSTOM_A-B", "HW CPU", &long]
        {
            assert!(!is_trait(bad), "{bad}");
        }
    }
}
