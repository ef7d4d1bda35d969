//! The fast path: objects whose keys come in an order that was seen before. Flat ones are the
//! fastest; a nested value is one step, taken by the JSON library.
//!
//! The template is what stood between the values of earlier lines: `{"id":`, `,"name":`, and so
//! on, spaces included. A line that repeats it is read by comparing bytes, without looking at a
//! single key. `None` means only that this path is not certain; it is never an error.

use std::ops::Range;

use memchr::memchr;

use crate::format::column::Column;
use crate::format::number::Plain;
use crate::format::object::{self, Names};
use crate::format::rows::Rows;
use crate::format::scan::{Needle, json_stop};

/// What stands before each value of a usual line, and the column that the value goes to.
#[derive(Debug, Default)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    text: Needle,
    column: Option<usize>,
}

/// Beyond this the lines have no usual form, and looking for one costs more than it gives.
const PIECES_MAX: usize = 512;

/// What an object is read out of.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// The object and whatever stands around it: the more follows, the less has to be guarded.
    pub text: &'a str,
    /// Where the record ends, if somebody knows; else with its line.
    pub end: Option<usize>,
}

impl<'a> Source<'a> {
    /// Where the string that goes on at `at` has its closing quote; `None` if an escape or a
    /// control character comes first, or nothing.
    #[inline]
    fn string_end(self, at: usize) -> Option<usize> {
        let stop = json_stop(self.text.as_bytes(), at);
        (self.text.as_bytes().get(stop) == Some(&b'"')).then_some(stop)
    }

    /// What is left of the record at `at`.
    fn rest(self, at: usize) -> &'a str {
        let end = self.end.unwrap_or_else(|| {
            let rest = &self.text.as_bytes()[at..];
            memchr(b'\n', rest).map_or(self.text.len(), |len| at + len)
        });
        &self.text[at..end]
    }
}

/// Reads the object at `start` into the columns and says where it ends. After `None`, some
/// columns may have been written.
///
/// Nothing that is read here contains a line feed, except what [`Source::rest`] bounds.
pub(super) fn read(
    source: Source<'_>,
    start: usize,
    rows: &mut Rows,
    keys: &Names,
    template: &mut Template,
) -> Option<usize> {
    let row = rows.len();
    let bytes = source.text.as_bytes();
    // Spaces around the object are not part of a whole-record column.
    if bytes.get(start) != Some(&b'{') {
        return None;
    }
    let (mut at, mut step, mut filled) = (start, 0, rows.records.len());
    loop {
        let (column, value) = template.match_piece(source, at, &mut step, keys)?;
        let target = match column {
            // A second value for the same key: the last one counts, which is not this path's job.
            Some(column) if rows.columns[column].len() != row => return None,
            Some(column) => {
                filled += 1;
                Some(&mut rows.columns[column])
            }
            None => None,
        };
        at = append_value(source, value, target)?;
        match bytes.get(at) {
            Some(b'}') => break,
            // What an object begins with, it does not go on with.
            Some(b'{') => return None,
            Some(_) | None => {}
        }
    }
    let end = at + 1;
    for &record in &rows.records {
        let whole = &source.text[start..end];
        rows.columns[record].append_whole(whole).ok()?;
    }
    if filled < rows.columns.len() {
        for column in rows.columns.iter_mut().filter(|column| column.len() == row) {
            column.append_null().ok()?;
        }
    }
    Some(end)
}

impl Template {
    /// Goes past the brace or comma, key and colon at `at`; returns the key's column and where
    /// the value starts.
    #[inline]
    fn match_piece(
        &mut self,
        source: Source<'_>,
        at: usize,
        step: &mut usize,
        keys: &Names,
    ) -> Option<(Option<usize>, usize)> {
        if let Some(piece) = self.pieces.get(*step)
            && piece.text.starts(&source.text.as_bytes()[at..])
        {
            *step += 1;
            return Some((piece.column, at + piece.text.text().len()));
        }
        self.search_piece(source, at, step, keys)
    }

    /// A key that was not expected here: one that comes later, or a new one.
    #[inline(never)]
    fn search_piece(
        &mut self,
        source: Source<'_>,
        at: usize,
        step: &mut usize,
        keys: &Names,
    ) -> Option<(Option<usize>, usize)> {
        let (name, value) = key(source, at, *step == 0)?;
        let piece = &source.text.as_bytes()[at..value];
        let later = self
            .pieces
            .iter()
            .skip(*step)
            .position(|known| known.text.text() == piece);
        if let Some(skipped) = later {
            *step += skipped;
        } else {
            if self.pieces.len() == PIECES_MAX {
                self.pieces.clear();
                *step = 0;
            }
            let column = keys.find(&source.text[name]);
            self.pieces.insert(
                *step,
                Piece {
                    text: Needle::new(piece),
                    column,
                },
            );
        }
        let column = self.pieces[*step].column;
        *step += 1;
        Some((column, value))
    }
}

/// Reads `{ "key" :` or `, "key" :`; returns where the key is and where its value starts.
fn key(source: Source<'_>, at: usize, first: bool) -> Option<(Range<usize>, usize)> {
    let bytes = source.text.as_bytes();
    let opening = if first { b'{' } else { b',' };
    let at = skip_spaces(bytes, at);
    if bytes.get(at) != Some(&opening) {
        return None;
    }
    let at = skip_spaces(bytes, at + 1);
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let end = source.string_end(at + 1)?;
    let colon = skip_spaces(bytes, end + 1);
    if bytes.get(colon) != Some(&b':') {
        return None;
    }
    Some((at + 1..end, skip_spaces(bytes, colon + 1)))
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
fn append_value(source: Source<'_>, at: usize, column: Option<&mut Column>) -> Option<usize> {
    let text = source.text;
    let bytes = text.as_bytes();
    match *bytes.get(at)? {
        b'"' => {
            let Some(end) = source.string_end(at + 1) else {
                return append_escaped(source, at, column);
            };
            match column {
                Some(column) if column.is_json() => column.append_json(&text[at..=end]).ok()?,
                Some(column) => column.append_string(text, at + 1..end).ok()?,
                None => {}
            }
            Some(end + 1)
        }
        b'{' | b'[' => {
            let raw = object::first(source.rest(at))?;
            if let Some(column) = column {
                column.append_json(raw).ok()?;
            }
            Some(at + raw.len())
        }
        b'-' | b'0'..=b'9' => {
            let plain = Plain::read(&bytes[at..]);
            let end = plain.map_or_else(|| number_end(bytes, at), |(_, len)| Some(at + len))?;
            match (column, plain) {
                (Some(column), Some((plain, _))) => {
                    column.append_plain(plain, &text[at..end]).ok()?;
                }
                (Some(column), None) => column.append_number(&text[at..end]).ok()?,
                (None, _) => {}
            }
            Some(end)
        }
        b't' | b'f' | b'n' => append_word(&bytes[at..], column).map(|len| at + len),
        _ => None,
    }
}

/// Reads a string with escapes, which starts at `at`.
#[inline(never)]
fn append_escaped(source: Source<'_>, at: usize, column: Option<&mut Column>) -> Option<usize> {
    let bytes = source.text.as_bytes();
    let mut end = at + 1;
    loop {
        end = json_stop(bytes, end);
        match bytes.get(end)? {
            b'"' => break,
            // Whatever is escaped, it does not end the string.
            b'\\' => end += 2,
            _ => return None,
        }
    }
    let raw = object::raw(&source.text[at..=end])?;
    if let Some(column) = column {
        column.append_json(raw).ok()?;
    }
    Some(end + 1)
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
#[cold]
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
