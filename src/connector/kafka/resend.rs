//! Dead letters back into the topic that they came from, each once.
//!
//! ```text
//!   letter ──▶ was it sent? ──▶ held ──▶ transaction: records + which letters they are
//! ```
//!
//! Which letters have been sent stands in `tidemark_marks`, in the transaction of their records, by
//! partition and offset of the record that each was, and by the topic's id. So it does not matter how
//! often it is done, in how many parts, or where it was killed. Records are held until there are enough
//! of them or no letter is left: a transaction is not open for as long as letters take to be read. A record goes
//! to the partition that it was in. Its key is not in a letter, and not in the record.
//!
//! The letter of a record that was too long has the record's beginning only. That may be a record, too,
//! and another one, so it is never sent. The letter's reason tells, and one that has none may be such.

mod sent;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use arrow::datatypes::DataType;

use self::sent::Sent;
use super::ask::Asker;
use super::marks::{self, TOPIC, Until};
use super::settings::{Cluster, TOPIC_ID};
use super::transaction::{Failed, Outgoing, Transactions};
use crate::connector::letters::{KeptLetter, LetterFilter, PAYLOAD};
use crate::connector::open::required;
use crate::connector::{ConnectorError, EachLetter};
use crate::format::{Metadata, metadata_of};
use crate::plan::Table;
use crate::types::Reason;

/// So many records are one transaction.
const RECORDS_MAX: usize = 10_000;
/// Or so many bytes.
const BYTES_MAX: usize = 16 << 20;

/// Columns without which a letter cannot be sent again.
const NEEDED: [&str; 6] = [
    "kind",
    "reason",
    "partition",
    "offset",
    "insert_into",
    "payload",
];

/// What to send where.
#[derive(Clone, Copy, Debug)]
pub struct ResendJob<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// The dead-letter table.
    pub letters: &'a Table,
    /// The source that they came from.
    pub source: &'a Table,
    /// Which of them.
    pub filter: &'a LetterFilter,
    /// Whether those go too that another INSERT may have counted: it would count them twice.
    pub counted_too: bool,
    /// Not more than so many.
    pub limit: Option<u64>,
    /// Only counts what would be sent: nothing is sent or made, and nobody who sends is disturbed.
    pub dry: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resent {
    /// Records that were sent now.
    pub sent: u64,
    /// Letters that had been sent before; one record may have several.
    pub before: u64,
    /// Letters that another INSERT may have counted.
    pub counted: u64,
    /// Letters that have only the beginning of their record.
    pub cut: u64,
    /// Letters that do not say all that is needed.
    pub incomplete: u64,
}

/// Sends the letters that `read` comes up with.
pub fn resend(
    job: &ResendJob<'_>,
    read: impl FnOnce(&mut EachLetter<'_>) -> Result<(), ConnectorError>,
) -> Result<Resent, ConnectorError> {
    check(job)?;
    let topic = required(job.source, "topic")?;
    let cluster = Cluster::of(job.source)?;
    let asker = Asker::new(&cluster.asking("read_uncommitted"), topic)?;
    let Some(partitions) = asker.count_partitions()? else {
        return Err(asker.no_topic());
    };
    let name = format!(
        "resend/{}/{}/{}/",
        job.pipeline, job.letters.name, job.source.name
    );
    // Who was here before cannot commit any more; only then is what it committed all there is.
    let open = || {
        marks::look(&cluster)?;
        marks::make(&cluster)?;
        Transactions::open(&cluster, &name, &[("compression.type", "lz4")])
    };
    let producer = (!job.dry).then(open).transpose()?;
    let until = match job.dry {
        true => Until::Settled,
        false => Until::End,
    };
    let marks = marks::read(&cluster, &name, until)?;
    // What has the same records as an earlier topic has that one's letters, too.
    let is_named = job.source.option(TOPIC_ID).is_some();
    let id = asker.id()?.filter(|_| !is_named);
    let sent = Sent::of(&marks, &name, id).map_err(|key| {
        ConnectorError::permanent(format!("cannot read the mark `{key}` in `{TOPIC}`"))
    })?;
    let mut sender = Resender {
        job,
        topic,
        partitions,
        producer: producer.as_ref(),
        name: &name,
        sent,
        now: BTreeSet::new(),
        held: Vec::new(),
        held_bytes: 0,
        outcome: Resent::default(),
    };
    read(&mut |letter| sender.take(&letter))?;
    sender.commit()?;
    Ok(sender.outcome)
}

/// Refuses what could not be sent as it was.
fn check(job: &ResendJob<'_>) -> Result<(), ConnectorError> {
    let (letters, source) = (&job.letters.name, &job.source.name);
    let has = |name: &str| {
        let mut columns = job.letters.columns.iter();
        columns.any(|column| column.field.name() == name)
    };
    if job.source.connector != "kafka" {
        return Err(ConnectorError::hinted(
            format!(
                "cannot send letters to `{source}` again: its connector is `{}`",
                job.source.connector
            ),
            "letters go back into topics; of a file, correct the records in a new file",
        ));
    }
    if let Some(missing) = NEEDED.iter().find(|needed| !has(needed)) {
        return Err(ConnectorError::hinted(
            format!("the letters in `{letters}` do not have the column `{missing}`"),
            format!("to be sent again a letter needs {}", NEEDED.join(", ")),
        ));
    }
    let keyed = job.source.columns.iter().find(|column| {
        column.computed.is_none() && metadata_of(&column.field) == Some(Metadata::Key)
    });
    match keyed {
        None => Ok(()),
        Some(column) => Err(ConnectorError::hinted(
            format!(
                "`{source}` reads `{}` from the records' keys, and letters have none",
                column.field.name()
            ),
            "send the records with what wrote them first",
        )),
    }
}

struct Resender<'a> {
    job: &'a ResendJob<'a>,
    topic: &'a str,
    partitions: usize,
    /// None where nothing is sent.
    producer: Option<&'a Transactions>,
    /// The transactional id, and what the keys of its marks begin with.
    name: &'a str,
    sent: Sent,
    /// Sent by this run: another letter of the same record is no second one.
    now: BTreeSet<(usize, u64)>,
    /// Records that are not sent yet, each with its partition.
    held: Vec<(usize, Vec<u8>)>,
    held_bytes: usize,
    outcome: Resent,
}

