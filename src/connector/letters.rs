//! Dead letters that a pipeline has kept: read again from where they are.
//!
//! ```text
//!   a table in PostgreSQL or SQLite, a topic ──▶ KeptLetter, one by one ──▶ LetterFilter
//! ```
//!
//! Reading changes nothing, and sees committed letters only. What a letter says depends on the
//! columns that its table declares.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use super::ConnectorError;
use super::catalog::connector;
use crate::plan::Table;
use crate::types::Offset;

/// A letter, as far as its table has kept it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptLetter {
    /// The columns that are text, by name.
    texts: BTreeMap<String, String>,
    /// The original bytes.
    pub payload: Option<Vec<u8>>,
}

/// Takes letters, and says whether there is need for more; what it fails with ends the reading, too.
pub type EachLetter<'a> = dyn FnMut(KeptLetter) -> Result<ControlFlow<()>, ConnectorError> + 'a;

/// How a connector's dead-letter tables are read.
pub(super) type ReadLetters = fn(&Table, &Path, &mut EachLetter<'_>) -> Result<(), ConnectorError>;

/// The column with the original bytes; the others are text.
pub(super) const PAYLOAD: &str = "payload";

impl KeptLetter {
    /// Keeps the text of a column.
    pub(super) fn set(&mut self, column: &str, text: Option<String>) {
        if let Some(text) = text {
            self.texts.insert(column.to_owned(), text);
        }
    }

    /// The text of a column other than the payload.
    #[must_use]
    pub fn text(&self, column: &str) -> Option<&str> {
        self.texts.get(column).map(String::as_str)
    }

    /// The position of the record in its partition.
    #[must_use]
    pub fn offset(&self) -> Option<Offset> {
        self.text("offset")?.parse().ok().map(Offset)
    }

    /// The number of the record's partition, if it has one.
    #[must_use]
    pub fn partition(&self) -> Option<usize> {
        self.text("partition")?.parse().ok()
    }
}

/// Whether letters that `table` keeps are read again from there.
#[must_use]
pub fn are_letters_read(table: &Table) -> bool {
    reader(table).is_some()
}

fn reader(table: &Table) -> Option<ReadLetters> {
    connector(&table.connector)?.sink.as_ref()?.letters
}

/// Hands every letter that is in `table` to `each`, until it has enough.
pub fn read_letters(
    table: &Table,
    base: &Path,
    each: &mut EachLetter<'_>,
) -> Result<(), ConnectorError> {
    match reader(table) {
        Some(read) => read(table, base, each),
        None => Err(ConnectorError::hinted(
            format!(
                "cannot read the letters of `{}` back from connector `{}`",
                table.name, table.connector
            ),
            "letters in PostgreSQL, SQLite and Kafka can be; a file is read with what reads files",
        )),
    }
}

/// Which letters are meant. What is empty leaves all in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// `rejected`, `late`.
    pub kinds: Vec<String>,
    /// Short codes.
    pub reasons: Vec<String>,
    /// Source tables.
    pub sources: Vec<String>,
    /// Columns at fault.
    pub columns: Vec<String>,
    /// Partitions.
    pub partitions: Vec<String>,
    /// The first position that is meant.
    pub from: Option<u64>,
    /// The first that is not.
    pub before: Option<u64>,
    /// The first position that is meant, by partition: none where all are before it.
    pub since: Option<Vec<Option<Offset>>>,
    /// The first that is not: none where all are before it.
    pub until: Option<Vec<Option<Offset>>>,
}

impl LetterFilter {
    /// Whether a letter is meant.
    #[must_use]
    pub fn admits(&self, letter: &KeptLetter) -> bool {
        let among = |wanted: &[String], column: &str| {
            let is = |text: &str| wanted.iter().any(|wanted| wanted == text);
            wanted.is_empty() || letter.text(column).is_some_and(is)
        };
        let offset = letter.offset().map(|offset| offset.0);
        among(&self.kinds, "kind")
            && among(&self.reasons, "reason")
            && among(&self.sources, "source")
            && among(&self.columns, "column_name")
            && among(&self.partitions, "partition")
            && self
                .from
                .is_none_or(|from| offset.is_some_and(|o| o >= from))
            && self
                .before
                .is_none_or(|end| offset.is_some_and(|o| o < end))
            && self.is_in_time(letter)
    }

    fn is_in_time(&self, letter: &KeptLetter) -> bool {
        let place = |places: &Vec<Option<Offset>>| {
            let partition = letter.partition()?;
            Some((letter.offset()?, *places.get(partition)?))
        };
        let since = self.since.as_ref().is_none_or(|places| {
            place(places).is_some_and(|(at, from)| from.is_some_and(|from| at >= from))
        });
        let until = self.until.as_ref().is_none_or(|places| {
            place(places).is_some_and(|(at, end)| end.is_none_or(|end| at < end))
        });
        since && until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(texts: &[(&str, &str)]) -> KeptLetter {
        let mut letter = KeptLetter::default();
        for (column, text) in texts {
            letter.set(column, Some((*text).to_owned()));
        }
        letter
    }

    #[test]
    fn a_filter_takes_what_meets_all_of_it() {
        let bad = letter(&[
            ("kind", "rejected"),
            ("reason", "bad_value"),
            ("partition", "1"),
            ("offset", "40"),
        ]);
        let all = LetterFilter::default();
        let some = |change: fn(&mut LetterFilter)| {
            let mut filter = all.clone();
            change(&mut filter);
            filter.admits(&bad)
        };

        assert!(all.admits(&bad));
        assert!(some(|f| f.kinds = vec!["rejected".to_owned()]));
        assert!(!some(|f| f.kinds = vec!["late".to_owned()]));
        assert!(some(|f| (f.from, f.before) = (Some(40), Some(41))));
        assert!(!some(|f| f.before = Some(40)));
        assert!(
            !some(|f| f.sources = vec!["events".to_owned()]),
            "it does not say"
        );
    }

    #[test]
    fn a_time_is_a_position_in_each_partition() {
        let at = |partition: &str| letter(&[("partition", partition), ("offset", "40")]);
        let places = vec![Some(Offset(40)), Some(Offset(41)), None];
        let since = LetterFilter {
            since: Some(places.clone()),
            ..LetterFilter::default()
        };
        let until = LetterFilter {
            until: Some(places),
            ..LetterFilter::default()
        };

        let taken = |filter: &LetterFilter| ["0", "1", "2", "3"].map(|p| filter.admits(&at(p)));
        assert_eq!(taken(&since), [true, false, false, false]);
        assert_eq!(taken(&until), [false, true, true, false]);
    }
}
