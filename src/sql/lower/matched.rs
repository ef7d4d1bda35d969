//! MATCH_RECOGNIZE: what is read of rows is computed at the source, where a row that fails is
//! rejected; then late rows are turned away; then rows go to their partitions.

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef};
use datafusion_common::DFSchema;
use datafusion_expr::Expr;

use crate::plan::{
    AggregateCall, Expression, Matching, Navigated, Navigation, Operator, RowsFrom, Variable,
};
use crate::sql::functions::function_of;
use crate::sql::graph::Facts;
use crate::sql::matching::{MatchRecognize, Read, What};

use super::expression::{Positional, substitute};
use super::text::text;
use super::{Ask, Finality, Lowering, Result, Rows, position};

impl Lowering<'_> {
    pub(super) fn matched(&mut self, node: &MatchRecognize) -> Result<Rows> {
        let below = Ask::of_rows(Some(Finality::Above("MATCH_RECOGNIZE")));
        let rows = self.rows(&node.input, below)?;
        if self.is_changing(&rows) {
            return Err(self.too_changing("MATCH_RECOGNIZE"));
        }
        let open_us = self.open_us(
            &node.time,
            &node.input,
            (node.place, "MATCH_RECOGNIZE"),
            &rows,
        )?;
        let over = self.positional(&rows)?;
        let schema = node.input.schema();
        let read: Vec<&Expr> = node.partition.iter().chain(&node.arguments).collect();
        let mut exprs = Vec::new();
        for expr in read.iter().copied().chain([&node.time]) {
            exprs.push(self.resolve(expr, schema, &rows, &over)?);
        }
        let names: Vec<String> = exprs.iter().map(text).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let rows = Rows {
            window: None,
            time: None,
            ..rows
        };
        let rows = self.compute(&rows, &over, &exprs, &names)?;
        let time = rows.columns[exprs.len() - 1];
        let rows = Rows {
            node: self.only_on_time(rows.node, time),
            ..rows
        };
        self.matches(rows, time, node, open_us)
    }

    fn matches(
        &mut self,
        rows: Rows,
        time: usize,
        node: &MatchRecognize,
        open_us: i64,
    ) -> Result<Rows> {
        let partition = node.partition.len();
        let input = self.graph.fields(rows.node);
        let over = self.positional(&rows)?;
        let sought = &node.sought;
        let mut navigations = Vec::new();
        for (read, field) in sought.reads.iter().zip(sought.schema.fields()) {
            navigations.push(self.navigation(read, field, partition, &over)?);
        }
        let reads = Positional::new(sought.schema.fields(), &vec![false; navigations.len()])
            .map_err(|error| self.datafusion(&error))?;
        let mut variables = Vec::new();
        for (name, condition) in &sought.variables {
            let condition = condition.as_ref();
            let condition =
                condition.map(|condition| self.over_reads(condition, &sought.schema, &reads));
            let (condition, reads) = condition.transpose()?.unzip();
            variables.push(Variable {
                name: name.clone(),
                condition,
                reads: reads.unwrap_or_default(),
            });
        }
        let mut fields: Vec<FieldRef> = input[..partition].to_vec();
        let mut measures = Vec::new();
        for (name, measure) in &sought.measures {
            let (measure, _) = self.over_reads(measure, &sought.schema, &reads)?;
            fields.push(Arc::new(Field::new(name, measure.data_type.clone(), true)));
            measures.push(measure);
        }
        let known = self.graph.facts(rows.node);
        let mut not_null = known.not_null[..partition].to_vec();
        not_null.resize(fields.len(), false);
        let facts = Facts {
            event_time: vec![false; fields.len()],
            not_null,
            ..Facts::default()
        };
        let identity = format!("match {} {sought:?}", rows.node);
        let matching = Matching {
            partition,
            time,
            navigations,
            variables,
            measures,
            pattern: sought.pattern.clone(),
            after: sought.after,
            within_us: sought.within_us,
            open_us,
        };
        let columns = (0..fields.len()).collect();
        let operator = Operator::Match {
            input: rows.node,
            matching: Box::new(matching),
        };
        Ok(Rows {
            node: self
                .graph
                .add(identity, operator, fields, facts, node.place),
            columns,
            window: None,
            time: None,
            session: None,
        })
    }

    fn navigation(
        &self,
        read: &Read,
        output: &FieldRef,
        partition: usize,
        over: &Positional,
    ) -> Result<Navigation> {
        let what = match &read.what {
            What::Row {
                argument,
                first,
                skip,
                back,
            } => Navigated::Row {
                column: partition + argument,
                from: if *first {
                    RowsFrom::First
                } else {
                    RowsFrom::Last
                },
                skip: *skip,
                back: *back,
            },
            What::Aggregate {
                function,
                distinct,
                argument,
            } => {
                let argument = argument
                    .map(|argument| self.compile(&over.column(partition + argument), over))
                    .transpose()?;
                Navigated::Aggregate(Box::new(AggregateCall {
                    function: function_of(function).expect("the planner knows it"),
                    distinct: *distinct,
                    arguments: argument.into_iter().map(|(argument, _)| argument).collect(),
                    filter: None,
                    order_by: Vec::new(),
                    output: Arc::clone(output),
                    text: read.text.clone(),
                }))
            }
        };
        Ok(Navigation {
            variable: read.variable,
            what,
            text: read.text.clone(),
        })
    }

    /// An expression over what is read of rows, and which of that it reads.
    fn over_reads(
        &self,
        expr: &Expr,
        schema: &DFSchema,
        over: &Positional,
    ) -> Result<(Expression, Vec<usize>)> {
        let all: Vec<Expr> = (0..schema.fields().len())
            .map(|at| over.column(at))
            .collect();
        let expr =
            substitute(expr.clone(), schema, &all).map_err(|error| self.datafusion(&error))?;
        let mut reads: Vec<usize> = expr
            .column_refs()
            .into_iter()
            .filter_map(|column| position(&column.name))
            .collect();
        reads.sort_unstable();
        Ok((self.compile(&expr, over)?.0, reads))
    }
}
