//! As-of joins in the syntax tree: each made a relation by itself, which can be planned.
//!
//! ```text
//!   FROM a ASOF JOIN b .. JOIN c ..                  ──▶  FROM (a ASOF JOIN b ..) JOIN c ..
//!   ASOF JOIN b ON a.k = b.k AND a.ts >= b.ts        ──▶  ASOF JOIN b MATCH a.ts >= b.ts ON a.k = b.k
//!   JOIN r FOR SYSTEM_TIME AS OF a.ts ON a.k = r.k   ──▶  ASOF JOIN r MATCH a.ts >= r.ts ON a.k = r.k
//! ```
//!
//! What the join is stands before its comparison, as a prefix of it.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of the syntax of FROM, joins are of interest"
)]

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Join,
    JoinConstraint, JoinOperator, ObjectName, Query, Select, Spanned, TableFactor, TableVersion,
    TableWithJoins, VisitorMut,
};

use super::tokens;
use crate::plan::{JoinKind, Place};
use crate::sql::catalog::{Catalog, FOLLOWS};
use crate::sql::problem::Problem;
use crate::sql::{normalise, place_of, walk};

/// What an as-of join is, besides its tables and conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    pub kind: JoinKind,
    /// Whether the right table's rows are versions of its PRIMARY KEY.
    pub versions: bool,
}

/// The prefixes that say so.
const FORMS: [(&str, JoinKind, bool); 4] = [
    (" asof", JoinKind::Inner, false),
    (" asof left", JoinKind::Left, false),
    (" versions", JoinKind::Inner, true),
    (" versions left", JoinKind::Left, true),
];

impl Form {
    fn prefix(self) -> &'static str {
        let mut forms = FORMS.iter();
        let found =
            forms.find(|(_, kind, versions)| (self.kind, self.versions) == (*kind, *versions));
        found.expect("there is one of each").0
    }

    /// The form that a condition was given here, and the comparison itself.
    pub fn of(condition: Expr) -> Option<(Self, Expr)> {
        let Expr::Prefixed { prefix, value } = condition else {
            return None;
        };
        let mut forms = FORMS.into_iter();
        let (_, kind, versions) = forms.find(|(name, ..)| *name == prefix.value)?;
        Some((Self { kind, versions }, *value))
    }
}

/// Rewrites the joins of a query; says what is wrong with them.
pub fn rewrite(query: &mut Query, catalog: &Catalog) -> Vec<Problem> {
    let mut joins = Joins {
        catalog,
        problems: Vec::new(),
        around: Vec::new(),
    };
    let _ = walk::rewrite(query, &mut joins);
    joins.problems
}

struct Joins<'a> {
    catalog: &'a Catalog,
    problems: Vec<Problem>,
    /// The queries around, from the outermost on.
    around: Vec<Names>,
}

/// The names in WITH of a query, in their order.
struct Names {
    all: Vec<String>,
    /// How many of them hold where the walk is: a name holds behind its own query.
    visible: usize,
}

impl VisitorMut for Joins<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.around.push(Names {
            all: tables.map(|table| normalise(&table.alias.name)).collect(),
            visible: 0,
        });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.around.pop();
        // What stands in WITH is walked through first.
        if let Some(names) = self.around.last_mut() {
            names.visible = names.all.len().min(names.visible + 1);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for from in &mut select.from {
            self.tables(from);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::NestedJoin {
            table_with_joins, ..
        } = factor
            && !is_one(table_with_joins)
        {
            self.tables(table_with_joins);
        }
        ControlFlow::Continue(())
    }
}

/// Whether this is one as-of join and nothing else, rewritten.
pub fn is_one(tables: &TableWithJoins) -> bool {
    matches!(
        tables.joins.as_slice(),
        [Join {
            join_operator: JoinOperator::AsOf {
                match_condition: Expr::Prefixed { .. },
                ..
            },
            ..
        }]
    )
}

