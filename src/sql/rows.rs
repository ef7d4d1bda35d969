//! Rows that are compared: `(a, b) = (c, d)` as conditions on their columns.
//!
//! | written | planned |
//! |---|---|
//! | `(a, b) = (c, d)` | `a = c AND b = d` |
//! | `(a, b) < (c, d)` | `a < c OR (a = c AND b < d)` |
//! | `(a, b) IN ((c, d), (e, f))` | `(a = c AND b = d) OR (a = e AND b = f)` |
//! | `(a, b) IS DISTINCT FROM (c, d)` | `a IS DISTINCT FROM c OR b IS DISTINCT FROM d` |
//! | `(a, b) IS NULL` | `a IS NULL AND b IS NULL` |
//!
//! DataFusion would make structs of the rows, and of structs a NULL is equal to a NULL.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of the syntax of SQL, the forms above are named"
)]

use datafusion_sql::sqlparser::ast::{BinaryOperator as Op, Expr, FunctionArg, FunctionArgExpr};
use datafusion_sql::sqlparser::ast::{FunctionArguments, UnaryOperator};

/// The conditions on columns that a comparison of rows is.
pub fn compared(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::BinaryOp { left, op, right } => ordered(&row(left)?, op, &row(right)?),
        Expr::IsDistinctFrom(left, right) => {
            let each = pairs(left, right)?.map(|(left, right)| Expr::IsDistinctFrom(left, right));
            joined(each, &Op::Or)
        }
        Expr::IsNotDistinctFrom(left, right) => {
            let each =
                pairs(left, right)?.map(|(left, right)| Expr::IsNotDistinctFrom(left, right));
            joined(each, &Op::And)
        }
        Expr::IsNull(inner) => joined(boxed(inner)?.map(Expr::IsNull), &Op::And),
        Expr::IsNotNull(inner) => joined(boxed(inner)?.map(Expr::IsNotNull), &Op::And),
        Expr::Between {
            expr,
            negated,
            low,
            high,
        } => {
            let expr = row(expr)?;
            let least = ordered(&expr, &Op::GtEq, &row(low)?)?;
            let most = ordered(&expr, &Op::LtEq, &row(high)?)?;
            Some(not_if(*negated, both(least, &Op::And, most)))
        }
        Expr::InList {
            expr,
            list,
            negated,
        } => {
            let expr = row(expr)?;
            let same = list.iter().map(|item| ordered(&expr, &Op::Eq, &row(item)?));
            let any = joined(same.collect::<Option<Vec<_>>>()?.into_iter(), &Op::Or)?;
            Some(not_if(*negated, any))
        }
        _ => None,
    }
}

/// The columns of a row that is written out.
fn row(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(columns) => Some(columns.clone()),
        Expr::Nested(inner) => row(inner),
        Expr::Function(call) if call.name.to_string().eq_ignore_ascii_case("row") => {
            let FunctionArguments::List(list) = &call.args else {
                return None;
            };
            let columns = list.args.iter().map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(column)) => Some(column.clone()),
                _ => None,
            });
            columns.collect()
        }
        _ => None,
    }
}

fn boxed(expr: &Expr) -> Option<impl Iterator<Item = Box<Expr>> + use<>> {
    Some(row(expr)?.into_iter().map(bracketed))
}

/// The columns of two rows that are as long, side by side.
fn pairs(
    left: &Expr,
    right: &Expr,
) -> Option<impl Iterator<Item = (Box<Expr>, Box<Expr>)> + use<>> {
    let (left, right) = (row(left)?, row(right)?);
    let as_long = left.len() == right.len();
    let sides = left
        .into_iter()
        .map(bracketed)
        .zip(right.into_iter().map(bracketed));
    (as_long && sides.len() > 0).then_some(sides)
}

fn ordered(left: &[Expr], op: &Op, right: &[Expr]) -> Option<Expr> {
    if left.len() != right.len() {
        return None;
    }
    let each = |op: &Op| {
        let sides = left.iter().zip(right);
        let compare = |(left, right): (&Expr, &Expr)| both(left.clone(), op, right.clone());
        sides.map(compare).collect::<Vec<_>>().into_iter()
    };
    match op {
        Op::Eq => joined(each(op), &Op::And),
        Op::NotEq => joined(each(op), &Op::Or),
        Op::Lt | Op::Gt => lexical(left, op, op, right),
        Op::LtEq => lexical(left, &Op::Lt, op, right),
        Op::GtEq => lexical(left, &Op::Gt, op, right),
        _ => None,
    }
}

/// The first columns that differ decide, by `op`; the last ones by `last`.
fn lexical(left: &[Expr], op: &Op, last: &Op, right: &[Expr]) -> Option<Expr> {
    let ((a, left), (b, right)) = (left.split_first()?, right.split_first()?);
    if left.is_empty() {
        return Some(both(a.clone(), last, b.clone()));
    }
    let rest = lexical(left, op, last, right)?;
    let differ = both(a.clone(), op, b.clone());
    let same = both(a.clone(), &Op::Eq, b.clone());
    Some(both(differ, &Op::Or, both(same, &Op::And, rest)))
}

/// `left op right` in brackets, of sides in brackets.
fn both(left: Expr, op: &Op, right: Expr) -> Expr {
    Expr::Nested(Box::new(Expr::BinaryOp {
        left: bracketed(left),
        op: op.clone(),
        right: bracketed(right),
    }))
}

fn bracketed(expr: Expr) -> Box<Expr> {
    Box::new(match expr {
        Expr::Nested(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) => {
            expr
        }
        other => Expr::Nested(Box::new(other)),
    })
}

fn joined(each: impl Iterator<Item = Expr>, op: &Op) -> Option<Expr> {
    each.reduce(|left, right| both(left, op, right))
}

fn not_if(negated: bool, expr: Expr) -> Expr {
    match negated {
        true => Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(Expr::Nested(Box::new(expr))),
        },
        false => expr,
    }
}

#[cfg(test)]
mod tests {
    use datafusion_sql::sqlparser::parser::Parser;

    use super::*;
    use crate::sql::dialect::TidemarkDialect;

    fn planned(written: &str) -> String {
        let dialect = TidemarkDialect::default();
        let parser = Parser::new(&dialect).try_with_sql(written);
        let expr = parser.unwrap().parse_expr().unwrap();
        compared(&expr).map_or_else(|| "as it is".to_owned(), |expr| expr.to_string())
    }

    #[test]
    fn rows_are_equal_if_their_columns_are() {
        assert_eq!(planned("(a, b) = (1, 2)"), "((a = 1) AND (b = 2))");
        assert_eq!(planned("(a, b) <> ROW(1, 2)"), "((a <> 1) OR (b <> 2))");
    }

    #[test]
    fn the_first_columns_that_differ_decide() {
        assert_eq!(
            planned("(a, b) <= (c, d)"),
            "((a < c) OR ((a = c) AND (b <= d)))"
        );
    }

    #[test]
    fn other_expressions_stay() {
        assert_eq!(planned("a = (1)"), "as it is");
        assert_eq!(planned("(a, b) = (1, 2, 3)"), "as it is");
        assert_eq!(planned("s = (1, 2)"), "as it is");
    }
}
