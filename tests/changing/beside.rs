//! Functions OVER a partition, in words that mean the same here and in PostgreSQL.
//!
//! Where a result hangs on which of two rows comes first, the order is over all columns, and the same for
//! all calls of a query: of two equal rows one is first, and nobody says that it is first in another
//! order. Where it does not, the order may leave rows at one place.

use super::data::NAMES;
use super::relation::{Column, Kind, Relation, holds, order};
use crate::oracle::random::Random;

impl Relation {
    /// Each row with what is said of it among the rows of its partition.
    pub fn beside(random: &mut Random, depth: usize) -> Self {
        let input = Self::input(random, depth);
        let mut columns = input.columns.clone();
        let mut selected = vec!["x.*".to_owned()];
        let by = random.below(input.columns.len());
        let partition = |random: &mut Random| match random.chance(85) {
            true => format!("PARTITION BY x.c{by} "),
            false => String::new(),
        };
        let one_by_one = format!("{}ORDER BY {}", partition(random), order(random, &input));
        for _ in 0..1 + random.below(3) {
            let (call, over, column) = match random.below(10) {
                0..=3 => number(random, &input, &one_by_one),
                4..=6 => of_rows(random, &input, &one_by_one),
                _ => {
                    let (call, over, column) = of_places(random, &input);
                    (call, partition(random) + &over, column)
                }
            };
            let index = columns.len();
            selected.push(format!("{call} OVER ({over}) AS c{index}"));
            columns.push(column);
        }
        Self {
            sql: format!("SELECT {} FROM ({}) x", selected.join(", "), input.sql),
            columns,
            append: false,
            key: None,
        }
    }
}

impl Relation {
    /// The first rows of all, or the first of each group, in words other than row numbers.
    pub fn first_of_all(random: &mut Random, input: Self, order: &str, limit: i64) -> Self {
        let (skip, place) = (random.between(0, 3), random.below(input.columns.len()));
        let (mut select, mut key) = ("", None);
        let rest = match random.below(5) {
            0 => format!("ORDER BY {order} LIMIT {limit}"),
            1 => format!("ORDER BY {order} LIMIT {limit} OFFSET {skip}"),
            2 => format!("ORDER BY {order} OFFSET {} ROWS", skip + 1),
            3 => format!("ORDER BY x.c{place} FETCH FIRST {limit} ROWS WITH TIES"),
            _ => {
                select = "DISTINCT ON ";
                key = Some(vec![place]);
                format!("ORDER BY x.c{place}, {order}")
            }
        };
        let on = match key {
            Some(_) => format!("{select}(x.c{place}) "),
            None => String::new(),
        };
        Self {
            sql: format!("SELECT {on}x.* FROM ({}) x {rest}", input.sql),
            append: false,
            key,
            columns: input.columns,
        }
    }
}

impl Relation {
    /// The rows of a table in the order of their event time, with what is said of each once and for
    /// all.
    pub fn running(random: &mut Random) -> Self {
        let table = Self {
            sql: String::new(),
            columns: [Kind::Text, Kind::Int, Kind::Number(8, 2), Kind::Time]
                .map(nullable)
                .to_vec(),
            append: true,
            key: None,
        };
        let mut columns = table.columns.clone();
        columns[3].nullable = false;
        let mut selected = vec!["x.*".to_owned()];
        let calls = 1 + random.below(3);
        const PARTITIONS: [&str; 3] = ["PARTITION BY x.c0", "PARTITION BY x.c1, x.c0", ""];
        let one_by_one = *random.pick(&PARTITIONS);
        for _ in 0..calls {
            let mut partition = one_by_one;
            let (call, order, column) = match random.below(3) {
                0 => {
                    let names = ["row_number()", "rank()", "dense_rank()", "lag(x.c1)"];
                    let call = (*random.pick(&names)).to_owned();
                    let column = if call == "lag(x.c1)" {
                        nullable(Kind::Int)
                    } else {
                        LONG
                    };
                    (call, "x.c3, x.c0, x.c1, x.c2".to_owned(), column)
                }
                1 => {
                    let (call, column) = aggregate(random, &table);
                    let back = random.between(0, 4);
                    // Who waits for rows, and not for time, is the last to do so.
                    let ahead = if calls == 1 { random.between(0, 2) } else { 0 };
                    let frame = format!("ROWS BETWEEN {back} PRECEDING AND {ahead} FOLLOWING");
                    (call, format!("x.c3, x.c0, x.c1, x.c2 {frame}"), column)
                }
                _ => {
                    partition = *random.pick(&PARTITIONS);
                    let (call, column) = aggregate(random, &table);
                    let minutes = random.between(0, 20);
                    let frame = match random.below(3) {
                        0 => String::new(),
                        1 => format!(
                            " RANGE BETWEEN INTERVAL '{minutes}' MINUTE PRECEDING AND CURRENT ROW"
                        ),
                        _ => format!(
                            " RANGE BETWEEN UNBOUNDED PRECEDING AND INTERVAL '{minutes}' MINUTE FOLLOWING"
                        ),
                    };
                    (call, format!("x.c3{frame}"), column)
                }
            };
            let index = columns.len();
            selected.push(format!(
                "{call} OVER ({partition} ORDER BY {order}) AS c{index}"
            ));
            columns.push(column);
        }
        let name = random.pick(&NAMES);
        Self {
            sql: format!(
                "SELECT {} FROM (SELECT t.k AS c0, t.g AS c1, t.p AS c2, t.at AS c3 FROM {name} t) x",
                selected.join(", ")
            ),
            columns,
            append: true,
            key: None,
        }
    }
}

