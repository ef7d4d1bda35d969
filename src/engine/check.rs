//! What would go wrong, found before anything is written: the file, its options, and a look at
//! the outside world that changes nothing.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::thread::Builder;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;

use super::circles::check_circles;
use super::intake::Intake;
use super::keeps::look_what_is_kept;
use crate::connector::{
    ConnectorError, Guarantee, connector, inspect_source, is_watched, lanes, open_destinations,
    validate,
};
use crate::dataflow::letters::LETTER_COLUMNS;
use crate::dataflow::render::{aggregation, positions_needed};
use crate::dataflow::step::plain;
use crate::dataflow::zones::zones;
use crate::plan::{
    AggregateCall, Column, Expression, Node, NodeId, Operator, OptionValue, Pipeline, Place, Role,
    Table, TableId, forgetting,
};
use crate::sql::{Problem, Refused};

/// Everything that is wrong with a planned file as far as its own text tells.
#[must_use]
pub fn check_options(pipeline: &Pipeline) -> Vec<Problem> {
    let mut problems = check_tables(&pipeline.tables);
    problems.extend(pipeline.tables.iter().filter_map(|table| {
        let option = table.options.get("dead.letter")?;
        let is_declared = letters_of(&pipeline.tables, table).is_some();
        (!is_declared).then(|| not_declared(option))
    }));
    problems.extend(check_aggregates(pipeline));
    problems.extend(check_ttl(pipeline));
    problems.extend(check_circles(pipeline, Path::new("")));
    problems.extend(
        pipeline
            .nodes
            .iter()
            .filter_map(|node| check_expressions(pipeline, node)),
    );
    if problems.is_empty() {
        problems.extend(check_positions(pipeline));
    }
    in_order(problems)
}

/// The same of a file that has no plan, as far as its tables tell.
#[must_use]
pub fn check_refused(refused: Refused) -> Vec<Problem> {
    let mut problems = refused.problems;
    problems.extend(check_tables(&refused.tables));
    in_order(problems)
}

/// Problems that were found in several ways, in the order of the file.
fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.place);
    problems.dedup();
    problems
}

/// What is forgotten is forgotten by event time.
fn check_ttl(pipeline: &Pipeline) -> Vec<Problem> {
    let mut problems = Vec::new();
    for forgets in forgetting(pipeline) {
        for table in forgets.timeless {
            let table = &pipeline.tables[table].name;
            let message = format!("state.ttl goes by event time, and `{table}` has none");
            let hint =
                format!("declare it on `{table}`: WATERMARK FOR ts AS ts - INTERVAL '5' SECOND");
            problems.push(Problem::at(forgets.place, message).hint(hint));
        }
    }
    problems
}

/// What takes its order from the input needs rows that still stand somewhere in it.
fn check_positions(pipeline: &Pipeline) -> Vec<Problem> {
    let zones = zones(pipeline);
    let behind_state = positions_needed(pipeline)
        .into_iter()
        .filter(|&node| !zones[node].at_source);
    let problem = |node: NodeId| {
        let message = "rows of an aggregate have no place in the input to be put in order by";
        let hint = "'upsert.by' keeps rows of a source; GROUP BY the key and take last_value(.. \
                    ORDER BY ..)";
        Problem::at(pipeline.nodes[node].place, message).hint(hint)
    };
    behind_state.map(problem).collect()
}

/// What several processes cannot read: nobody tells the others which number a new file has.
#[must_use]
pub fn check_processes(pipeline: &Pipeline) -> Vec<Problem> {
    let watched = pipeline.sources().map(|(id, _)| &pipeline.tables[id]);
    let problem = |table: &Table| {
        let message = format!("`{}` watches a folder, which one process reads", table.name);
        Problem::at(table.place, message).hint("leave --processes out; --threads shares its files")
    };
    watched
        .filter(|table| is_watched(table))
        .map(problem)
        .collect()
}

