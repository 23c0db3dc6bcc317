//! Microversions: `1.N`, negotiated by header.

use http::{HeaderMap, HeaderName};

/// Oldest minor version that is served.
pub(super) const MINIMUM: u16 = 1;
/// Newest minor version that is served.
pub(super) const MAXIMUM: u16 = 115;

/// Ironic's own request and answer header.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-openstack-ironic-api-version");
/// Answer header with the oldest version.
pub(super) const HEADER_MINIMUM: HeaderName =
    HeaderName::from_static("x-openstack-ironic-api-minimum-version");
/// Answer header with the newest version.
pub(super) const HEADER_MAXIMUM: HeaderName =
    HeaderName::from_static("x-openstack-ironic-api-maximum-version");
/// The header all OpenStack services share: `baremetal 1.N`.
const SHARED_HEADER: HeaderName = HeaderName::from_static("openstack-api-version");

/// The minor version that a request is answered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u16);

/// Why a version cannot be served; a sentence.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum VersionError {
    /// Not of the form `1.N`.
    #[error(
        "Invalid value for {header} header: \"{value}\". Use 1.N with N from {MINIMUM} to {MAXIMUM}, or latest."
    )]
    Malformed {
        /// Which header.
        header: &'static str,
        /// What it said, shortened.
        value: String,
    },
    /// Out of range.
    #[error(
        "Version {0} was requested but the minor version is not supported by this service. The supported version \
         range is: [1.{MINIMUM}, 1.{MAXIMUM}]."
    )]
    Unsupported(String),
    /// Not version 1.
    #[error("Invalid major version requested: {0}. This service has version 1 only.")]
    Major(String),
}

impl Version {
    /// Reads the version of a request; none asked means the oldest.
    pub(super) fn negotiate(headers: &HeaderMap) -> Result<Self, VersionError> {
        if let Some(value) = headers.get(&HEADER) {
            let text = String::from_utf8_lossy(value.as_bytes());
            return Self::parse(text.trim(), "X-OpenStack-Ironic-API-Version");
        }
        for value in headers.get_all(SHARED_HEADER) {
            let text = String::from_utf8_lossy(value.as_bytes());
            for item in text.split(',') {
                if let Some((service, version)) = item.trim().split_once(' ')
                    && service.eq_ignore_ascii_case("baremetal")
                {
                    return Self::parse(version.trim(), "OpenStack-API-Version");
                }
            }
        }
        Ok(Self(MINIMUM))
    }

    fn parse(text: &str, header: &'static str) -> Result<Self, VersionError> {
        if text.eq_ignore_ascii_case("latest") {
            return Ok(Self(MAXIMUM));
        }
        let shortened = || text.chars().take(32).collect::<String>();
        let malformed = || VersionError::Malformed { header, value: shortened() };
        let (major, minor) = text.split_once('.').ok_or_else(malformed)?;
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(major) || !digits(minor) {
            return Err(malformed());
        }
        if major != "1" {
            return Err(VersionError::Major(shortened()));
        }
        match minor.parse() {
            Ok(minor) if (MINIMUM..=MAXIMUM).contains(&minor) => Ok(Self(minor)),
            _ => Err(VersionError::Unsupported(shortened())),
        }
    }

    /// Whether something that came with `1.minor` is known to the client.
    pub(super) fn has(self, minor: u16) -> bool {
        self.0 >= minor
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiate(pairs: &[(&'static str, &str)]) -> Result<Version, VersionError> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        Version::negotiate(&headers)
    }

    #[test]
    fn reads_both_headers_and_defaults_to_the_oldest() {
        assert_eq!(negotiate(&[]), Ok(Version(1)));
        assert_eq!(negotiate(&[("x-openstack-ironic-api-version", "1.115")]), Ok(Version(115)));
        assert_eq!(negotiate(&[("x-openstack-ironic-api-version", "latest")]), Ok(Version(115)));
        assert_eq!(negotiate(&[("openstack-api-version", "baremetal 1.80")]), Ok(Version(80)));
        assert_eq!(
            negotiate(&[("openstack-api-version", "compute 2.1, baremetal latest")]),
            Ok(Version(115))
        );
        assert_eq!(negotiate(&[("openstack-api-version", "compute 2.1")]), Ok(Version(1)));
    }

    #[test]
    fn refuses_what_it_does_not_serve() {
        for bad in ["1.0", "1.116", "1.999", "1.99999999999"] {
            assert_eq!(
                negotiate(&[("x-openstack-ironic-api-version", bad)]),
                Err(VersionError::Unsupported(bad.into()))
            );
        }
        assert_eq!(
            negotiate(&[("x-openstack-ironic-api-version", "2.1")]),
            Err(VersionError::Major("2.1".into()))
        );
        for bad in ["", "1", "1.", "x.y", "1.+5", "-1.5"] {
            let answer = negotiate(&[("x-openstack-ironic-api-version", bad)]);
            assert!(matches!(answer, Err(VersionError::Malformed { .. })), "{bad:?}: {answer:?}");
        }
    }
}
