//! One consumer's partitions: blocks, ends, contact, and positions that are gone.
//!
//! ```text
//!   batch ──▶ lane of its partition ──▶ block        (each partition in its order)
//!         ├─▶ end of a partition    ──▶ caught up
//!         └─▶ reports of brokers    ──▶ away, and fetched anew from where it stood
//! ```
//!
//! librdkafka says once that an end was reached, and not again after its connection broke and
//! came back. So when contact is lost, the partition is sought to where it stands: whatever
//! comes after that, a record or the end, was said by a leader that lives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;

use super::ask::{Asker, number};
use super::batch::{BatchConsumer, Report, Taken};
use super::blocks::{Draft, Layout};
use super::contact::{Contact, News, broker_of};
use super::settings::{Settings, refused};
use crate::connector::{ConnectorError, Consumer, Fetched, Reads};
use crate::types::{Clock, Offset};

/// How long contact is lost before a client is suspected of not noticing that it is back.
const RENEW: Duration = Duration::from_secs(5);

/// Reads some partitions of a topic.
pub(super) struct KafkaConsumer {
    batch: BatchConsumer,
    settings: Arc<Settings>,
    reads: Reads,
    asker: Arc<Asker>,
    /// Which topic is read.
    id: Option<String>,
    layout: Arc<Layout>,
    lanes: BTreeMap<i32, Lane>,
    contact: Contact,
    clock: Clock,
    /// When the connection was last made anew.
    renewed: Duration,
    /// What could not be dealt with because nobody answered: librdkafka does not say it again.
    pending: Vec<Event>,
}

/// One partition.
struct Lane {
    /// Where the next block starts: what has been handed out ends here.
    start: Offset,
    /// The next record, at least: lower ones have been seen, or are gone.
    position: u64,
    /// Nobody misses records that stood before this one.
    without: Offset,
    draft: Draft,
    /// The broker that the last of it came from.
    leader: Option<i32>,
    is_paused: bool,
}

/// Something that is wrong with a partition.
struct Event {
    partition: i32,
    code: RDKafkaErrorCode,
    offset: i64,
    text: String,
}

impl KafkaConsumer {
    pub fn new(
        (settings, reads): (Arc<Settings>, Reads),
        (asker, id): (Arc<Asker>, Option<String>),
        layout: Arc<Layout>,
        clock: Clock,
        from: &[(usize, Offset)],
    ) -> Result<Self, ConnectorError> {
        let mut consumer = Self {
            batch: connect(&settings, reads)?,
            settings,
            reads,
            asker,
            id,
            layout,
            lanes: BTreeMap::new(),
            contact: Contact::default(),
            clock,
            renewed: Duration::ZERO,
            pending: Vec::new(),
        };
        consumer.begin(from)?;
        Ok(consumer)
    }

    fn begin(&mut self, from: &[(usize, Offset)]) -> Result<(), ConnectorError> {
        let mut places = Vec::with_capacity(from.len());
        for &(partition, start) in from {
            let partition = number(partition);
            let lane = Lane {
                start,
                position: start.0,
                without: Offset(0),
                draft: Draft::new(&self.layout, partition),
                leader: None,
                is_paused: false,
            };
            places.push(lane.place(partition));
            self.lanes.insert(partition, lane);
        }
        let outcome = self.batch.assign(&places);
        outcome.map_err(|message| self.failed("read", &message))
    }

    /// A client of librdkafka's whose broker died just as it began may never read again, although
    /// the broker is back. If somebody else reaches it and this one does not, it is made anew.
    fn renew(&mut self) -> Result<(), ConnectorError> {
        let now = self.clock.elapsed();
        let lost = self.contact.lost_for(now);
        let waited = lost.is_some_and(|lost| lost >= RENEW);
        if !waited || now.saturating_sub(self.renewed) < RENEW {
            return Ok(());
        }
        self.renewed = now;
        if !matches!(self.asker.count_partitions(), Ok(Some(_))) {
            return Ok(());
        }
        let topic = &self.settings.topic;
        tracing::debug!(
            topic,
            "Kafka is back, and a client did not notice: makes it anew"
        );
        self.batch = connect(&self.settings, self.reads)?;
        let lanes = self.lanes.iter();
        let places: Vec<(i32, i64)> = lanes
            .map(|(&partition, lane)| lane.place(partition))
            .collect();
        let outcome = self.batch.assign(&places);
        outcome.map_err(|message| self.failed("read on in", &message))?;
        for (partition, _) in places {
            self.hold_paused(partition)?;
        }
        Ok(())
    }

