//! What a run is made of, opened: sources, destinations, and where the sources begin.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::both::Both;
use super::committer::failed;
use super::crew::Crew;
use super::feed::{Feed, Reading};
use super::history::{Files, Replay};
use super::intake::Intake;
use super::keeper::Show;
use super::live_feed::LiveFeed;
use super::options::Ends;
use super::pacing::Pacing;
use super::patience::patiently;
use super::reload::Reload;
use super::start::Decision;
use super::worker::PlacedSource;
use crate::connector::{Following, Live, OpenDestination, Source, open_destinations, open_source};
use crate::dataflow::outcome::{Failure, Shared};
use crate::dataflow::schedule::Stop;
use crate::dataflow::source::Followed;
use crate::durability::{Beginning, first_positions};
use crate::plan::{Pipeline, Role, Table, TableId};
use crate::types::{Clock, Mark, Offset, PartitionMark, SourceMark, Watermark};

/// A source, opened.
pub struct OpenedSource {
    /// The table.
    pub table: TableId,
    /// Its name.
    pub name: String,
    /// How its records become rows.
    intake: Intake,
    /// The source.
    pub source: Arc<dyn Source>,
    /// Its partitions as they are now, without files that it follows.
    partitions: Arc<Vec<String>>,
    /// The files that are read in its place, or before it.
    files: Option<Files>,
    /// The same as a table that is read again, if it is one.
    pub reload: Option<Arc<Reload>>,
}

/// A destination with its tables, by their ids.
pub struct Sink {
    /// The destination.
    pub open: OpenDestination,
    /// The tables.
    pub tables: Vec<TableId>,
}

/// Opens the sources of a pipeline.
pub fn open_sources(
    pipeline: &Pipeline,
    (base, replay): (&Path, &Replay),
    (shared, clock): (&Shared, &Clock),
) -> Result<Vec<OpenedSource>, Failure> {
    let open = |(id, columns): (TableId, &[usize])| {
        let table = &pipeline.tables[id];
        let mut files = None;
        if let Some(replayed) = replay.sources.get(&id) {
            let opened = Files::open(replayed, columns, base, clock)?;
            if opened.follow_from.is_none() {
                return Ok(OpenedSource::alone(id, table.name.clone(), opened));
            }
            files = Some(opened);
        }
        if table.is_reloaded() {
            return Ok(OpenedSource::read_again(id, table, columns, base, clock));
        }
        let intake = Intake::new(table, columns);
        let open = || open_source(table, &intake.decoded, base, clock);
        let source = patiently(&table.name, (shared, clock), open)
            .map_err(|error| failed(&format!("cannot read `{}`", table.name), error))?;
        let names = source
            .partitions()
            .iter()
            .map(|partition| partition.name.clone());
        Ok(OpenedSource {
            table: id,
            name: table.name.clone(),
            intake,
            partitions: Arc::new(names.collect()),
            source,
            files,
            reload: None,
        })
    };
    pipeline.sources().map(open).collect()
}

/// Opens the destinations of a pipeline. Nothing is touched before they are taken over.
pub fn open_sinks(pipeline: &Pipeline, base: &Path) -> Result<Vec<Sink>, Failure> {
    let ids: Vec<TableId> = (0..pipeline.tables.len())
        .filter(|&table| pipeline.tables[table].role == Role::Sink)
        .collect();
    let tables: Vec<_> = ids.iter().map(|&id| &pipeline.tables[id]).collect();
    let opened = open_destinations(&pipeline.name, &tables, base)
        .map_err(|error| failed("cannot open the sinks", error))?;
    let sink = |open: OpenDestination| Sink {
        tables: open.tables.iter().map(|&position| ids[position]).collect(),
        open,
    };
    Ok(opened.into_iter().map(sink).collect())
}

/// Where the sources begin, and what their partitions are: a source that goes on began where its
/// first run said.
pub fn beginnings(
    sources: &[OpenedSource],
    marks: &[Mark],
    world: (&Shared, &Clock),
) -> Result<Beginning, Failure> {
    let mut beginnings = Beginning::default();
    for source in sources {
        let mut beginning = match (source.source.live(), &source.files) {
            (None, None) => beginning(&*source.source),
            (None, Some(_)) => SourceMark::default(),
            (Some(live), _) => {
                beginnings.growing.insert(source.name.clone());
                source.first_positions(live, marks, world)?
            }
        };
        if let Some(files) = &source.files {
            beginning.partitions.extend(files.beginning());
            beginning.decoding.clone_from(&files.decoding);
        }
        beginnings.sources.insert(source.name.clone(), beginning);
    }
    Ok(beginnings)
}