impl Resender<'_> {
    fn take(&mut self, letter: &KeptLetter) -> Result<ControlFlow<()>, ConnectorError> {
        if self.has_enough() {
            return Ok(ControlFlow::Break(()));
        }
        let is_of_source = letter
            .text("source")
            .is_none_or(|of| of == self.job.source.name);
        if !is_of_source || !self.job.filter.admits(letter) {
            return Ok(ControlFlow::Continue(()));
        }
        let reason = letter.text("reason");
        if reason == Some(Reason::TooLong.code()) {
            self.outcome.cut += 1;
            return Ok(ControlFlow::Continue(()));
        }
        let counted =
            letter.text("kind") != Some("rejected") || letter.text("insert_into").is_some();
        if counted && !self.job.counted_too {
            self.outcome.counted += 1;
            return Ok(ControlFlow::Continue(()));
        }
        let place = (
            letter.partition().filter(|p| *p < self.partitions),
            letter.offset(),
        );
        let ((Some(partition), Some(offset)), Some(value), Some(_)) =
            (place, whole(letter, self.job.letters), reason)
        else {
            self.outcome.incomplete += 1;
            return Ok(ControlFlow::Continue(()));
        };
        if self.sent.has(partition, offset.0) {
            self.outcome.before += u64::from(!self.now.contains(&(partition, offset.0)));
            return Ok(ControlFlow::Continue(()));
        }
        self.held.push((partition, value.to_vec()));
        self.held_bytes += value.len();
        self.sent.add(partition, offset.0);
        self.now.insert((partition, offset.0));
        self.outcome.sent += 1;
        if self.held.len() >= RECORDS_MAX || self.held_bytes >= BYTES_MAX {
            self.commit()?;
        }
        Ok(match self.has_enough() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    }

    fn has_enough(&self) -> bool {
        let limit = self.job.limit;
        limit.is_some_and(|limit| self.outcome.sent >= limit)
    }

    fn commit(&mut self) -> Result<(), ConnectorError> {
        if let (Some(producer), false) = (self.producer, self.held.is_empty()) {
            self.write(producer).map_err(|failed| stopped(&failed))?;
        }
        self.held.clear();
        self.held_bytes = 0;
        Ok(())
    }

    /// All that is held, in a transaction.
    fn write(&mut self, producer: &Transactions) -> Result<(), Failed> {
        producer.begin()?;
        for (partition, value) in &self.held {
            producer.send(Outgoing {
                topic: self.topic,
                value: Some(value),
                partition: i32::try_from(*partition).ok(),
                ..Outgoing::default()
            })?;
        }
        for (page, text) in self.sent.changes() {
            let key = format!("{}{page}", self.name);
            let mark = Outgoing {
                topic: TOPIC,
                key: Some(key.as_bytes()),
                value: Some(text.as_bytes()),
                partition: Some(0),
                ..Outgoing::default()
            };
            producer.send(mark)?;
        }
        producer.commit()
    }
}

/// The bytes as they were. In a column of text, what was no text has become replacement characters.
fn whole<'l>(letter: &'l KeptLetter, table: &Table) -> Option<&'l [u8]> {
    let bytes = letter.payload.as_deref()?;
    let mut columns = table.columns.iter().map(|column| &column.field);
    let column = columns.find(|field| field.name() == PAYLOAD)?;
    let altered = column.data_type() != &DataType::Binary
        && std::str::from_utf8(bytes).is_ok_and(|text| text.contains(char::REPLACEMENT_CHARACTER));
    (!altered).then_some(bytes)
}

fn stopped(failed: &Failed) -> ConnectorError {
    failed.to_error(
        "another process sends these letters now",
        "run it again: what is committed is not sent twice",
    )
}
