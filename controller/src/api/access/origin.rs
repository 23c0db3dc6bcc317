//! Web pages may not drive the API: what a browser sends on behalf of another site is refused.
//!
//! A page on the operator's own machine could otherwise command a controller that listens on loopback without
//! authentication, or use credentials that the browser remembers.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, uri::Authority};
use url::Url;

use crate::api::{AuthStrategy, Config, error::ApiError};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is refused, if it is.
pub(in crate::api) fn refusal(headers: &HeaderMap, config: &Config, hostname: &str) -> Option<ApiError> {
    let forbidden = |sentence: String| Some(ApiError::new(StatusCode::FORBIDDEN, sentence));
    if headers.get_all(SEC_FETCH_SITE).iter().any(|site| site != "none" && site != "same-origin") {
        return forbidden("Requests of other web sites are refused.".to_owned());
    }
    let host = authority(headers);
    for origin in headers.get_all(header::ORIGIN) {
        if !is_own(origin, host.as_ref(), config) {
            return forbidden("Requests of other web sites are refused: Origin is not this API.".to_owned());
        }
    }
    // Without authentication the name is all that tells a page whose name was bound to our address.
    if config.auth_strategy == AuthStrategy::Noauth
        && headers.contains_key(header::HOST)
        && !host.as_ref().is_some_and(|host| is_name_of_ours(host.host(), config, hostname))
    {
        let name: String = host.as_ref().map_or("", Authority::host).chars().take(255).collect();
        return forbidden(format!(
            "The Host \"{name}\" is no name of this controller: add it to api.allowed_hosts if it is."
        ));
    }
    None
}

fn authority(headers: &HeaderMap) -> Option<Authority> {
    Authority::try_from(headers.get(header::HOST)?.as_bytes()).ok()
}

fn is_own(origin: &HeaderValue, host: Option<&Authority>, config: &Config) -> bool {
    let Some(origin) = origin.to_str().ok().and_then(|text| text.parse::<Url>().ok()) else { return false };
    let is_public = config.public_endpoint.as_ref().is_some_and(|url| url.origin() == origin.origin());
    let is_host = host.is_some_and(|host| {
        let own = format!("{}://{host}", origin.scheme()).parse::<Url>();
        own.is_ok_and(|own| own.origin() == origin.origin())
    });
    origin.origin().is_tuple() && (is_public || is_host)
}

/// Addresses cannot be bound to another name; names must be known.
fn is_name_of_ours(host: &str, config: &Config, hostname: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let public = config.public_endpoint.as_ref().and_then(Url::host_str);
    address.is_ok()
        || host == "localhost"
        || host.ends_with(".localhost")
        || host.eq_ignore_ascii_case(hostname)
        || public.is_some_and(|public| host.eq_ignore_ascii_case(public))
        || config.allowed_hosts.iter().any(|allowed| host.eq_ignore_ascii_case(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(config: &Config, pairs: &[(&'static str, &str)]) -> bool {
        let headers = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
        refusal(&headers.collect(), config, "controller-1").is_some()
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        for auth_strategy in [AuthStrategy::Noauth, AuthStrategy::HttpBasic] {
            let config = Config { auth_strategy, ..Config::default() };
            let host = ("host", "127.0.0.1:6385");
            assert!(!refused(&config, &[host]));
            for site in ["cross-site", "same-site", "nonsense"] {
                assert!(refused(&config, &[host, ("sec-fetch-site", site)]), "{site}");
            }
            assert!(!refused(&config, &[host, ("sec-fetch-site", "none")]));
            for origin in [
                "http://evil.example",
                "null",
                "http://127.0.0.1:8080",
                "file://",
                "",
                "https://127.0.0.1:6385x",
            ] {
                assert!(refused(&config, &[host, ("origin", origin)]), "{origin}");
            }
            assert!(!refused(&config, &[host, ("origin", "http://127.0.0.1:6385")]));
        }
    }

    #[test]
    fn a_name_bound_to_our_address_is_refused_where_nothing_else_protects() {
        let config = Config { allowed_hosts: vec!["Metal.Example".into()], ..Config::default() };
        for good in
            ["127.0.0.1:6385", "[::1]:6385", "localhost:6385", "metal.example", "CONTROLLER-1:1", "10.1.2.3"]
        {
            assert!(!refused(&config, &[("host", good)]), "{good}");
        }
        for bad in ["evil.example:6385", "127.0.0.1.evil.example", "localhost.evil.example", "", "a b"] {
            assert!(refused(&config, &[("host", bad)]), "{bad}");
        }
        let config = Config { auth_strategy: AuthStrategy::HttpBasic, ..Config::default() };
        assert!(!refused(&config, &[("host", "metal.example")]));
    }
}