/// What is wrong with the options of those tables that are used, and with the tables of their dead letters;
/// these may be some of a file's tables.
fn check_tables(tables: &[Table]) -> Vec<Problem> {
    let used = tables.iter().filter(|table| table.role != Role::Unused);
    let problems = used
        .flat_map(validate)
        .map(|problem| Problem::at(problem.place, problem.message).maybe_hint(problem.hint));
    let letters = tables.iter().filter_map(|table| letters_of(tables, table));
    problems.chain(letters.filter_map(check_letters)).collect()
}

/// Expressions that fail whatever the row: an operator that nobody evaluates, a constant that
/// divides by zero. Over no rows at all, everything else succeeds.
fn check_expressions(pipeline: &Pipeline, node: &Node) -> Option<Problem> {
    let expressions: Vec<&Expression> = match &node.operator {
        Operator::Filter { predicate, .. } => vec![predicate],
        Operator::Project { columns, .. } => columns.iter().collect(),
        Operator::Lookup { keys, .. } => keys.iter().collect(),
        Operator::Window { time, .. } => vec![time],
        Operator::Aggregate {
            keys, aggregates, ..
        } => keys
            .iter()
            .chain(aggregates.iter().flat_map(read_by))
            .collect(),
        Operator::Latest { by, .. } => vec![by],
        // Its expressions are over what it takes from rows.
        Operator::Match { .. } => return None,
        Operator::Over { order, calls, .. } | Operator::Running { order, calls, .. } => {
            let order = order.iter().map(|key| &key.expression);
            order
                .chain(calls.iter().flat_map(|call| call.function.reads()))
                .collect()
        }
        // Its further condition is over the columns of both inputs.
        Operator::Join { .. }
        | Operator::IntervalJoin { .. }
        | Operator::AsofJoin { .. }
        | Operator::OnTime { .. }
        | Operator::Source { .. }
        | Operator::Union { .. }
        | Operator::Unnest { .. }
        | Operator::Keep { .. } => return None,
    };
    let input = node.operator.inputs()[0];
    let rows = RecordBatch::new_empty(Arc::clone(&pipeline.nodes[input].schema));
    let error = expressions
        .iter()
        .find_map(|expression| expression.evaluate(&rows).err())?;
    Some(Problem::at(node.place, plain(&error)))
}

/// Every expression of a call.
fn read_by(call: &AggregateCall) -> impl Iterator<Item = &Expression> {
    let ordered = call.order_by.iter().map(|key| &key.expression);
    call.arguments.iter().chain(&call.filter).chain(ordered)
}

/// Aggregates that the dataflow cannot compute.
fn check_aggregates(pipeline: &Pipeline) -> Vec<Problem> {
    let zones = zones(pipeline);
    let aggregates = pipeline.nodes.iter();
    let aggregates = aggregates.filter(|node| matches!(node.operator, Operator::Aggregate { .. }));
    let errors = aggregates.filter_map(|node| {
        let error = aggregation(pipeline, &zones, node).err()?;
        Some(Problem::at(node.place, error.to_string()))
    });
    errors.collect()
}

/// The table that `'dead.letter'` of `table` names.
fn letters_of<'a>(tables: &'a [Table], table: &Table) -> Option<&'a Table> {
    let option = table.options.get("dead.letter")?;
    tables.iter().find(|other| other.name == option.text)
}

fn not_declared(option: &OptionValue) -> Problem {
    let message = format!(
        "`dead.letter` names the table `{}`, which is not declared",
        option.text
    );
    let hint = "declare it with CREATE TABLE, with a connector that can be written to";
    Problem::at(option.place, message).hint(hint)
}

