//! Joins with a reference table: a table with a PRIMARY KEY and without event time.
//!
//! The reference side of a join may be filtered and projected (a view, a sub-query): its filters
//! and the join's further conditions become the lookup's residual, and its expressions are
//! computed above the lookup.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions, those of interest are named"
)]

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, DataFusionError, NullEquality, ScalarValue};
use datafusion_expr::expr::TryCast;
use datafusion_expr::utils::conjunction;
use datafusion_expr::{Expr, Join, LogicalPlan, Operator as Op, binary_expr, when};

use crate::plan::{JoinKind, Operator, Table, TableId};
use crate::sql::errors::list;
use crate::sql::graph::Facts;
use crate::sql::problem::Problem;

use super::expression::{Positional, identity, substitute};
use super::present::columns_not_null;
use super::scan::table_of;
use super::sides::{Output, Sides};
use super::{Ask, Lowering, Result, Rows, position};

/// The columns that a lookup's expressions are over: the stream's, then the reference's.
struct Combined {
    over: Positional,
    width: usize,
    /// For each column of the logical stream and then of the logical reference.
    stream: Vec<Expr>,
    reference: Vec<Expr>,
}

impl Combined {
    /// Which part of the PRIMARY KEY of the reference table a column is.
    fn part_of_key(&self, column: &Expr, table: &Table) -> Option<usize> {
        let at = position(&column.try_as_col()?.name)?;
        let mut parts = table.primary_key.iter();
        parts.position(|key| at == self.width + key)
    }

    /// `expr` over `#position` columns of the reference table, as one over these columns.
    fn of_reference(&self, expr: &Expr) -> std::result::Result<Expr, DataFusionError> {
        let moved = expr.clone().transform_up(|expr| match &expr {
            Expr::Column(column) => match position(&column.name) {
                Some(at) => Ok(Transformed::yes(self.over.column(self.width + at))),
                None => Ok(Transformed::no(expr)),
            },
            _ => Ok(Transformed::no(expr)),
        })?;
        Ok(moved.data)
    }
}

