//! Where records end, found without decoding them, so that a reader can cut blocks.
//!
//! ```text
//!   bytes of a file ──▶ RecordEnds::scan(chunk) ──▶ the last record end in the chunk
//! ```
//!
//! The ends are a property of the bytes alone: however a stream is cut into chunks, the same
//! ends are found. The CSV decoder splits a block by the same rules.

use memchr::{memchr, memchr_iter, memchr2, memrchr};

/// How a stream of bytes falls into records, so that blocks can be cut without decoding them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A record ends at every line end.
    Lines,
    /// A record ends at a line end outside of quotes.
    QuotedLines {
        /// The quote. It opens only at the start of a field; elsewhere it is text.
        quote: u8,
        /// What stands between fields.
        delimiter: u8,
    },
}

/// Follows a stream of bytes from the start of a record on and finds where records end.
#[derive(Clone, Debug)]
pub struct RecordEnds {
    framing: Framing,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first byte of a field: a quote here opens.
    FieldStart,
    /// In a field without quotes, or after its closing quote.
    Unquoted,
    /// Between an opening quote and its closing one.
    Quoted,
    /// After a quote inside quotes: it closes, or another one makes both one quote of text.
    QuoteInQuotes,
}

impl RecordEnds {
    /// A scanner that stands at the start of a record.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            state: State::FieldStart,
        }
    }

    /// Takes the next bytes; returns the place in `chunk` after the last record that ends in it.
    pub fn scan(&mut self, chunk: &[u8]) -> Option<usize> {
        match self.framing {
            Framing::Lines => memrchr(b'\n', chunk).map(|at| at + 1),
            Framing::QuotedLines { quote, delimiter } => self.last_quoted(chunk, quote, delimiter),
        }
    }

    /// Takes the next bytes; returns the place in `chunk` after the first record that ends in it,
    /// where the scanner then stands. `None`: all of `chunk` was taken and no record ends in it.
    pub fn scan_one(&mut self, chunk: &[u8]) -> Option<usize> {
        match self.framing {
            Framing::Lines => memchr(b'\n', chunk).map(|at| at + 1),
            Framing::QuotedLines { quote, delimiter } => self.next_quoted(chunk, quote, delimiter),
        }
    }

    /// Goes from quote to quote; line ends are looked for backwards in what lies between.
    fn last_quoted(&mut self, chunk: &[u8], quote: u8, delimiter: u8) -> Option<usize> {
        let (mut at, mut last) = (0, None);
        loop {
            match self.state {
                State::Quoted => {
                    let Some(found) = memchr(quote, &chunk[at..]) else {
                        return last;
                    };
                    self.state = State::QuoteInQuotes;
                    at += found + 1;
                }
                State::FieldStart | State::QuoteInQuotes if chunk.get(at) == Some(&quote) => {
                    self.state = State::Quoted;
                    at += 1;
                }
                State::FieldStart | State::QuoteInQuotes | State::Unquoted => {
                    let stretch = &chunk[at..];
                    let stretch = &stretch[..memchr(quote, stretch).unwrap_or(stretch.len())];
                    if let Some(found) = memrchr(b'\n', stretch) {
                        last = Some(at + found + 1);
                    }
                    self.after_unquoted(stretch, delimiter);
                    at += stretch.len();
                    if at == chunk.len() {
                        return last;
                    }
                    // At a quote: it opens if a field starts here, otherwise it is text.
                    at += usize::from(self.state == State::Unquoted);
                }
            }
        }
    }

    fn next_quoted(&mut self, chunk: &[u8], quote: u8, delimiter: u8) -> Option<usize> {
        let mut at = 0;
        while let Some(&byte) = chunk.get(at) {
            match self.state {
                State::FieldStart if byte == quote => {
                    self.state = State::Quoted;
                    at += 1;
                }
                State::QuoteInQuotes if byte == quote => {
                    self.state = State::Quoted;
                    at += 1;
                }
                State::Quoted => match memchr(quote, &chunk[at..]) {
                    Some(found) => {
                        self.state = State::QuoteInQuotes;
                        at += found + 1;
                    }
                    None => return None,
                },
                State::FieldStart | State::QuoteInQuotes | State::Unquoted => {
                    self.state = State::Unquoted;
                    let Some(found) = memchr2(b'\n', quote, &chunk[at..]) else {
                        self.after_unquoted(&chunk[at..], delimiter);
                        return None;
                    };
                    let place = at + found;
                    if chunk[place] == b'\n' {
                        self.state = State::FieldStart;
                        return Some(place + 1);
                    }
                    // A quote: it opens only right after a delimiter of this unquoted stretch.
                    if found > 0 && chunk[place - 1] == delimiter {
                        self.state = State::Quoted;
                    }
                    at = place + 1;
                }
            }
        }
        None
    }

    /// After bytes outside of quotes, without a quote among them: whether a field starts next.
    fn after_unquoted(&mut self, stretch: &[u8], delimiter: u8) {
        if let Some(&last) = stretch.last() {
            let starts = last == delimiter || last == b'\n';
            self.state = if starts {
                State::FieldStart
            } else {
                State::Unquoted
            };
        }
    }
}