/// The beginning of every partition of a source, and what the partitions are.
pub fn beginning(source: &dyn Source) -> SourceMark {
    let partitions = source.partitions().iter().map(|partition| {
        let mark = PartitionMark {
            identity: partition.identity.clone(),
            ..PartitionMark::beginning(Offset(0))
        };
        (partition.name.clone(), mark)
    });
    SourceMark {
        partitions: partitions.collect(),
        ..SourceMark::default()
    }
}

/// Where the sources end now, those that go on; where an earlier start of the run knew, there.
pub fn ends(
    sources: &[OpenedSource],
    known: Option<&Ends>,
    world: (&Shared, &Clock),
) -> Result<Ends, Failure> {
    let mut ends = Ends::new();
    for source in sources {
        let known = known.and_then(|known| known.get(&source.name));
        if let Some(known) = known.filter(|_| source.is_remembered()) {
            ends.insert(source.name.clone(), known.clone());
        } else if let Some(live) = source.source.live() {
            let message = format!("cannot find where `{}` ends", source.name);
            let now = patiently(&source.name, world, || live.ends())
                .map_err(|error| failed(&message, error))?;
            ends.insert(source.name.clone(), now);
        }
    }
    Ok(ends)
}

/// How many files there are in the folders whose files become more. What came after a run with
/// `ends` began first is not for it.
pub fn there(
    sources: &[OpenedSource],
    ends: Option<&Ends>,
    world: (&Shared, &Clock),
) -> Result<BTreeMap<String, usize>, Failure> {
    let mut there = BTreeMap::new();
    for source in sources.iter().filter(|source| source.is_watched()) {
        let live = source.source.live().expect("who is watched goes on");
        let message = format!("cannot find what is in `{}`", source.name);
        let count = patiently(&source.name, world, || live.count_partitions())
            .map_err(|error| failed(&message, error))?;
        let known = ends.and_then(|ends| ends.get(&source.name));
        let count = known.map_or(count, |known| known.len().min(count));
        there.insert(source.name.clone(), count);
    }
    Ok(there)
}

/// Tells the sources that go on how far they are, for people's eyes.
pub fn show_progress(sources: &[OpenedSource]) -> Show {
    let live = sources
        .iter()
        .filter(|source| source.source.live().is_some());
    let live: Vec<(String, Arc<dyn Source>)> = live
        .map(|source| (source.name.clone(), Arc::clone(&source.source)))
        .collect();
    Box::new(move |marks| {
        for (name, source) in &live {
            let (Some(live), Some(mark)) = (source.live(), marks.get(name)) else {
                continue;
            };
            let offset = |(partition, mark): (&String, &PartitionMark)| {
                Some((partition.parse().ok()?, mark.offset))
            };
            let offsets: Vec<(usize, Offset)> = mark.partitions.iter().filter_map(offset).collect();
            live.show_progress(&offsets);
        }
    })
}

/// As many workers as partitions or cores, whichever is fewer.
pub fn default_workers(sources: &[OpenedSource]) -> usize {
    let of = |source: &OpenedSource| source.partitions.len().max(source.followed());
    let partitions: usize = sources.iter().map(of).sum();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    partitions.clamp(1, cores)
}

/// Where the replay of each source stops.
pub fn stops(sources: &[OpenedSource], decision: &Decision) -> Vec<Vec<Stop>> {
    let resume = &decision.resume;
    let of = |source: &OpenedSource| {
        let names = source.known(decision);
        let stop = |mark: &Mark| {
            let known = mark.sources.get(&source.name);
            let place = |name: &String| known.and_then(|known| known.partitions.get(name)).cloned();
            Stop {
                epoch: mark.epoch,
                partitions: names.iter().map(place).collect(),
                watermark: known.map_or(Watermark::START, |known| known.watermark),
            }
        };
        resume.stops.iter().map(stop).collect()
    };
    sources.iter().map(of).collect()
}

