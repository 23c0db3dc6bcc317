//! Manifests in both forms. What is read must survive being written.
#![no_main]

use bessemer_proto::manifest::Manifest;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(manifest) = Manifest::parse(data) {
        let again = Manifest::parse(manifest.to_json().as_bytes());
        assert_eq!(again.ok().as_ref(), Some(&manifest));
    }
});
