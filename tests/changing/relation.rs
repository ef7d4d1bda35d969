//! Random queries over queries, in words that mean the same here and in PostgreSQL.
//!
//! A relation's columns are `c0`, `c1` and so on. Wherever rows are chosen or numbered by an order, the order is
//! over all columns: rows that tie are equal, so it does not matter which comes first.

use std::fmt::Write as _;

use super::data::NAMES;
use super::using::using;
use crate::oracle::random::Random;

/// A query.
#[derive(Clone)]
pub struct Relation {
    pub sql: String,
    pub columns: Vec<Column>,
    /// Whether its rows only come, and never go.
    pub append: bool,
    /// Columns that together are another in every row, if that follows from the query.
    pub key: Option<Vec<usize>>,
}

#[derive(Clone, Copy)]
pub struct Column {
    pub kind: Kind,
    pub nullable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Int,
    Long,
    /// With so many digits, and so many of them after the point.
    Number(u8, u8),
    Boolean,
    Date,
    Time,
}

impl Kind {
    pub fn name(self) -> String {
        match self {
            Self::Text => "TEXT".to_owned(),
            Self::Int => "INT".to_owned(),
            Self::Long => "BIGINT".to_owned(),
            Self::Number(precision, scale) => format!("NUMERIC({precision}, {scale})"),
            Self::Boolean => "BOOLEAN".to_owned(),
            Self::Date => "DATE".to_owned(),
            Self::Time => "TIMESTAMP".to_owned(),
        }
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::Int | Self::Long)
    }

    /// A value that no row has.
    pub fn stranger(self) -> &'static str {
        match self {
            Self::Text => "'none'",
            Self::Int | Self::Long | Self::Number(..) => "-777",
            Self::Boolean => "false",
            Self::Date => "DATE '1999-12-31'",
            Self::Time => "TIMESTAMP '1999-12-31 00:00:00'",
        }
    }

    fn meets(self, other: Self) -> bool {
        self == other || (self.is_whole() && other.is_whole())
    }
}

/// Around what only we read, and what only PostgreSQL reads: to us it is a comment.
const OURS: &str = "/*ours*/";
const THEIRS: &str = "/*theirs";
const END: &str = "end*/";

/// A query as PostgreSQL reads it.
pub fn theirs(sql: &str) -> String {
    let mut parts = sql.split(OURS);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, rest) = part.split_once(THEIRS).expect("it follows");
        let (theirs, after) = rest.split_once(END).expect("it ends");
        out.push_str(theirs);
        out.push_str(after);
    }
    out
}

/// The columns of every table, with their names there.
const BASE: [(&str, Kind, bool); 8] = [
    ("k", Kind::Text, true),
    ("g", Kind::Int, true),
    ("n", Kind::Long, false),
    ("p", Kind::Number(8, 2), true),
    ("b", Kind::Boolean, true),
    ("d", Kind::Date, true),
    ("at", Kind::Time, false),
    ("seq", Kind::Long, false),
];

impl Relation {
    /// A query that stands on up to `depth` others.
    pub fn random(random: &mut Random, depth: usize) -> Self {
        if depth == 0 {
            return Self::base(random);
        }
        match random.below(23) {
            0 => Self::base(random),
            18 => Self::running(random),
            19..=21 => Self::asking(random, depth),
            22 => Self::asof(random),
            1..=5 => Self::join(random, depth),
            6 | 7 => Self::among(random, depth),
            8..=10 => Self::aggregate(random, depth),
            11 => Self::distinct(random, depth),
            12 => Self::set(random, depth),
            13..=15 => Self::beside(random, depth),
            _ => Self::top(random, depth),
        }
    }

    pub fn input(random: &mut Random, depth: usize) -> Self {
        let less = 1 + random.below(depth);
        Self::random(random, depth - less.min(depth))
    }