impl OpenedSource {
    /// Files that are read in the place of a source.
    fn alone(table: TableId, name: String, files: Files) -> Self {
        Self {
            table,
            name,
            intake: files.intake.clone(),
            source: Arc::clone(&files.source),
            partitions: Arc::new(files.names.clone()),
            files: Some(files),
            reload: None,
        }
    }

    /// A table that is read again and again.
    fn read_again(
        id: TableId,
        table: &Table,
        columns: &[usize],
        base: &Path,
        clock: &Clock,
    ) -> Self {
        let reload = Arc::new(Reload::new(table, columns, base, clock));
        let names = reload.partitions().iter();
        Self {
            table: id,
            name: table.name.clone(),
            intake: Intake::of_differences(table, columns),
            partitions: Arc::new(names.map(|partition| partition.name.clone()).collect()),
            source: Arc::<Reload>::clone(&reload),
            files: None,
            reload: Some(reload),
        }
    }

    /// Whether it goes on, and can be asked how far it goes without being read: of a table that is read
    /// again there is only what was read.
    pub fn has_end(&self) -> bool {
        self.source.live().is_some() && self.reload.is_none()
    }

    /// Whether its positions mean the same in every start.
    fn is_remembered(&self) -> bool {
        let reload = self.reload.as_ref();
        reload.is_none_or(|reload| reload.is_durable())
    }

    /// The files that are read in its place or before it.
    pub fn files(&self) -> Option<&Files> {
        self.files.as_ref()
    }

    /// How many files it follows in this run.
    pub fn followed(&self) -> usize {
        match (self.source.live(), &self.files) {
            (Some(_), Some(files)) => files.names.len(),
            (None, _) | (_, None) => 0,
        }
    }

    /// Where the partitions of a topic begin.
    fn first_positions(
        &self,
        live: &dyn Live,
        marks: &[Mark],
        world: (&Shared, &Clock),
    ) -> Result<SourceMark, Failure> {
        let from = self.files.as_ref().and_then(|files| files.follow_from);
        let follow = |mark: PartitionMark| match from {
            Some(from) => PartitionMark {
                since: mark.since,
                ..PartitionMark::following(mark.first, from)
            },
            None => mark,
        };
        let identity = live.identity().map(str::to_owned);
        if let Some(mut known) = first_positions(&self.name, marks) {
            self.recall(live, &known)?;
            self.is_still(live, marks)?;
            self.covers(live, marks, world)?;
            known.identity = identity.or(known.identity);
            let all = std::mem::take(&mut known.partitions).into_iter();
            known.partitions = all.map(|(name, mark)| (name, follow(mark))).collect();
            return Ok(known);
        }
        let message = format!("cannot find where `{}` begins", self.name);
        let ask = || match from {
            Some(from) => live.following(from),
            None => live.beginning().map(Following::whole),
        };
        let all = patiently(&self.name, world, ask).map_err(|error| failed(&message, error))?;
        let beginning = |(partition, at): (usize, Following)| PartitionMark {
            file: live.taken(partition),
            since: from.map(|_| at.since),
            ..PartitionMark::beginning(at.first)
        };
        let marks = all.into_iter().enumerate().map(beginning).map(follow);
        Ok(SourceMark {
            partitions: self.partitions.iter().cloned().zip(marks).collect(),
            identity,
            ..SourceMark::default()
        })
    }

    /// Tells the source which files earlier runs took.
    fn recall(&self, live: &dyn Live, known: &SourceMark) -> Result<(), Failure> {
        let file = |(name, mark): (&String, &PartitionMark)| {
            Some((name.parse().ok()?, mark.file.clone()?))
        };
        let files = known.partitions.iter().filter_map(file).collect();
        let message = format!("cannot resume `{}`", self.name);
        live.recall(&files).map_err(|error| failed(&message, error))
    }

    /// Whether it is the source that the destinations know. A mark that does not say which it was is
    /// of an older build, and takes over the one that is there.
    fn is_still(&self, live: &dyn Live, marks: &[Mark]) -> Result<(), Failure> {
        let known = marks.iter().filter_map(|mark| mark.sources.get(&self.name));
        for known in known.filter_map(|known| known.identity.as_deref()) {
            let message = format!("cannot resume `{}`", self.name);
            live.is_still(known)
                .map_err(|error| failed(&message, error))?;
        }
        Ok(())
    }

