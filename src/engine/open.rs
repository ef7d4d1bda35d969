//! What a run is made of, opened: sources, destinations, and where the sources begin.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::committer::failed;
use super::crew::Crew;
use super::feed::{Feed, Reading};
use super::intake::Intake;
use super::keeper::Show;
use super::live_feed::LiveFeed;
use super::patience::patiently;
use super::worker::PlacedSource;
use crate::connector::{OpenDestination, Source, open_destinations, open_source};
use crate::dataflow::outcome::{Failure, Shared};
use crate::dataflow::schedule::Stop;
use crate::durability::{Beginning, Resume, first_positions};
use crate::plan::{Pipeline, Role, TableId};
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
    /// Its partitions as they are now.
    partitions: Arc<Vec<String>>,
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
    base: &Path,
    (shared, clock): (&Shared, &Clock),
) -> Result<Vec<OpenedSource>, Failure> {
    let open = |(id, columns): (TableId, &[usize])| {
        let table = &pipeline.tables[id];
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
        let Some(live) = source.source.live() else {
            let beginning = beginning(&*source.source);
            beginnings.sources.insert(source.name.clone(), beginning);
            continue;
        };
        beginnings.growing.insert(source.name.clone());
        let first = match first_positions(&source.name, marks) {
            Some(known) => known,
            None => {
                let message = format!("cannot find where `{}` begins", source.name);
                let offsets = patiently(&source.name, world, || live.beginning())
                    .map_err(|error| failed(&message, error))?;
                let marks = offsets.into_iter().map(PartitionMark::beginning);
                SourceMark {
                    partitions: source.partitions.iter().cloned().zip(marks).collect(),
                    watermark: Watermark::START,
                }
            }
        };
        beginnings.sources.insert(source.name.clone(), first);
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
        watermark: Watermark::START,
    }
}

/// Where the sources end now, those that go on.
pub fn ends(
    sources: &[OpenedSource],
    world: (&Shared, &Clock),
) -> Result<BTreeMap<String, Vec<Offset>>, Failure> {
    let mut ends = BTreeMap::new();
    for source in sources {
        if let Some(live) = source.source.live() {
            let message = format!("cannot find where `{}` ends", source.name);
            let now = patiently(&source.name, world, || live.ends())
                .map_err(|error| failed(&message, error))?;
            ends.insert(source.name.clone(), now);
        }
    }
    Ok(ends)
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
    let partitions: usize = sources.iter().map(|source| source.partitions.len()).sum();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    partitions.clamp(1, cores)
}

/// Where the replay of each source stops.
pub fn stops(
    sources: &[OpenedSource],
    resume: &Resume,
    start: &BTreeMap<String, SourceMark>,
) -> Vec<Vec<Stop>> {
    let of = |source: &OpenedSource| {
        let names = source.known(start);
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
    /// The names of the partitions that are known where the run begins. Those of a source that
    /// goes on are numbers without gaps, and every process has to name the same.
    fn known(&self, start: &BTreeMap<String, SourceMark>) -> Arc<Vec<String>> {
        match self.source.live() {
            None => Arc::clone(&self.partitions),
            Some(_) => {
                let count = start[&self.name].partitions.len();
                Arc::new((0..count).map(|index| index.to_string()).collect())
            }
        }
    }

    /// Its reading threads and inboxes.
    pub fn feed(
        &self,
        start: &BTreeMap<String, SourceMark>,
        ends: Option<&Vec<Offset>>,
        crew: Crew,
        queue_bytes: usize,
        (shared, clock): (&Arc<Shared>, &Clock),
    ) -> Arc<dyn Reading> {
        let (source, intake) = (Arc::clone(&self.source), self.intake.clone());
        let partitions = &start[&self.name].partitions;
        let names = self.known(start);
        let from: Vec<Offset> = names.iter().map(|name| partitions[name].offset).collect();
        if self.source.live().is_none() {
            let feed = Feed::new(&self.name, source, intake, &from, crew, Arc::clone(shared));
            return Arc::new(feed);
        }
        let ends = ends.cloned();
        let world = (Arc::clone(shared), clock.clone());
        Arc::new(LiveFeed::new(
            &self.name,
            (source, intake),
            &from,
            ends,
            crew,
            queue_bytes,
            world,
        ))
    }

    /// How long it is, where that is known.
    pub fn length(&self) -> Option<u64> {
        self.source
            .partitions()
            .iter()
            .map(|partition| partition.length)
            .sum()
    }

    /// As all workers know it.
    pub fn placed(&self, start: &BTreeMap<String, SourceMark>, ends: bool) -> PlacedSource {
        PlacedSource {
            is_live: self.source.live().is_some(),
            goes_on: self.source.live().is_some() && !ends,
            table: self.table,
            name: self.name.clone(),
            partitions: self.known(start),
        }
    }
}