    /// Some rows and columns of a table.
    fn base(random: &mut Random) -> Self {
        let count = 2 + random.below(4);
        let mut chosen = random.choose(&BASE, count);
        if random.chance(30) {
            chosen.reverse();
        }
        let name = random.pick(&NAMES);
        let selected: Vec<String> = (0..)
            .zip(&chosen)
            .map(|(index, (column, _, _))| format!("t.{column} AS c{index}"))
            .collect();
        let columns: Vec<Column> = chosen
            .iter()
            .map(|&(_, kind, nullable)| Column { kind, nullable })
            .collect();
        let mut sql = format!("SELECT {} FROM {name} t", selected.join(", "));
        if random.chance(30) {
            let (column, kind, _) = *random.pick(&BASE);
            let _ = write!(
                sql,
                " WHERE {}",
                holds(random, &format!("t.{column}"), kind)
            );
        }
        Self {
            sql,
            columns,
            append: true,
            key: None,
        }
    }

    fn join(random: &mut Random, depth: usize) -> Self {
        let left = Self::input(random, depth);
        // Now and then the same again.
        let right = if random.chance(15) {
            left.clone()
        } else {
            Self::input(random, depth)
        };
        if random.chance(25)
            && let Some(using) = using(random, &left, &right)
        {
            return using;
        }
        let Some(mut condition) = equal(random, &left, &right) else {
            return left;
        };
        if random.chance(20) {
            let more = equal(random, &left, &right).expect("there was one");
            let _ = write!(condition, " AND {more}");
        }
        let kind = *random.pick(&["INNER", "INNER", "LEFT", "RIGHT", "FULL"]);
        // PostgreSQL joins both sides fully by equality alone.
        if random.chance(25) && kind != "FULL" {
            let _ = write!(condition, " AND {}", residual(random, &left, &right));
        }
        if random.chance(40) && kind != "FULL" {
            condition += &near(random, &left, &right).unwrap_or_default();
        }
        let outer_left = matches!(kind, "RIGHT" | "FULL");
        let outer_right = matches!(kind, "LEFT" | "FULL");
        let mut sides = Vec::new();
        for (side, outer, relation) in [("x", outer_left, &left), ("y", outer_right, &right)] {
            for (index, column) in relation.columns.iter().enumerate() {
                let nullable = column.nullable || outer;
                sides.push((
                    format!("{side}.c{index}"),
                    Column {
                        nullable,
                        ..*column
                    },
                ));
            }
        }
        let count = 2 + random.below(4);
        let chosen = random.choose(&sides, count);
        Self {
            sql: format!(
                "SELECT {} FROM ({}) x {kind} JOIN ({}) y ON {condition}",
                named(chosen.iter().map(|(name, _)| name.clone())),
                left.sql,
                right.sql
            ),
            columns: chosen.into_iter().map(|(_, column)| column).collect(),
            append: kind == "INNER" && left.append && right.append,
            key: None,
        }
    }

    /// Rows with the newest of others at their time. PostgreSQL says that in other words; of rows
    /// at one time it takes the one that stands last in the files, as `seq` says.
    fn asof(random: &mut Random) -> Self {
        let (left, right) = (random.pick(&NAMES), random.pick(&NAMES));
        let key = random.pick(&["k", "g", "n"]);
        let (sign, outer) = (random.pick(&[">", ">="]), random.chance(50));
        let filter = match random.chance(40) {
            true => holds(random, "t.p", Kind::Number(8, 2)),
            false => "true".to_owned(),
        };
        let right = format!("SELECT t.* FROM {right} t WHERE {filter}");
        let condition = format!("x.{key} = y.{key} AND x.at {sign} y.at");
        let kind = if outer { "LEFT" } else { "INNER" };
        let mut columns = Vec::new();
        let mut names = Vec::new();
        for (side, outer) in [("x", false), ("y", outer)] {
            for (name, kind, nullable) in random.choose(&BASE, 3) {
                names.push(format!("{side}.{name}"));
                let nullable = nullable || outer;
                columns.push(Column { kind, nullable });
            }
        }
        let mut sql = format!(
            "SELECT {} FROM {left} x {OURS} ASOF {kind} JOIN ({right}) y ON {condition} \
             {THEIRS} {kind} JOIN LATERAL (SELECT * FROM ({right}) y WHERE {condition} \
             ORDER BY y.at DESC, y.seq DESC LIMIT 1) y ON true {END}",
            named(names.into_iter())
        );
        if random.chance(30) {
            let side = random.pick(&["x", "y"]);
            let _ = write!(
                sql,
                " WHERE {}",
                holds(random, &format!("{side}.g"), Kind::Int)
            );
        }
        Self {
            sql,
            columns,
            append: true,
            key: None,
        }
    }

