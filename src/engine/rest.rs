//! How a pipeline is of which no process can be asked: what the marks in its destinations say.
//!
//! A mark does not say whether whoever wrote it still lives, nor when it was written: there is no
//! wall clock in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::committer::failed;
use super::status::{DestinationStatus, SinkStatus, Status, blank, source_status, unit_of_files};
use super::waits::Stage;
use crate::connector::open_destinations;
use crate::dataflow::board::SourceFacts;
use crate::dataflow::outcome::Failure;
use crate::plan::{Pipeline, Role, TableId};
use crate::types::{Epoch, Mark, SourceMark};

/// A destination: its name, its tables, and its mark if it has one.
type Known = (String, Vec<TableId>, Option<Mark>);

/// Looks at the marks; takes nothing over and changes nothing.
pub fn at_rest(pipeline: &Pipeline, base: &Path) -> Result<Status, Failure> {
    let is_sink = |&table: &TableId| pipeline.tables[table].role == Role::Sink;
    let ids: Vec<TableId> = (0..pipeline.tables.len()).filter(is_sink).collect();
    let tables: Vec<_> = ids.iter().map(|&id| &pipeline.tables[id]).collect();
    let opened = open_destinations(&pipeline.name, &tables, base)
        .map_err(|error| failed("cannot open the sinks", error))?;
    let mut known = Vec::new();
    for open in opened {
        let message = format!("could not read the mark of `{}`", open.name);
        let mark = open.destination.peek();
        let mark = mark.map_err(|error| failed(&message, error))?;
        let tables: Vec<_> = open.tables.iter().map(|&position| ids[position]).collect();
        known.push((open.name, tables, mark));
    }
    // Of several lanes, the one that is furthest behind speaks for the table.
    known.sort_by_key(|(_, tables, mark)| {
        let epoch = mark.as_ref().map(|mark| mark.epoch);
        (tables.first().copied(), epoch)
    });
    Ok(from_marks(pipeline, &known))
}

fn from_marks(pipeline: &Pipeline, known: &[Known]) -> Status {
    let marks = known.iter().filter_map(|(_, _, mark)| mark.as_ref());
    let newest = marks.max_by_key(|mark| mark.epoch);
    let source = |(table, _): (TableId, &[usize])| {
        let mark = newest.and_then(|mark| mark.sources.get(&pipeline.tables[table].name));
        let facts = mark.map_or_else(SourceFacts::default, |mark| SourceFacts {
            watermark: mark.watermark,
            files: files(mark),
            names: Arc::new(mark.partitions.keys().cloned().collect()),
            marks: mark.partitions.values().cloned().enumerate().collect(),
            ..SourceFacts::default()
        });
        source_status(pipeline, table, &facts)
    };
    let destination = |(name, _, mark): &Known| DestinationStatus {
        name: name.clone(),
        epoch: mark.as_ref().map_or(0, |mark| mark.epoch.0),
        generation: mark.as_ref().map(|mark| mark.generation),
        incarnation: mark
            .as_ref()
            .map(|mark| format!("{:016x}", mark.incarnation)),
        ..DestinationStatus::default()
    };
    let mut all: Vec<SinkStatus> = known.iter().flat_map(|it| sinks(pipeline, it)).collect();
    all.dedup_by(|lane, first| lane.name == first.name);
    Status {
        stage: Stage::Resting.word().to_owned(),
        says: Stage::Resting.sentence(Duration::ZERO),
        epoch: newest.map_or(0, |mark| mark.epoch.0),
        sources: pipeline.sources().map(source).collect(),
        sinks: all,
        destinations: known.iter().map(destination).collect(),
        ..blank(pipeline)
    }
}

/// The files among its partitions, and what their offsets count.
fn files(mark: &SourceMark) -> BTreeMap<usize, &'static str> {
    let unit = unit_of_files(mark.decoding.get("format").map(String::as_str));
    let marks = mark.partitions.values().enumerate();
    let files = marks.filter(|(_, mark)| mark.is_file());
    files.map(|(index, _)| (index, unit)).collect()
}

fn sinks(pipeline: &Pipeline, (name, tables, mark): &Known) -> Vec<SinkStatus> {
    let change = mark.as_ref();
    let change = change.and_then(|mark| mark.recipe.change_to(&pipeline.recipe));
    let waits_for = match (mark, change) {
        (None, _) => "has no mark: it was never run, or keeps none".to_owned(),
        (Some(mark), Some(change)) => format!(
            "holds everything up to epoch {}, computed by {change}: a run would be refused",
            mark.epoch
        ),
        (Some(mark), None) if mark.epoch == Epoch(0) => format!(
            "was taken over by start {} of the pipeline, and holds nothing yet",
            mark.generation
        ),
        (Some(mark), None) => format!(
            "holds everything up to epoch {}, by start {} of the pipeline; the next one goes on from \
             there",
            mark.epoch, mark.generation
        ),
    };
    let sink = |&table: &TableId| SinkStatus {
        name: pipeline.tables[table].name.clone(),
        destination: name.clone(),
        waits_for: waits_for.clone(),
        ..SinkStatus::default()
    };
    tables.iter().map(sink).collect()
}
