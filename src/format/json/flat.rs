//! The fast path: flat objects whose keys come in an order that was seen before.
//!
//! The template is what stood between the values of earlier lines: `{"id":`, `,"name":`, and so
//! on, spaces included. A line that repeats it is read by comparing bytes, without looking at a
//! single key. `None` means only that this path is not certain; it is never an error.

use crate::format::column::Column;
use crate::format::object::Names;
use crate::format::rows::Rows;

/// What stands before each value of a usual line, and the column that the value goes to.
#[derive(Debug, Default)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    text: Box<[u8]>,
    column: Option<usize>,
}

/// Beyond this the lines have no usual form, and looking for one costs more than it gives.
const PIECES_MAX: usize = 512;

/// Reads one line into the columns. After `None`, some columns may have been written.
pub(super) fn read(
    text: &str,
    rows: &mut Rows,
    keys: &Names,
    template: &mut Template,
) -> Option<()> {
    let row = rows.len();
    let bytes = text.as_bytes();
    // Spaces around the object are not part of a whole-record column.
    if bytes.first() != Some(&b'{') {
        return None;
    }
    let (mut at, mut step) = (0, 0);
    loop {
        let (column, value) = template.match_piece(text, at, &mut step, keys)?;
        let target = match column {
            // A second value for the same key: the last one counts, which is not this path's job.
            Some(column) if rows.columns[column].len() != row => return None,
            Some(column) => Some(&mut rows.columns[column]),
            None => None,
        };
        at = append_value(text, value, target)?;
        if bytes.get(at) == Some(&b'}') {
            break;
        }
    }
    if at + 1 != bytes.len() {
        return None;
    }
    for &record in &rows.records {
        rows.columns[record].append_whole(text).ok()?;
    }
    for column in &mut rows.columns {
        if column.len() == row {
            column.append_null().ok()?;
        }
    }
    Some(())
}

impl Template {
    /// Goes past the brace or comma, key and colon at `at`; returns the key's column and where
    /// the value starts.
    #[inline]
    fn match_piece(
        &mut self,
        text: &str,
        at: usize,
        step: &mut usize,
        keys: &Names,
    ) -> Option<(Option<usize>, usize)> {
        if let Some(piece) = self.pieces.get(*step)
            && text.as_bytes()[at..].starts_with(&piece.text)
        {
            *step += 1;
            return Some((piece.column, at + piece.text.len()));
        }
        self.search_piece(text, at, step, keys)
    }

    /// A key that was not expected here: one that comes later, or a new one.
    #[inline(never)]
    fn search_piece(
        &mut self,
        text: &str,
        at: usize,
        step: &mut usize,
        keys: &Names,
    ) -> Option<(Option<usize>, usize)> {
        let (name, value) = key(text, at, *step == 0)?;
        let piece = &text.as_bytes()[at..value];
        let later = self
            .pieces
            .iter()
            .skip(*step)
            .position(|known| *known.text == *piece);
        if let Some(skipped) = later {
            *step += skipped;
        } else {
            if self.pieces.len() == PIECES_MAX {
                self.pieces.clear();
                *step = 0;
            }
            let column = keys.find(name);
            self.pieces.insert(
                *step,
                Piece {
                    text: piece.into(),
                    column,
                },
            );
        }
        let column = self.pieces[*step].column;
        *step += 1;
        Some((column, value))
    }
}

/// Reads `{ "key" :` or `, "key" :`; returns the key and where its value starts.
fn key(text: &str, at: usize, first: bool) -> Option<(&str, usize)> {
    let bytes = text.as_bytes();
    let opening = if first { b'{' } else { b',' };
    let at = skip_spaces(bytes, at);
    if bytes.get(at) != Some(&opening) {
        return None;
    }
    let at = skip_spaces(bytes, at + 1);
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let end = string_end(bytes, at + 1)?;
    let colon = skip_spaces(bytes, end + 1);
    if bytes.get(colon) != Some(&b':') {
        return None;
    }
    Some((&text[at + 1..end], skip_spaces(bytes, colon + 1)))
}

fn skip_spaces(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
        .count()
}

/// Reads the value at `at` into its column, if it has one; returns where it ends.
#[inline]
fn append_value(text: &str, at: usize, column: Option<&mut Column>) -> Option<usize> {
    let bytes = text.as_bytes();
    match *bytes.get(at)? {
        b'"' => {
            let end = string_end(bytes, at + 1)?;
            match column {
                Some(column) if column.is_json() => column.append_json(&text[at..=end]).ok()?,
                Some(column) => column.append_text(&text[at + 1..end]).ok()?,
                None => {}
            }
            Some(end + 1)
        }
        b'-' | b'0'..=b'9' => {
            let end = number_end(bytes, at)?;
            if let Some(column) = column {
                column.append_number(&text[at..end]).ok()?;
            }
            Some(end)
        }
        b't' | b'f' | b'n' => append_word(&bytes[at..], column).map(|len| at + len),
        _ => None,
    }
}

fn append_word(rest: &[u8], column: Option<&mut Column>) -> Option<usize> {
    let (word, value) = match rest {
        [b't', b'r', b'u', b'e', ..] => (4, Some(true)),
        [b'f', b'a', b'l', b's', b'e', ..] => (5, Some(false)),
        [b'n', b'u', b'l', b'l', ..] => (4, None),
        _ => return None,
    };
    match (column, value) {
        (Some(column), Some(value)) => column.append_boolean(value).ok()?,
        (Some(column), None) => column.append_null().ok()?,
        (None, _) => {}
    }
    Some(word)
}

/// Where the number that starts at `at` ends, if it is one by JSON's grammar.
#[inline]
fn number_end(bytes: &[u8], at: usize) -> Option<usize> {
    let digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let start = at + usize::from(bytes[at] == b'-');
    let mut end = digits(start);
    if end == start || (bytes[start] == b'0' && end > start + 1) {
        return None;
    }
    if bytes.get(end) == Some(&b'.') {
        let start = end + 1;
        end = digits(start);
        (end > start).then_some(())?;
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let start = end + 1 + sign;
        end = digits(start);
        (end > start).then_some(())?;
    }
    Some(end)
}

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);

/// Where the string that goes on at `at` has its closing quote; `None` if an escape or a control
/// character comes first, or nothing.
#[inline]
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(eight) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(eight.try_into().expect("eight bytes are eight bytes"));
        let stops = special_bytes(word);
        if stops != 0 {
            at += stops.trailing_zeros() as usize / 8;
            return (bytes[at] == b'"').then_some(at);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    let found = rest
        .iter()
        .position(|&byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
    (rest[found] == b'"').then_some(at + found)
}

/// The high bit of the lowest byte that is a quote, a backslash or a control character is set,
/// and none below it. (Bits above it may be set wrongly, by borrowing.)
#[inline]
fn special_bytes(word: u64) -> u64 {
    let quote = word ^ (ONES * u64::from(b'"'));
    let backslash = word ^ (ONES * u64::from(b'\\'));
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    (below(quote, 1) | below(backslash, 1) | below(word, 0x20)) & HIGHS
}