    fn failed(&self, what: &str, message: &str) -> ConnectorError {
        let topic = &self.settings.topic;
        ConnectorError::permanent(format!(
            "cannot {what} partitions of topic `{topic}`: {message}"
        ))
    }

    /// What has come, in order; what is wrong is left for later.
    fn take(&mut self, wait: Duration, out: &mut Vec<(usize, Fetched)>) -> Vec<Event> {
        let Self {
            batch,
            lanes,
            contact,
            ..
        } = self;
        let mut events = Vec::new();
        batch.take(wait, |partition, broker, taken| {
            let Some(lane) = lanes.get_mut(&partition) else {
                return;
            };
            lane.leader = Some(broker).filter(|&broker| broker >= 0).or(lane.leader);
            match taken {
                Taken::Message(message) => {
                    contact.hear(partition);
                    let offset = u64::try_from(message.offset()).unwrap_or(0);
                    if offset < lane.position {
                        return; // Seen before it was fetched anew.
                    }
                    if lane.draft.is_full() {
                        out.extend(lane.block(partition));
                    }
                    lane.draft.push(message, offset);
                    lane.position = offset + 1;
                }
                Taken::Event {
                    code: RDKafkaErrorCode::PartitionEOF,
                    offset,
                    ..
                } => {
                    contact.hear(partition);
                    out.extend(lane.block(partition));
                    lane.position = lane.position.max(u64::try_from(offset).unwrap_or(0));
                    lane.start = Offset(lane.position);
                    out.push((index(partition), Fetched::CaughtUp(lane.start)));
                }
                Taken::Event { code, offset, text } => {
                    events.push(Event {
                        partition,
                        code,
                        offset,
                        text,
                    });
                }
            }
        });
        for (&partition, lane) in lanes {
            out.extend(lane.block(partition));
        }
        events
    }

    /// Nobody answers for these partitions. Asks anew, so that whatever is said next is news.
    fn lose(&mut self, lost: &[i32], out: &mut Vec<(usize, Fetched)>) {
        let now = self.clock.elapsed();
        let mut places = Vec::new();
        for &partition in lost {
            places.extend(self.lanes.get(&partition).map(|lane| lane.place(partition)));
            if self.contact.lose(partition, now) {
                out.push((index(partition), Fetched::Away));
            }
        }
        if let Err(message) = self.batch.seek(&places) {
            tracing::debug!(topic = self.settings.topic, message, "could not ask anew");
        }
    }

    fn hear_reports(
        &mut self,
        reports: &[Report],
        out: &mut Vec<(usize, Fetched)>,
    ) -> Result<(), ConnectorError> {
        for report in reports {
            let topic = &self.settings.topic;
            tracing::debug!(topic, text = report.text, "report of a broker");
            if report.code == RDKafkaErrorCode::TopicAuthorizationFailed {
                return Err(self.asker.forbidden());
            }
            if is_missing(report.code) && matches!(self.asker.count_partitions(), Ok(None)) {
                return Err(self.deleted());
            }
            let is_lost = |lane: &Lane| match broker_of(&report.text) {
                Some(broker) => lane.leader == Some(broker),
                None => report.code == RDKafkaErrorCode::AllBrokersDown,
            };
            // Said once a second while it lasts: one question is enough.
            let is_new = |partition: i32| !self.contact.is_lost(partition);
            let lost = self.lanes.iter();
            let lost = lost.filter(|&(&partition, lane)| is_lost(lane) && is_new(partition));
            let lost: Vec<i32> = lost.map(|(&partition, _)| partition).collect();
            if !lost.is_empty() {
                self.lose(&lost, out);
            }
        }
        Ok(())
    }

