//! Dead letters that are larger than a record of their topic may be: they go without the payload,
//! and say so.
//!
//! How much a record may have is what the table's options say, not what the broker thinks: what is
//! in the topic is a function of the input and the pipeline's file.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, new_null_array};

use super::PAYLOAD;
use crate::connector::ConnectorError;
use crate::plan::Table;

/// Says how many bytes librdkafka sends in one record.
const LIMIT: &str = "kafka.message.max.bytes";
/// Where the table does not say it.
const LIMIT_BYTES: usize = 1_000_000;

/// A table of dead letters.
pub(super) struct Letters {
    payload: usize,
    /// Where it says what went wrong, if it does.
    message: Option<usize>,
    limit: usize,
}

impl Letters {
    /// None for a table of other rows, and for letters without a payload: those are short.
    pub fn of(table: &Table) -> Result<Option<Self>, ConnectorError> {
        let find = |name: &str| {
            let mut columns = table.columns.iter();
            columns.position(|column| column.field.name() == name)
        };
        let (true, Some(payload)) = (table.takes_letters, find(PAYLOAD)) else {
            return Ok(None);
        };
        if !table.columns[payload].field.is_nullable() {
            return Err(ConnectorError::hinted(
                format!("the `{PAYLOAD}` of `{}` is NOT NULL", table.name),
                "a letter that is larger than a record of the topic may be goes without it: leave \
                 NOT NULL out",
            ));
        }
        let limit = table.option(LIMIT).and_then(|limit| limit.parse().ok());
        Ok(Some(Self {
            payload,
            message: find("message"),
            limit: limit.unwrap_or(LIMIT_BYTES),
        }))
    }

    /// A letter that would be a record of `size` bytes, without its payload if that is too much.
    pub fn shorter(&self, letters: &RecordBatch, row: usize, size: usize) -> Option<RecordBatch> {
        if size <= self.limit {
            return None;
        }
        let letter = letters.slice(row, 1);
        let payload = letter.column(self.payload);
        let bytes = match payload.as_binary_opt::<i32>() {
            Some(bytes) => bytes.value_length(0),
            None => payload.as_string::<i32>().value_length(0),
        };
        let mut columns = letter.columns().to_vec();
        columns[self.payload] = new_null_array(payload.data_type(), 1);
        if let Some(message) = self.message {
            let said = letter.column(message).as_string::<i32>().value(0);
            let said = format!(
                "{said}; its {bytes} bytes are left out: the letter is larger than {} bytes",
                self.limit
            );
            columns[message] = Arc::new(StringArray::from(vec![said])) as ArrayRef;
        }
        let shorter = RecordBatch::try_new(letter.schema(), columns);
        Some(shorter.expect("a payload may be NULL, which was looked at when it was opened"))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, BinaryArray};
    use arrow::datatypes::DataType;

    use super::*;
    use crate::connector::fixtures;
    use crate::plan::Role;

    fn table(options: &[(&str, &str)]) -> Table {
        let columns = [("message", DataType::Utf8), ("payload", DataType::Binary)];
        Table {
            takes_letters: true,
            ..fixtures::table(Role::Sink, &columns, options)
        }
    }

    #[test]
    fn a_letter_that_is_too_large_says_what_it_goes_without() {
        let table = table(&[(LIMIT, "2000")]);
        let letters = Letters::of(&table).unwrap().unwrap();
        let message: ArrayRef = Arc::new(StringArray::from(vec!["no number"]));
        let payload: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"abc"]));
        let rows = RecordBatch::try_new(table.schema(), vec![message, payload]).unwrap();

        let shorter = letters.shorter(&rows, 0, 2001).unwrap();

        assert!(letters.shorter(&rows, 0, 2000).is_none());
        assert!(shorter.column(1).is_null(0));
        assert_eq!(
            shorter.column(0).as_string::<i32>().value(0),
            "no number; its 3 bytes are left out: the letter is larger than 2000 bytes"
        );
    }

    #[test]
    fn letters_that_cannot_go_without_a_payload_are_refused() {
        let mut table = table(&[]);
        let field = table.columns[1].field.as_ref().clone();
        table.columns[1].field = Arc::new(field.with_nullable(false));

        let ConnectorError::Permanent { message, .. } = Letters::of(&table).err().unwrap() else {
            panic!("it may be tried again");
        };

        assert_eq!(message, "the `payload` of `t` is NOT NULL");
        table.takes_letters = false;
        assert!(Letters::of(&table).unwrap().is_none());
    }
}