    /// Rows that are, or are not, among others.
    fn among(random: &mut Random, depth: usize) -> Self {
        let left = Self::input(random, depth);
        let right = Self::input(random, depth);
        let pairs = pairs(&left, &right);
        if pairs.is_empty() {
            return left;
        }
        let (l, r) = *random.pick(&pairs);
        let not = if random.chance(50) { "NOT " } else { "" };
        let condition = if random.chance(40) {
            format!("x.c{l} {not}IN (SELECT y.c{r} FROM ({}) y)", right.sql)
        } else {
            let mut inner = format!("x.c{l} = y.c{r}");
            if random.chance(25) {
                let _ = write!(inner, " AND {}", residual(random, &left, &right));
            }
            if random.chance(40) {
                inner += &near(random, &left, &right).unwrap_or_default();
            }
            format!(
                "{not}EXISTS (SELECT 1 FROM ({}) y WHERE {inner})",
                right.sql
            )
        };
        Self {
            sql: format!("SELECT x.* FROM ({}) x WHERE {condition}", left.sql),
            append: not.is_empty() && left.append && right.append,
            ..left
        }
    }

    fn aggregate(random: &mut Random, depth: usize) -> Self {
        let input = Self::input(random, depth);
        let count = random.below(3);
        let places: Vec<usize> = (0..input.columns.len()).collect();
        let mut columns = Vec::new();
        let mut keys = Vec::new();
        for place in random.choose(&places, count) {
            let mut column = input.columns[place];
            let mut key = format!("x.c{place}");
            if column.nullable && random.chance(60) {
                key = format!("coalesce({key}, {})", column.kind.stranger());
                column.nullable = false;
            }
            keys.push(key);
            columns.push(column);
        }
        let key: Vec<usize> = (0..keys.len()).collect();
        let mut selected = keys.clone();
        for _ in 0..1 + random.below(3) {
            let (aggregate, column) = aggregate(random, &input);
            selected.push(aggregate);
            columns.push(column);
        }
        let mut sql = format!(
            "SELECT {} FROM ({}) x",
            named(selected.into_iter()),
            input.sql
        );
        if !keys.is_empty() {
            let _ = write!(sql, " GROUP BY {}", keys.join(", "));
        }
        if random.chance(25) {
            sql.push_str(random.pick::<&str>(&[
                " HAVING count(*) > 1",
                " HAVING count(*) < 4",
                " HAVING count(*) % 2 = 1",
            ]));
        }
        Self {
            sql,
            columns,
            append: false,
            key: Some(key),
        }
    }

    /// UNION, EXCEPT and INTERSECT, of columns of the same types.
    fn set(random: &mut Random, depth: usize) -> Self {
        let left = Self::input(random, depth);
        let right = Self::input(random, depth);
        let same: Vec<(usize, usize)> = pairs(&left, &right)
            .into_iter()
            .filter(|&(l, r)| left.columns[l].kind == right.columns[r].kind)
            .collect();
        if same.is_empty() {
            return left;
        }
        let count = 1 + random.below(3);
        let chosen = random.choose(&same, count);
        let operation = *random.pick(&[
            "UNION",
            "UNION ALL",
            "UNION ALL",
            "EXCEPT",
            "EXCEPT ALL",
            "INTERSECT",
            "INTERSECT ALL",
        ]);
        let lefts = named(chosen.iter().map(|(l, _)| format!("x.c{l}")));
        let rights = named(chosen.iter().map(|(_, r)| format!("y.c{r}")));
        Self {
            sql: format!(
                "SELECT {lefts} FROM ({}) x {operation} SELECT {rights} FROM ({}) y",
                left.sql, right.sql
            ),
            columns: chosen
                .iter()
                .map(|&(l, r)| Column {
                    nullable: left.columns[l].nullable || right.columns[r].nullable,
                    ..left.columns[l]
                })
                .collect(),
            append: operation == "UNION ALL" && left.append && right.append,
            key: None,
        }
    }

