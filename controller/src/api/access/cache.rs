//! What was proven a moment ago: bounded, and without keeping the secrets that proved it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use ring::{
    hmac::{self, HMAC_SHA256, Key},
    rand::SystemRandom,
};

/// Stands for a secret: whoever reads this memory cannot tell the secret, nor try guesses without the key.
pub(super) type Tag = [u8; 32];

/// Values by tag, each until a time.
pub(super) struct Cache<V> {
    key: Key,
    most: usize,
    entries: Mutex<HashMap<Tag, (V, Instant)>>,
}

impl<V: Clone> Cache<V> {
    /// A cache of at most `most` values, with a key of its own.
    pub(super) fn new(most: usize) -> Result<Self, ring::error::Unspecified> {
        let key = Key::generate(HMAC_SHA256, &SystemRandom::new())?;
        Ok(Self { key, most, entries: Mutex::default() })
    }

    /// The tag of a secret that has several parts.
    pub(super) fn tag(&self, parts: &[&[u8]]) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            // Lengths first: parts cannot flow into each other.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut tag = Tag::default();
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    pub(super) fn get(&self, tag: &Tag) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(tag).filter(|(_, until)| *until > Instant::now()).map(|(value, _)| value.clone())
    }

    pub(super) fn put(&self, tag: Tag, value: V, until: Instant) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.most && !entries.contains_key(&tag) {
            let now = Instant::now();
            entries.retain(|_, (_, until)| *until > now);
            // Still full: any one has to go.
            let victim = entries.keys().next().copied().filter(|_| entries.len() >= self.most);
            if let Some(victim) = victim {
                entries.remove(&victim);
            }
        }
        entries.insert(tag, (value, until));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn is_bounded_forgets_in_time_and_tells_parts_apart() {
        let cache = Cache::new(3).unwrap();
        let later = Instant::now() + Duration::from_secs(60);
        for secret in 0..10_u8 {
            cache.put(cache.tag(&[&[secret]]), secret, later);
        }
        assert_eq!(cache.entries.lock().unwrap().len(), 3);
        assert_eq!(cache.get(&cache.tag(&[&[9]])), Some(9));
        cache.put(cache.tag(&[b"old"]), 1, Instant::now());
        assert_eq!(cache.get(&cache.tag(&[b"old"])), None);
        assert_ne!(cache.tag(&[b"ab", b"c"]), cache.tag(&[b"a", b"bc"]));
        // Another process has another key.
        assert_ne!(cache.tag(&[b"a"]), Cache::<u8>::new(3).unwrap().tag(&[b"a"]));
    }
}
