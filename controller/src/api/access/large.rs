//! Large bodies: only a few are in memory at the same moment.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::routes::{Object, Route};
use crate::api::{error::ApiError, json};

/// How many at once, of each kind.
const AT_ONCE: usize = 4;
/// How long a request waits for its turn.
const WAITS: Duration = Duration::from_secs(20);

/// Places for bodies that are larger than most. Cheap to clone.
#[derive(Clone)]
pub(super) struct LargeBodies {
    /// Config drives.
    known: Arc<Semaphore>,
    /// Inspection data: who sends those is not known, and must not keep config drives waiting.
    unknown: Arc<Semaphore>,
}

impl Default for LargeBodies {
    fn default() -> Self {
        Self { known: Arc::new(Semaphore::new(AT_ONCE)), unknown: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl LargeBodies {
    /// A place for the body of a request until the permit is dropped; 503 when none is free for too long.
    pub(super) async fn place(
        &self,
        route: &Route,
        headers: &HeaderMap,
    ) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        let places = match route.object {
            Object::Provision => &self.known,
            Object::Public if route.method == "POST" => &self.unknown,
            _ => return Ok(None),
        };
        if is_small(headers) {
            return Ok(None);
        }
        let turn = tokio::time::timeout(WAITS, Arc::clone(places).acquire_owned()).await;
        turn.ok().and_then(Result::ok).map(Some).ok_or_else(|| {
            let sentence = "Too many large request bodies are being received: try again in a moment.";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, sentence)
        })
    }
}

/// Whether the body says that it is not large. One without a length may become so.
fn is_small(headers: &HeaderMap) -> bool {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return false;
    }
    let length = headers.get(header::CONTENT_LENGTH);
    length.is_none_or(|length| {
        length
            .to_str()
            .ok()
            .and_then(|text| text.parse().ok())
            .is_some_and(|bytes: usize| bytes <= json::MAX_BYTES)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::access::routes::{Found, find};

    fn route(method: &str, path: &str) -> &'static Route {
        match find(method, path) {
            Found::Route(route) => route,
            other => panic!("{other:?}"),
        }
    }

    fn request(name: header::HeaderName, value: &str) -> HeaderMap {
        [(name, value.parse().unwrap())].into_iter().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_large_bodies_at_once_and_small_ones_always() {
        let bodies = LargeBodies::default();
        let provision = route("PUT", "/v1/nodes/{node}/states/provision");
        let large = request(header::CONTENT_LENGTH, "1048577");
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(bodies.place(provision, &large).await.unwrap().unwrap());
        }
        for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
            let value = if name == header::CONTENT_LENGTH { "104857600" } else { "chunked" };
            let refused = bodies.place(provision, &request(name, value)).await.unwrap_err();
            assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
        let small = request(header::CONTENT_LENGTH, "1048576");
        assert!(bodies.place(provision, &small).await.unwrap().is_none());
        // Strangers have places of their own.
        let inspection = route("POST", "/v1/continue_inspection");
        assert!(bodies.place(inspection, &large).await.unwrap().is_some());
        // Who waits gets the next place.
        let waits = bodies.place(provision, &large);
        let frees = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            held.pop();
        };
        assert!(tokio::join!(waits, frees).0.unwrap().is_some());
    }
}