    fn deleted(&self) -> ConnectorError {
        ConnectorError::hinted(
            format!("topic `{}` is not there any more", self.settings.topic),
            "was it deleted? records that are made under its name later are others: `--fresh` starts over",
        )
    }

    fn tell(&mut self) {
        let (topic, servers) = (&self.settings.topic, &self.settings.cluster.servers);
        match self.contact.news(self.clock.elapsed()) {
            Some(News::Lost(partitions)) => {
                tracing::warn!(
                    topic,
                    servers,
                    partitions,
                    "Kafka does not answer; waiting for it"
                );
            }
            Some(News::Back(after)) => {
                let seconds = after.as_secs();
                tracing::warn!(topic, servers, seconds, "Kafka answers again");
            }
            None => {}
        }
    }

    fn meet(
        &mut self,
        event: &Event,
        out: &mut Vec<(usize, Fetched)>,
    ) -> Result<(), ConnectorError> {
        // What will be the same however often it is asked for.
        const FOR_GOOD: [RDKafkaErrorCode; 5] = [
            RDKafkaErrorCode::BadMessage,
            RDKafkaErrorCode::InvalidMessage,
            RDKafkaErrorCode::BadCompression,
            RDKafkaErrorCode::UnsupportedFeature,
            RDKafkaErrorCode::NotImplemented,
        ];
        let (topic, partition, text) = (&self.settings.topic, event.partition, &event.text);
        if event.code == RDKafkaErrorCode::AutoOffsetReset {
            return self.find_anew(event);
        }
        if event.code == RDKafkaErrorCode::TopicAuthorizationFailed {
            return Err(self.asker.forbidden());
        }
        if is_missing(event.code) {
            return Err(self.deleted());
        }
        if FOR_GOOD.contains(&event.code) {
            return Err(ConnectorError::permanent(format!(
                "cannot read partition {partition} of topic `{topic}` at offset {}: {text}",
                event.offset
            )));
        }
        // It may pass, and is asked again.
        tracing::debug!(topic, partition, text, "a partition is in trouble");
        self.lose(&[partition], out);
        Ok(())
    }

    /// The position is not in the partition: retention has removed it, or it never was there.
    fn find_anew(&mut self, event: &Event) -> Result<(), ConnectorError> {
        let (topic, partition) = (self.settings.topic.clone(), event.partition);
        let Some(lane) = self.lanes.get(&partition) else {
            return Ok(());
        };
        let (asked, without) = (lane.position, lane.without);
        self.asker.is_still(self.id.as_deref())?;
        let (first, end) = self.asker.bounds(partition)?;
        if asked > end {
            return Err(self.asker.ends_before(partition, end, asked));
        }
        if asked < first {
            let gone = first - asked;
            if first <= without.0 {
                tracing::info!(
                    topic,
                    partition,
                    asked,
                    first,
                    gone,
                    "retention has removed records that the files have"
                );
            } else if self.settings.skips_lost {
                tracing::warn!(
                    topic,
                    partition,
                    asked,
                    first,
                    gone,
                    "skipped records that retention has removed"
                );
            } else {
                return Err(ConnectorError::hinted(
                    format!(
                        "partition {partition} of topic `{topic}` begins at offset {first}, but reading is to go on at {asked}: {gone} records are gone"
                    ),
                    "keep records for longer (`retention.ms`); 'offset.lost' = 'skip' goes on without them, `--fresh` starts over",
                ));
            }
        }
        let Some(lane) = self.lanes.get_mut(&partition) else {
            return Ok(());
        };
        lane.position = lane.position.max(first);
        let place = [lane.place(partition)];
        let again = self
            .batch
            .unassign(&place)
            .and_then(|()| self.batch.assign(&place));
        again.map_err(|message| self.failed("read on in", &message))?;
        self.hold_paused(partition)
    }

