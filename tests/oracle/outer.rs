//! An aggregate over the groups of a query: how many of them, and what they come to.
//!
//! The inner query's columns are `c0`, `c1` and so on in `i`. Floats are not counted as different
//! or grouped by: PostgreSQL adds them as they come.

use super::query::{Compare, Term};
use super::random::Random;

pub struct Outer {
    /// Of the inner columns.
    pub keys: Vec<Term>,
    pub aggregates: Vec<Term>,
}

impl Outer {
    /// Over an inner query of these columns, if there is one to group by.
    pub fn random(random: &mut Random, inner: &[(String, Term)]) -> Option<Self> {
        let inner: Vec<&(String, Term)> = inner
            .iter()
            .filter(|(_, term)| term.compare != Compare::Estimate)
            .collect();
        let keys: Vec<Term> = inner
            .iter()
            .filter_map(|(name, term)| key(name, term))
            .collect();
        let mut aggregates = vec![same("count(*)", "BIGINT", Compare::Exact)];
        for (name, term) in inner {
            aggregates.extend(over(name, term));
        }
        let (keys_count, count) = (1 + random.below(2), 1 + random.below(5));
        (!keys.is_empty()).then(|| Self {
            keys: random.choose(&keys, keys_count),
            aggregates: random.choose(&aggregates, count),
        })
    }
}

/// A group key that is never NULL.
fn key(name: &str, term: &Term) -> Option<Term> {
    let none = match term.sql_type.as_str() {
        "TEXT" => "'-'",
        "BIGINT" | "INT" => "-1",
        "BOOLEAN" => "false",
        "DATE" => "DATE '1999-12-31'",
        _ => return None,
    };
    let sql = format!("coalesce(i.{name}, {none})");
    Some(same(&sql, &term.sql_type, Compare::Exact))
}

/// What can be asked of a column.
fn over(name: &str, term: &Term) -> Vec<Term> {
    let sql_type = term.sql_type.as_str();
    let text = |call: &str| call.replace("{}", &format!("i.{name}"));
    let of = |call: &str, sql_type: &str| same(&text(call), sql_type, Compare::Exact);
    if term.compare == Compare::Float {
        let float = |call: &str| same(&text(call), sql_type, Compare::Float);
        return vec![
            float("min({})"),
            float("max({})"),
            of("count({})", "BIGINT"),
        ];
    }
    let mut terms = vec![
        of("count({})", "BIGINT"),
        of("count(DISTINCT {})", "BIGINT"),
    ];
    if sql_type == "BOOLEAN" {
        terms.extend([of("bool_and({})", sql_type), of("bool_or({})", sql_type)]);
        return terms;
    }
    terms.extend([of("min({})", sql_type), of("max({})", sql_type)]);
    if sql_type == "TEXT" {
        terms.push(of("string_agg({}, '|' ORDER BY {})", "TEXT"));
        terms.push(of("string_agg(DISTINCT {}, '|' ORDER BY {})", "TEXT"));
    }
    if sql_type == "BIGINT" || sql_type == "INT" {
        let sum = if sql_type == "INT" {
            "BIGINT"
        } else {
            "NUMERIC(38, 0)"
        };
        terms.extend([of("sum({})", sum), of("sum(DISTINCT {})", sum)]);
        terms.push(of("sum({}) FILTER (WHERE {} > 2)", sum));
        terms.push(of("bit_xor({})", sql_type));
        terms.push(of(
            "percentile_disc(0.3) WITHIN GROUP (ORDER BY {} DESC)",
            sql_type,
        ));
        terms.push(Term {
            theirs: text("(array_agg({} ORDER BY {} DESC NULLS LAST))[1]"),
            ..of("first_value({} ORDER BY {} DESC NULLS LAST)", sql_type)
        });
    }
    terms
}

fn same(sql: &str, sql_type: &str, compare: Compare) -> Term {
    Term {
        ours: sql.to_owned(),
        theirs: sql.to_owned(),
        sql_type: sql_type.to_owned(),
        compare,
    }
}
