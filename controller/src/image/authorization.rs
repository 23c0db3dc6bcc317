//! What opens an image's server: the `Authorization` header of `image_request_authorization_secret`.

use std::fmt;

use bessemer_proto::secret::Secret;
use http::HeaderValue;
use url::{Origin, Url};

/// The header's value, for the scheme, host and port of one image and for no other server.
#[derive(Clone, PartialEq)]
pub(super) struct Authorization {
    origin: Origin,
    value: HeaderValue,
    secret: Secret,
}

impl Authorization {
    /// `None` when the text can be no header.
    pub(super) fn new(text: &str, image: &Url) -> Option<Self> {
        let mut value = HeaderValue::from_str(text).ok()?;
        value.set_sensitive(true);
        Some(Self { origin: image.origin(), value, secret: Secret::new(text) })
    }

    /// What a request for `url` must carry.
    pub(super) fn header_for(&self, url: &Url) -> Option<HeaderValue> {
        (url.origin() == self.origin).then(|| self.value.clone())
    }

    /// For the agent, which asks the server itself.
    pub(super) fn secret(&self) -> Secret {
        self.secret.clone()
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("******")
    }
}
