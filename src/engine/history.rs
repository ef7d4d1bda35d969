//! History: files that are read in the place of a topic, or before it.
//!
//! ```text
//!   jan.csv  ├──────────┤                     each a partition that begins where its first row
//!   feb.csv           ├──────────┤            happened: event time need not wait for it before
//!   topic                        ├──────▶     begins where the files end (`--from`)
//! ```
//!
//! A partition's watermark, before its first row, is that row's event time less the bound. Whatever
//! the first row is, it is not late then, and no later one is that would not be anyway: the result
//! is the same as without. But event time moves while files are read one after the other, windows
//! close, and what is held is what the bound asks for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::check::from_world;
use super::committer::failed;
use super::feed::InTime;
use super::intake::Intake;
use super::pacing::{Pacing, WILD_US};
use super::start::Decision;
use crate::connector::{
    NoHistory, OptionProblem, Source, history_table, inspect_source, open_source,
};
use crate::dataflow::outcome::Failure;
use crate::dataflow::step::plain;
use crate::format::metadata_of;
use crate::plan::{Pipeline, Table, TableId, decoding};
use crate::sql::Problem;
use crate::types::{Clock, EventTime, Offset, PartitionMark, Side, SourceMark, Watermark};

/// What a run reads from files instead.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// The sources, by table.
    pub sources: BTreeMap<TableId, Replayed>,
    /// How many times faster than it happened; as fast as it can be read if not said.
    pub speed: Option<f64>,
}

impl Replay {
    /// The options, as far as all processes of a run must have them alike.
    #[must_use]
    pub fn typed(&self) -> String {
        let mut typed = String::new();
        for replayed in self.sources.values() {
            typed += &format!(" --source {}=..", replayed.table.name);
            // Also what was guessed: a process that guesses otherwise reads other rows.
            for (name, value) in decoding(&replayed.table) {
                typed += &format!(" --option {name}={value}");
            }
            if let Some(from) = replayed.follow_from {
                typed += &format!(" --then-follow --from '{}'", Watermark::behind(from, 0));
            }
        }
        if let Some(speed) = self.speed {
            typed += &format!(" --speed {speed}x");
        }
        typed
    }
}

/// A source whose history is read from files.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The table, with the files for its connector.
    pub table: Table,
    /// When the topic takes over, if it does.
    pub follow_from: Option<EventTime>,
}

/// The files of a source, opened.
pub struct Files {
    /// The files.
    pub source: Arc<dyn Source>,
    /// How their records become rows.
    pub intake: Intake,
    /// What marks call them.
    pub names: Vec<String>,
    /// When the topic takes over.
    pub follow_from: Option<EventTime>,
    /// The options by which the records become rows.
    pub decoding: BTreeMap<String, String>,
    beginnings: Vec<PartitionMark>,
    /// When each one's first row happened.
    firsts: Vec<Option<EventTime>>,
    bound_us: i64,
    has_time: bool,
}

impl Files {
    /// Opens the files of `replayed` and looks when each begins. `columns` are those that the plan
    /// reads.
    pub fn open(
        replayed: &Replayed,
        columns: &[usize],
        base: &Path,
        clock: &Clock,
    ) -> Result<Self, Failure> {
        let table = &replayed.table;
        let intake = Intake::new(table, columns);
        let source = open_source(table, &intake.decoded, base, clock).map_err(|error| {
            failed(&format!("cannot read the files of `{}`", table.name), error)
        })?;
        let bound_us = table.watermark.as_ref().map(|it| it.bound_us);
        let mut files = Self {
            names: source
                .partitions()
                .iter()
                .map(|file| name(&file.name))
                .collect(),
            follow_from: replayed.follow_from,
            decoding: decoding(table),
            beginnings: Vec::new(),
            firsts: Vec::new(),
            bound_us: bound_us.unwrap_or(0),
            has_time: bound_us.is_some(),
            source,
            intake,
        };
        let side = files.side();
        for index in 0..files.names.len() {
            let first = match bound_us {
                Some(_) => files.first(index, side)?,
                None => None,
            };
            files.firsts.push(first);
            files.beginnings.push(PartitionMark {
                identity: files.source.partitions()[index].identity.clone(),
                watermark: first.map_or_else(Default::default, |first| {
                    Watermark::behind(first, files.bound_us)
                }),
                side,
                ..PartitionMark::beginning(Offset(0))
            });
        }
        Ok(files)
    }

