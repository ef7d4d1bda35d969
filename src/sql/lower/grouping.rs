//! GROUPING SETS, ROLLUP and CUBE: an aggregate per set, with NULL for what the set leaves out and
//! a number that says which set it is; all of them put together.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions, those of interest are named"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::ScalarValue;
use datafusion_expr::{Aggregate, Expr, GroupingSet};

use crate::plan::{NodeId, Operator};
use crate::sql::graph::{Facts, Key};
use crate::sql::sets::{GROUPING, Sets};

use super::{Ask, Lowering, Result, Rows};

/// How many sets there may be. A CUBE of six columns has as many.
const SETS: usize = 64;

/// The columns of such an aggregate, as DataFusion lays them out: all that some set groups by,
/// the number of the set, the calls.
struct Layout<'a> {
    aggregate: &'a Aggregate,
    grouped: Vec<&'a Expr>,
}

/// One set.
struct Set {
    keys: Vec<Expr>,
    /// As `grouping` reads it: a bit for each column, 1 where it is left out, the last column
    /// lowest. Above them, how many sets before are the same.
    number: u64,
}

impl Lowering<'_> {
    pub(super) fn grouping_sets(
        &mut self,
        aggregate: &Aggregate,
        sets: &GroupingSet,
        ask: Ask,
    ) -> Result<Rows> {
        let layout = Layout {
            aggregate,
            grouped: sets.distinct_expr(),
        };
        let all = sets_of(sets);
        if all.len() > SETS || layout.grouped.len() > 32 {
            return Err(self
                .cannot(&format!("group by {} sets of columns at once", all.len()))
                .hint("name the sets that you need: GROUPING SETS ((a, b), (a), ())"));
        }
        let sets = layout.numbered(all);
        let mut groups = Vec::new();
        for set in &sets {
            groups.push(self.one_set(aggregate, set, ask)?);
        }
        let names = self.names(&layout, &sets, &groups);
        let mut inputs = Vec::new();
        for (set, rows) in sets.iter().zip(&groups) {
            inputs.push(self.completed(&layout, set, rows, &names)?);
        }
        let window = inputs[0].window;
        let window = window.filter(|_| inputs.iter().all(|rows| rows.window == window));
        let nodes: Vec<NodeId> = inputs.iter().map(|rows| rows.node).collect();
        Ok(Rows {
            node: self.all_sets(&layout, &sets, nodes, &names)?,
            columns: inputs[0].columns.clone(),
            window,
            time: None,
            session: None,
        })
    }

    /// The rows of one set: its keys, then the calls.
    fn one_set(&mut self, aggregate: &Aggregate, set: &Set, ask: Ask) -> Result<Rows> {
        let input = Arc::clone(&aggregate.input);
        let mut calls = aggregate.aggr_expr.clone();
        // DataFusion knows no aggregate without keys and calls; that of all rows may be one.
        let is_empty = set.keys.is_empty() && calls.is_empty();
        if is_empty {
            let each = Expr::Literal(ScalarValue::Int64(Some(1)), None);
            calls.push(datafusion_functions_aggregate::expr_fn::count(each));
        }
        let one = Aggregate::try_new(input, set.keys.clone(), calls);
        let one = one.map_err(|error| self.datafusion(&error))?;
        let mut rows = self.aggregate(&one, ask)?;
        if is_empty {
            rows.columns.clear();
        }
        Ok(rows)
    }

    /// The rows of one set with the columns of all.
    fn completed(
        &mut self,
        layout: &Layout,
        set: &Set,
        rows: &Rows,
        names: &[String],
    ) -> Result<Rows> {
        let over = self.positional(rows)?;
        let schema = &layout.aggregate.schema;
        let mut exprs = Vec::new();
        for (at, column) in layout.grouped.iter().enumerate() {
            exprs.push(match set.keys.iter().position(|key| key == *column) {
                Some(key) => over.column(rows.columns[key]),
                None => self.literal(ScalarValue::Null, schema.field(at).data_type())?,
            });
        }
        let number = ScalarValue::UInt64(Some(set.number));
        exprs.push(self.literal(number, layout.number_type())?);
        let calls = rows.columns[set.keys.len()..].iter();
        exprs.extend(calls.map(|at| over.column(*at)));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.compute(rows, &over, &exprs, &names)
    }

    /// What the columns are called: what a set leaves out reads as where one does not.
    fn names(&self, layout: &Layout, sets: &[Set], groups: &[Rows]) -> Vec<String> {
        let fields = layout.aggregate.schema.fields().iter();
        let mut names: Vec<String> = fields.map(|field| field.name().clone()).collect();
        for (name, column) in names.iter_mut().zip(&layout.grouped) {
            let found = sets.iter().zip(groups).find_map(|(set, rows)| {
                let key = set.keys.iter().position(|key| key == *column)?;
                let schema = &self.graph.nodes[rows.node].schema;
                Some(schema.field(rows.columns[key]).name().clone())
            });
            *name = found.unwrap_or_default();
        }
        names
    }

    fn literal(&self, value: ScalarValue, to: &DataType) -> Result<Expr> {
        let value = value.cast_to(to).map_err(|error| self.datafusion(&error))?;
        Ok(Expr::Literal(value, None))
    }

    /// All rows, and what is known of them.
    fn all_sets(
        &mut self,
        layout: &Layout,
        sets: &[Set],
        inputs: Vec<NodeId>,
        names: &[String],
    ) -> Result<NodeId> {
        let all: Vec<&Facts> = inputs.iter().map(|node| self.graph.facts(*node)).collect();
        let width = all[0].not_null.len();
        let is_left_out = |set: &Set, at: usize| !set.keys.contains(layout.grouped[at]);
        // Where a set groups by a column, it must have a value: then NULL says "left out".
        let left_out: BTreeSet<usize> = (0..layout.grouped.len())
            .filter(|&at| {
                let mut here = all.iter().zip(sets);
                here.all(|(facts, set)| is_left_out(set, at) || facts.not_null[at])
            })
            .collect();
        let numbers = sets.iter().map(|set| set.number);
        let numbers: ArrayRef = Arc::new(UInt64Array::from_iter_values(numbers));
        let numbers =
            cast(&numbers, layout.number_type()).map_err(|e| self.cannot(&e.to_string()))?;
        let known = Sets {
            count: sets.len(),
            by_set: BTreeMap::from([(layout.grouped.len(), numbers)]),
            within: within(&all, sets),
            left_out,
        };
        let is_known = |at: usize| known.left_out.contains(&at);
        let differ = sets
            .iter()
            .all(|set| set.number >> layout.grouped.len() == 0);
        let mut keys = known.keys();
        // Sets that differ leave other columns NULL.
        let by_nulls = known.within.iter().filter(|key| {
            let mut parts = key.iter();
            differ && parts.all(|part| part.iter().any(|at| is_known(*at)))
        });
        keys.extend(by_nulls.cloned());
        let columns = names[..layout.grouped.len()].join(", ");
        let facts = Facts {
            not_null: (0..width)
                .map(|at| all.iter().all(|facts| facts.not_null[at]))
                .collect(),
            event_time: vec![false; width],
            keys,
            key_text: Some(format!("{GROUPING}{columns}), {columns}")),
            sets: Some(known),
            ..Facts::default()
        };
        let fields = self.fields_of(&inputs);
        let text = format!("grouping sets {inputs:?}");
        let operator = Operator::Union { inputs };
        Ok(self.graph.add(text, operator, fields, facts, self.place))
    }

    /// The fields of the first, nullable where any of them is.
    fn fields_of(&self, inputs: &[NodeId]) -> Vec<FieldRef> {
        let schema = |node: &NodeId| &self.graph.nodes[*node].schema;
        let fields = schema(&inputs[0]).fields().iter().enumerate();
        let fields = fields.map(|(at, field)| {
            let nullable = inputs
                .iter()
                .any(|node| schema(node).field(at).is_nullable());
            Arc::new(field.as_ref().clone().with_nullable(nullable))
        });
        fields.collect()
    }
}