const LONG: Column = Column {
    kind: Kind::Long,
    nullable: false,
};

/// What stands before and behind each row, and which number it has.
fn number(random: &mut Random, input: &Relation, one_by_one: &str) -> (String, String, Column) {
    let place = random.below(input.columns.len());
    let neighbour = nullable(input.columns[place].kind);
    let back = random.between(1, 3);
    let (call, column) = match random.below(6) {
        0 => ("rank()".to_owned(), LONG),
        1 => ("dense_rank()".to_owned(), LONG),
        2 => (format!("lead(x.c{place}, {back})"), neighbour),
        3 => (format!("ntile({})", back + 1), LONG),
        _ => (format!("lag(x.c{place}, {back})"), neighbour),
    };
    (call, one_by_one.to_owned(), column)
}

/// What is read of rows that are counted one by one.
fn of_rows(random: &mut Random, input: &Relation, one_by_one: &str) -> (String, String, Column) {
    let place = random.below(input.columns.len());
    let kind = input.columns[place].kind;
    let number = random.between(1, 4);
    let (call, column) = match random.below(6) {
        0 => (format!("first_value(x.c{place})"), nullable(kind)),
        1 => (format!("last_value(x.c{place})"), nullable(kind)),
        2 => (format!("nth_value(x.c{place}, {number})"), nullable(kind)),
        3 if kind == Kind::Text => (format!("string_agg(x.c{place}, '-')"), nullable(kind)),
        _ => aggregate(random, input),
    };
    let between = bounds(random, |random| random.between(0, 4).to_string());
    let frame = format!(" ROWS BETWEEN {between}");
    let frame = if random.chance(75) {
        frame
    } else {
        String::new()
    };
    (call, format!("{one_by_one}{frame}"), column)
}

/// Aggregates of rows that are counted by their places in an order, which several may share.
fn of_places(random: &mut Random, input: &Relation) -> (String, String, Column) {
    let (call, column) = aggregate(random, input);
    let place = random.below(input.columns.len());
    let direction = random.pick(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
    let by = format!("ORDER BY x.c{place}{direction}");
    let frame = match (random.below(4), input.columns[place].kind) {
        (0, _) => return (call, String::new(), column),
        (1, _) => String::new(),
        (2, _) => {
            let between = bounds(random, |random| random.between(0, 3).to_string());
            format!(" GROUPS BETWEEN {between}")
        }
        (_, Kind::Int | Kind::Long) => {
            let between = bounds(random, |random| random.between(0, 5).to_string());
            format!(" RANGE BETWEEN {between}")
        }
        (_, Kind::Number(..)) => {
            let between = bounds(random, |random| format!("{}.5", random.between(0, 3)));
            format!(" RANGE BETWEEN {between}")
        }
        (_, Kind::Time) => {
            let between = bounds(random, |random| {
                format!("INTERVAL '{}' MINUTE", random.between(0, 20))
            });
            format!(" RANGE BETWEEN {between}")
        }
        (_, Kind::Date) => {
            let between = bounds(random, |random| {
                format!("INTERVAL '{}' DAY", random.between(0, 3))
            });
            format!(" RANGE BETWEEN {between}")
        }
        (_, Kind::Text | Kind::Boolean) => {
            " RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING".to_owned()
        }
    };
    (call, format!("{by}{frame}"), column)
}

/// Two bounds, of which the first may come first.
fn bounds(random: &mut Random, distance: impl Fn(&mut Random) -> String) -> String {
    let all = |random: &mut Random| {
        [
            "UNBOUNDED PRECEDING".to_owned(),
            format!("{} PRECEDING", distance(random)),
            "CURRENT ROW".to_owned(),
            format!("{} FOLLOWING", distance(random)),
            "UNBOUNDED FOLLOWING".to_owned(),
        ]
    };
    let start = random.below(4);
    let end = start.max(1) + random.below(5 - start.max(1));
    format!("{} AND {}", all(random)[start], all(random)[end])
}

/// An aggregate that no order changes.
fn aggregate(random: &mut Random, input: &Relation) -> (String, Column) {
    let (call, column) = of_all(random, input, "x");
    if random.chance(15) {
        let place = random.below(input.columns.len());
        let filter = holds(random, &format!("x.c{place}"), input.columns[place].kind);
        return (format!("{call} FILTER (WHERE {filter})"), column);
    }
    (call, column)
}

/// An aggregate of rows that go by this name.
pub fn of_all(random: &mut Random, input: &Relation, name: &str) -> (String, Column) {
    let place = random.below(input.columns.len());
    let kind = input.columns[place].kind;
    let argument = format!("{name}.c{place}");
    match (random.below(6), kind) {
        (0, _) => ("count(*)".to_owned(), LONG),
        (1, _) | (2..=5, Kind::Boolean) => (format!("count({argument})"), LONG),
        (2, Kind::Int | Kind::Long | Kind::Number(8, _)) => {
            (format!("avg({argument})"), nullable(Kind::Number(38, 16)))
        }
        (3 | 4, Kind::Int) => (format!("sum({argument})"), nullable(Kind::Long)),
        (3 | 4, Kind::Long) => (format!("sum({argument})"), nullable(Kind::Number(38, 0))),
        (3 | 4, Kind::Number(_, scale)) => (
            format!("sum({argument})"),
            nullable(Kind::Number(38, scale)),
        ),
        _ => {
            let name = random.pick(&["min", "max"]);
            (format!("{name}({argument})"), nullable(kind))
        }
    }
}

fn nullable(kind: Kind) -> Column {
    Column {
        kind,
        nullable: true,
    }
}
