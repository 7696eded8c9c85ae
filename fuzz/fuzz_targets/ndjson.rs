#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keylane_fuzz::targets::ndjson(data));
