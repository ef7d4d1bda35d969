//! One producer's transactions: records until there are enough or it is time, then how far it got.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::input::{Messages, Part};
use super::position::{JobName, Position};
use super::{ProduceProgress, mark, stopped};
use crate::connector::ConnectorError;
use crate::connector::kafka::transaction::{Outgoing, Transactions};
use crate::format::Message;
use crate::metrics;
use crate::types::{Clock, Offset};

/// A transaction is committed after so long, so that readers see records come,
const TRANSACTION: Duration = Duration::from_secs(1);
/// or with so many records.
const RECORDS_MAX: u64 = 500_000;
/// How many records may pass between two looks at the clock.
const UNSEEN: u64 = 256;
/// How often a paced sender waits.
const WAITS_PER_SECOND: f64 = 20.0;

/// Sends parts, one after the other or in turns.
pub(super) struct Sender<'a> {
    producer: &'a Transactions,
    topic: &'a str,
    job: &'a JobName,
    /// Where the parts are that it sends, and whether that is in no mark yet.
    positions: BTreeMap<String, (Position, IsNew)>,
    pace: Option<Pace>,
    clock: Clock,
    pub progress: &'a ProduceProgress,
    /// When the open transaction began, if one is open.
    since: Option<Duration>,
    /// Records in it.
    records: u64,
}

/// Whether something is in no mark yet.
type IsNew = bool;

/// Keeps to a number of records per second.
struct Pace {
    rate: f64,
    step: u64,
    start: Duration,
    sent: u64,
}

impl<'a> Sender<'a> {
    pub fn new(
        producer: &'a Transactions,
        (topic, job): (&'a str, &'a JobName),
        rate: Option<f64>,
        progress: &'a ProduceProgress,
    ) -> Self {
        let clock = Clock::machine();
        let pace = rate.map(|rate| Pace {
            rate,
            step: ((rate / WAITS_PER_SECOND) as u64).max(1),
            start: clock.elapsed(),
            sent: 0,
        });
        Self {
            producer,
            topic,
            job,
            positions: BTreeMap::new(),
            pace,
            clock,
            progress,
            since: None,
            records: 0,
        }
    }

    /// Sends what of a part has not been sent.
    pub fn send_part(
        &mut self,
        part: &Part,
        mut messages: Messages,
        from: Position,
    ) -> Result<(), ConnectorError> {
        let Position {
            mut offset, ended, ..
        } = self.begin_part(part, from);
        if ended {
            return Ok(());
        }
        let mut reader = part.source.open(part.index, offset)?;
        while let Some(block) = reader.next()? {
            if self.has_enough() {
                return Ok(());
            }
            let (block, progress) = ((part, &block), self.progress);
            messages.each(block, progress, |message, next| {
                self.send_message(part, message, (&mut offset, next))
            })?;
            self.advance(part, &mut offset, block.1.end);
            self.served()?;
        }
        self.end_part(part)
    }

    /// Whether nothing more is wanted. Who sends at a rate looks at least every tenth of a second.
    pub fn has_enough(&self) -> bool {
        self.progress.enough.load(Ordering::Relaxed)
    }

    /// A part is at `from`.
    pub fn begin_part(&mut self, part: &Part, from: Position) -> Position {
        if !from.ended {
            let at = (from.clone(), false);
            self.positions.insert(part.name.clone(), at);
        }
        from
    }

    /// A part has been sent whole.
    pub fn end_part(&mut self, part: &Part) -> Result<(), ConnectorError> {
        self.begin()?;
        self.moved(part).ended = true;
        Ok(())
    }

    /// The position of a part, which changes.
    fn moved(&mut self, part: &Part) -> &mut Position {
        let position = self.positions.get_mut(&part.name);
        let (position, is_new) = position.expect("a part is there from its begin to its end");
        *is_new = true;
        position
    }