impl Joins<'_> {
    fn tables(&mut self, tables: &mut TableWithJoins) {
        for join in &mut tables.joins {
            let result = match join.join_operator {
                JoinOperator::AsOf { .. } => compared(join),
                _ => self.versioned(join),
            };
            if let Err(problem) = result {
                self.problems.push(problem);
                settle(join);
            }
        }
        let is_asof = |join: &Join| matches!(join.join_operator, JoinOperator::AsOf { .. });
        if !tables.joins.iter().any(is_asof) {
            return;
        }
        let nested = |relation: TableFactor, joins: Vec<Join>| TableFactor::NestedJoin {
            table_with_joins: Box::new(TableWithJoins { relation, joins }),
            alias: None,
        };
        let mut relation = tables.relation.clone();
        let mut others: Vec<Join> = Vec::new();
        for join in std::mem::take(&mut tables.joins) {
            if !is_asof(&join) {
                others.push(join);
                continue;
            }
            if !others.is_empty() {
                relation = nested(relation, std::mem::take(&mut others));
            }
            relation = nested(relation, vec![join]);
        }
        tables.relation = relation;
        tables.joins = others;
    }

    /// `JOIN r FOR SYSTEM_TIME AS OF time ON ..`, if it is one. What is neither rewritten nor wrong
    /// here keeps its version, and is refused for that.
    fn versioned(&self, join: &mut Join) -> Result<(), Problem> {
        let TableFactor::Table {
            name,
            alias,
            version,
            ..
        } = &mut join.relation
        else {
            return Ok(());
        };
        let Some(TableVersion::ForSystemTimeAsOf(time)) = version else {
            return Ok(());
        };
        let (time, place) = (time.clone(), place_of(name.span()));
        let (kind, constraint) = match &join.join_operator {
            JoinOperator::Join(on) | JoinOperator::Inner(on) => (JoinKind::Inner, on.clone()),
            JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (JoinKind::Left, on.clone()),
            _ => {
                let message = "rows are joined with the version of their time";
                return Err(Problem::at(place, message)
                    .hint("write JOIN or LEFT JOIN .. FOR SYSTEM_TIME AS OF"));
            }
        };
        let table = only_part(name, place)?;
        let Some(since) = self.since(&normalise(&table), place)? else {
            // Nothing is planned of a table that is not there.
            *version = None;
            return Ok(());
        };
        let qualifier = alias.as_ref().map_or(table, |alias| alias.name.clone());
        let mut since = Ident::with_quote('"', since);
        since.span = qualifier.span;
        let comparison = Expr::BinaryOp {
            left: Box::new(time),
            op: BinaryOperator::GtEq,
            right: Box::new(Expr::CompoundIdentifier(vec![qualifier, since])),
        };
        let versions = true;
        join.join_operator = JoinOperator::AsOf {
            match_condition: formed(Form { kind, versions }, comparison),
            constraint,
        };
        *version = None;
        Ok(())
    }

    /// Whether a name is one in WITH here, which goes before a table of that name.
    fn is_in_with(&self, name: &str) -> bool {
        let visible = |names: &Names| names.all[..names.visible].iter().any(|one| one == name);
        self.around.iter().any(visible)
    }

    /// The column that says since when a version holds; `None` where the table is unknown, which
    /// is said elsewhere.
    fn since(&self, table: &str, place: Place) -> Result<Option<String>, Problem> {
        if self.is_in_with(table) {
            return Err(no_versions(table, place));
        }
        if !self.catalog.contains(table) {
            return Ok(None);
        }
        let Some(keys) = self.catalog.primary_key(table) else {
            if matches!(self.catalog.table(table), Err(problem) if problem.message == FOLLOWS) {
                return Ok(None);
            }
            return Err(no_versions(table, place));
        };
        let Some(since) = self.catalog.event_time(table) else {
            let message = format!("`{table}` does not say since when its rows hold");
            return Err(Problem::at(place, message).hint(
                "declare WATERMARK FOR its time; or leave FOR SYSTEM_TIME AS OF out: a table \
                 that is looked up is fixed for the run",
            ));
        };
        if keys.is_empty() {
            let message = format!("`{table}` does not say what its rows are versions of");
            return Err(Problem::at(place, message).hint(format!(
                "declare its PRIMARY KEY, or write ASOF JOIN {table} MATCH_CONDITION (..)"
            )));
        }
        Ok(Some(since))
    }
}

