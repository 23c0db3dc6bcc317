//! The generated code in `src/generated/` must be what the `.proto` files say.
//! Run `BESSEMER_REGENERATE=1 cargo test -p bessemer-proto --test regenerate` after changing one.

use std::{fs, path::Path};

#[test]
fn generated_code_matches_the_proto_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors =
        protox::compile([root.join("defs/bessemer/agent/v1/agent.proto")], [root.join("defs")]).unwrap();
    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure().out_dir(out.path()).compile_fds(descriptors).unwrap();

    let name = "bessemer.agent.v1.rs";
    let fresh = fs::read_to_string(out.path().join(name)).unwrap();
    let kept = root.join("src/generated").join(name);
    if std::env::var_os("BESSEMER_REGENERATE").is_some() {
        fs::write(&kept, &fresh).unwrap();
    }
    let old = fs::read_to_string(&kept).unwrap_or_default();
    assert!(old == fresh, "{} is stale: run this test with BESSEMER_REGENERATE=1", kept.display());
}