    /// Sends one record of a part that is at `offset`, and at `next` behind it.
    pub fn send_message(
        &mut self,
        part: &Part,
        message: Message<'_>,
        (offset, next): (&mut Offset, Offset),
    ) -> Result<(), ConnectorError> {
        if !message.fits {
            let place = || format!("at byte {offset} of {}", part.name);
            self.progress.first_odd.get_or_init(place);
        }
        self.send(message, (&part.name, *offset))?;
        self.advance(part, offset, next);
        let waited = self.keep_pace()?;
        if waited || self.records.is_multiple_of(UNSEEN) {
            self.commit_when_due()?;
        }
        Ok(())
    }

    /// A block has been sent.
    pub fn served(&mut self) -> Result<(), ConnectorError> {
        self.producer.serve();
        self.commit_when_due()
    }

    /// A part is at `next`.
    pub fn advance(&mut self, part: &Part, offset: &mut Offset, next: Offset) {
        let distance = next.0.saturating_sub(offset.0);
        self.progress
            .distance
            .fetch_add(distance, Ordering::Relaxed);
        *offset = next;
        self.moved(part).offset = next;
    }

    fn begin(&mut self) -> Result<(), ConnectorError> {
        if self.since.is_none() {
            self.producer.begin().map_err(|failed| stopped(&failed))?;
            self.since = Some(self.clock.elapsed());
        }
        Ok(())
    }

    fn send(&mut self, message: Message<'_>, origin: (&str, Offset)) -> Result<(), ConnectorError> {
        self.begin()?;
        let outgoing = Outgoing {
            topic: self.topic,
            key: message.key.map(str::as_bytes),
            value: Some(message.value),
            origin: Some(origin),
            ..Outgoing::default()
        };
        self.producer
            .send(outgoing)
            .map_err(|failed| stopped(&failed))?;
        self.records += 1;
        self.progress.sent.fetch_add(1, Ordering::Relaxed);
        if !message.fits {
            self.progress.as_they_were.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits as the pace says; returns whether it did.
    fn keep_pace(&mut self) -> Result<bool, ConnectorError> {
        let Some(pace) = &mut self.pace else {
            return Ok(false);
        };
        pace.sent += 1;
        if !pace.sent.is_multiple_of(pace.step) {
            return Ok(false);
        }
        let due = Duration::try_from_secs_f64(pace.sent as f64 / pace.rate);
        let due = pace.start + due.unwrap_or_default();
        // Readers see it when it was sent, and the cluster drops what is open for long.
        if self.since.is_some_and(|since| due >= since + TRANSACTION) {
            self.commit()?;
        }
        self.clock.wait_until(due);
        self.producer.serve();
        Ok(true)
    }

    fn commit_when_due(&mut self) -> Result<(), ConnectorError> {
        let now = self.clock.elapsed();
        let is_due = self.since.is_some_and(|since| now >= since + TRANSACTION);
        if is_due || self.records >= RECORDS_MAX {
            self.commit()?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), ConnectorError> {
        let new = self.positions.iter().filter(|(_, (_, is_new))| *is_new);
        for (part, (position, _)) in new {
            let text = serde_json::to_vec(position).expect("a position is plain data");
            let sent = self
                .producer
                .send(mark(&self.job.of_part(part), Some(&text)));
            sent.map_err(|failed| stopped(&failed))?;
        }
        self.producer.commit().map_err(|failed| stopped(&failed))?;
        self.positions.retain(|_, (position, is_new)| {
            *is_new = false;
            !position.ended
        });
        self.progress
            .committed
            .fetch_add(self.records, Ordering::Relaxed);
        self.measure();
        (self.since, self.records) = (None, 0);
        Ok(())
    }

    /// A transaction was committed.
    fn measure(&self) {
        let (now, topic) = (self.clock.elapsed(), [self.topic]);
        let took = now - self.since.unwrap_or(now);
        let known = &self.progress.metrics;
        known.add(&metrics::PRODUCED, &topic, self.records);
        known.observe(&metrics::PRODUCE_LATENCY, &topic, took, self.records, now);
    }

    /// Commits what is left.
    pub fn finish(&mut self) -> Result<(), ConnectorError> {
        match self.since {
            Some(_) => self.commit(),
            None => Ok(()),
        }
    }
}