    /// Whether the source still has what the destinations hold of it.
    fn covers(
        &self,
        live: &dyn Live,
        marks: &[Mark],
        world: (&Shared, &Clock),
    ) -> Result<(), Failure> {
        let known = marks.iter().filter_map(|mark| mark.sources.get(&self.name));
        let mut read = BTreeMap::<usize, Offset>::new();
        for (name, mark) in known.flat_map(|known| &known.partitions) {
            if let (false, Ok(partition)) = (mark.is_file(), name.parse()) {
                let furthest = read.entry(partition).or_default();
                *furthest = mark.offset.max(*furthest);
            }
        }
        let message = format!("cannot resume `{}`", self.name);
        patiently(&self.name, world, || live.covers(&read)).map_err(|error| failed(&message, error))
    }

    /// Whether it is the source that a run begins with, as far as either says which it is.
    pub fn is_of(&self, start: &SourceMark) -> bool {
        let now = self.source.live().and_then(Live::identity);
        let known = start.identity.as_deref();
        now.zip(known).is_none_or(|(now, known)| now == known)
    }

    /// Whether its files are those that a run begins with.
    pub fn has_files_of(&self, start: &SourceMark) -> bool {
        let own: BTreeMap<String, PartitionMark> = match &self.files {
            Some(files) => files.beginning().collect(),
            None if self.source.live().is_none() => beginning(&*self.source).partitions,
            None => return true,
        };
        let files = |marks: &BTreeMap<String, PartitionMark>| -> Vec<(String, Option<String>)> {
            let files = marks.iter().filter(|(_, mark)| mark.is_file());
            files
                .map(|(name, mark)| (name.clone(), mark.identity.clone()))
                .collect()
        };
        files(&own) == files(&start.partitions)
    }

    /// The names of the partitions that are known where the run begins. Those of a source that
    /// goes on are numbers without gaps, and every process has to name the same. These are also the
    /// files that came while nobody ran: event time waits for all of them.
    fn known(&self, decision: &Decision) -> Arc<Vec<String>> {
        match self.source.live() {
            None => Arc::clone(&self.partitions),
            Some(_) => {
                let marks = decision.start[&self.name].partitions.values();
                let count = marks.filter(|mark| !mark.is_file()).count();
                let there = decision.there.get(&self.name).copied();
                let count = count.max(there.unwrap_or_default());
                let files = self
                    .files
                    .iter()
                    .flat_map(|files| files.names.iter().cloned());
                Arc::new(
                    files
                        .chain((0..count).map(|index| index.to_string()))
                        .collect(),
                )
            }
        }
    }

    /// Whether it is a folder whose files become more.
    fn is_watched(&self) -> bool {
        self.source
            .live()
            .is_some_and(|live| live.taken(0).is_some())
    }

    /// Its reading threads and inboxes.
    pub fn feed(
        &self,
        decision: &Decision,
        crew: Crew,
        (queue_bytes, pacing, ahead): (usize, Option<Arc<Pacing>>, Option<usize>),
        world: (&Arc<Shared>, &Clock),
    ) -> Arc<dyn Reading> {
        let start = &decision.start[&self.name];
        let names = self.known(decision);
        let known = names.iter().map_while(|name| start.partitions.get(name));
        let from = known.map(|mark| mark.offset);
        let from: Vec<Offset> = from.collect();
        let shared = Arc::clone(world.0);
        if let Some(reload) = &self.reload {
            reload.shows_on(&shared);
        }
        let stops = decision.resume.stops.iter();
        let stops: Vec<&SourceMark> = stops.filter_map(|it| it.sources.get(&self.name)).collect();
        let replayed = |names: &[String]| -> Vec<Offset> {
            let to = |name: &String| {
                let marks = stops.iter().filter_map(|stop| stop.partitions.get(name));
                marks.map(|mark| mark.offset).max().unwrap_or_default()
            };
            names.iter().map(to).collect()
        };
        let files = self.files.as_ref().map(|files| {
            let from = &from[..files.names.len()];
            // What is not read again is no way still to go.
            shared.read(self.table, 0, from.iter().map(|offset| offset.0).sum());
            let source = (Arc::clone(&files.source), files.intake.clone());
            let feed = Feed::new(
                &self.name,
                source.0,
                source.1,
                from,
                crew,
                Arc::clone(&shared),
            );
            let ended = files.names.iter().enumerate();
            let ended = ended.filter(|(_, name)| start.partitions[*name].ended);
            let feed = feed.without(ended.map(|(index, _)| index));
            let feed = feed.replaying(replayed(&files.names));
            match files.in_time(start) {
                Some(in_time) => feed.by_time(in_time, pacing).beside_others(ahead),
                None => feed,
            }
        });
        let (source, intake) = (Arc::clone(&self.source), self.intake.clone());
        match (self.source.live(), files) {
            (None, Some(files)) => Arc::new(files),
            (None, None) => {
                let feed = Feed::new(&self.name, source, intake, &from, crew, shared);
                Arc::new(feed.replaying(replayed(&names)))
            }
            (Some(_), files) => {
                let count = self.followed();
                let topic = LiveFeed::new(
                    &self.name,
                    (source, intake),
                    &from[count..],
                    self.ends_of(decision).map(|ends| self.limits(ends)),
                    crew.behind(count),
                    queue_bytes,
                    (shared, world.1.clone()),
                );
                let known = names[count..]
                    .iter()
                    .map_while(|name| start.partitions.get(name));
                let topic = topic.without(known.map(|mark| mark.since).collect());
                match files {
                    None => Arc::new(topic),
                    Some(files) if self.has_followed(decision) => self.both(files, topic, true),
                    Some(files) => self.both(files, topic.held(), false),
                }
            }
        }
    }

