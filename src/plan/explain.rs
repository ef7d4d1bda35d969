//! The plan as people read it, and as its fingerprint is taken from.
//!
//! ```text
//! counts: kept current by its key (window_start, page)
//!   aggregate by page: count(*)       changing; exchanged by key; state per window, freed at its end
//!   └ window TUMBLE 1 minute on at    append; late rows are turned away here
//!     └ source clicks (at, page)      append
//! ```
//!
//! The tree reads from the sink down to the sources. What several INSERTs share is shown once,
//! under a number, and referred to afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::datatypes::FieldRef;

use super::over_text::{held_by_frames, over};
use super::{
    AfterMatch, AggregateCall, AggregateWindow, Assign, Emit, Expression, Matching, NodeId,
    Operator, Pipeline, Place, RELOAD, Role, Table, WindowKind, state_ttl_us,
};
use super::{asof, interval, join, ttl};

/// Where the remarks of the tree start.
const REMARKS_AT: usize = 72;

/// A tree per sink: operators, which streams are append or changing, where rows are exchanged,
/// what holds state and what expires it. `guarantee` says what each sink promises; the plan does
/// not know connectors.
pub fn explain(pipeline: &Pipeline, guarantee: impl Fn(&Table) -> String) -> String {
    let mut tree = Tree::new(pipeline);
    for insert in &pipeline.inserts {
        let sink = &pipeline.tables[insert.table];
        let how = if sink.primary_key.is_empty() {
            "appended to".to_owned()
        } else {
            format!("kept current by its key ({})", key_of(sink))
        };
        let promise = guarantee(sink);
        let promise = if promise.is_empty() {
            promise
        } else {
            format!("; {promise}")
        };
        tree.line(format!("{}: {how}{promise}", sink.name));
        tree.node(insert.input, 1);
        tree.line(String::new());
    }
    tree.out.truncate(tree.out.trim_end().len());
    tree.out.push('\n');
    tree.out
}

/// Everything about the plan that its results depend on, as text: the same for the same meaning, in
/// every process. What people read does not suffice: two columns may have one name.
#[must_use]
pub fn canonical(pipeline: &Pipeline) -> String {
    let mut out = String::new();
    for table in &pipeline.tables {
        out += &canonical_table(table);
        out.push('\n');
    }
    for (id, node) in pipeline.nodes.iter().enumerate() {
        let fields: Vec<String> = node.schema.fields().iter().map(canonical_field).collect();
        let mut line = describe(pipeline, id);
        if matches!(node.operator, Operator::Latest { .. }) && state_ttl_us(pipeline, id).is_some()
        {
            line += ", forgetting";
        }
        out += &format!("{id} {} {line} {:?} -> ", node.changing, node.operator);
        out += &fields.join(", ");
        out.push('\n');
    }
    for insert in &pipeline.inserts {
        out += &format!(
            "insert {} <- {}\n",
            pipeline.tables[insert.table].name, insert.input
        );
    }
    out
}

/// Everything about a table that results depend on.
#[must_use]
pub fn canonical_table(table: &Table) -> String {
    let mut out = format!("table {} key {:?}", table.name, table.primary_key);
    out += &format!(" watermark {:?}", table.watermark);
    for column in &table.columns {
        out += &format!(" [{}", canonical_field(&column.field));
        if let Some(computed) = &column.computed {
            out += &format!(" AS {:?}", computed.0);
        }
        out.push(']');
    }
    for check in &table.checks {
        out += &format!(" check {:?}", check.predicate);
    }
    if table.role == Role::Source {
        for (name, value) in decoding(table) {
            out += &format!(" {name} {value:?}");
        }
    }
    out
}

/// The options of a source by which its records become rows.
#[must_use]
pub fn decoding(table: &Table) -> BTreeMap<String, String> {
    let options = table.options.iter();
    let options = options.filter(|(name, _)| decodes(name));
    options
        .map(|(name, value)| (name.clone(), value.text.clone()))
        .collect()
}

/// Whether an option says what a record is, and so what a row is: read again with another one, the same
/// records are other rows.
fn decodes(option: &str) -> bool {
    const WHOLE: [&str; 4] = [
        "format",
        "max.record.bytes",
        "timestamp.format",
        "watermark.max-ahead",
    ];
    const BEGINNINGS: [&str; 2] = ["csv.", "json."];
    WHOLE.contains(&option) || BEGINNINGS.iter().any(|it| option.starts_with(it))
}