    /// When the first row that is read here happened, if it is in the file's first block. One that has
    /// none there is read before all others: event time waits for it, and nothing is to be held meanwhile.
    fn first(&self, index: usize, side: Option<Side>) -> Result<Option<EventTime>, Failure> {
        let message = || format!("cannot read `{}`", self.names[index]);
        let mut reader = self
            .source
            .open(index, Offset(0))
            .map_err(|error| failed(&message(), error))?;
        let Some(block) = reader.next().map_err(|error| failed(&message(), error))? else {
            return Ok(None);
        };
        let rows = self.intake.take(&mut *self.source.decoder(), &block);
        let rows = rows.map_err(|error| Failure::new(message()).because(plain(&error)))?;
        let mut times = rows.times.iter().copied();
        let first = times.find(|&time| side.is_none_or(|side| side.takes(time)));
        Ok(first.map(EventTime))
    }

    /// Where a first run begins.
    pub fn beginning(&self) -> impl Iterator<Item = (String, PartitionMark)> {
        self.names
            .iter()
            .cloned()
            .zip(self.beginnings.iter().cloned())
    }

    /// Where the files stand in event time where a run begins at `start`; nothing where rows have no
    /// time.
    pub fn in_time(&self, start: &SourceMark) -> Option<InTime> {
        let time = |(name, first): (&String, &Option<EventTime>)| {
            let mark = start.partitions.get(name)?;
            if mark.offset == mark.first || mark.watermark.is_start() {
                return first.map(|first| first.0);
            }
            Some(mark.watermark.micros().saturating_add(self.bound_us))
        };
        let watermark = |name: &String| {
            let mark = start.partitions.get(name);
            mark.map_or(Watermark::START, |mark| mark.watermark)
        };
        self.has_time.then(|| InTime {
            times: self.names.iter().zip(&self.firsts).map(time).collect(),
            watermarks: self.names.iter().map(watermark).collect(),
            bound_us: self.bound_us,
            side: self.side(),
        })
    }

    fn side(&self) -> Option<Side> {
        self.follow_from.map(Side::Before)
    }

    /// Where pacing begins: what some destination holds, and the first row otherwise, is not waited
    /// for again. Files that have all been read have no beginning: nothing of them is waited for.
    fn origin(&self, name: &str, decision: &Decision) -> Option<EventTime> {
        let stops = decision.resume.stops.iter().map(|mark| &mark.sources);
        let known: Vec<_> = stops
            .chain([&decision.start])
            .filter_map(|of| of.get(name))
            .collect();
        let has_read = |mark: &&SourceMark, file| {
            let file = mark.partitions.get(file);
            file.is_some_and(|file| file.ended)
        };
        if self
            .names
            .iter()
            .all(|file| known.iter().any(|mark| has_read(mark, file)))
        {
            return None;
        }
        let beginnings = || self.names.iter().zip(&self.beginnings);
        let reached = known.iter().filter_map(|mark| furthest(mark, beginnings()));
        let reached = reached.map(|it| EventTime(it.micros().saturating_add(self.bound_us)));
        self.firsts
            .iter()
            .flatten()
            .min()
            .copied()
            .max(reached.max())
    }
}

/// How far event time was, where a mark stands, in the file that was furthest: the clock went by it,
/// however seldom another has a row. One that is a day past the source has a row whose time is wrong. Of
/// a file that stands where it begins nothing has come in: its turn is to come.
fn furthest<'a>(
    mark: &SourceMark,
    beginnings: impl Iterator<Item = (&'a String, &'a PartitionMark)>,
) -> Option<Watermark> {
    let reached = Some(mark.watermark).filter(|it| !it.is_start() && *it != Watermark::END)?;
    let limit = reached.micros().saturating_add(WILD_US);
    let times = beginnings.filter_map(|(name, beginning)| {
        let file = mark.partitions.get(name)?;
        let time = file.before_end.unwrap_or(file.watermark);
        (time > beginning.watermark && time.micros() <= limit).then_some(time)
    });
    Some(times.fold(reached, Watermark::max))
}

/// How the run is paced, if it is to be.
pub fn pacing<'a>(
    speed: Option<f64>,
    sources: impl Iterator<Item = (&'a str, &'a Files)>,
    decision: &Decision,
    clock: &Clock,
) -> Option<Arc<Pacing>> {
    let origins = sources.filter_map(|(name, files)| files.origin(name, decision));
    let origin = origins.min()?;
    Some(Arc::new(Pacing::new(speed?, origin, clock.clone())))
}

/// What marks call a file. A number is what they call a partition of a topic.
fn name(path: &str) -> String {
    match path.parse::<usize>() {
        Ok(_) => format!("./{path}"),
        Err(_) => path.to_owned(),
    }
}

