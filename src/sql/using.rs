//! `JOIN .. USING (k)` and `NATURAL JOIN`: columns of both sides that are one, as in PostgreSQL.
//!
//! ```text
//!   a JOIN b USING (k)        ──▶  a JOIN b ON a.k = b.k        k is a.k
//!   a RIGHT JOIN b USING (k)  ──▶  a RIGHT JOIN b ON ..         k is b.k
//!   a FULL JOIN b USING (k)   ──▶  a FULL JOIN b ON ..          k is coalesce(a.k, b.k)
//!   SELECT *                  ──▶  SELECT k, a.* EXCLUDE (k), b.* EXCLUDE (k)
//! ```
//!
//! Left to itself DataFusion takes one of the two, and where a row has no match that may be the one
//! that is NULL.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of the syntax of FROM and SELECT, joins and columns are of interest"
)]

mod names;

use std::ops::ControlFlow;

use datafusion_common::DataFusionError;
use datafusion_sql::sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, Ident, JoinConstraint, JoinOperator, ObjectName,
    Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor,
    TableWithJoins, Value, VisitMut, VisitorMut, WildcardAdditionalOptions,
};

use super::catalog::Catalog;
use super::grouped_windows::call_of;
use super::problem::Problem;
use super::{normalise, place_of, walk};
use names::Frame;

/// Rewrites the joins of a query.
pub fn rewrite(query: &mut Query, catalog: &Catalog) -> Result<(), DataFusionError> {
    let mut joins = Joins {
        catalog,
        with: Vec::new(),
        wrong: None,
    };
    let _ = walk::rewrite(query, &mut joins);
    match joins.wrong {
        Some(problem) => Err(problem.into()),
        None => Ok(()),
    }
}

struct Joins<'a> {
    catalog: &'a Catalog,
    /// The names in WITH, of the queries that the walk is in.
    with: Vec<Frame>,
    wrong: Option<Problem>,
}

impl VisitorMut for Joins<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let frame = self.frame(query);
        self.with.push(frame);
        let SetExpr::Select(select) = query.body.as_mut() else {
            return ControlFlow::Continue(());
        };
        let merged = self.select(select);
        let is_alias = |column: &&Merged| {
            select.projection.iter().any(|item| {
                matches!(item, SelectItem::ExprWithAlias { alias, .. }
                    if normalise(alias) == column.name)
            })
        };
        // ORDER BY names what SELECT yields before it names what that reads.
        let merged: Vec<Merged> = merged
            .iter()
            .filter(|column| !is_alias(column))
            .cloned()
            .collect();
        if let Some(order) = &mut query.order_by {
            merge(order, &merged);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.with.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.select(select);
        ControlFlow::Continue(())
    }
}

/// A column that two sides have together.
#[derive(Clone, Debug)]
struct Merged {
    name: String,
    is: Expr,
}

/// What stands in FROM: a table, or something like one.
struct Relation {
    /// What its columns are called by.
    name: Option<Ident>,
    /// Their names, if they are known.
    columns: Option<Vec<String>>,
    /// Those that some USING names.
    merged: Vec<String>,
}

/// One of the comma-separated parts of FROM.
#[derive(Default)]
struct From {
    relations: Vec<Relation>,
    /// In the order of SELECT *.
    merged: Vec<Merged>,
    /// A join is left as it is.
    left_alone: bool,
}

/// Which of two equal columns is never NULL where the other is not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Either.
    Both,
    Left,
    Right,
    Neither,
}

