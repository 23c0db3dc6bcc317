//! Whether an iLO's licence has virtual media. Names of licences: HPE iLO Licensing Guide.

use crate::bmc::BmcError;

/// In names of licences, in lower case, of those that lack virtual media. Standard licences of blades have it.
const LACKING: [&str; 2] = ["standard", "scale-out"];
const BLADE: &str = "blade";

/// Whether one of these licences has virtual media. A name that is not known is given the benefit of the doubt: the iLO
/// itself then says no.
pub(super) fn has_virtual_media<'a>(names: impl IntoIterator<Item = &'a str>) -> bool {
    names.into_iter().any(|name| {
        let name = name.to_ascii_lowercase();
        !name.trim().is_empty() && (name.contains(BLADE) || !LACKING.iter().any(|word| name.contains(word)))
    })
}

pub(super) fn missing(address: &str) -> BmcError {
    BmcError::Licence {
        address: address.to_owned(),
        feature: "virtual media",
        licence: "an iLO Advanced licence",
    }
}

#[cfg(test)]
mod tests {
    use super::has_virtual_media;

    #[test]
    fn only_licences_known_to_lack_it_are_refused() {
        for (names, has) in [
            (&["iLO 4 Advanced"][..], true),
            (&["iLO Advanced"], true),
            (&["iLO 4 Standard"], false),
            (&["iLO 4 Standard", "iLO 4 Advanced"], true),
            (&["iLO Standard Blade Edition"], true),
            (&["iLO Scale-Out"], false),
            (&["iLO 9 Marvellous"], true),
            (&[""], false),
            (&[], false),
        ] {
            assert_eq!(has_virtual_media(names.iter().copied()), has, "{names:?}");
        }
    }
}