    fn both(&self, files: Feed, topic: LiveFeed, together: bool) -> Arc<dyn Reading> {
        Arc::new(Both {
            files: Arc::new(files),
            count: self.followed(),
            topic: Arc::new(topic),
            together,
        })
    }

    fn ends_of<'a>(&self, decision: &'a Decision) -> Option<&'a Vec<Offset>> {
        decision.ends.as_ref()?.get(&self.name)
    }

    /// Where reading stops. A file ends by itself, and when a run begins again it may have another
    /// number, if no mark has it yet.
    fn limits(&self, ends: &[Offset]) -> Vec<Offset> {
        let limit = |&end: &Offset| match self.is_watched() {
            true => Offset(u64::MAX),
            false => end,
        };
        ends.iter().map(limit).collect()
    }

    /// Whether the topic was read before this run, after all its files.
    fn has_followed(&self, decision: &Decision) -> bool {
        let stops = decision.resume.stops.iter().map(|mark| &mark.sources);
        let known = stops.chain([&decision.start]);
        let known = known.filter_map(|sources| sources.get(&self.name));
        let mut partitions = known.flat_map(|known| known.partitions.values());
        partitions.any(|mark| !mark.is_file() && (mark.ended || mark.offset > mark.first))
    }

    /// Where its partitions end, as far as that is known from the start.
    pub fn ends(&self, decision: &Decision) -> Vec<Option<Offset>> {
        let length = |source: &Arc<dyn Source>| -> Vec<Option<Offset>> {
            let lengths = source.partitions().iter().map(|known| known.length);
            lengths.map(|length| length.map(Offset)).collect()
        };
        let own = match self.ends_of(decision) {
            Some(ends) => ends.iter().copied().map(Some).collect(),
            None => length(&self.source),
        };
        match &self.files {
            Some(files) if self.followed() > 0 => [length(&files.source), own].concat(),
            Some(_) | None => own,
        }
    }

    /// How long it is, where that is known: of a topic, the files before it.
    pub fn length(&self) -> Option<u64> {
        let source = self
            .files
            .as_ref()
            .map_or(&self.source, |files| &files.source);
        source
            .partitions()
            .iter()
            .map(|partition| partition.length)
            .sum()
    }

    /// As all workers know it.
    pub fn placed(&self, decision: &Decision) -> PlacedSource {
        let (start, ends) = (&decision.start[&self.name], &decision.ends);
        PlacedSource {
            is_live: self.source.live().is_some(),
            has_event_time: self.reload.is_none(),
            is_past: self.files().is_some_and(|it| it.follow_from.is_none()),
            goes_on: self.source.live().is_some() && ends.is_none(),
            is_whole: self.is_watched() && ends.is_some(),
            table: self.table,
            name: self.name.clone(),
            partitions: self.known(decision),
            identity: start.identity.clone(),
            decoding: start.decoding.clone(),
            history: start.side_from().map(|from| Followed {
                files: self.followed(),
                from,
            }),
        }
    }
}