impl Joins<'_> {
    /// Rewrites the joins of a SELECT; what they merge.
    fn select(&mut self, select: &mut Select) -> Vec<Merged> {
        let sources: Vec<From> = select.from.iter_mut().map(|from| self.from(from)).collect();
        let merged: Vec<Merged> = sources
            .iter()
            .flat_map(|from| from.merged.clone())
            .collect();
        if merged.is_empty() {
            return merged;
        }
        self.expand(select, &sources);
        for item in &mut select.projection {
            // A column is still called as it was written.
            if let SelectItem::UnnamedExpr(Expr::Identifier(name)) = item
                && let Some(column) = merged.iter().find(|it| it.name == normalise(name))
                && !matches!(column.is, Expr::CompoundIdentifier(_))
            {
                let alias = name.clone();
                let expr = column.at(name);
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
            merge(item, &merged);
        }
        merge(&mut select.selection, &merged);
        merge(&mut select.group_by, &merged);
        merge(&mut select.having, &merged);
        merge(&mut select.qualify, &merged);
        merge(&mut select.named_window, &merged);
        merge(&mut select.distinct, &merged);
        merged
    }

    /// Rewrites the joins of one of the parts of FROM.
    fn from(&mut self, tables: &mut TableWithJoins) -> From {
        let (from, constraints) = self.joined(tables);
        for (join, constraint) in tables.joins.iter_mut().zip(constraints) {
            if let (Some(at), Some(new)) = (constraint_mut(&mut join.join_operator), constraint) {
                *at = new;
            }
        }
        from
    }

    /// What is in it, and what its joins are joined by then.
    fn joined(&mut self, tables: &TableWithJoins) -> (From, Vec<Option<JoinConstraint>>) {
        let mut constraints = Vec::with_capacity(tables.joins.len());
        let mut from = From {
            relations: vec![self.relation(&tables.relation)],
            ..From::default()
        };
        for join in &tables.joins {
            let mut right = self.relation(&join.relation);
            let kept = match &join.join_operator {
                JoinOperator::Join(_) | JoinOperator::Inner(_) => Some(Kept::Both),
                JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => Some(Kept::Left),
                JoinOperator::Right(_) | JoinOperator::RightOuter(_) => Some(Kept::Right),
                JoinOperator::FullOuter(_) => Some(Kept::Neither),
                _ => None,
            };
            let mut constraint = constraint(&join.join_operator).cloned();
            if let (Some(kept), Some(constraint)) = (kept, &mut constraint) {
                self.join(&mut from, &mut right, kept, constraint);
            }
            constraints.push(constraint);
            from.relations.push(right);
        }
        (from, constraints)
    }

    fn join(
        &mut self,
        from: &mut From,
        right: &mut Relation,
        kept: Kept,
        constraint: &mut JoinConstraint,
    ) {
        if matches!(constraint, JoinConstraint::Natural)
            && from
                .shared_with(right)
                .is_some_and(|names| names.is_empty())
        {
            // Nothing is asked of them.
            let always = Expr::value(Value::Boolean(true));
            *constraint = JoinConstraint::On(always);
            return;
        }
        let names = match constraint {
            JoinConstraint::On(condition) => return merge(condition, &from.merged),
            JoinConstraint::None => return,
            JoinConstraint::Natural => from.shared_with(right),
            JoinConstraint::Using(names) => names
                .iter()
                .map(|name| name.0.last().and_then(|part| part.as_ident()).cloned())
                .collect(),
        };
        let equal = |name: &Ident| Some((name.clone(), from.column(name)?, right.column(name)?));
        let equal = names.and_then(|names| names.iter().map(equal).collect::<Option<Vec<_>>>());
        let Some(equal) = equal.filter(|equal| !equal.is_empty()) else {
            from.left_alone = true;
            if matches!(kept, Kept::Right | Kept::Neither) {
                self.wrong.get_or_insert_with(cannot_merge);
            }
            return;
        };
        for (name, ..) in &equal {
            from.hide(name);
            right.merged.push(normalise(name));
        }
        let conditions = equal.iter().map(|(_, left, right)| Expr::BinaryOp {
            left: Box::new(left.clone()),
            op: BinaryOperator::Eq,
            right: Box::new(right.clone()),
        });
        let condition = conditions.reduce(|all, condition| Expr::BinaryOp {
            left: Box::new(all),
            op: BinaryOperator::And,
            right: Box::new(condition),
        });
        *constraint = JoinConstraint::On(condition.expect("there is one at least"));
        let merged = equal.into_iter().map(|(name, left, right)| Merged {
            name: normalise(&name),
            is: match kept {
                Kept::Both | Kept::Left => left,
                Kept::Right => right,
                Kept::Neither => call_of("coalesce", [left, right]),
            },
        });
        let mut merged: Vec<Merged> = merged.collect();
        let is_new = |old: &Merged| merged.iter().all(|new| new.name != old.name);
        let old: Vec<Merged> = from
            .merged
            .iter()
            .filter(|old| is_new(old))
            .cloned()
            .collect();
        merged.extend(old);
        from.merged = merged;
    }

    fn relation(&mut self, factor: &TableFactor) -> Relation {
        let (own, alias) = match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } => (name.0.last().and_then(|part| part.as_ident()), alias),
            TableFactor::Table { alias, .. }
            | TableFactor::Derived { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::NestedJoin { alias, .. } => (None, alias),
            _ => (None, &None),
        };
        let columns = self.columns_of_factor(factor, own, alias.as_ref());
        Relation {
            name: alias.as_ref().map(|alias| &alias.name).or(own).cloned(),
            columns,
            merged: Vec::new(),
        }
    }

    /// Writes SELECT * out where columns are merged.
    fn expand(&mut self, select: &mut Select, sources: &[From]) {
        let mut items = Vec::new();
        for item in std::mem::take(&mut select.projection) {
            let SelectItem::Wildcard(options) = &item else {
                items.push(item);
                continue;
            };
            let is_plain = WildcardAdditionalOptions {
                wildcard_token: options.wildcard_token.clone(),
                ..Default::default()
            } == *options;
            let parts: Option<Vec<Vec<SelectItem>>> = sources.iter().map(From::all).collect();
            match parts.filter(|_| is_plain) {
                Some(parts) => items.extend(parts.into_iter().flatten()),
                None => {
                    let place = place_of(options.wildcard_token.0.span);
                    let problem = Problem::at(place, "the columns of this * cannot be told here")
                        .hint("list them, or give every table in FROM a name: FROM (..) AS t");
                    self.wrong.get_or_insert(problem);
                    items.push(item);
                }
            }
        }
        select.projection = items;
    }
}

