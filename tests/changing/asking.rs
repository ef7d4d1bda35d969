//! Queries inside expressions: in SELECT, inside OR, and as values.

use super::beside::of_all;
use super::relation::{Column, Kind, Relation, holds, named, pairs};
use crate::oracle::random::Random;

impl Relation {
    /// Some columns, each row of them once.
    pub fn distinct(random: &mut Random, depth: usize) -> Self {
        let input = Self::input(random, depth);
        let places: Vec<usize> = (0..input.columns.len()).collect();
        let count = 1 + random.below(2);
        let chosen = random.choose(&places, count);
        let names = chosen.iter().map(|place| format!("x.c{place}"));
        let columns: Vec<Column> = chosen.iter().map(|&place| input.columns[place]).collect();
        Self {
            sql: format!("SELECT DISTINCT {} FROM ({}) x", named(names), input.sql),
            append: false,
            key: Some((0..columns.len()).collect()),
            columns,
        }
    }

    /// Each row with what another query says of it, or those of which it says something.
    pub fn asking(random: &mut Random, depth: usize) -> Self {
        let left = Self::input(random, depth);
        let right = Self::input(random, depth);
        let pairs = pairs(&left, &right);
        if pairs.is_empty() {
            return left;
        }
        let (l, r) = *random.pick(&pairs);
        let (asked, kind) = match random.below(3) {
            0 => {
                let not = random.pick(&["", "NOT "]);
                let asked = format!("x.c{l} {not}IN (SELECT y.c{r} FROM ({}) y)", right.sql);
                (asked, Kind::Boolean)
            }
            1 => {
                let not = random.pick(&["", "NOT "]);
                let rows = format!("SELECT 1 FROM ({}) y WHERE y.c{r} = x.c{l}", right.sql);
                (format!("{not}EXISTS ({rows})"), Kind::Boolean)
            }
            _ => {
                let (call, column) = of_all(random, &right, "y");
                let same = match random.chance(70) {
                    true => format!(" WHERE y.c{r} = x.c{l}"),
                    false => String::new(),
                };
                let asked = format!("(SELECT {call} FROM ({}) y{same})", right.sql);
                (asked, column.kind)
            }
        };
        if kind == Kind::Boolean && random.chance(40) {
            let place = random.below(left.columns.len());
            let or = holds(random, &format!("x.c{place}"), left.columns[place].kind);
            return Self {
                sql: format!("SELECT x.* FROM ({}) x WHERE {or} OR {asked}", left.sql),
                append: false,
                ..left
            };
        }
        let mut columns = left.columns;
        let index = columns.len();
        columns.push(Column {
            kind,
            nullable: true,
        });
        Self {
            sql: format!("SELECT x.*, {asked} AS c{index} FROM ({}) x", left.sql),
            columns,
            append: false,
            key: left.key,
        }
    }
}
