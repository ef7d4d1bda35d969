//! What stands in a file before its first record: a byte-order mark, a header line.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::find::Compression;
use crate::format::{FormatError, FormatOptions, read_preamble};
use crate::types::Offset;

/// How much is read at first; nearly every header is shorter.
const FIRST_BYTES: u64 = 16 << 10;

/// The part of a file before its first record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Where the first record starts.
    pub(super) first: Offset,
    /// The column names, where the file has a header line.
    pub(super) header: Option<Arc<Vec<String>>>,
}

impl Head {
    /// Reads as far as the header goes, but no further than a record may.
    pub(super) fn read(path: &Path, format: &FormatOptions) -> io::Result<Self> {
        let invalid = |error: FormatError| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut input = Compression::of(path).open(path, u64::MAX)?;
        let mut start = Vec::new();
        let mut more = FIRST_BYTES;
        loop {
            let before = start.len();
            input.by_ref().take(more).read_to_end(&mut start)?;
            let preamble = read_preamble(&start, format).map_err(invalid);
            let all = start.len() - before < usize::try_from(more).unwrap_or(usize::MAX);
            let long = start.len() > format.record_bytes_max;
            // What ends with the last byte read may go on behind it.
            let ends = preamble
                .as_ref()
                .is_ok_and(|preamble| preamble.bytes < start.len());
            if ends || all || long {
                let preamble = preamble?;
                return Ok(Self {
                    first: Offset(preamble.bytes as u64),
                    header: preamble.header.map(Arc::new),
                });
            }
            more = start.len() as u64;
        }
    }
}
