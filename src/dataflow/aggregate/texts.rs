//! Keys of several columns of text, as bytes: those that arrow-row makes of them, made in one pass.
//!
//! ```text
//!   NULL     00
//!   ''       01
//!   else     02, then blocks of 8 bytes, after the fourth of 32, each followed by FF where another comes
//!            and by how many of its bytes are the text's where none does; the others are 0
//! ```
//!
//! Keys are short and there is one per row: arrow-row's passes, one for lengths and one per column, take
//! twice as long. What is made is the same, so that it reads what this writes.

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::error::ArrowError;

const NULL: u8 = 0;
const EMPTY: u8 = 1;
const TEXT: u8 = 2;
/// Another block comes.
const GOES_ON: u8 = 0xff;

/// The length of the first four blocks, and of those after them.
const SHORT: usize = 8;
const LONG: usize = 32;

/// What most texts take.
const USUAL: usize = 16;

/// One key per row.
pub(super) fn encode(columns: &[ArrayRef], rows: usize) -> Result<BinaryArray, ArrowError> {
    let columns: Vec<Texts<'_>> = columns.iter().map(Texts::of).collect();
    let mut bytes = Vec::with_capacity(rows * columns.len() * USUAL);
    let mut ends = Vec::with_capacity(rows + 1);
    ends.push(0);
    for row in 0..rows {
        for column in &columns {
            column.push(row, &mut bytes);
        }
        let end = i32::try_from(bytes.len());
        ends.push(end.map_err(|_| ArrowError::OffsetOverflowError(bytes.len()))?);
    }
    let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
    Ok(BinaryArray::new(ends, bytes.into(), None))
}

/// A column.
struct Texts<'a> {
    ends: &'a [i32],
    bytes: &'a [u8],
    nulls: Option<&'a NullBuffer>,
}

impl<'a> Texts<'a> {
    fn of(column: &'a ArrayRef) -> Self {
        let texts = column.as_string::<i32>();
        Self {
            ends: texts.value_offsets(),
            bytes: texts.value_data(),
            nulls: texts.nulls().filter(|nulls| nulls.null_count() > 0),
        }
    }

    #[inline]
    fn push(&self, row: usize, out: &mut Vec<u8>) {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            out.push(NULL);
            return;
        }
        let [start, end] = [self.ends[row], self.ends[row + 1]].map(super::keys::offset);
        if start == end {
            out.push(EMPTY);
            return;
        }
        out.push(TEXT);
        let mut at = start;
        while at < start + LONG {
            let left = end - at;
            let mut block = [0; SHORT + 1];
            block[..SHORT].copy_from_slice(&self.word(at, left).to_le_bytes());
            block[SHORT] = token(left, SHORT);
            out.extend_from_slice(&block);
            if left <= SHORT {
                return;
            }
            at += SHORT;
        }
        for at in (at..end).step_by(LONG) {
            let left = end - at;
            let mut block = [0; LONG + 1];
            let here = &self.bytes[at..end.min(at + LONG)];
            block[..here.len()].copy_from_slice(here);
            block[LONG] = token(left, LONG);
            out.extend_from_slice(&block);
        }
    }

    /// The next eight bytes of a text of which so many are left, with zeros after its end.
    #[inline]
    fn word(&self, at: usize, left: usize) -> u64 {
        let Some(here) = self.bytes.get(at..at + SHORT) else {
            let mut here = [0; SHORT];
            here[..left].copy_from_slice(&self.bytes[at..at + left]);
            return u64::from_le_bytes(here);
        };
        let word = u64::from_le_bytes(here.try_into().expect("it has this length"));
        let behind = SHORT - left.min(SHORT);
        word & u64::MAX >> (8 * behind)
    }
}

/// What follows a block, by how much of the text is left where it begins.
#[inline]
fn token(left: usize, block: usize) -> u8 {
    match u8::try_from(left) {
        Ok(left) if usize::from(left) <= block => left,
        Ok(_) | Err(_) => GOES_ON,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringArray;
    use arrow::datatypes::DataType;
    use arrow::row::{RowConverter, SortField};
    use proptest::prelude::*;

    use super::*;

    fn by_arrow(columns: &[ArrayRef]) -> BinaryArray {
        let fields = columns.iter().map(|_| SortField::new(DataType::Utf8));
        let converter = RowConverter::new(fields.collect()).unwrap();
        let rows = converter.convert_columns(columns).unwrap();
        rows.try_into_binary().unwrap()
    }

    #[test]
    fn texts_of_every_length_are_the_bytes_that_arrow_makes() {
        let texts: Vec<String> = (0..200).map(|length| "\u{7f}".repeat(length)).collect();
        let texts: ArrayRef = Arc::new(StringArray::from(texts));
        let columns = [Arc::clone(&texts), texts];

        assert_eq!(encode(&columns, 200).unwrap(), by_arrow(&columns));
    }

    #[test]
    fn a_null_has_no_bytes_whatever_lies_below_it() {
        let ends = OffsetBuffer::new(ScalarBuffer::from(vec![0, 3, 6]));
        let nulls = NullBuffer::from(vec![false, true]);
        let texts: ArrayRef = Arc::new(StringArray::new(ends, b"annbob".into(), Some(nulls)));
        let columns = [Arc::clone(&texts), texts];

        assert_eq!(encode(&columns, 2).unwrap(), by_arrow(&columns));
    }

    proptest! {
        #[test]
        fn keys_are_the_bytes_that_arrow_makes(
            texts in prop::collection::vec(
                (prop::option::of("\\PC{0,12}"), prop::option::of("[a\\x00é]{0,40}")), 1..40),
            skipped in 0_usize..40,
        ) {
            let (left, right): (Vec<_>, Vec<_>) = texts.iter().cloned().unzip();
            let skipped = skipped % texts.len();
            // A part of a column has the bytes of the others around its own.
            let part = |texts: Vec<Option<String>>| -> ArrayRef {
                let texts = StringArray::from(texts);
                Arc::new(texts.slice(skipped, texts.len() - skipped))
            };
            let columns = [part(left), part(right)];

            prop_assert_eq!(encode(&columns, columns[0].len()).unwrap(), by_arrow(&columns));
        }
    }
}