    /// The first rows, of all or of each partition.
    fn top(random: &mut Random, depth: usize) -> Self {
        let input = Self::input(random, depth);
        let order = order(random, &input);
        let limit = random.between(1, 4);
        if random.chance(40) {
            return Self::first_of_all(random, input, &order, limit);
        }
        let places: Vec<usize> = (0..input.columns.len()).collect();
        let count = random.below(3);
        let by = random.choose(&places, count);
        let names: Vec<String> = by.iter().map(|place| format!("x.c{place}")).collect();
        let partition = if names.is_empty() {
            String::new()
        } else {
            format!("PARTITION BY {} ", names.join(", "))
        };
        let mut columns = input.columns.clone();
        let mut key = by;
        key.push(columns.len());
        columns.push(Column {
            kind: Kind::Long,
            nullable: false,
        });
        let condition = if limit == 1 && random.chance(50) {
            "= 1".to_owned()
        } else {
            format!("<= {limit}")
        };
        let last = columns.len() - 1;
        Self {
            sql: format!(
                "SELECT y.* FROM (SELECT x.*, row_number() OVER ({partition}ORDER BY {order}) AS c{last} \
                 FROM ({}) x) y WHERE y.c{last} {condition}",
                input.sql
            ),
            columns,
            append: false,
            key: Some(key),
        }
    }
}

/// Columns as `c0`, `c1` and so on.
pub fn named(columns: impl Iterator<Item = String>) -> String {
    let named: Vec<String> = (0..)
        .zip(columns)
        .map(|(index, column): (usize, String)| format!("{column} AS c{index}"))
        .collect();
    named.join(", ")
}

/// Columns of both sides that can be compared.
pub fn pairs(left: &Relation, right: &Relation) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for (l, left) in left.columns.iter().enumerate() {
        for (r, right) in right.columns.iter().enumerate() {
            if left.kind.meets(right.kind) {
                pairs.push((l, r));
            }
        }
    }
    pairs
}

fn equal(random: &mut Random, left: &Relation, right: &Relation) -> Option<String> {
    let pairs = pairs(left, right);
    if pairs.is_empty() {
        return None;
    }
    let (l, r) = *random.pick(&pairs);
    Some(format!("x.c{l} = y.c{r}"))
}

/// Times of both sides that bound each other, if both have one.
fn near(random: &mut Random, left: &Relation, right: &Relation) -> Option<String> {
    let mut pairs = pairs(left, right);
    pairs.retain(|(l, _)| left.columns[*l].kind == Kind::Time);
    if pairs.is_empty() {
        return None;
    }
    let (l, r) = *random.pick(&pairs);
    let (before, after) = (random.between(0, 20), random.between(1, 20));
    Some(match random.below(3) {
        0 => format!(
            " AND x.c{l} BETWEEN y.c{r} - INTERVAL '{before}' MINUTE AND y.c{r} + INTERVAL '{after}' MINUTE"
        ),
        1 => format!(" AND y.c{r} > x.c{l} AND y.c{r} - INTERVAL '{after}' MINUTE <= x.c{l}"),
        _ => format!(
            " AND x.c{l} - INTERVAL '{after}' MINUTE < y.c{r} - INTERVAL '{before}' MINUTE AND y.c{r} <= x.c{l}"
        ),
    })
}

/// A condition besides equality: over both sides, or one of them.
fn residual(random: &mut Random, left: &Relation, right: &Relation) -> String {
    let pairs = pairs(left, right);
    if pairs.is_empty() || random.chance(30) {
        let (side, relation) = if random.chance(50) {
            ("x", left)
        } else {
            ("y", right)
        };
        let place = random.below(relation.columns.len());
        let column = format!("{side}.c{place}");
        return holds(random, &column, relation.columns[place].kind);
    }
    let (l, r) = *random.pick(&pairs);
    let kind = left.columns[l].kind;
    if kind == Kind::Time && random.chance(60) {
        return format!(
            "x.c{l} BETWEEN y.c{r} - INTERVAL '10' MINUTE AND y.c{r} + INTERVAL '5' MINUTE"
        );
    }
    if matches!(kind, Kind::Int | Kind::Long) && random.chance(40) {
        return format!("x.c{l} + y.c{r} > 4");
    }
    format!("x.c{l} {} y.c{r}", random.pick(&["<", "<=", "<>", ">"]))
}

