//! `replay`: a pipeline over the history of its sources, and then on with their topics.
//!
//! What is special to it is decided here and handed to `run`: which table is read from which files,
//! how fast, and where a topic takes over.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::file::Planned;
use super::{ReplayArgs, run};
use crate::connector::{can_follow, moment};
use crate::engine::{Replay, replayed};
use crate::plan::{Pipeline, TableId};
use crate::sql::{Problem, did_you_mean};
use crate::types::{EventTime, Watermark};

/// Replays a pipeline and says how it went.
pub fn replay(arguments: &ReplayArgs) -> u8 {
    run::run_with(&arguments.run, |planned| {
        let given = Given::parse(arguments)?;
        let replay = given.replay(planned)?;
        let pipeline = Arc::make_mut(&mut planned.pipeline);
        for (&table, replayed) in &replay.sources {
            if replayed.follow_from.is_none() {
                pipeline.tables[table] = replayed.table.clone();
            }
        }
        Ok(replay)
    })
}

/// The command line, understood as far as that goes without the plan.
#[derive(Debug, PartialEq)]
struct Given {
    sources: BTreeMap<String, String>,
    options: Vec<(String, String)>,
    speed: Option<f64>,
    from: Option<EventTime>,
    until_caught_up: bool,
}

impl Given {
    fn parse(arguments: &ReplayArgs) -> Result<Self, Vec<Problem>> {
        let pairs = |what: &str, of: &[String]| -> Result<Vec<(String, String)>, Vec<Problem>> {
            let pairs = of.iter().map(|text| pair(what, text));
            pairs
                .collect::<Result<_, _>>()
                .map_err(|problem| vec![problem])
        };
        let mut sources = BTreeMap::new();
        for (table, files) in pairs("--source", &arguments.sources)? {
            if sources.insert(table.clone(), files).is_some() {
                let message = format!("--source names `{table}` twice");
                let hint = "name a folder, or a pattern such as data/*.csv, for several files";
                return Err(vec![Problem::of_file(message).hint(hint)]);
            }
        }
        let problem = |problem| vec![problem];
        let speed = arguments.speed.as_deref().map(speed);
        let from = arguments.from.as_deref().map(from);
        Ok(Self {
            sources,
            options: pairs("--option", &arguments.options)?,
            speed: speed.transpose().map_err(problem)?,
            from: from.transpose().map_err(problem)?,
            until_caught_up: arguments.run.until_caught_up,
        })
    }

    fn replay(&self, planned: &Planned) -> Result<Replay, Vec<Problem>> {
        let pipeline = &planned.pipeline;
        let mut replay = Replay {
            sources: BTreeMap::new(),
            speed: self.speed,
        };
        let mut problems = Vec::new();
        for (name, files) in &self.sources {
            let source = match self.source(pipeline, name) {
                Ok(source) => source,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            let files = (files.as_str(), self.options.as_slice());
            match replayed(pipeline, source, files, self.from, &planned.base) {
                Ok(replayed) => drop(replay.sources.insert(source.0, replayed)),
                Err(more) => problems.extend(more),
            }
        }
        let is_from_files = |(table, _): (TableId, _)| replay.sources.contains_key(&table);
        if self.until_caught_up && self.from.is_none() && pipeline.sources().all(is_from_files) {
            let message = "--until-caught-up is about a topic, and files have an end";
            let hint = "leave it out, or go on with the topic: --then-follow --from TIMESTAMP";
            problems.push(Problem::of_file(message).hint(hint));
        }
        if problems.is_empty() {
            Ok(replay)
        } else {
            Err(problems)
        }
    }

    /// The source of this name, if it can be replayed as is asked.
    fn source<'a>(
        &self,
        pipeline: &'a Pipeline,
        name: &str,
    ) -> Result<(TableId, &'a [usize]), Problem> {
        let named = |(id, _): &(TableId, &[usize])| pipeline.tables[*id].name == name;
        let Some(source) = pipeline.sources().find(named) else {
            let names = pipeline.sources();
            let names: Vec<&str> = names
                .map(|(id, _)| pipeline.tables[id].name.as_str())
                .collect();
            let hint = did_you_mean(name, names.iter().copied());
            let hint = hint.unwrap_or_else(|| format!("there is {}", names.join(", ")));
            let message = format!("--source names `{name}`, which is no stream of this pipeline");
            return Err(Problem::of_file(message).hint(hint));
        };
        let table = &pipeline.tables[source.0];
        let asked = match (self.from, self.speed) {
            (Some(_), _) => "--then-follow",
            (None, Some(_)) => "--speed",
            (None, None) => return Ok(source),
        };
        if table.watermark.is_none() {
            let message = format!("{asked} needs the event time of `{name}`");
            let hint = "declare it: WATERMARK FOR column AS column - INTERVAL '..'";
            return Err(Problem::at(table.place, message).hint(hint));
        }
        if self.from.is_some() && !can_follow(table) {
            let message = format!("`{name}` is no topic that could be followed");
            let hint = "leave --then-follow out, or declare it with connector = 'kafka'";
            return Err(Problem::at(table.place, message).hint(hint));
        }
        Ok(source)
    }
}

/// A time, or milliseconds; seconds, or a bare date, would be a time soon after 1970.
fn from(text: &str) -> Result<EventTime, Problem> {
    const YEARS: i64 = 100_000_000_000;
    let problem = |message: String| {
        let hint = "such as '2026-01-31 12:00:00', or milliseconds since 1970";
        Problem::of_file(message).hint(hint)
    };
    let time = moment(text).ok_or_else(|| problem(format!("--from `{text}` is no time")))?;
    match text.parse::<i64>() {
        Ok(number) if number < YEARS => {
            let time = Watermark::behind(time, 0);
            let message = format!("--from `{text}` would be {time}, in milliseconds");
            Err(problem(message))
        }
        Ok(_) | Err(_) => Ok(time),
    }
}

/// `60x`, `60` or `0.5x`.
fn speed(text: &str) -> Result<f64, Problem> {
    let number = text.strip_suffix(['x', 'X']).unwrap_or(text).trim();
    let speed = number.parse::<f64>().ok();
    speed
        .filter(|speed| speed.is_finite() && *speed > 0.0)
        .ok_or_else(|| {
            let message = format!("--speed `{text}` is no multiple of real time");
            Problem::of_file(message).hint("such as 60x: an hour of history in a minute")
        })
}

fn pair(what: &str, text: &str) -> Result<(String, String), Problem> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.trim().to_owned(), value.to_owned()))
        }
        Some(_) | None => {
            let message = format!("`{what} {text}` says nothing");
            Err(Problem::of_file(message).hint(format!("{what} name=value")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_positive_number_with_or_without_its_x() {
        assert_eq!(speed("60x"), Ok(60.0));
        assert_eq!(speed("0.5"), Ok(0.5));
        for wrong in ["", "x", "-1x", "0", "inf", "fast"] {
            assert!(speed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_number_that_would_be_soon_after_1970_is_no_time_to_follow_from() {
        let told = |text| from(text).map_err(|problem| problem.message);
        assert_eq!(
            told("1772323200"),
            Err("--from `1772323200` would be 1970-01-21 12:18:43.200, in milliseconds".to_owned())
        );
        assert!(told("20260301").is_err());
        assert_eq!(told("1772323200000"), told("2026-03-01"));
    }
}