fn canonical_field(field: &FieldRef) -> String {
    let null = if field.is_nullable() { "" } else { " NOT NULL" };
    let mut metadata: Vec<_> = field.metadata().iter().collect();
    metadata.sort();
    format!("{} {}{null} {metadata:?}", field.name(), field.data_type())
}

/// The tree while it is written.
struct Tree<'a> {
    pipeline: &'a Pipeline,
    out: String,
    /// How many read each node.
    readers: Vec<usize>,
    /// The numbers of shared nodes that were shown.
    shown: BTreeMap<NodeId, usize>,
}

impl<'a> Tree<'a> {
    fn new(pipeline: &'a Pipeline) -> Self {
        let mut readers = vec![0; pipeline.nodes.len()];
        let inputs = pipeline
            .nodes
            .iter()
            .flat_map(|node| node.operator.inputs());
        for node in inputs.chain(pipeline.inserts.iter().map(|insert| insert.input)) {
            readers[node] += 1;
        }
        Self {
            pipeline,
            out: String::new(),
            readers,
            shown: BTreeMap::new(),
        }
    }

    fn line(&mut self, text: String) {
        self.out += text.trim_end();
        self.out.push('\n');
    }

    fn node(&mut self, id: NodeId, depth: usize) {
        let mut indent = "  ".repeat(depth);
        if depth > 1 {
            indent.truncate(indent.len() - 2);
            indent += "└ ";
        }
        if let Some(number) = self.shown.get(&id) {
            self.line(format!("{indent}(#{number}, above)"));
            return;
        }
        let mut text = format!("{indent}{}", describe(self.pipeline, id));
        if self.readers[id] > 1 {
            let number = self.shown.len() + 1;
            self.shown.insert(id, number);
            text += &format!("  (#{number})");
        }
        let width = text.chars().count().max(REMARKS_AT);
        let padding = " ".repeat(width - text.chars().count());
        self.line(format!("{text}{padding}  {}", remarks(self.pipeline, id)));
        let inputs = self.pipeline.nodes[id].operator.inputs();
        for input in inputs {
            self.node(input, depth + 1);
        }
    }
}

/// Where a node stands, and what it does.
pub(super) fn told(pipeline: &Pipeline, id: NodeId) -> (Place, String) {
    (pipeline.nodes[id].place, describe(pipeline, id))
}

/// What a node does, in one line.
fn describe(pipeline: &Pipeline, id: NodeId) -> String {
    let node = &pipeline.nodes[id];
    let input_name = |at: usize| -> String {
        let input = node.operator.inputs()[0];
        pipeline.column_name(input, at).to_owned()
    };
    match &node.operator {
        Operator::Source { table, columns, .. } => {
            let table = &pipeline.tables[*table];
            let names: Vec<&str> = columns
                .iter()
                .map(|at| table.columns[*at].field.name().as_str())
                .collect();
            format!("source {} ({})", table.name, names.join(", "))
        }
        Operator::Filter { predicate, .. } => format!("filter {}", predicate.text),
        Operator::Project { columns, .. } => project(columns, node.schema.fields()),
        Operator::Union { .. } => "union all".to_owned(),
        Operator::Unnest { column, .. } => format!("unnest {}", input_name(*column)),
        Operator::Lookup { .. } => join::lookup_text(pipeline, &node.operator),
        Operator::Window {
            time, kind, assign, ..
        } => {
            let panes = match assign {
                Assign::Windows => "",
                Assign::Panes => ", by panes",
            };
            format!("window {}{panes} on {}", window(*kind), time.text)
        }
        Operator::Aggregate {
            keys, aggregates, ..
        } => aggregate(keys, aggregates, &node.schema.fields()[keys.len()..]),
        Operator::Match { matching, .. } => matching_text(matching, &input_name),
        Operator::Latest { keys, by, .. } => {
            let names: Vec<String> = keys.iter().map(|at| input_name(*at)).collect();
            format!("latest by {} per {}", by.text, names.join(", "))
        }
        Operator::OnTime { time, .. } => format!("on time by {}", input_name(*time)),
        Operator::Keep { ttl_us, .. } => format!("keep for {}", duration(*ttl_us)),
        Operator::Join { .. } => join::text(pipeline, &node.operator),
        Operator::IntervalJoin { .. } => interval::text(pipeline, &node.operator),
        Operator::AsofJoin { .. } => asof::text(pipeline, &node.operator),
        Operator::Over {
            partition,
            order,
            calls,
            first,
            ..
        } => {
            let partition: Vec<String> = partition.iter().map(|at| input_name(*at)).collect();
            let fields = &node.schema.fields()[node.schema.fields().len() - calls.len()..];
            over(&partition, order, calls, fields, *first)
        }
        Operator::Running {
            partition,
            order,
            calls,
            ..
        } => {
            let partition: Vec<String> = partition.iter().map(|at| input_name(*at)).collect();
            let fields = &node.schema.fields()[node.schema.fields().len() - calls.len()..];
            format!("running {}", over(&partition, order, calls, fields, None))
        }
    }
}

