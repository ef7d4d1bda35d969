//! Pipelines that read what they write.
//!
//! ```text
//!   source ──query──▶ sink ──the same topic, table or file──▶ source ──▶ ..
//! ```
//!
//! A topic between two INSERTs of one file is no circle. One that goes back to where it came from
//! never ends, unless a WHERE on its way says which records are done. A table that is read once and
//! a file are not to change between two starts, so they are not written by who reads them.

use std::collections::BTreeSet;
use std::path::Path;

use crate::connector::{connector, reads};
use crate::plan::{Operator, Pipeline, Table, TableId};
use crate::sql::Problem;

/// The sinks that are read by the pipeline that writes them, where that cannot be meant.
#[must_use]
pub fn check_circles(pipeline: &Pipeline, base: &Path) -> Vec<Problem> {
    let feeds = feeds(pipeline);
    let mut links = Vec::new();
    let nodes = pipeline.nodes.iter();
    for read in nodes.filter_map(|node| node.operator.table()) {
        for &Feed { into, .. } in &feeds {
            if reads(&pipeline.tables[read], &pipeline.tables[into], base) {
                links.push((into, read));
            }
        }
    }
    links.sort_unstable();
    links.dedup();
    let circle = Circle {
        feeds: &feeds,
        links: &links,
    };
    let problem = |&(written, read): &(TableId, TableId)| {
        let (source, sink) = (&pipeline.tables[read], &pipeline.tables[written].name);
        let (name, is_topic) = (&source.name, is_topic(source));
        let message = if is_topic || source.is_reloaded() {
            // What a table holds depends on when it is read, whatever a WHERE says of it.
            let ending = match is_topic {
                true => circle.filtered(),
                false => BTreeSet::new(),
            };
            if !circle.closes(written, read, &ending) {
                return None;
            }
            format!("`{name}` reads what becomes of it: `{sink}`, and never ends")
        } else {
            format!(
                "`{name}` has to stay as it is between two runs, and this pipeline writes it: `{sink}`"
            )
        };
        let is_inserted = pipeline.inserts.iter().any(|it| it.table == written);
        let hint = hint(sink, is_inserted, is_topic);
        Some(Problem::at(source.place, message).hint(hint))
    };
    links.iter().filter_map(problem).collect()
}

fn hint(sink: &str, is_inserted: bool, is_topic: bool) -> String {
    let instead = format!(
        "read what `{sink}` is made of: put the query of its INSERT into a CREATE VIEW, and name that"
    );
    match (is_inserted, is_topic) {
        (false, _) => format!("dead letters do not go back: give `{sink}` another place"),
        (true, false) => instead,
        (true, true) => format!("{instead}; or say with WHERE which records do not go back"),
    }
}

/// Whether what is added to it is read as it comes, in its order.
fn is_topic(table: &Table) -> bool {
    let source = connector(&table.connector).and_then(|known| known.source.as_ref());
    source.is_some_and(|source| source.has_metadata)
}

/// What is read becomes what is written.
#[derive(Debug)]
struct Feed {
    from: TableId,
    into: TableId,
    /// Some of it may be left out.
    filtered: bool,
}

/// What every INSERT reads, and whose dead letters go where.
fn feeds(pipeline: &Pipeline) -> Vec<Feed> {
    let mut feeds = Vec::new();
    for insert in &pipeline.inserts {
        let mut open = vec![(insert.input, false)];
        let mut seen = BTreeSet::new();
        while let Some((node, filtered)) = open.pop() {
            if !seen.insert((node, filtered)) {
                continue;
            }
            let operator = &pipeline.nodes[node].operator;
            if let Some(from) = operator.table() {
                let into = insert.table;
                feeds.push(Feed {
                    from,
                    into,
                    filtered,
                });
            }
            let filtered = filtered || matches!(operator, Operator::Filter { .. });
            open.extend(operator.inputs().into_iter().map(|input| (input, filtered)));
        }
    }
    for (from, _) in pipeline.sources() {
        let letters = pipeline.tables[from].option("dead.letter");
        let letters =
            letters.and_then(|name| pipeline.tables.iter().position(|it| it.name == name));
        // What cannot be used once never can.
        feeds.extend(letters.map(|into| Feed {
            from,
            into,
            filtered: false,
        }));
    }
    feeds
}

struct Circle<'a> {
    feeds: &'a [Feed],
    /// A sink, and a source that reads it.
    links: &'a [(TableId, TableId)],
}

impl Circle<'_> {
    /// The feeds that may leave something out.
    fn filtered(&self) -> BTreeSet<usize> {
        let feeds = self.feeds.iter().enumerate();
        feeds
            .filter_map(|(at, feed)| feed.filtered.then_some(at))
            .collect()
    }

    /// Whether what is read from `read` comes to be written to `written`, without these feeds.
    fn closes(&self, written: TableId, read: TableId, without: &BTreeSet<usize>) -> bool {
        let (mut open, mut seen) = (vec![read], BTreeSet::new());
        while let Some(source) = open.pop() {
            if !seen.insert(source) {
                continue;
            }
            let feeds = self.feeds.iter().enumerate();
            let feeds = feeds.filter(|(at, feed)| feed.from == source && !without.contains(at));
            for (_, feed) in feeds {
                if feed.into == written {
                    return true;
                }
                let links = self.links.iter().filter(|(sink, _)| *sink == feed.into);
                open.extend(links.map(|(_, source)| *source));
            }
        }
        false
    }
}
