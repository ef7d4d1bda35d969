//! What is known of the rows of GROUPING SETS: by which set each was made, and what a set leaves
//! out.
//!
//! A row says by `grouping(..)`, or another expression over it, which set made it. Among the rows
//! of one set the set's columns are a key, and a column that the set leaves out is NULL in all of
//! them: whatever stands in for that NULL (`coalesce(shop, 'all')`) tells no two rows of a set
//! apart and makes no two equal, so it may stand for the column in a key.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::ScalarValue;
use datafusion_physical_expr::expressions::{CaseExpr, CastExpr, Column, IsNotNullExpr, Literal};
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use crate::plan::Expression;

use super::assign::is_lossless;
use super::graph::Key;

type Physical = Arc<dyn PhysicalExpr>;

/// How the key of such rows begins, for messages.
pub const GROUPING: &str = "grouping(";

/// What is known of such rows.
#[derive(Clone, Debug)]
pub struct Sets {
    /// How many sets there are.
    pub count: usize,
    /// Columns whose value only depends on the set, with the value for each of them.
    pub by_set: BTreeMap<usize, ArrayRef>,
    /// Keys of the rows of any one set.
    pub within: Vec<Key>,
    /// Columns that are NULL where they are left out and nowhere else.
    pub left_out: BTreeSet<usize>,
}

impl Sets {
    /// Keys of all rows: one within a set, with what tells the sets apart.
    pub fn keys(&self) -> Vec<Key> {
        let Some(of_set) = self.telling_sets_apart() else {
            return Vec::new();
        };
        let with = |key: &Key| of_set.iter().chain(key).cloned().collect();
        self.within.iter().map(with).collect()
    }

    /// The same of a projection's rows.
    pub fn through(&self, columns: &[Expression], schema: &Schema) -> Option<Self> {
        let from = |column: &Expression| {
            self.stands_for(&column.physical, schema)
                .or_else(|| self.stands_for_boolean(column, schema))
        };
        let stands: Vec<Option<usize>> = columns.iter().map(from).collect();
        let copies = |from: &usize| -> Vec<usize> {
            let same = |to: &usize| stands[*to] == Some(*from);
            (0..columns.len()).filter(same).collect()
        };
        let within = self.within.iter().filter_map(|key| {
            let parts = key.iter();
            let parts: Key = parts
                .map(|part| part.iter().flat_map(copies).collect())
                .collect();
            parts.iter().all(|part| !part.is_empty()).then_some(parts)
        });
        let within: Vec<Key> = within.collect();
        let as_it_was = |to: &usize| {
            let from = columns[*to].as_column();
            from.is_some_and(|from| self.left_out.contains(&from))
        };
        let by_set = columns.iter().enumerate();
        let by_set = by_set.filter_map(|(to, column)| Some((to, self.of_sets(column, schema)?)));
        (!within.is_empty()).then(|| Self {
            count: self.count,
            by_set: by_set.collect(),
            within,
            left_out: (0..columns.len()).filter(as_it_was).collect(),
        })
    }

    /// Parts of a key that no two sets share: one column if there is one, else all together.
    fn telling_sets_apart(&self) -> Option<Key> {
        if self.count == 1 {
            return Some(Key::new());
        }
        let alone = self.by_set.iter();
        let alone: Vec<usize> = alone
            .filter(|(_, values)| self.differ(&[*values]))
            .map(|(at, _)| *at)
            .collect();
        if !alone.is_empty() {
            return Some(vec![alone]);
        }
        let together: Vec<&ArrayRef> = self.by_set.values().collect();
        let parts = self.by_set.keys().map(|at| vec![*at]);
        self.differ(&together).then(|| parts.collect())
    }

    fn differ(&self, columns: &[&ArrayRef]) -> bool {
        let row = |set: usize| -> Option<Vec<ScalarValue>> {
            let values = columns.iter();
            let values = values.map(|column| ScalarValue::try_from_array(column, set));
            values.collect::<Result<_, _>>().ok()
        };
        let rows: Option<HashSet<Vec<ScalarValue>>> = (0..self.count).map(row).collect();
        rows.is_some_and(|rows| rows.len() == self.count)
    }

