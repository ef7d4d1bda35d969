//! What a plan's fingerprint is taken from: everything that its results depend on, as text.
//!
//! It is what `explain` says of each node, and what people need not read: two columns may have one
//! name, so each expression is there with the places of its columns, and each order with where
//! its NULLs stand. Where records come from is not in it, but how their bytes are read is.

use std::fmt::Write as _;

use arrow::datatypes::FieldRef;

use super::explain::describe;
use super::{
    AggregateCall, Expression, Matching, Navigated, Operator, OverCall, OverFunction, Pipeline,
    Role, SortKey, Table,
};

/// Everything about the plan that its results depend on, as text: the same for the same meaning.
#[must_use]
pub fn canonical(pipeline: &Pipeline) -> String {
    let mut out = String::new();
    for table in &pipeline.tables {
        out += &table_text(table);
        out.push('\n');
    }
    for (id, node) in pipeline.nodes.iter().enumerate() {
        let fields: Vec<String> = node.schema.fields().iter().map(field_text).collect();
        let line = describe(pipeline, id);
        out += &format!(
            "{id} {} {:?}: {line} [{}] -> ",
            node.changing,
            node.operator.inputs(),
            operator_text(&node.operator)
        );
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

fn table_text(table: &Table) -> String {
    let mut out = format!("table {} key {:?}", table.name, table.primary_key);
    write!(out, " watermark {:?}", table.watermark).expect("strings take text");
    for column in &table.columns {
        out += &format!(" [{}", field_text(&column.field));
        if let Some(computed) = &column.computed {
            out += &format!(" AS {}", computed.0.text);
        }
        out.push(']');
    }
    for check in &table.checks {
        out += &format!(" check {}", check.predicate.text);
    }
    let is_read = match table.role {
        Role::Source | Role::Reference => true,
        Role::Sink | Role::Unused => false,
    };
    for (name, value) in table.options.iter().filter(|_| is_read) {
        if decodes(table, name) {
            out += &format!(" {name} = {:?}", value.text);
        }
    }
    out
}

/// Whether an option of a source says what its bytes mean.
fn decodes(table: &Table, name: &str) -> bool {
    let of_format = table
        .option("format")
        .and_then(|format| name.strip_prefix(format))
        .is_some_and(|rest| rest.starts_with('.'));
    of_format || ["format", "timestamp.format"].contains(&name)
}

fn field_text(field: &FieldRef) -> String {
    let null = if field.is_nullable() { "" } else { " NOT NULL" };
    let mut metadata: Vec<_> = field.metadata().iter().collect();
    metadata.sort();
    format!("{} {}{null} {metadata:?}", field.name(), field.data_type())
}

/// What a node does, with the places of the columns that it reads.
fn operator_text(operator: &Operator) -> String {
    match operator {
        Operator::Source { .. } | Operator::Union { .. } => String::new(),
        Operator::Filter { predicate, .. } => all([predicate]),
        Operator::Project { columns, .. } => all(columns),
        Operator::Unnest { column, .. } => column.to_string(),
        Operator::OnTime { time, .. } => time.to_string(),
        Operator::Window { time, .. } => all([time]),
        Operator::Lookup {
            keys,
            reference_keys,
            residual,
            ..
        } => format!("{} = {reference_keys:?} if {}", all(keys), all(residual)),
        Operator::Aggregate {
            keys, aggregates, ..
        } => {
            let calls: Vec<String> = aggregates.iter().map(call).collect();
            format!("{}: {}", all(keys), calls.join("; "))
        }
        Operator::Match { matching, .. } => pattern(matching),
        Operator::Latest { keys, by, .. } => format!("{keys:?} {}", all([by])),
        Operator::Join {
            keys,
            nulls_match,
            residual,
            ..
        } => format!("{keys:?} {nulls_match} if {}", all(residual)),
        Operator::IntervalJoin {
            keys,
            interval,
            residual,
            ..
        } => format!("{keys:?} {interval:?} if {}", all(residual)),
        Operator::AsofJoin { keys, asof, .. } => format!("{keys:?} {asof:?}"),
        Operator::Over {
            partition,
            order,
            calls,
            ..
        }
        | Operator::Running {
            partition,
            order,
            calls,
            ..
        } => {
            let calls: Vec<String> = calls.iter().map(over).collect();
            format!("{partition:?} by {}: {}", sort(order), calls.join("; "))
        }
    }
}

/// Expressions with the places of their columns.
fn all<'a>(expressions: impl IntoIterator<Item = &'a Expression>) -> String {
    let texts = expressions
        .into_iter()
        .map(|expression| expression.physical.to_string());
    texts.collect::<Vec<_>>().join(", ")
}

fn sort(keys: &[SortKey]) -> String {
    let texts = keys.iter().map(|key| {
        let (down, nulls) = (key.descending, key.nulls_first);
        format!("{} {down} {nulls}", all([&key.expression]))
    });
    texts.collect::<Vec<_>>().join(", ")
}

fn call(call: &AggregateCall) -> String {
    format!(
        "{} {} of {} if {} by {}",
        call.text,
        call.distinct,
        all(&call.arguments),
        all(&call.filter),
        sort(&call.order_by)
    )
}

fn over(over: &OverCall) -> String {
    let aggregate = match &over.function {
        OverFunction::Aggregate { call: of, .. } => call(of),
        OverFunction::RowNumber
        | OverFunction::Rank
        | OverFunction::DenseRank
        | OverFunction::PercentRank
        | OverFunction::CumulativeShare
        | OverFunction::Ntile(_)
        | OverFunction::Before { .. }
        | OverFunction::Value { .. } => String::new(),
    };
    format!(
        "{} of {} {aggregate}",
        over.text,
        all(over.function.reads())
    )
}

fn pattern(matching: &Matching) -> String {
    let navigations = matching.navigations.iter().map(|navigation| {
        let what = match &navigation.what {
            Navigated::Row {
                column,
                from,
                skip,
                back,
            } => format!("{column} {from:?} {skip} {back}"),
            Navigated::Aggregate(of) => call(of),
        };
        format!("{:?} {what}", navigation.variable)
    });
    let conditions = matching.variables.iter();
    let conditions = conditions.map(|variable| all(&variable.condition));
    format!(
        "{} by {}: {}; if {}; says {}",
        matching.partition,
        matching.time,
        navigations.collect::<Vec<_>>().join(", "),
        conditions.collect::<Vec<_>>().join(", "),
        all(&matching.measures)
    )
}