/// A table for dead letters has columns that a dead letter can fill.
fn check_letters(letters: &Table) -> Option<Problem> {
    let known = |name: &str| LETTER_COLUMNS.iter().any(|(known, _)| *known == name);
    let stranger = letters
        .columns
        .iter()
        .find(|column| !known(column.field.name()));
    if let Some(stranger) = stranger {
        let names: Vec<&str> = LETTER_COLUMNS.iter().map(|(name, _)| *name).collect();
        let message = format!("a dead letter has no column `{}`", stranger.field.name());
        let hint = format!("declare any of {}", names.join(", "));
        return Some(Problem::at(stranger.place, message).hint(hint));
    }
    if let Some(column) = letters.columns.iter().find(|column| !fits_a_letter(column)) {
        let name = column.field.name();
        let message = format!("a dead letter's `{name}` does not fit this column");
        let hint = "declare TEXT, BIGINT for `offset` and `line`, BYTEA or TEXT for `payload`; \
                    `column_name`, `line` and `insert_into` may be NULL";
        return Some(Problem::at(column.place, message).hint(hint));
    }
    if lanes(letters).is_some() {
        let message = format!("dead letters are few, but `{}` has lanes", letters.name);
        return Some(Problem::at(letters.place, message).hint("leave `sink.lanes` out"));
    }
    if !letters.primary_key.is_empty() {
        let message = format!(
            "dead letters are appended, so `{}` has no key",
            letters.name
        );
        return Some(Problem::at(letters.place, message).hint("leave the PRIMARY KEY out"));
    }
    None
}

/// Whether every letter has a value of the column's type.
fn fits_a_letter(column: &Column) -> bool {
    let field = &column.field;
    let number = matches!(field.name().as_str(), "offset" | "line");
    let bytes = field.name() == "payload";
    let always = !matches!(
        field.name().as_str(),
        "column_name" | "line" | "insert_into"
    );
    let is_json_or_uuid = field.metadata().contains_key("ARROW:extension:name");
    let data_type = field.data_type();
    let fits = (*data_type == DataType::Utf8 && !is_json_or_uuid)
        || (*data_type == DataType::Int64 && number)
        || (*data_type == DataType::Binary && bytes);
    fits && (always || field.is_nullable())
}

/// What a look at the outside world found.
#[derive(Debug, Default)]
pub struct Looked {
    /// What it would refuse, however often it is asked.
    pub problems: Vec<Problem>,
    /// What nobody answers for now.
    pub away: Vec<Problem>,
    /// What could not be found out, and what has to be so.
    pub notes: Vec<String>,
}

/// What the outside world would refuse, and what of it is away: looks, and changes nothing.
#[must_use]
pub fn look(pipeline: &Pipeline, base: &Path) -> Looked {
    // They are different servers: a start need not wait for the ones and then for the others.
    let mut looked = std::thread::scope(|scope| {
        let look = || look_at_sinks(pipeline, base);
        let sinks = Builder::new().name("look".to_owned());
        let sinks = sinks.spawn_scoped(scope, look);
        let mut looked = look_at_sources(pipeline, base);
        looked.append(match sinks {
            Ok(sinks) => sinks.join().unwrap_or_else(|panic| resume_unwind(panic)),
            // Then one after the other.
            Err(_) => look(),
        });
        looked
    });
    // What is not there has been said already.
    if looked.problems.is_empty() && looked.away.is_empty() {
        looked = look_what_is_kept(pipeline);
    }
    looked.problems.dedup();
    looked.away.dedup();
    looked
}

fn look_at_sources(pipeline: &Pipeline, base: &Path) -> Looked {
    let mut looked = Looked::default();
    for node in &pipeline.nodes {
        let Some(table) = node.operator.table() else {
            continue;
        };
        let table = &pipeline.tables[table];
        let columns = if let Operator::Source { columns, .. } = &node.operator {
            columns.clone()
        } else {
            (0..table.columns.len()).collect()
        };
        let intake = Intake::new(table, &columns);
        if let Err(error) = inspect_source(table, &intake.decoded, base) {
            looked.add(table.place, error);
        }
    }
    looked
}

