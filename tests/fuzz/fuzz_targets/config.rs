#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gaze_host::fuzzing::config(bytes));
