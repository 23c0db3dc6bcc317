//! Images declared as gzip.
#![no_main]

use bessemer_agent::stream::fuzzing::unpack;
use bessemer_proto::step::ImageFormat;

libfuzzer_sys::fuzz_target!(|data: &[u8]| unpack(data, ImageFormat::Gzip));