fn cannot_merge() -> Problem {
    Problem::of_file("which columns USING puts together cannot be told here").hint(
        "write ON a.k = b.k, and b.k instead of k in a RIGHT JOIN, coalesce(a.k, b.k) in a FULL \
         JOIN",
    )
}

impl Relation {
    fn column(&self, name: &Ident) -> Option<Expr> {
        let table = self.name.clone()?;
        Some(Expr::CompoundIdentifier(vec![table, name.clone()]))
    }
}

impl From {
    /// What an unqualified column of the tables so far is, if that can be told.
    fn column(&self, name: &Ident) -> Option<Expr> {
        let wanted = normalise(name);
        if let Some(merged) = self.merged.iter().find(|merged| merged.name == wanted) {
            return Some(merged.is.clone());
        }
        let may_have = |relation: &&Relation| {
            let columns = relation.columns.as_ref();
            columns.is_none_or(|columns| columns.contains(&wanted))
        };
        let mut having = self.relations.iter().filter(may_have);
        match (having.next(), having.next()) {
            (Some(only), None) => only.column(name),
            (Some(_), Some(_)) | (None, _) => None,
        }
    }

    /// A column is merged: the table that has it does not show it by itself.
    fn hide(&mut self, name: &Ident) {
        let wanted = normalise(name);
        for relation in &mut self.relations {
            let columns = relation.columns.as_ref();
            if columns.is_none_or(|columns| columns.contains(&wanted))
                && !relation.merged.contains(&wanted)
                && !self.merged.iter().any(|merged| merged.name == wanted)
            {
                relation.merged.push(wanted.clone());
            }
        }
    }

    /// The columns that a further table has too, if they are known.
    fn shared_with(&self, right: &Relation) -> Option<Vec<Ident>> {
        let theirs = right.columns.as_ref()?;
        let columns = self
            .relations
            .iter()
            .map(|relation| relation.columns.as_ref());
        let ours: Vec<&Vec<String>> = columns.collect::<Option<_>>()?;
        let mut shared: Vec<Ident> = Vec::new();
        for name in ours.into_iter().flatten() {
            let is_known = shared.iter().any(|known| known.value == *name);
            if theirs.contains(name) && !is_known {
                shared.push(Ident::with_quote('"', name));
            }
        }
        Some(shared)
    }

    /// SELECT * of it, if it can be written out: what is merged first.
    fn all(&self) -> Option<Vec<SelectItem>> {
        if self.left_alone {
            return None;
        }
        let merged = self.merged.iter().map(|column| SelectItem::ExprWithAlias {
            expr: column.is.clone(),
            alias: Ident::with_quote('"', &column.name),
        });
        let mut items: Vec<SelectItem> = merged.collect();
        for relation in &self.relations {
            let name = ObjectName::from(vec![relation.name.clone()?]);
            let columns = relation.columns.as_ref();
            if columns.is_some_and(|columns| columns.len() == relation.merged.len()) {
                continue;
            }
            let hidden = relation.merged.iter();
            let hidden: Vec<ObjectName> = hidden
                .map(|column| ObjectName::from(vec![Ident::with_quote('"', column)]))
                .collect();
            let options = WildcardAdditionalOptions {
                opt_exclude: (!hidden.is_empty()).then_some(ExcludeSelectItem::Multiple(hidden)),
                ..Default::default()
            };
            let kind = SelectItemQualifiedWildcardKind::ObjectName(name);
            items.push(SelectItem::QualifiedWildcard(kind, options));
        }
        Some(items)
    }
}

impl Merged {
    /// It in the place of a name.
    fn at(&self, name: &Ident) -> Expr {
        let mut is = self.is.clone();
        let _ = walk::rewrite(&mut is, &mut At(name));
        is
    }
}

/// Where something was written, for what stands there instead.
struct At<'a>(&'a Ident);

impl VisitorMut for At<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(parts) = expr {
            parts.iter_mut().for_each(|part| part.span = self.0.span);
        }
        ControlFlow::Continue(())
    }
}

/// Has names of merged columns say which they are; those in queries inside have tables of their own.
fn merge(sql: &mut impl VisitMut, merged: &[Merged]) {
    if !merged.is_empty() {
        let _ = walk::rewrite(sql, &mut Merging { merged, depth: 0 });
    }
}

struct Merging<'a> {
    merged: &'a [Merged],
    /// In how many queries inside expressions the walk is.
    depth: usize,
}

impl VisitorMut for Merging<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = expr
            && self.depth == 0
            && let Some(column) = self.merged.iter().find(|it| it.name == normalise(name))
        {
            *expr = column.at(name);
        }
        ControlFlow::Continue(())
    }
}

fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => Some(constraint),
        _ => None,
    }
}

fn constraint_mut(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => Some(constraint),
        _ => None,
    }
}