impl Lowering<'_> {
    pub(super) fn join(&mut self, join: &Join, ask: Ask) -> Result<Rows> {
        let Some(sides) = Sides::of(join, self.tables) else {
            return self.stream_join(join, ask);
        };
        let rows = self.rows(sides.stream, ask)?;
        if sides.output != Output::Left {
            self.refuse_sessions(&rows, "this join")?;
        }
        let rows = self.narrow(rows)?;
        let combined = self.combined(&sides, &rows)?;
        let (keys, residual) = self.conditions(join, &sides, &combined)?;
        let node = self.lookup(&sides, &rows, &combined, keys, residual)?;
        let rows = Rows { node, ..rows };
        self.joined(&sides, join, rows, &combined)
    }

    fn combined(&self, sides: &Sides, rows: &Rows) -> Result<Combined> {
        let table = &self.tables[sides.reference.table];
        let mut fields = self.graph.fields(rows.node);
        let width = fields.len();
        let mut not_null = self.graph.facts(rows.node).not_null.clone();
        for column in &table.columns {
            fields.push(Arc::clone(&column.field));
            not_null.push(!column.field.is_nullable());
        }
        let over = Positional::new(&fields, &not_null).map_err(|error| self.datafusion(&error))?;
        let mut combined = Combined {
            stream: rows.columns.iter().map(|at| over.column(*at)).collect(),
            over,
            width,
            reference: Vec::new(),
        };
        for expr in &sides.reference.columns {
            let expr = combined.of_reference(expr);
            combined
                .reference
                .push(expr.map_err(|error| self.datafusion(&error))?);
        }
        Ok(combined)
    }

    /// The key of the stream, in the order of the PRIMARY KEY, and everything else that a match
    /// must fulfil.
    fn conditions(
        &self,
        join: &Join,
        sides: &Sides,
        combined: &Combined,
    ) -> Result<(Vec<Expr>, Vec<Expr>)> {
        let df = |error: DataFusionError| self.datafusion(&error);
        let table = &self.tables[sides.reference.table];
        let (keys, mut residual) = self.compared(join, sides, combined)?;
        if let Some(filter) = &join.filter {
            let (left, right) = if sides.stream_is_left {
                (&combined.stream, &combined.reference)
            } else {
                (&combined.reference, &combined.stream)
            };
            let by: Vec<Expr> = left.iter().chain(right).cloned().collect();
            let schema: DFSchema = join.left.schema().join(join.right.schema()).map_err(df)?;
            residual.push(substitute(filter.clone(), &schema, &by).map_err(df)?);
        }
        for filter in &sides.reference.filters {
            residual.push(combined.of_reference(filter).map_err(df)?);
        }
        let is_never_true = sides.is_never_true(join);
        let keys = keys.into_iter().zip(&table.primary_key);
        let keys = keys.map(|(key, at)| match key {
            Some(key) => Ok(key),
            // DataFusion folds `a.k = b.k AND false`: nothing is found, whatever the key.
            None if is_never_true => {
                let null = ScalarValue::try_from(table.columns[*at].field.data_type());
                Ok(Expr::Literal(null.map_err(df)?, None))
            }
            None => Err(self.key_not_covered(table)),
        });
        Ok((keys.collect::<Result<_>>()?, residual))
    }

    /// By column of the PRIMARY KEY, what it is compared with; and the comparisons that are not of
    /// such a column, or not only.
    fn compared(
        &self,
        join: &Join,
        sides: &Sides,
        combined: &Combined,
    ) -> Result<(Vec<Option<Expr>>, Vec<Expr>)> {
        let df = |error: DataFusionError| self.datafusion(&error);
        let table = &self.tables[sides.reference.table];
        let mut keys: Vec<Option<Expr>> = vec![None; table.primary_key.len()];
        let mut residual = Vec::new();
        for (ours, theirs) in &sides.pairs {
            let ours =
                substitute((*ours).clone(), sides.stream.schema(), &combined.stream).map_err(df)?;
            let theirs = substitute(
                (*theirs).clone(),
                sides.reference.plan.schema(),
                &combined.reference,
            )
            .map_err(df)?;
            let (column, is_plain) = match &theirs {
                Expr::Cast(cast) => (cast.expr.as_ref(), false),
                plain => (plain, true),
            };
            let part = combined.part_of_key(column, table);
            let slot = part.map(|part| &mut keys[part]);
            match (slot, is_plain) {
                (Some(slot @ None), true) => *slot = Some(ours),
                (Some(slot @ None), false) => {
                    // The comparison is in a wider type than the key: what does not fit the
                    // key's type cannot match, and what it rounds to is compared once more.
                    let at = table.primary_key[part.expect("there is a slot")];
                    let field = table.columns[at].field.as_ref().clone().with_nullable(true);
                    *slot = Some(Expr::TryCast(TryCast::new_from_field(
                        Box::new(ours.clone()),
                        Arc::new(field),
                    )));
                    residual.push(binary_expr(ours, Op::Eq, theirs));
                }
                (Some(Some(_)) | None, _) => {
                    let op = match join.null_equality {
                        NullEquality::NullEqualsNothing => Op::Eq,
                        NullEquality::NullEqualsNull => Op::IsNotDistinctFrom,
                    };
                    residual.push(binary_expr(ours, op, theirs));
                }
            }
        }
        Ok((keys, residual))
    }

    fn lookup(
        &mut self,
        sides: &Sides,
        rows: &Rows,
        combined: &Combined,
        keys: Vec<Expr>,
        residual: Vec<Expr>,
    ) -> Result<usize> {
        let table_id = sides.reference.table;
        let table = &self.tables[table_id];
        let (kind, input) = (sides.kind(), rows.node);
        self.refuse_momentary(input, &combined.over, keys.iter().chain(&residual))?;
        let mut text = format!("lookup {input} in {table_id} {kind:?}");
        let mut compiled = Vec::new();
        for key in &keys {
            text += &format!(" [{}]", identity(key));
            compiled.push(self.compile(key, &combined.over)?.0);
        }
        let mut fulfilled = Vec::new();
        let residual = match conjunction(residual) {
            Some(condition) => {
                let columns = columns_not_null(&condition);
                fulfilled.extend(columns.iter().filter_map(|column| position(&column.name)));
                text += &format!(" if {}", identity(&condition));
                Some(self.compile(&condition, &combined.over)?.0)
            }
            None => None,
        };
        let known = self.graph.facts(input);
        let mut facts = Facts {
            not_null: known.not_null.clone(),
            event_time: known.event_time.clone(),
            lagging: known.lagging.clone(),
            windows: known.windows.clone(),
            // A row of the stream finds one row at most.
            keys: known.keys.clone(),
            sets: known.sets.clone(),
            key_text: known.key_text.clone(),
            bounds: known.bounds.clone(),
            either: known.either.clone(),
            merged: known.merged.clone(),
            present: known.present.clone(),
            signs: known.signs.clone(),
        };
        let mut fields: Vec<FieldRef> = self.graph.fields(input);
        for column in &table.columns {
            let nullable = column.field.is_nullable() || kind == JoinKind::Left;
            let field = column.field.as_ref().clone().with_nullable(nullable);
            fields.push(Arc::new(field));
            facts.not_null.push(!nullable);
            facts.event_time.push(false);
        }
        if kind == JoinKind::Inner {
            for at in fulfilled {
                facts.not_null[at] = true;
            }
        }
        let operator = Operator::Lookup {
            input,
            table: table_id,
            keys: compiled,
            reference_keys: table.primary_key.clone(),
            kind,
            residual,
        };
        Ok(self.graph.add(text, operator, fields, facts, self.place))
    }

    /// The columns of the join over the lookup's.
    fn joined(
        &mut self,
        sides: &Sides,
        join: &Join,
        rows: Rows,
        combined: &Combined,
    ) -> Result<Rows> {
        let df = |error: DataFusionError| of_join(&error);
        let key = combined.width + self.tables[sides.reference.table].primary_key[0];
        let over = self.positional(&rows)?;
        let found = over.column(key).is_not_null();
        let mut reference = Vec::new();
        for expr in &combined.reference {
            let plain = matches!(expr, Expr::Column(_));
            reference.push(if sides.output == Output::Left && !plain {
                // Without a match every column is NULL, also one that is computed.
                when(found.clone(), expr.clone()).end().map_err(df)?
            } else {
                expr.clone()
            });
        }
        let stream = &combined.stream;
        let exprs: Vec<Expr> = match (sides.output, sides.stream_is_left) {
            (Output::Inner | Output::Left, true) => {
                stream.iter().chain(&reference).cloned().collect()
            }
            (Output::Inner | Output::Left, false) => {
                reference.iter().chain(stream).cloned().collect()
            }
            (Output::Semi, _) => stream.clone(),
            (Output::Anti, _) => {
                let ours = sides.pairs.iter().map(|(ours, _)| *ours);
                self.refuse_nulls(join, ours, sides.stream.schema())?;
                stream.clone()
            }
        };
        let mut rows = rows;
        if sides.output == Output::Anti {
            let missing = over.column(key).is_null();
            rows.node = self.keep_if(rows.node, &missing, &over)?;
        }
        let plain: Option<Vec<usize>> = exprs
            .iter()
            .map(|expr| expr.try_as_col().and_then(|column| position(&column.name)))
            .collect();
        if let Some(columns) = plain {
            return Ok(Rows { columns, ..rows });
        }
        let names: Vec<&str> = join
            .schema
            .fields()
            .iter()
            .map(|f| f.name().as_str())
            .collect();
        self.compute(&rows, &over, &exprs, &names)
    }

    fn key_not_covered(&self, table: &Table) -> Problem {
        let names: Vec<&str> = table
            .primary_key
            .iter()
            .map(|at| table.columns[*at].field.name().as_str())
            .collect();
        let conditions: Vec<String> = names
            .iter()
            .map(|n| format!("{}.{n} = ..", table.name))
            .collect();
        Problem::at(
            self.place_of(&table.name),
            format!(
                "the join with `{}` does not compare its whole PRIMARY KEY: {}",
                table.name,
                list(&names)
            ),
        )
        .hint(format!("write ON {}", conditions.join(" AND ")))
    }

    /// Where the file names a table in a query.
    pub(super) fn place_of(&self, table: &str) -> crate::plan::Place {
        self.mentions.get(table).copied().unwrap_or(self.place)
    }
}

fn of_join(error: &DataFusionError) -> Problem {
    crate::sql::errors::of_datafusion(error)
}

/// The one table that a plan reads, behind filters and projections.
pub(super) fn only_table(plan: &LogicalPlan) -> Option<TableId> {
    if let LogicalPlan::TableScan(scan) = plan {
        return table_of(scan);
    }
    match plan.inputs().as_slice() {
        [only] => only_table(only),
        _ => None,
    }
}