/// The place after the last whole record in `bytes`, which start at a record; 0 if none ends.
#[must_use]
pub fn last_record_end(bytes: &[u8], framing: Framing) -> usize {
    RecordEnds::new(framing).scan(bytes).unwrap_or(0)
}

/// How many line ends there are: by how much the line number of the next block is higher.
#[must_use]
pub fn count_lines(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CSV: Framing = Framing::QuotedLines {
        quote: b'"',
        delimiter: b',',
    };

    /// The rules, byte by byte.
    fn slow_ends(bytes: &[u8]) -> Vec<usize> {
        let (mut ends, mut state) = (Vec::new(), State::FieldStart);
        for (at, &byte) in bytes.iter().enumerate() {
            state = match (state, byte) {
                (State::FieldStart | State::QuoteInQuotes, b'"') => State::Quoted,
                (State::Quoted, b'"') => State::QuoteInQuotes,
                (State::Quoted, _) => State::Quoted,
                (_, b',') => State::FieldStart,
                (_, b'\n') => {
                    ends.push(at + 1);
                    State::FieldStart
                }
                (_, _) => State::Unquoted,
            };
        }
        ends
    }

    #[test]
    fn a_line_end_in_quotes_ends_no_record() {
        assert_eq!(last_record_end(b"a,\"b\nc\"\nd,e", CSV), 8);
        assert_eq!(last_record_end(b"a,\"b\nc\"\nd,e", Framing::Lines), 8);
        assert_eq!(last_record_end(b"a,\"b\nc", CSV), 0);
        assert_eq!(last_record_end(b"a,\"b\nc", Framing::Lines), 5);
    }

    #[test]
    fn a_quote_in_the_middle_of_a_field_is_text() {
        assert_eq!(last_record_end(b"5\" pipe,1\n6\" pipe,2\n", CSV), 20);
        assert_eq!(last_record_end(b"\"a\"b\"c,1\n", CSV), 9);
    }

    proptest! {
        #[test]
        fn the_ends_are_those_of_the_rules_however_the_bytes_arrive(
            text in "[a,\"\n]{0,40}", cuts in prop::collection::vec(0_usize..40, 0..4),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let expected = slow_ends(bytes);

            let mut ends = RecordEnds::new(CSV);
            let last = cuts.windows(2).filter_map(|cut| {
                ends.scan(&bytes[cut[0]..cut[1]]).map(|end| cut[0] + end)
            }).last();
            let mut one = RecordEnds::new(CSV);
            let mut found = Vec::new();
            for cut in cuts.windows(2) {
                let mut from = cut[0];
                while let Some(end) = one.scan_one(&bytes[from..cut[1]]) {
                    from += end;
                    found.push(from);
                }
            }

            prop_assert_eq!(last, expected.last().copied());
            prop_assert_eq!(found, expected);
        }
    }
}
