//! Recordings from bytes, for `crate::fuzzing`.

use super::{
    BLOCK_MAGIC, MAGIC, RecordingError, RecordingReader, VERSION, block_numbers, checksum,
};
use crate::fuzzing::with_file;

/// The bytes as a recording, and as the payload of a block whose checksum is right: no mutation
/// would find one.
pub fn recording(bytes: &[u8]) {
    read(bytes);
    let [lines, raw, payload @ ..] = bytes else {
        return;
    };
    let numbers = block_numbers(
        0,
        u32::from(*lines),
        u32::from(*raw) * 16,
        payload.len() as u32,
    );
    let mut sealed = MAGIC.to_vec();
    sealed.extend(VERSION.to_le_bytes());
    sealed.extend(BLOCK_MAGIC);
    sealed.extend(numbers);
    sealed.extend(checksum(&numbers, payload).to_le_bytes());
    sealed.extend(payload);
    read(&sealed);
}

fn read(bytes: &[u8]) {
    with_file(bytes, |path| {
        if let Ok(reader) = RecordingReader::open(path) {
            let _ = reader.each_record(|_, _| Ok::<_, RecordingError>(()));
        }
    });
}