fn no_versions(table: &str, place: Place) -> Problem {
    let message = format!("`{table}` is no table whose rows are versions");
    Problem::at(place, message).hint(
        "FOR SYSTEM_TIME AS OF reads a declared table; of a view or a name in WITH, write ASOF JOIN",
    )
}

/// The name of a table, which has one part.
fn only_part(name: &ObjectName, place: Place) -> Result<Ident, Problem> {
    let part = match name.0.as_slice() {
        [part] => part.as_ident().cloned(),
        _ => None,
    };
    part.ok_or_else(|| {
        let last = name.0.last().map(ToString::to_string).unwrap_or_default();
        let message =
            format!("FOR SYSTEM_TIME AS OF takes the name of a table alone, not `{name}`");
        Problem::at(place, message).hint(format!("write JOIN {last} FOR SYSTEM_TIME AS OF .."))
    })
}

/// A join that is wrong is looked at no further.
fn settle(join: &mut Join) {
    if let TableFactor::Table { version, .. } = &mut join.relation {
        *version = None;
    }
    if let JoinOperator::AsOf {
        match_condition, ..
    } = &mut join.join_operator
    {
        let form = Form {
            kind: JoinKind::Inner,
            versions: false,
        };
        *match_condition = formed(form, match_condition.clone());
    }
}

/// The comparison of an ASOF JOIN, from wherever it was written.
fn compared(join: &mut Join) -> Result<(), Problem> {
    let place = place_of(join.relation.span());
    let JoinOperator::AsOf {
        match_condition,
        constraint,
    } = &mut join.join_operator
    else {
        panic!("only asked of as-of joins")
    };
    let mut condition = match_condition.clone();
    let mut kind = JoinKind::Inner;
    if let Some(inner) = argument(&condition) {
        (kind, condition) = (JoinKind::Left, inner);
    }
    if matches!(&condition, Expr::Identifier(name) if name.value == tokens::ON) {
        let JoinConstraint::On(on) = &*constraint else {
            return Err(Problem::at(place, "an ASOF JOIN names what it compares")
                .hint("write ON a.key = b.key AND a.ts >= b.ts"));
        };
        let (comparisons, others): (Vec<Expr>, Vec<Expr>) =
            parts(on.clone()).into_iter().partition(is_comparison);
        let [comparison] = <[Expr; 1]>::try_from(comparisons).map_err(|found| {
            let message = match found.len() {
                0 => "an ASOF JOIN compares two times",
                _ => "an ASOF JOIN compares two times, once",
            };
            Problem::at(place, message).hint("write ON a.key = b.key AND a.ts >= b.ts")
        })?;
        condition = comparison;
        let and = |left: Expr, right: Expr| Expr::BinaryOp {
            left: Box::new(left),
            op: BinaryOperator::And,
            right: Box::new(right),
        };
        let others = others.into_iter().reduce(and);
        *constraint = others.map_or(JoinConstraint::None, JoinConstraint::On);
    }
    let form = Form {
        kind,
        versions: false,
    };
    *match_condition = formed(form, condition);
    Ok(())
}

fn formed(form: Form, comparison: Expr) -> Expr {
    Expr::Prefixed {
        prefix: Ident::new(form.prefix()),
        value: Box::new(comparison),
    }
}

/// What the mark of a left join is around.
fn argument(condition: &Expr) -> Option<Expr> {
    let Expr::Function(function) = condition else {
        return None;
    };
    let [name] = function.name.0.as_slice() else {
        return None;
    };
    if name.as_ident()?.value != tokens::LEFT {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(inner))] => Some(inner.clone()),
        _ => None,
    }
}

/// The parts of a condition.
fn parts(condition: Expr) -> Vec<Expr> {
    match condition {
        Expr::Nested(inner) => parts(*inner),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => [parts(*left), parts(*right)].concat(),
        other => vec![other],
    }
}

fn is_comparison(condition: &Expr) -> bool {
    use BinaryOperator::{Gt, GtEq, Lt, LtEq};
    matches!(
        condition,
        Expr::BinaryOp {
            op: Gt | GtEq | Lt | LtEq,
            ..
        }
    )
}
