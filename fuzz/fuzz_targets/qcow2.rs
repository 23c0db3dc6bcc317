//! Images declared as qcow2: header, tables and data.
#![no_main]

use bessemer_agent::stream::qcow2::fuzz_layout;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // A refusal is as good as a disk; a panic is not.
    let _ = fuzz_layout(data);
});
