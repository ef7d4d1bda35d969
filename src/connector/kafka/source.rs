//! A topic as a source: its partitions, where they begin, and consumers for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::ask::{Asker, When, made_anew, not_named, number};
use super::blocks::Layout;
use super::consumer::KafkaConsumer;
use super::settings::Settings;
use super::start::Start;
use crate::connector::open::SourceOrigin;
use crate::connector::{
    ConnectorError, Consumer, Following, Live, Partition, Reader, Reads, Source,
};
use crate::format::{Decoder, FormatOptions, Wanted, decoder};
use crate::types::{Clock, EventTime, Offset};

/// A topic.
pub struct KafkaSource {
    settings: Arc<Settings>,
    asker: Arc<Asker>,
    /// Which topic it is, where the brokers say so.
    id: Option<String>,
    partitions: Vec<Partition>,
    format: FormatOptions,
    wanted: Wanted,
    layout: Arc<Layout>,
    clock: Clock,
}

impl KafkaSource {
    /// Finds the topic's partitions.
    pub(super) fn open(origin: &SourceOrigin<'_>) -> Result<Self, ConnectorError> {
        let settings = Arc::new(Settings::new(origin.table)?);
        let format = origin.format()?;
        decoder(&format, &origin.wanted)
            .map_err(|error| ConnectorError::permanent(error.to_string()))?;
        let asker = Arc::new(Asker::new(&settings.asking(), &settings.topic)?);
        let partition = |index: usize| Partition {
            name: index.to_string(),
            identity: None,
            length: None,
        };
        let Some(count) = asker.count_partitions()? else {
            return Err(asker.no_topic_to_read());
        };
        let id = asker.id()?;
        if let (Some(named), Some(id)) = (&settings.topic_id, &id)
            && named != id
        {
            return Err(not_named(&settings.topic, named, id));
        }
        Ok(Self {
            id,
            partitions: (0..count).map(partition).collect(),
            layout: Arc::new(Layout::new(&settings.topic, &origin.metadata)),
            settings,
            asker,
            format,
            wanted: origin.wanted.clone(),
            clock: origin.clock.clone(),
        })
    }

    /// Whether `open` would find the topic, and the first run its beginning.
    pub(super) fn inspect(origin: &SourceOrigin<'_>) -> Result<(), ConnectorError> {
        let source = Self::open(origin)?;
        // What librdkafka says of settings for reading.
        source.consumer(&[], Reads::On)?;
        source.beginning().map(drop)
    }

    fn places(&self, when: When) -> Result<Vec<Option<Offset>>, ConnectorError> {
        self.asker.places(self.partitions.len(), when)
    }

    /// Where `when` is in each partition, its end where no record is so young.
    fn places_or_ends(&self, when: When) -> Result<Vec<Offset>, ConnectorError> {
        let places = self.places(when)?;
        let ends = if places.iter().any(Option::is_none) {
            self.places(When::End)?
        } else {
            Vec::new()
        };
        let place = |(index, place): (usize, &Option<Offset>)| {
            place.or_else(|| ends.get(index).copied().flatten())
        };
        let places = places.iter().enumerate();
        Ok(places.map(|all| place(all).unwrap_or_default()).collect())
    }

    /// Whether all records are there that were not written before --from, where the partitions begin at
    /// `all`, and the first of those were at `since` before that was asked.
    fn has_all_since(
        &self,
        since: &[Option<Offset>],
        all: &[Offset],
    ) -> Result<(), ConnectorError> {
        if self.settings.skips_lost || all.iter().all(|first| first.0 == 0) {
            return Ok(());
        }
        // Compaction may have left a gap at the beginning.
        let left = self.places(When::From(0))?;
        let topic = &self.settings.topic;
        for (partition, (first, (&left, &since))) in
            all.iter().zip(left.iter().zip(since)).enumerate()
        {
            match Gone::of(*first, left, since) {
                Gone::NothingSince => {}
                Gone::AllThereWas => tracing::warn!(
                    topic,
                    partition,
                    "this partition has lost all its records: if any were written after --from, they are missing"
                ),
                Gone::PerhapsSome => {
                    return Err(ConnectorError::hinted(
                        format!(
                            "partition {partition} of topic `{topic}` begins at offset {} with a record that was written after --from: what is gone \
                             may be from after it too",
                            left.unwrap_or(*first)
                        ),
                        "say a later --from, and give the files up to there; 'offset.lost' = 'skip' does without what is gone",
                    ));
                }
            }
        }
        Ok(())
    }
}

/// What of a partition may be gone, of what was not written before some time.
#[derive(Debug, PartialEq, Eq)]
enum Gone {
    /// Nothing was removed yet, or the first record that is left is older.
    NothingSince,
    /// The first one that is left is not older.
    PerhapsSome,
    /// None is left to tell.
    AllThereWas,
}

impl Gone {
    /// Of a partition that begins at `first`, where the first record `left` may stand behind that; the first
    /// one `since` that time was asked for before.
    fn of(first: Offset, left: Option<Offset>, since: Option<Offset>) -> Self {
        let is_younger = since.is_some_and(|since| left.is_none_or(|left| since <= left));
        if first.0 == 0 {
            Self::NothingSince
        } else if is_younger {
            Self::PerhapsSome
        } else if left.is_none() {
            Self::AllThereWas
        } else {
            Self::NothingSince
        }
    }
}

