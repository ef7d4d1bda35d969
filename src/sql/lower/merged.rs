//! The columns that a FULL JOIN compares, put together: `coalesce(a.k, b.k)`.
//!
//! Each side has a row per key at most and nothing but the keys decides what matches, so a row that
//! is alone has a key that the other side has not: what either column holds is a key of all
//! rows. Where neither column was NULL before the join, it is not NULL behind it.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions, those that choose between two columns are named"
)]

use std::collections::BTreeSet;

use datafusion_common::DFSchema;
use datafusion_expr::{Expr, ExprSchemable};

use super::join::Sides;
use super::{Lowering, position};
use crate::plan::JoinType;
use crate::sql::assign::is_lossless;
use crate::sql::graph::{Key, Pairs};

impl Lowering<'_> {
    /// The pairs of compared columns that are never both NULL.
    pub(super) fn either(&self, sides: &Sides, kind: JoinType) -> BTreeSet<(usize, usize)> {
        let width = self.graph.fields(sides.left.node).len();
        let [left, right] = [&sides.left, &sides.right].map(|side| self.graph.facts(side.node));
        let compared = sides.keys.iter().filter(|_| kind == JoinType::Full);
        let never_null = compared.filter(|(l, r)| left.not_null[*l] && right.not_null[*r]);
        never_null.map(|(l, r)| (*l, width + r)).collect()
    }

    /// The pairs of columns of a FULL JOIN that are a key together.
    pub(super) fn merged(&self, sides: &Sides) -> Option<Pairs> {
        let [left, right] = [&sides.left, &sides.right].map(|side| self.graph.facts(side.node));
        let is_one = |keys: &[Key], compared: &dyn Fn(usize) -> bool| {
            let mut keys = keys.iter();
            keys.any(|key| key.iter().all(|part| part.iter().any(|at| compared(*at))))
        };
        let compared: BTreeSet<_> = sides.keys.iter().collect();
        let pairs = self.either(sides, JoinType::Full);
        let proven = is_one(&left.keys, &|at| compared.iter().any(|(l, _)| *l == at))
            && is_one(&right.keys, &|at| compared.iter().any(|(_, r)| *r == at))
            && pairs.len() == compared.len();
        proven.then(|| pairs.into_iter().collect())
    }
}

/// The keys that expressions over a node are, given the pairs that are keys of it.
pub(super) fn keys(pairs: &[Pairs], exprs: &[Option<(usize, usize)>]) -> Vec<Key> {
    let part = |pair: &(usize, usize)| -> Option<Vec<usize>> {
        let places = (0..exprs.len()).filter(|at| exprs[*at] == Some(*pair));
        let places: Vec<usize> = places.collect();
        (!places.is_empty()).then_some(places)
    };
    let keys = pairs
        .iter()
        .map(|pairs| pairs.iter().map(part).collect::<Option<Key>>());
    keys.flatten().collect()
}

/// The two columns of which an expression over `schema` is the one that is not NULL, ascending.
pub(super) fn either(expr: &Expr, schema: &DFSchema) -> Option<(usize, usize)> {
    let (first, second) = match kept_apart(expr, schema) {
        Expr::ScalarFunction(call) if call.func.name() == "coalesce" => {
            match call.args.as_slice() {
                [first, second] => (first, second),
                _ => return None,
            }
        }
        // The optimiser writes it like this.
        Expr::Case(case) if case.expr.is_none() => {
            let [(when, then)] = case.when_then_expr.as_slice() else {
                return None;
            };
            match when.as_ref() {
                Expr::IsNotNull(tested) if tested == then => {
                    (then.as_ref(), case.else_expr.as_deref()?)
                }
                _ => return None,
            }
        }
        _ => return None,
    };
    let column = |expr| position(&kept_apart(expr, schema).try_as_col()?.name);
    let (first, second) = (column(first)?, column(second)?);
    Some((first.min(second), first.max(second)))
}

/// What an expression keeps the values apart of: without names, and casts that lose nothing.
fn kept_apart<'e>(expr: &'e Expr, schema: &DFSchema) -> &'e Expr {
    match expr {
        Expr::Alias(alias) => kept_apart(&alias.expr, schema),
        Expr::Cast(cast) => {
            let types = (cast.expr.get_type(schema), expr.get_type(schema));
            match types {
                (Ok(from), Ok(to)) if is_lossless(&from, &to) => kept_apart(&cast.expr, schema),
                _ => expr,
            }
        }
        other => other,
    }
}