fn look_at_sinks(pipeline: &Pipeline, base: &Path) -> Looked {
    let mut looked = Looked::default();
    let tables = pipeline.tables.iter();
    let tables: Vec<&Table> = tables.filter(|table| table.role == Role::Sink).collect();
    let first = tables.first().map_or(Place::default(), |table| table.place);
    let destinations = match open_destinations(&pipeline.name, &tables, base) {
        Ok(destinations) => destinations,
        Err(error) => {
            looked.add(first, error);
            return looked;
        }
    };
    for open in destinations {
        match open.destination.inspect() {
            Err(error) => looked.add(tables[open.tables[0]].place, error),
            Ok(findings) => looked.problems.extend(findings.into_iter().map(|finding| {
                let place = tables[open.tables[finding.table]].place;
                Problem::at(place, finding.message).maybe_hint(finding.hint)
            })),
        }
    }
    looked
}

impl Looked {
    fn append(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.away.extend(other.away);
        self.notes.extend(other.notes);
    }

    pub(super) fn add(&mut self, place: Place, error: ConnectorError) {
        let found = match &error {
            ConnectorError::Away { .. } | ConnectorError::Transient(_) => &mut self.away,
            ConnectorError::Permanent { .. }
            | ConnectorError::Fenced { .. }
            | ConnectorError::Rewound { .. } => &mut self.problems,
        };
        found.push(from_world(place, error));
    }
}

/// What a connector says, as a problem of the file.
pub(super) fn from_world(place: Place, error: ConnectorError) -> Problem {
    match error {
        ConnectorError::Permanent { message, hint } => Problem::at(place, message).maybe_hint(hint),
        ConnectorError::Away { message, hint } => Problem::at(place, message).hint(hint),
        ConnectorError::Transient(_)
        | ConnectorError::Fenced { .. }
        | ConnectorError::Rewound { .. } => Problem::at(place, error.to_string()),
    }
}

/// The destinations of a pipeline, and the tables in each: these move together. All wait for each
/// other, because what one does not take stays in queues that they share. A table with lanes is in
/// as many destinations.
#[must_use]
pub fn destinations(pipeline: &Pipeline, base: &Path) -> Vec<(String, Guarantee, Vec<TableId>)> {
    let sinks: Vec<TableId> = (0..pipeline.tables.len())
        .filter(|&table| pipeline.tables[table].role == Role::Sink)
        .collect();
    let tables: Vec<&Table> = sinks.iter().map(|&table| &pipeline.tables[table]).collect();
    // What cannot be opened has been said by `check_world`.
    let opened = open_destinations(&pipeline.name, &tables, base).unwrap_or_default();
    let known = opened.into_iter().map(|open| {
        let tables = open.tables.iter().map(|&table| sinks[table]).collect();
        (open.name, open.guarantee, tables)
    });
    known.collect()
}

/// What a crash does to the rows of a table, in words.
#[must_use]
pub fn promise(table: &Table) -> Option<String> {
    let sink = connector(&table.connector)?.sink.as_ref()?;
    let guarantee = sink.guarantee;
    Some(match lanes(table) {
        None => guarantee.to_string(),
        Some(lanes) => {
            format!("{guarantee} in each of {lanes} lanes, outside the consistent cut")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Given, SourceText, plan};

    #[test]
    fn what_is_wrong_with_tables_is_said_beside_what_is_wrong_with_a_query_and_once() {
        let text = "
            CREATE TABLE trips (id BIGINT) WITH (connector = 'generator', 'dead.letter' = 'dead');
            CREATE TABLE more (id BIGINT) WITH (connector = 'generator', 'dead.letter' = 'dead');
            CREATE TABLE dead (partition INT) WITH (connector = 'stdout');
            CREATE TABLE out (id BIGINT) WITH (connector = 'stdout');
            INSERT INTO out SELECT idd FROM trips;
            INSERT INTO out SELECT id FROM more;";
        let file = SourceText {
            path: "a.sql",
            text,
        };

        let problems = check_refused(plan(&file, &Given::default()).unwrap_err());

        let messages = problems.iter().map(|problem| problem.message.as_str());
        let expected = [
            "a dead letter's `partition` does not fit this column",
            "column `idd` not found",
        ];
        assert_eq!(messages.collect::<Vec<_>>(), expected);
    }
}