    /// The values of an expression for each set, if they only depend on it.
    fn of_sets(&self, column: &Expression, schema: &Schema) -> Option<ArrayRef> {
        let reads = column.columns();
        if reads.is_empty() || !reads.iter().all(|at| self.by_set.contains_key(at)) {
            return None;
        }
        evaluate(column, schema, &self.by_set, self.count)
    }

    /// The BOOLEAN that an expression may stand for, however it is written: it has two values.
    fn stands_for_boolean(&self, column: &Expression, schema: &Schema) -> Option<usize> {
        let at = *column.columns().first()?;
        let is_alone = column.columns().len() == 1 && self.left_out.contains(&at);
        if !is_alone || schema.field(at).data_type() != &DataType::Boolean {
            return None;
        }
        let both: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
        let values = evaluate(column, schema, &BTreeMap::from([(at, both)]), 2)?;
        let value = |row| ScalarValue::try_from_array(&values, row).ok();
        (value(0)? != value(1)?).then_some(at)
    }

    /// The column that an expression may stand for in a key within a set.
    fn stands_for(&self, expr: &Physical, schema: &Schema) -> Option<usize> {
        if let Some(column) = expr.downcast_ref::<Column>() {
            return Some(column.index());
        }
        if let Some(cast) = expr.downcast_ref::<CastExpr>() {
            let from = cast.expr().data_type(schema).ok()?;
            let to = expr.data_type(schema).ok()?;
            let inner = is_lossless(&from, &to).then(|| cast.expr());
            return self.stands_for(inner?, schema);
        }
        let (value, otherwise) = filled(expr)?;
        let at = self.stands_for(value, schema)?;
        let is_constant = otherwise.downcast_ref::<Literal>().is_some();
        (is_constant && self.left_out.contains(&at)).then_some(at)
    }
}

/// An expression over rows of which some columns are known; the others are NULL.
fn evaluate(
    column: &Expression,
    schema: &Schema,
    known: &BTreeMap<usize, ArrayRef>,
    rows: usize,
) -> Option<ArrayRef> {
    let fields = schema.fields().iter();
    let fields = fields.map(|field| Arc::new(field.as_ref().clone().with_nullable(true)));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<Arc<Field>>>()));
    let values = schema.fields().iter().enumerate();
    let values = values.map(|(at, field)| match known.get(&at) {
        Some(values) => Arc::clone(values),
        None => new_null_array(field.data_type(), rows),
    });
    let rows = RecordBatch::try_new(Arc::clone(&schema), values.collect()).ok()?;
    column.evaluate(&rows).ok()
}

/// The value and what stands in for NULL, of a `coalesce` as written or as the optimiser writes it.
fn filled(expr: &Physical) -> Option<(&Physical, &Physical)> {
    if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
        let is_coalesce = matches!(call.fun().name(), "coalesce" | "nvl" | "ifnull");
        let [value, otherwise] = call.args() else {
            return None;
        };
        return is_coalesce.then_some((value, otherwise));
    }
    let case = expr.downcast_ref::<CaseExpr>()?;
    let ([(when, then)], None, Some(otherwise)) =
        (case.when_then_expr(), case.expr(), case.else_expr())
    else {
        return None;
    };
    let tested = when.downcast_ref::<IsNotNullExpr>()?.arg();
    // Of `coalesce(g, 0)` the optimiser tests `g`, and not the BIGINT that is made of it.
    (without_casts(tested).as_ref() == without_casts(then).as_ref()).then_some((then, otherwise))
}

/// What is cast: a cast has a value where that has one.
fn without_casts(expr: &Physical) -> &Physical {
    match expr.downcast_ref::<CastExpr>() {
        Some(cast) => without_casts(cast.expr()),
        None => expr,
    }
}
