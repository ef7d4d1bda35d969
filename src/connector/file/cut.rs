//! Cuts a stream of bytes into blocks of whole records.
//!
//! ```text
//!   position      │◀────────── BLOCK_BYTES ──────────▶│
//!   bytes         record record record record rec·ord record ..
//!   block         └─────────────────────────┘└── next ──
//! ```
//!
//! A block ends at the last record end within `BLOCK_BYTES` of its start, so where it ends depends
//! on where it starts and on the bytes, and on nothing else: not on how much a read returned.
//!
//! A record that is larger than that makes the block as large as it needs, up to `look_ahead`,
//! which is well past the limit on a record. So whatever the decoder may accept arrives whole, and
//! memory stays bounded whatever the file holds. What has no end within it is bad in any case:
//!
//! * A quote that does not close, within the look-ahead or before the end of the file, is a
//!   mistake. Its record is taken to end with its first line, which is a block of its own; reading
//!   goes on with the next line. One stray quote costs one record, not the rest of the file.
//! * A line that long is passed on with one byte more than the limit, which is enough for it to be
//!   rejected as too long; the rest of it is skipped. Such a block, and no other, has fewer bytes
//!   than `end - start`.

use std::io::{self, Read};
use std::sync::Arc;

use crate::format::{Block, Framing, RecordEnds, count_lines};
use crate::types::Offset;

/// How large a block is meant to be: large enough that its overhead vanishes, small enough that
/// several are on their way at once.
const BLOCK_BYTES: usize = 1 << 20;

/// How large a block is meant to be: `usual`, or what a test asks for. Small files then make many.
pub(super) fn block_size(usual: usize) -> usize {
    static ASKED: std::sync::OnceLock<Option<usize>> = std::sync::OnceLock::new();
    let asked = || std::env::var("TIDEMARK_TEST_BLOCK").ok()?.parse().ok();
    ASKED.get_or_init(asked).unwrap_or(usual).max(1)
}

/// How many record limits a record is searched for its end: enough that a record which is merely too
/// long is one reject with all its bytes.
const LOOK_AHEAD: usize = 16;

/// Where that would be much memory, this is enough.
const LOOK_AHEAD_BYTES_MAX: usize = 64 << 20;

/// Yields the blocks of one stream, from a position on.
pub(super) struct Cutter<R> {
    input: R,
    framing: Framing,
    /// How large a block is meant to be.
    block_bytes: usize,
    /// The largest record that the decoder accepts.
    record_bytes_max: usize,
    /// What was read and not yet passed on; starts at `position`.
    buffer: Vec<u8>,
    /// Whether `input` has nothing more.
    drained: bool,
    position: Offset,
    line: u64,
    header: Option<Arc<Vec<String>>>,
}

impl<R: Read> Cutter<R> {
    /// Cuts what `input` yields; its first byte is the first of a record.
    pub(super) fn new(input: R, framing: Framing, record_bytes_max: usize) -> Self {
        Self {
            input,
            framing,
            block_bytes: block_size(BLOCK_BYTES),
            record_bytes_max,
            buffer: Vec::new(),
            drained: false,
            position: Offset(0),
            line: 1,
            header: None,
        }
    }

    /// What is put into every block, for finding columns by name.
    pub(super) fn with_header(self, header: Option<Arc<Vec<String>>>) -> Self {
        Self { header, ..self }
    }

    /// Blocks of another size, so that tests need no large input.
    #[cfg(test)]
    pub(super) fn with_block_bytes(self, block_bytes: usize) -> Self {
        Self {
            block_bytes,
            ..self
        }
    }

    /// Goes on to `target`, which is ahead, counting lines. Stops at the end of the input.
    pub(super) fn skip_to(&mut self, target: Offset) -> io::Result<()> {
        while self.position < target {
            let distance = usize::try_from(target.0 - self.position.0).unwrap_or(usize::MAX);
            self.fill(self.block_bytes)?;
            let consumed = distance.min(self.buffer.len());
            if consumed == 0 {
                return Ok(());
            }
            self.consume(consumed);
        }
        Ok(())
    }

