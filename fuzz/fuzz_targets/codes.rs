#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pare_fuzz::codes(bytes));