/// The source `table` with the files that `pattern` means in its place, or before its topic.
pub fn replayed(
    pipeline: &Pipeline,
    (table, columns): (TableId, &[usize]),
    (pattern, options): (&str, &[(String, String)]),
    follow_from: Option<EventTime>,
    base: &Path,
) -> Result<Replayed, Vec<Problem>> {
    let declared = &pipeline.tables[table];
    if declared.is_reloaded() {
        let name = &declared.name;
        let message = format!("`{name}` is a table that is read again, and has no history");
        let hint = format!("leave `{name}` out of --source: it is joined as it is now");
        return Err(vec![Problem::at(declared.place, message).hint(hint)]);
    }
    let history = history_table(declared, pattern, base, options).map_err(|error| match error {
        NoHistory::Files(error) => {
            let mut problem = from_world(declared.place, error);
            if let (Some(_), Some(hint)) = (follow_from, &mut problem.hint) {
                hint.push_str("; once all files were read, `tidemark run` goes on without them");
            }
            vec![problem]
        }
        NoHistory::Options(problems) => {
            let problems = problems.into_iter();
            let at = |it: OptionProblem| Problem::at(it.place, it.message).maybe_hint(it.hint);
            problems.map(at).collect()
        }
    })?;
    let read = Intake::new(&history, columns).decoded;
    let with_record = read.iter().map(|&column| &history.columns[column]);
    let with_record = with_record.filter(|column| metadata_of(&column.field).is_some());
    let problems: Vec<Problem> = with_record
        .map(|column| {
            let message = format!(
                "`{}` comes with a record of the topic, and files have no such thing",
                column.field.name()
            );
            Problem::at(column.place, message).hint("leave it out of the queries to replay them")
        })
        .collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Replayed {
        table: history,
        follow_from,
    })
}

/// What the outside world would refuse of the files.
#[must_use]
pub fn check_history(pipeline: &Pipeline, replay: &Replay, base: &Path) -> Vec<Problem> {
    let files = pipeline.sources().filter_map(|(id, columns)| {
        // Those that are read alone are sources like others.
        let replayed = replay.sources.get(&id)?;
        replayed.follow_from?;
        let table = &replayed.table;
        let intake = Intake::new(table, columns);
        let error = inspect_source(table, &intake.decoded, base).err()?;
        Some(from_world(table.place, error))
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Given, SourceText, plan};

    fn replay(follow_from: Option<EventTime>) -> Replay {
        let text =
            "CREATE TABLE ev (n BIGINT) WITH (connector = 'file', path = 'x', format = 'json');
            CREATE TABLE out (n BIGINT) WITH (connector = 'stdout');
            INSERT INTO out SELECT n FROM ev;";
        let source = SourceText {
            path: "p.sql",
            text,
        };
        let given = Given {
            variables: BTreeMap::new(),
            settings: Vec::new(),
            pipeline_name: "p".to_owned(),
            only: Vec::new(),
        };
        let mut tables = plan(&source, &given).unwrap().tables;
        let table = tables.swap_remove(0);
        Replay {
            sources: BTreeMap::from([(0, Replayed { table, follow_from })]),
            speed: None,
        }
    }

    /// What some destination holds is not waited for again.
    #[test]
    fn a_paced_replay_goes_on_where_the_furthest_file_was_and_not_where_a_row_had_a_wrong_time() {
        let at = |time| Watermark::behind(EventTime(time), 0);
        let file = |watermark| PartitionMark {
            watermark,
            ..PartitionMark::beginning(Offset(1))
        };
        let names = ["often", "seldom", "wild", "ended", "unread"].map(str::to_owned);
        let times = [at(12), at(8), at(12 + WILD_US), Watermark::END, at(20)];
        let files = names.iter().cloned().zip(times.map(file));
        let beginnings = [at(1), at(2), at(3), at(4), at(20)].map(file);
        let beginnings = || names.iter().zip(&beginnings);
        let mark = |watermark| SourceMark {
            watermark,
            partitions: files.clone().collect(),
            ..SourceMark::default()
        };

        assert_eq!(furthest(&mark(at(8)), beginnings()), Some(at(12)));
        assert_eq!(furthest(&mark(Watermark::START), beginnings()), None);
    }

    /// A process that runs and one that replays would read different records.
    #[test]
    fn processes_that_do_not_replay_alike_are_told_apart() {
        assert_eq!(Replay::default().typed(), "");
        assert_eq!(replay(None).typed(), " --source ev=.. --option format=json");
        let from = Some(EventTime(0));
        assert_eq!(
            replay(from).typed(),
            " --source ev=.. --option format=json --then-follow --from '1970-01-01 00:00:00'"
        );
    }
}