fn matching_text(matching: &Matching, input_name: &dyn Fn(usize) -> String) -> String {
    let keys: Vec<String> = (0..matching.partition).map(input_name).collect();
    let mut text = format!("match {}", matching.pattern.text(&matching.variables));
    if !keys.is_empty() {
        text += &format!(" per {}", keys.join(", "));
    }
    if let Some(within) = matching.within_us {
        text += &format!(" within {}", duration(within));
    }
    let conditions = matching.variables.iter().filter_map(|variable| {
        let condition = variable.condition.as_ref()?;
        Some(format!("{} as {}", variable.name, condition.text))
    });
    let conditions: Vec<String> = conditions.collect();
    if !conditions.is_empty() {
        text += &format!("; {}", conditions.join(", "));
    }
    let after = |variable: &usize| matching.variables[*variable].name.as_str();
    match &matching.after {
        AfterMatch::PastLastRow => text,
        AfterMatch::ToNextRow => format!("{text}; then to the next row"),
        AfterMatch::ToFirst(variable) => format!("{text}; then to the first {}", after(variable)),
        AfterMatch::ToLast(variable) => format!("{text}; then to the last {}", after(variable)),
    }
}

fn project(columns: &[Expression], fields: &[FieldRef]) -> String {
    let columns: Vec<String> = columns
        .iter()
        .zip(fields)
        .map(|(column, field)| named(&column.text, field.name()))
        .collect();
    format!("project {}", columns.join(", "))
}

fn aggregate(keys: &[Expression], calls: &[AggregateCall], fields: &[FieldRef]) -> String {
    let keys: Vec<&str> = keys.iter().map(|key| key.text.as_str()).collect();
    let calls: Vec<String> = calls
        .iter()
        .zip(fields)
        .map(|(call, field)| named(&call.text, field.name()))
        .collect();
    match (keys.as_slice(), calls.as_slice()) {
        ([], []) => "one row".to_owned(),
        ([], calls) => format!("aggregate {}", calls.join(", ")),
        (keys, []) => format!("distinct {}", keys.join(", ")),
        (keys, calls) => format!("aggregate by {}: {}", keys.join(", "), calls.join(", ")),
    }
}

/// What is added to a time.
pub(super) fn offset(us: i64) -> String {
    match us {
        0 => String::new(),
        us if us < 0 => format!(" - {}", duration(us.saturating_neg())),
        us => format!(" + {}", duration(us)),
    }
}

/// `expression AS name`, unless the name says nothing new.
pub(super) fn named(text: &str, name: &str) -> String {
    let is_made_up = name.contains(['(', '.', '#']) || name.starts_with("__");
    if text == name || is_made_up {
        text.to_owned()
    } else {
        format!("{text} AS {name}")
    }
}