/// A condition on one column.
pub fn holds(random: &mut Random, column: &str, kind: Kind) -> String {
    if random.chance(20) {
        return format!("{column} IS {}NULL", random.pick(&["", "NOT "]));
    }
    match kind {
        Kind::Text => format!("{column} <> 'y'"),
        Kind::Int | Kind::Long => {
            let bound = random.between(-1, 6);
            format!("{column} {} {bound}", random.pick(&[">", "<", "="]))
        }
        Kind::Number(..) => format!("{column} > 1.50"),
        Kind::Boolean => column.to_owned(),
        Kind::Date => format!("{column} >= DATE '2024-05-02'"),
        Kind::Time => format!("{column} < TIMESTAMP '2024-05-01 12:40:00'"),
    }
}

/// An order over all columns.
pub fn order(random: &mut Random, input: &Relation) -> String {
    let mut places: Vec<usize> = (0..input.columns.len()).collect();
    let turn = random.below(places.len());
    places.rotate_left(turn);
    let terms: Vec<String> = places
        .into_iter()
        .map(|place| {
            let direction = random.pick(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
            format!("x.c{place}{direction}")
        })
        .collect();
    terms.join(", ")
}

fn aggregate(random: &mut Random, input: &Relation) -> (String, Column) {
    let place = random.below(input.columns.len());
    let Column { kind, nullable } = input.columns[place];
    let argument = format!("x.c{place}");
    let long = Column {
        kind: Kind::Long,
        nullable: false,
    };
    let nullable_of = |kind| Column {
        kind,
        nullable: true,
    };
    let (aggregate, column) = match (random.below(9), kind) {
        (0, _) => ("count(*)".to_owned(), long),
        (1, _) => (format!("count({argument})"), long),
        (2, _) => (format!("count(DISTINCT {argument})"), long),
        (3 | 4, Kind::Int | Kind::Long | Kind::Number(..)) => {
            let kind = match kind {
                Kind::Int => Kind::Long,
                Kind::Number(_, scale) => Kind::Number(38, scale),
                Kind::Long | Kind::Text | Kind::Boolean | Kind::Date | Kind::Time => {
                    Kind::Number(38, 0)
                }
            };
            (format!("sum({argument})"), nullable_of(kind))
        }
        (5, Kind::Int | Kind::Long | Kind::Number(8, _)) => (
            format!("avg({argument})"),
            nullable_of(Kind::Number(38, 16)),
        ),
        (6, Kind::Text) => {
            let order = order(random, input);
            let list = format!("string_agg({argument}, '-' ORDER BY {order})");
            (list, nullable_of(kind))
        }
        (7, Kind::Int | Kind::Long | Kind::Number(..) | Kind::Date) => {
            let middle = format!("percentile_disc(0.5) WITHIN GROUP (ORDER BY {argument})");
            (middle, nullable_of(kind))
        }
        (8, Kind::Int) => (format!("sum(DISTINCT {argument})"), nullable_of(Kind::Long)),
        (5, Kind::Boolean) => {
            let name = random.pick(&["bool_and", "bool_or"]);
            (format!("{name}({argument})"), nullable_of(kind))
        }
        (_, Kind::Boolean) => (format!("count({argument})"), long),
        _ => {
            let name = random.pick(&["min", "max"]);
            (format!("{name}({argument})"), nullable_of(kind))
        }
    };
    if random.chance(15) {
        let place = random.below(input.columns.len());
        let filter = holds(random, &format!("x.c{place}"), input.columns[place].kind);
        let nullable = column.nullable || nullable && column.kind != Kind::Long;
        return (
            format!("{aggregate} FILTER (WHERE {filter})"),
            Column { nullable, ..column },
        );
    }
    (aggregate, column)
}