impl Source for KafkaSource {
    fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    fn open(&self, _index: usize, _from: Offset) -> Result<Box<dyn Reader>, ConnectorError> {
        Err(ConnectorError::permanent(format!(
            "topic `{}` is read by consumers, not one partition at a time",
            self.settings.topic
        )))
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        decoder(&self.format, &self.wanted)
            .expect("the same decoder was made when the source was opened")
    }

    fn live(&self) -> Option<&dyn Live> {
        Some(self)
    }
}

impl Live for KafkaSource {
    fn beginning(&self) -> Result<Vec<Offset>, ConnectorError> {
        match &self.settings.start {
            Start::Earliest => self.places_or_ends(When::First),
            Start::Latest => self.places_or_ends(When::End),
            Start::Timestamp(time) => self.places_or_ends(When::From(*time)),
            Start::Offsets(given) => {
                let count = self.partitions.len();
                if let Some((partition, _)) = given.range(number(count)..).next() {
                    return Err(ConnectorError::hinted(
                        format!(
                            "'scan.startup.offsets' names partition {partition}, but topic `{}` has {count}",
                            self.settings.topic
                        ),
                        "partitions are counted from 0",
                    ));
                }
                let mut places = self.places_or_ends(When::First)?;
                for (partition, offset) in given {
                    let index = usize::try_from(*partition).expect("read as a natural number");
                    places[index] = Offset(*offset);
                }
                Ok(places)
            }
        }
    }

    fn following(&self, from: EventTime) -> Result<Vec<Following>, ConnectorError> {
        // In this order: what comes or goes between two answers is not taken for older than it is.
        let ends = self.places_or_ends(When::End)?;
        let since = self.places(When::since(from))?;
        let all = self.places_or_ends(When::First)?;
        self.has_all_since(&since, &all)?;
        let begin = match &self.settings.start {
            Start::Earliest => all,
            Start::Timestamp(time) if time.saturating_mul(1000) <= from.0 => self.beginning()?,
            Start::Timestamp(_) | Start::Latest | Start::Offsets(_) => {
                tracing::info!(
                    topic = self.settings.topic,
                    "is read from its first record on, not by 'scan.startup.mode': it follows files"
                );
                all
            }
        };
        let since = since.into_iter().zip(ends);
        let since = since.map(|(since, end)| since.unwrap_or(end));
        let following = |(first, since)| Following { first, since };
        Ok(begin.into_iter().zip(since).map(following).collect())
    }

    fn ends(&self) -> Result<Vec<Offset>, ConnectorError> {
        self.places_or_ends(When::End)
    }

    fn identity(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn is_still(&self, known: &str) -> Result<(), ConnectorError> {
        match &self.id {
            Some(now) if now != known && self.settings.topic_id.is_none() => {
                Err(made_anew(&self.settings.topic, known, now))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn covers(&self, read: &BTreeMap<usize, Offset>) -> Result<(), ConnectorError> {
        let ends = self.places(When::End)?;
        let end = |partition: usize| ends.get(partition).copied().flatten().unwrap_or_default();
        match read
            .iter()
            .find(|&(&partition, &read)| end(partition) < read)
        {
            Some((&partition, read)) => {
                Err(self
                    .asker
                    .ends_before(number(partition), end(partition).0, read.0))
            }
            None => Ok(()),
        }
    }

    fn consumer(
        &self,
        from: &[(usize, Offset)],
        reads: Reads,
    ) -> Result<Box<dyn Consumer>, ConnectorError> {
        let consumer = KafkaConsumer::new(
            (Arc::clone(&self.settings), reads),
            (Arc::clone(&self.asker), self.id.clone()),
            Arc::clone(&self.layout),
            self.clock.clone(),
            from,
        );
        Ok(Box::new(consumer?))
    }

    fn discovery(&self) -> Duration {
        self.settings.discovery
    }

    fn count_partitions(&self) -> Result<usize, ConnectorError> {
        // Nobody may be there to answer for a while, which is nothing to stop for.
        let count = self.asker.count_partitions();
        match count.map_err(|error| ConnectorError::Transient(error.to_string()))? {
            Some(count) => {
                self.asker.is_still(self.id.as_deref())?;
                Ok(count.max(self.partitions.len()))
            }
            None => Err(self.asker.no_topic()),
        }
    }

    fn show_progress(&self, committed: &[(usize, Offset)]) {
        self.asker.show(committed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_partition_tells_what_may_be_gone() {
        let at = |offset| Some(Offset(offset));
        for (first, left, since, gone) in [
            (0, None, None, Gone::NothingSince),
            (0, at(0), at(0), Gone::NothingSince),
            (6, at(6), at(7), Gone::NothingSince),
            (6, at(6), None, Gone::NothingSince),
            (6, at(6), at(6), Gone::PerhapsSome),
            (6, None, None, Gone::AllThereWas),
            // Compaction has removed the first ones of those that retention has left.
            (6, at(9), at(9), Gone::PerhapsSome),
            (6, at(9), at(10), Gone::NothingSince),
            // Retention has removed them since they were asked for.
            (6, at(6), at(5), Gone::PerhapsSome),
            (6, None, at(5), Gone::PerhapsSome),
        ] {
            let outcome = Gone::of(Offset(first), left, since);
            assert_eq!(outcome, gone, "{first}, {left:?}, {since:?}");
        }
    }
}
