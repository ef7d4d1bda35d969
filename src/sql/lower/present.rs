//! Which columns have a value in the rows for which a condition is true.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions, those of interest are named"
)]

use datafusion_common::Column;
use datafusion_expr::{BinaryExpr, Expr, Operator};

/// The columns that hold no NULL in the rows for which `condition` is true.
pub fn columns_not_null(condition: &Expr) -> Vec<&Column> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if *op == Operator::And => {
            let mut both = columns_not_null(left);
            both.extend(columns_not_null(right));
            both
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if *op == Operator::Or => {
            let right = columns_not_null(right);
            let mut either = columns_not_null(left);
            either.retain(|column| right.contains(column));
            either
        }
        Expr::IsNotNull(inner) | Expr::IsFalse(inner) => needed(inner),
        Expr::IsTrue(inner) => columns_not_null(inner),
        other => needed(other),
    }
}

/// The columns without which `expr` is NULL.
fn needed(expr: &Expr) -> Vec<&Column> {
    match expr {
        Expr::Column(column) => vec![column],
        Expr::Alias(alias) => needed(&alias.expr),
        Expr::Cast(cast) => needed(&cast.expr),
        Expr::Not(inner) | Expr::Negative(inner) => needed(inner),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_strict(*op) => {
            let mut both = needed(left);
            both.extend(needed(right));
            both
        }
        Expr::Like(like) => {
            let mut both = needed(&like.expr);
            both.extend(needed(&like.pattern));
            both
        }
        Expr::Between(between) => needed(&between.expr),
        Expr::InList(list) => needed(&list.expr),
        Expr::ScalarFunction(call) if OF_NULL.contains(&call.func.name()) => {
            call.args.iter().flat_map(needed).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether an operator with NULL on one side is NULL.
fn is_strict(op: Operator) -> bool {
    op.is_numerical_operators()
        || matches!(
            op,
            Operator::Eq
                | Operator::NotEq
                | Operator::Lt
                | Operator::LtEq
                | Operator::Gt
                | Operator::GtEq
                | Operator::StringConcat
                | Operator::RegexMatch
                | Operator::RegexIMatch
                | Operator::RegexNotMatch
                | Operator::RegexNotIMatch
                | Operator::LikeMatch
                | Operator::ILikeMatch
                | Operator::NotLikeMatch
                | Operator::NotILikeMatch
        )
}

/// Functions that are NULL if an argument is.
const OF_NULL: &[&str] = &[
    "abs",
    "btrim",
    "ceil",
    "character_length",
    "date_part",
    "date_trunc",
    "divide",
    "floor",
    "lower",
    "multiply",
    "octet_length",
    "round",
    "starts_with",
    "substr",
    "upper",
];

#[cfg(test)]
mod tests {
    use datafusion_expr::{col, lit};

    use super::*;

    fn names(condition: &Expr) -> Vec<&str> {
        let columns = columns_not_null(condition).into_iter();
        columns.map(|column| column.name.as_str()).collect()
    }

    #[test]
    fn what_is_compared_has_a_value() {
        let both = (col("a") + col("b"))
            .gt(lit(1))
            .and(col("c").like(lit("x%")));
        assert_eq!(names(&both), ["a", "b", "c"]);
        let either = col("a")
            .eq(lit(1))
            .or(col("a").in_list(vec![lit(2)], false));
        assert_eq!(names(&either), ["a"]);
        assert_eq!(names(&Expr::Not(Box::new(col("a").eq(lit(1))))), ["a"]);
    }

    #[test]
    fn what_may_be_true_of_null_says_nothing() {
        assert!(names(&col("a").eq(lit(1)).or(col("b").eq(lit(1)))).is_empty());
        assert!(names(&col("a").is_null()).is_empty());
        let not_both = Expr::Not(Box::new(col("a").eq(lit(1)).and(col("b").eq(lit(1)))));
        assert!(names(&not_both).is_empty());
        let distinct = Operator::IsDistinctFrom;
        let sides = [col("a"), lit(1)].map(Box::new);
        let [left, right] = sides;
        assert!(names(&Expr::BinaryExpr(BinaryExpr::new(left, distinct, right))).is_empty());
    }
}