/// What an operator asks for the machine to do.
fn remarks(pipeline: &Pipeline, id: NodeId) -> String {
    let node = &pipeline.nodes[id];
    let mut remarks = vec![if node.changing { "changing" } else { "append" }.to_owned()];
    match &node.operator {
        Operator::Source { table, .. } => {
            if let Some(interval) = pipeline.tables[*table].option(RELOAD) {
                remarks.push(format!("read again every {interval}"));
            }
            if let Some(watermark) = &pipeline.tables[*table].watermark {
                let table = &pipeline.tables[*table];
                let name = table.columns[watermark.column].field.name();
                let bound = duration(watermark.bound_us);
                remarks.push(format!(
                    "event time {name}, out of order by {bound} at most"
                ));
            }
        }
        Operator::Window { .. } if is_behind_state(pipeline, id) => {}
        Operator::Window { .. } => remarks.push("late rows are turned away here".to_owned()),
        Operator::Lookup { .. } => remarks.push("table copied to every worker".to_owned()),
        Operator::Aggregate { .. } => remarks.extend(of_groups(pipeline, id)),
        Operator::Match { matching, .. } => {
            remarks.push("exchanged by key".to_owned());
            remarks.push(match matching.within_us {
                Some(within) => format!("holds the rows of open matches, {}", duration(within)),
                None => "holds the rows of open matches".to_owned(),
            });
            if matching.looks_back() > 0 {
                remarks.push("and the last rows of every key, never freed".to_owned());
            }
        }
        Operator::Latest { .. } => {
            remarks.push("exchanged by key".to_owned());
            remarks.push(ttl::held_per_key(pipeline, id));
        }
        Operator::OnTime { .. } => remarks.push("late rows are turned away here".to_owned()),
        Operator::IntervalJoin { within, .. } => {
            remarks.push("exchanged by key".to_owned());
            remarks.push(interval::held(within));
        }
        Operator::AsofJoin { keys, asof, .. } => {
            remarks.push(exchanged(keys.is_empty()).to_owned());
            remarks.push(asof::held(asof, &offset));
        }
        Operator::Join { keys, .. } => {
            remarks.push(exchanged(keys.is_empty()).to_owned());
            remarks.push(ttl::held_rows(pipeline, id, "the rows of both sides"));
        }
        Operator::Over { partition, .. } => {
            remarks.push(exchanged(partition.is_empty()).to_owned());
            remarks.push(ttl::held_rows(pipeline, id, "all rows"));
        }
        Operator::Keep { .. } => remarks.push("then takes rows back (state.ttl)".to_owned()),
        Operator::Running {
            partition, calls, ..
        } => remarks.extend([
            exchanged(partition.is_empty()).to_owned(),
            held_by_frames(calls),
        ]),
        Operator::Filter { .. }
        | Operator::Project { .. }
        | Operator::Union { .. }
        | Operator::Unnest { .. } => {}
    }
    remarks.join("; ")
}

/// What an aggregate holds, and when it says something.
fn of_groups(pipeline: &Pipeline, id: NodeId) -> Vec<String> {
    let Operator::Aggregate {
        keys,
        aggregates,
        window,
        emit,
        ..
    } = &pipeline.nodes[id].operator
    else {
        return Vec::new();
    };
    let what = match aggregates.is_empty() {
        true => "keys",
        false => "groups",
    };
    let held = match window {
        Some(window) => format!("holds {what} per window until {}", close(window)),
        None => ttl::held(pipeline, id, what),
    };
    vec![
        exchanged(keys.is_empty() && window.is_none()).to_owned(),
        held,
        emits(*emit).to_owned(),
    ]
}

/// Whether rows come from an operator that holds state, so that none is late.
fn is_behind_state(pipeline: &Pipeline, id: NodeId) -> bool {
    let mut inputs = pipeline.nodes[id].operator.inputs().into_iter();
    inputs.any(|input| {
        pipeline.nodes[input].operator.is_stateful() || is_behind_state(pipeline, input)
    })
}

fn close(window: &AggregateWindow) -> String {
    if window.lateness_us == 0 {
        "its end".to_owned()
    } else {
        format!("its end + {}", duration(window.lateness_us))
    }
}

fn exchanged(without_key: bool) -> &'static str {
    match without_key {
        true => "gathered on one worker",
        false => "exchanged by key",
    }
}

fn emits(emit: Emit) -> &'static str {
    match emit {
        Emit::Changes => "emits every change",
        Emit::OnClose => "emits when the window closes",
    }
}

fn window(kind: WindowKind) -> String {
    match kind {
        WindowKind::Tumble { size_us } => format!("TUMBLE {}", duration(size_us)),
        WindowKind::Hop { slide_us, size_us } => {
            format!("HOP {} of {}", duration(slide_us), duration(size_us))
        }
        WindowKind::Cumulate { step_us, size_us } => {
            format!("CUMULATE {} up to {}", duration(step_us), duration(size_us))
        }
        WindowKind::Session { gap_us, .. } => format!("SESSION gap {}", duration(gap_us)),
    }
}

/// The largest unit that leaves nothing over.
pub(super) fn duration(us: i64) -> String {
    const UNITS: [(i64, &str); 5] = [
        (86_400_000_000, "day"),
        (3_600_000_000, "hour"),
        (60_000_000, "minute"),
        (1_000_000, "second"),
        (1_000, "millisecond"),
    ];
    for (length, unit) in UNITS {
        if us != 0 && us % length == 0 {
            let count = us / length;
            return format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
        }
    }
    match u64::try_from(us) {
        Ok(0) => "0 seconds".to_owned(),
        Ok(us) => format!("{:?}", Duration::from_micros(us)),
        Err(_) => format!("{us} microseconds"),
    }
}

fn key_of(table: &Table) -> String {
    let names: Vec<&str> = table
        .primary_key
        .iter()
        .map(|at| table.columns[*at].field.name().as_str())
        .collect();
    names.join(", ")
}