    /// A partition that was assigned anew comes again, also if it is paused.
    fn hold_paused(&mut self, partition: i32) -> Result<(), ConnectorError> {
        let is_paused = self
            .lanes
            .get(&partition)
            .is_some_and(|lane| lane.is_paused);
        if !is_paused {
            return Ok(());
        }
        let held = self.batch.hold(partition);
        held.map_err(|message| self.failed("pause", &message))
    }
}

fn connect(settings: &Settings, reads: Reads) -> Result<BatchConsumer, ConnectorError> {
    let config = settings.reading(reads);
    let native = config.create_native_config().map_err(|e| refused(&e))?;
    BatchConsumer::new(&config, native, &settings.topic).map_err(|error| refused(&error))
}

impl Lane {
    fn place(&self, partition: i32) -> (i32, i64) {
        (partition, i64::try_from(self.position).unwrap_or(i64::MAX))
    }

    /// What has gathered, if anything has.
    fn block(&mut self, partition: i32) -> Option<(usize, Fetched)> {
        if self.draft.is_empty() {
            return None;
        }
        let block = self.draft.finish(self.start);
        self.start = block.end;
        Some((index(partition), Fetched::Block(block)))
    }
}

fn is_missing(code: RDKafkaErrorCode) -> bool {
    const MISSING: [RDKafkaErrorCode; 3] = [
        RDKafkaErrorCode::UnknownPartition,
        RDKafkaErrorCode::UnknownTopic,
        RDKafkaErrorCode::UnknownTopicOrPartition,
    ];
    MISSING.contains(&code)
}

fn index(partition: i32) -> usize {
    usize::try_from(partition).expect("partitions are counted from 0")
}

impl Consumer for KafkaConsumer {
    fn poll(&mut self, wait: Duration) -> Result<Vec<(usize, Fetched)>, ConnectorError> {
        let mut out = Vec::new();
        let events = self.take(wait, &mut out);
        let came: Vec<i32> = out
            .iter()
            .map(|(partition, _)| number(*partition))
            .collect();
        let pending = std::mem::take(&mut self.pending);
        for event in pending.into_iter().chain(events) {
            match self.meet(&event, &mut out) {
                Ok(()) => {}
                Err(ConnectorError::Transient(reason)) => {
                    tracing::debug!(reason, "asks again later");
                    self.lose(&[event.partition], &mut out);
                    self.pending.push(event);
                }
                Err(other) => return Err(other),
            }
        }
        let reports = self.batch.reports();
        self.hear_reports(&reports, &mut out)?;
        self.tell();
        self.renew()?;
        // Assigning partitions may have made a queue flow again that was held.
        for partition in came {
            self.hold_paused(partition)?;
        }
        Ok(out)
    }

    fn pause(&mut self, partition: usize) -> Result<(), ConnectorError> {
        let partition = number(partition);
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.is_paused = true;
        }
        self.hold_paused(partition)
    }

    fn resume(&mut self, partition: usize) -> Result<(), ConnectorError> {
        let partition = number(partition);
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.is_paused = false;
        }
        self.batch.release(partition);
        Ok(())
    }

    /// Fetched anew from where it stands: what was fetched before is not what comes then.
    fn ask(&mut self, partition: usize) -> Result<(), ConnectorError> {
        let partition = number(partition);
        let place = self.lanes.get(&partition);
        let place: Vec<_> = place
            .map(|lane| lane.place(partition))
            .into_iter()
            .collect();
        if let Err(message) = self.batch.seek(&place) {
            // It is asked again after a while.
            tracing::debug!(topic = self.settings.topic, message, "could not ask anew");
        }
        Ok(())
    }

    fn does_without(&mut self, partition: usize, before: Offset) {
        if let Some(lane) = self.lanes.get_mut(&number(partition)) {
            lane.without = before;
        }
    }

    fn add(&mut self, partition: usize, from: Offset) -> Result<(), ConnectorError> {
        self.begin(&[(partition, from)])
    }
}