impl Layout<'_> {
    fn number_type(&self) -> &DataType {
        self.aggregate.schema.field(self.grouped.len()).data_type()
    }

    /// Sets with their numbers.
    fn numbered(&self, sets: Vec<Vec<Expr>>) -> Vec<Set> {
        let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
        let numbered = sets.into_iter().map(|keys| {
            let mask = self.grouped.iter().fold(0, |mask, column| {
                mask << 1 | u64::from(!keys.contains(*column))
            });
            let before = seen.entry(mask).or_default();
            let number = *before << self.grouped.len() | mask;
            *before += 1;
            Set { keys, number }
        });
        numbered.collect()
    }
}

/// The columns of each set, each once.
fn sets_of(sets: &GroupingSet) -> Vec<Vec<Expr>> {
    let sets: Vec<Vec<Expr>> = match sets {
        GroupingSet::Rollup(columns) => (0..=columns.len())
            .rev()
            .map(|count| columns[..count].to_vec())
            .collect(),
        GroupingSet::Cube(columns) => {
            let count = columns.len().min(16);
            let chosen = |mask: usize| {
                let columns = columns.iter().enumerate();
                let columns = columns.filter(|(at, _)| mask >> (count - 1 - at) & 1 == 0);
                columns.map(|(_, column)| column.clone()).collect()
            };
            (0..1 << count).map(chosen).collect()
        }
        GroupingSet::GroupingSets(sets) => sets.clone(),
    };
    let once = |set: Vec<Expr>| {
        let mut columns: Vec<Expr> = Vec::new();
        for column in set {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        columns
    };
    sets.into_iter().map(once).collect()
}

/// Keys of the rows of each set: a set's own key, with the columns of the others', which are NULL
/// there. Where windows give two, there are two.
fn within(all: &[&Facts], sets: &[Set]) -> Vec<Key> {
    let ways = all.iter().map(|facts| facts.keys.len()).max();
    let keys = (0..ways.unwrap_or(0).max(1)).filter_map(|way| {
        let mut parts: BTreeSet<Vec<usize>> = BTreeSet::new();
        // The set without keys has one row.
        for (facts, _) in all.iter().zip(sets).filter(|(_, set)| !set.keys.is_empty()) {
            let key = facts.keys.get(way).or(facts.keys.first())?;
            parts.extend(key.iter().cloned());
        }
        Some(parts.into_iter().collect())
    });
    keys.collect()
}