    /// The next whole records, or the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Block>> {
        let look_ahead = self.look_ahead();
        let mut window = self.block_bytes;
        loop {
            self.fill(window)?;
            let bytes = &self.buffer[..window.min(self.buffer.len())];
            if bytes.is_empty() {
                return Ok(None);
            }
            let complete = if self.drained && bytes.len() == self.buffer.len() {
                Complete::Yes
            } else {
                Complete::No
            };
            let whole = whole_records(self.framing, bytes, complete);
            if whole > 0 {
                return Ok(Some(self.pass_on(whole)));
            }
            if complete == Complete::Yes || window == look_ahead {
                return self.pass_on_broken(window).map(Some);
            }
            window = window.saturating_mul(2).min(look_ahead);
        }
    }

    /// How far a record's end is looked for: at least as far as the longest record and its line
    /// end go.
    fn look_ahead(&self) -> usize {
        (self.record_bytes_max * LOOK_AHEAD)
            .min(LOOK_AHEAD_BYTES_MAX)
            .max(self.record_bytes_max + b"\r\n".len())
            .max(self.block_bytes)
    }

    /// The first record has no end within `window` bytes.
    fn pass_on_broken(&mut self, window: usize) -> io::Result<Block> {
        let bytes = &self.buffer[..window.min(self.buffer.len())];
        if let Some(line_end) = memchr::memchr(b'\n', bytes) {
            return Ok(self.pass_on(line_end + 1));
        }
        if bytes.len() <= self.record_bytes_max {
            let all = bytes.len();
            return Ok(self.pass_on(all));
        }
        let mut head = Block {
            bytes: Arc::new(bytes[..=self.record_bytes_max].to_vec()),
            start: self.position,
            end: self.position,
            line: self.line,
            header: self.header.clone(),
            columns: None,
            records: None,
        };
        loop {
            let line_end = memchr::memchr(b'\n', &self.buffer);
            self.consume(line_end.map_or(self.buffer.len(), |at| at + 1));
            if line_end.is_some() || self.drained {
                head.end = self.position;
                return Ok(head);
            }
            self.fill(self.block_bytes)?;
        }
    }

    /// The first `len` bytes as a block.
    fn pass_on(&mut self, len: usize) -> Block {
        let (start, line) = (self.position, self.line);
        self.advance(len);
        let mut rest = Vec::with_capacity(self.block_bytes.max(self.buffer.len() - len));
        rest.extend_from_slice(&self.buffer[len..]);
        let mut bytes = std::mem::replace(&mut self.buffer, rest);
        bytes.truncate(len);
        Block {
            bytes: Arc::new(bytes),
            start,
            end: self.position,
            line,
            header: self.header.clone(),
            columns: None,
            records: None,
        }
    }

    fn consume(&mut self, len: usize) {
        self.advance(len);
        self.buffer.drain(..len);
    }

    fn advance(&mut self, len: usize) {
        self.line += count_lines(&self.buffer[..len]);
        self.position = Offset(self.position.0 + len as u64);
    }

    /// Reads until the buffer holds `len` bytes or the input ends.
    fn fill(&mut self, len: usize) -> io::Result<()> {
        if self.drained || self.buffer.len() >= len {
            return Ok(());
        }
        let missing = len - self.buffer.len();
        self.buffer.reserve(missing);
        self.input
            .by_ref()
            .take(missing as u64)
            .read_to_end(&mut self.buffer)?;
        self.drained = self.buffer.len() < len;
        Ok(())
    }
}

/// Whether the bytes at hand go up to the end of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Complete {
    Yes,
    No,
}

/// How many of `bytes`, which start with a record, are whole records. At the end of the input the
/// last record needs no line end, but its quotes must be closed.
fn whole_records(framing: Framing, bytes: &[u8], complete: Complete) -> usize {
    let mut ends = RecordEnds::new(framing);
    let last = ends.scan(bytes).unwrap_or(0);
    let ended = last == bytes.len() || ends.scan(b"\n").is_some();
    match complete {
        Complete::Yes if ended => bytes.len(),
        Complete::Yes | Complete::No => last,
    }
}
