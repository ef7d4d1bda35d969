//! Random queries: what an INSERT asks, in words that both sides are told.

use super::data::{Row, SECOND};
use super::outer::Outer;
use super::random::Random;

/// One `INSERT INTO .. SELECT`.
pub struct Query {
    /// Its sink.
    pub name: String,
    /// What is read: one branch, or the branches of a UNION ALL.
    pub branches: Vec<Branch>,
    /// Whether the filter of a single branch stands inside a view, or in the outer WHERE.
    pub view: bool,
    pub lookup: Option<Lookup>,
    pub shape: Shape,
    /// An aggregate over the groups.
    pub outer: Option<Outer>,
    /// Whether the sink has a primary key.
    pub keyed: bool,
}

pub struct Branch {
    /// Which source.
    pub source: usize,
    pub filter: Option<Predicate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    Inner,
    Left,
}

pub enum Shape {
    /// Filter and project. With a divisor, a row with `g = 0` is rejected.
    Project(Vec<Term>),
    Distinct(Vec<Term>),
    /// Groups for ever, or of a window.
    Group {
        window: Option<Window>,
        keys: Vec<Term>,
        /// Whether there are groups of several sets of keys.
        sets: Option<Sets>,
        aggregates: Vec<Term>,
        having: Option<&'static str>,
    },
}

/// Which sets of keys are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sets {
    Rollup,
    Cube,
    /// Each key, all keys, and none.
    Some,
}

impl Sets {
    pub fn sql(self, keys: &[String]) -> String {
        let all = keys.join(", ");
        match self {
            Self::Rollup => format!("ROLLUP ({all})"),
            Self::Cube => format!("CUBE ({all})"),
            Self::Some if keys.len() == 1 => format!("GROUPING SETS (({all}), ())"),
            Self::Some => {
                let each: Vec<String> = keys.iter().map(|key| format!("({key})")).collect();
                format!("GROUPING SETS ({}, ({all}), ())", each.join(", "))
            }
        }
    }
}

/// An expression, as we and as PostgreSQL are asked for it.
#[derive(Clone, Debug)]
pub struct Term {
    pub ours: String,
    pub theirs: String,
    pub sql_type: String,
    pub compare: Compare,
}

/// How far our answer may be from PostgreSQL's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Exact,
    /// Within 1e-12 of the value.
    Float,
    /// An estimate of a small number: within one, or two of a hundred.
    Estimate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    Tumble {
        size: i64,
    },
    Hop {
        slide: i64,
        size: i64,
    },
    Cumulate {
        step: i64,
        size: i64,
    },
    /// Of all rows, or of each `p`, which is `k` without NULLs.
    Session {
        gap: i64,
        by_p: bool,
    },
}

impl Window {
    fn random(random: &mut Random) -> Self {
        match random.below(4) {
            3 => Self::Session {
                gap: *random.pick(&[1, 3, 10, 30]) * SECOND,
                by_p: random.chance(70),
            },
            0 => Self::Tumble {
                size: *random.pick(&[1, 7, 10, 60]) * SECOND,
            },
            1 => {
                let slide = *random.pick(&[2, 5, 10]) * SECOND;
                let size = slide * random.between(1, 7);
                Self::Hop { slide, size }
            }
            _ => {
                let step = *random.pick(&[2, 5, 10]) * SECOND;
                let size = step * random.between(1, 7);
                Self::Cumulate { step, size }
            }
        }
    }

    /// Start and end of every window that has the time in it; of a session, as if the row were
    /// alone.
    pub fn of(self, at: i64) -> Vec<(i64, i64)> {
        let floor = |to: i64| at.div_euclid(to) * to;
        match self {
            Self::Tumble { size } => vec![(floor(size), floor(size) + size)],
            Self::Hop { slide, size } => (0..size / slide)
                .map(|back| floor(slide) - back * slide)
                .map(|start| (start, start + size))
                .collect(),
            Self::Cumulate { step, size } => (1..=size / step)
                .map(|steps| (floor(size), floor(size) + steps * step))
                .filter(|(_, end)| at < *end)
                .collect(),
            Self::Session { gap, .. } => vec![(at, at + gap)],
        }
    }
}

/// A condition with SQL's three truth values.
#[derive(Clone, Debug)]
pub enum Predicate {
    NAbove(i64),
    KIs(&'static str),
    KIsNotNull,
    AmountBelow(i32),
    B,
    GIn(i32, i32),
    And(Box<Predicate>, Box<Predicate>),
    Or(Box<Predicate>, Box<Predicate>),
    Not(Box<Predicate>),
}

impl Predicate {
    pub fn random(random: &mut Random) -> Self {
        let simple = |random: &mut Random| match random.below(6) {
            0 => Self::NAbove(random.between(-50, 400)),
            1 => Self::KIs(random.pick::<&'static str>(&["a", "home", ""])),
            2 => Self::KIsNotNull,
            3 => Self::AmountBelow(i32::try_from(random.between(0, 9000)).unwrap()),
            4 => Self::B,
            _ => Self::GIn(1, 5),
        };
        match random.below(5) {
            0 => Self::And(simple(random).into(), simple(random).into()),
            1 => Self::Or(simple(random).into(), simple(random).into()),
            2 => Self::Not(simple(random).into()),
            _ => simple(random),
        }
    }

    pub fn sql(&self) -> String {
        match self {
            Self::NAbove(bound) => format!("t.n > {bound}"),
            Self::KIs(word) => format!("t.k = '{word}'"),
            Self::KIsNotNull => "t.k IS NOT NULL".to_owned(),
            Self::AmountBelow(bound) => format!("t.amount < {bound}"),
            Self::B => "t.b".to_owned(),
            Self::GIn(a, b) => format!("t.g IN ({a}, {b})"),
            Self::And(a, b) => format!("({} AND {})", a.sql(), b.sql()),
            Self::Or(a, b) => format!("({} OR {})", a.sql(), b.sql()),
            Self::Not(a) => format!("NOT ({})", a.sql()),
        }
    }

    pub fn holds(&self, row: &Row) -> bool {
        self.truth(row) == Some(true)
    }

    fn truth(&self, row: &Row) -> Option<bool> {
        match self {
            Self::NAbove(bound) => Some(row.n > *bound),
            Self::KIs(word) => row.k.as_ref().map(|k| k == word),
            Self::KIsNotNull => Some(row.k.is_some()),
            Self::AmountBelow(bound) => row.amount.map(|a| a < f64::from(*bound)),
            Self::B => row.b,
            Self::GIn(a, b) => row.g.map(|g| g == *a || g == *b),
            Self::And(a, b) => match (a.truth(row), b.truth(row)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                (None, _) | (_, None) => None,
            },
            Self::Or(a, b) => match (a.truth(row), b.truth(row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                (None, _) | (_, None) => None,
            },
            Self::Not(a) => a.truth(row).map(|truth| !truth),
        }
    }
}

/// Divides, so that a row with `g = 0` cannot be used.
pub const DIVISION: &str = "100 / t.g";

impl Query {
    pub fn random(random: &mut Random, name: &str, sources: usize, zoned: bool) -> Self {
        let both = random.chance(25);
        let filtered = if both { 80 } else { 50 };
        let branches: Vec<Branch> = (0..if both { 2 } else { 1 })
            .map(|_| Branch {
                source: random.below(sources),
                filter: random.chance(filtered).then(|| Predicate::random(random)),
            })
            .collect();
        let lookup = random
            .chance(25)
            .then(|| *random.pick(&[Lookup::Inner, Lookup::Left]));
        let time = if zoned { "TIMESTAMPTZ" } else { "TIMESTAMP" };
        let (shape, keyed) = Self::shape(random, lookup, time);
        // Nothing may drop a row of a session that was made.
        let is_session = matches!(
            shape,
            Shape::Group {
                window: Some(Window::Session { .. }),
                ..
            }
        );
        Self {
            name: name.to_owned(),
            view: both || is_session || random.chance(30),
            branches,
            lookup: lookup.map(|kind| if is_session { Lookup::Left } else { kind }),
            shape,
            outer: None,
            keyed,
        }
        .maybe_outer(random, time)
    }

    /// Some groups are grouped once more, in a sink with a key. Those that an expression may fail
    /// on are left alone: which columns are computed at all is up to the optimiser.
    fn maybe_outer(mut self, random: &mut Random, time: &str) -> Self {
        let Shape::Group { aggregates, .. } = &self.shape else {
            return self;
        };
        let fallible = |term: &Term| {
            let start = |call: &str| call.split('{').next().unwrap_or(call).to_owned();
            FALLIBLE.iter().any(|(ours, _, sql_type)| {
                term.sql_type == *sql_type && term.ours.starts_with(&start(ours))
            })
        };
        if self.keyed && !aggregates.iter().any(fallible) && random.chance(50) {
            self.outer = Outer::random(random, &inner_columns(&self, time));
        }
        self
    }

    fn shape(random: &mut Random, lookup: Option<Lookup>, time: &str) -> (Shape, bool) {
        match random.below(10) {
            0 | 1 => (Shape::Project(projections(random, lookup, time)), false),
            2 => {
                let count = 1 + random.below(2);
                (Shape::Distinct(keys(random, lookup, true, count)), true)
            }
            shape => {
                let window = (shape < 8).then(|| Window::random(random));
                // A running aggregate corrects itself, so its sink has a key.
                let keyed = window.is_none() || random.chance(60);
                let least = usize::from(window.is_none());
                let count = least + random.below(3);
                let mut keys = keys(random, lookup, keyed, count);
                let is_session = matches!(window, Some(Window::Session { .. }));
                let sets = !keys.is_empty() && !is_session && random.chance(25);
                let sets = sets.then(|| *random.pick(&[Sets::Rollup, Sets::Cube, Sets::Some]));
                if let Some(Window::Session { by_p: true, .. }) = window {
                    keys.insert(0, partition());
                }
                let shape = Shape::Group {
                    window,
                    keys,
                    sets,
                    aggregates: aggregates(random, time, keyed),
                    having: random.chance(25).then(|| *random.pick(&HAVING)),
                };
                (shape, keyed)
            }
        }
    }

    pub fn window(&self) -> Option<Window> {
        match &self.shape {
            Shape::Group { window, .. } => *window,
            Shape::Project(_) | Shape::Distinct(_) => None,
        }
    }

    pub fn divides(&self) -> bool {
        match &self.shape {
            Shape::Project(terms) => terms.iter().any(|term| term.ours == DIVISION),
            Shape::Distinct(_) | Shape::Group { .. } => false,
        }
    }
}

/// The columns of the innermost SELECT, by name.
pub fn inner_columns(query: &Query, time_type: &str) -> Vec<(String, Term)> {
    let time = |name: &str| Term {
        ours: name.to_owned(),
        theirs: name.to_owned(),
        sql_type: time_type.to_owned(),
        compare: Compare::Exact,
    };
    let mut terms = Vec::new();
    match &query.shape {
        Shape::Project(columns) | Shape::Distinct(columns) => terms.extend(columns.clone()),
        Shape::Group {
            window,
            keys,
            sets,
            aggregates,
            ..
        } => {
            if window.is_some() {
                terms.extend([time("window_start"), time("window_end")]);
            }
            match sets {
                None => terms.extend(keys.clone()),
                Some(_) => terms.extend(keys_of_sets(keys, query.keyed)),
            }
            terms.extend(aggregates.clone());
        }
    }
    named(terms)
}

/// Which keys are left out, and the keys; in a sink with a key something stands in for NULL.
fn keys_of_sets(keys: &[Term], keyed: bool) -> Vec<Term> {
    let all: Vec<&str> = keys.iter().map(|key| key.ours.as_str()).collect();
    let grouping = same(&format!("grouping({})", all.join(", ")), "INT");
    let keys = keys.iter().map(|key| {
        let none = match key.sql_type.as_str() {
            "TEXT" => "'*'",
            "BOOLEAN" => "true",
            "DATE" => "DATE '1970-01-01'",
            _ => "0",
        };
        match keyed {
            true => same(&format!("coalesce({}, {none})", key.ours), &key.sql_type),
            false => key.clone(),
        }
    });
    std::iter::once(grouping).chain(keys).collect()
}

/// Columns are called by their place.
pub fn named(terms: Vec<Term>) -> Vec<(String, Term)> {
    terms
        .into_iter()
        .enumerate()
        .map(|(index, term)| (format!("c{index}"), term))
        .collect()
}

fn same(sql: &str, sql_type: &str) -> Term {
    Term {
        ours: sql.to_owned(),
        theirs: sql.to_owned(),
        sql_type: sql_type.to_owned(),
        compare: if sql_type == "DOUBLE PRECISION" {
            Compare::Float
        } else {
            Compare::Exact
        },
    }
}

fn projections(random: &mut Random, lookup: Option<Lookup>, time: &str) -> Vec<Term> {
    let mut terms = vec![
        same("t.at", time),
        same("t.k", "TEXT"),
        same("t.g", "INT"),
        same("t.b", "BOOLEAN"),
        same("t.d", "DATE"),
        same("t.amount", "DOUBLE PRECISION"),
        same("t.price", "NUMERIC(12, 2)"),
        same("t.n + 1", "BIGINT"),
        same("t.n / 7", "BIGINT"),
        same("t.n % 7", "BIGINT"),
        same("t.amount * 2.5", "DOUBLE PRECISION"),
        same("t.price * 3", "NUMERIC(20, 2)"),
        same("length(t.k)", "INT"),
        same("t.k || '!'", "TEXT"),
        same("substr(t.k, 1, 2)", "TEXT"),
        same("replace(t.k, 'o', '0')", "TEXT"),
        same("abs(t.g)", "INT"),
        same("coalesce(t.g, 0) / 5", "INT"),
        same("t.g IS NULL", "BOOLEAN"),
        same("t.at + INTERVAL '90' SECOND", time),
        same("date_trunc('minute', t.at)", time),
        same(
            "CASE WHEN t.b THEN 'yes' WHEN t.g > 3 THEN t.k ELSE 'no' END",
            "TEXT",
        ),
        same("nullif(t.k, 'a')", "TEXT"),
        same("t.price > 5000 AND t.b", "BOOLEAN"),
        same(DIVISION, "INT"),
    ];
    if lookup.is_some() {
        terms.push(same("z.zone", "TEXT"));
        terms.push(same("z.factor * 2", "NUMERIC(12, 2)"));
    }
    let count = 1 + random.below(6);
    let mut chosen = random.choose(&terms, count);
    chosen.insert(0, same("t.seq", "BIGINT"));
    chosen
}

/// Group keys. Those of a keyed sink cannot be NULL.
fn keys(random: &mut Random, lookup: Option<Lookup>, keyed: bool, count: usize) -> Vec<Term> {
    let mut terms = vec![
        same("coalesce(t.k, '-')", "TEXT"),
        same("coalesce(t.g, -1)", "INT"),
        same("coalesce(t.d, DATE '1999-12-31')", "DATE"),
        same("coalesce(t.b, false)", "BOOLEAN"),
        same("t.n % 3", "BIGINT"),
    ];
    if !keyed {
        terms.extend([
            same("t.k", "TEXT"),
            same("t.g", "INT"),
            same("t.b", "BOOLEAN"),
            same("t.d", "DATE"),
            same("t.price", "NUMERIC(12, 2)"),
        ]);
    }
    if lookup.is_some() {
        terms.push(same("coalesce(z.zone, 'nowhere')", "TEXT"));
    }
    random.choose(&terms, count)
}

/// What sessions are partitioned by.
fn partition() -> Term {
    Term {
        ours: "t.p".to_owned(),
        ..same("coalesce(t.k, '-')", "TEXT")
    }
}

const HAVING: [&str; 4] = [
    "count(*) > 1",
    "sum(t.g) > 10",
    "max(t.n) > 100",
    "count(t.k) >= 2 AND min(t.price) IS NOT NULL",
];

/// Aggregates: ours, PostgreSQL's (empty: the same), the type. `{f}` is where a FILTER goes.
/// PostgreSQL sums floats as they come; told to sum the same values as NUMERIC, it is exact.
const AGGREGATES: [(&str, &str, &str); 36] = [
    ("count(*){f}", "", "BIGINT"),
    ("count(t.k){f}", "", "BIGINT"),
    ("count(DISTINCT t.k){f}", "", "BIGINT"),
    ("count(DISTINCT t.g){f}", "", "BIGINT"),
    ("sum(t.n){f}", "", "NUMERIC(38, 0)"),
    ("sum(t.g){f}", "", "BIGINT"),
    ("sum(DISTINCT t.g){f}", "", "BIGINT"),
    ("sum(t.price){f}", "", "NUMERIC(38, 2)"),
    ("sum(t.amount){f}", "sum(t.exact){f}", "DOUBLE PRECISION"),
    ("avg(t.amount){f}", "avg(t.exact){f}", "DOUBLE PRECISION"),
    (
        "avg(t.n){f}",
        "round(sum(t.n::numeric(60, 40)){f} / nullif(count(t.n){f}, 0), 16)",
        "NUMERIC(38, 16)",
    ),
    (
        "avg(t.g){f}",
        "round(sum(t.g::numeric(60, 40)){f} / nullif(count(t.g){f}, 0), 16)",
        "NUMERIC(38, 16)",
    ),
    (
        "avg(t.price){f}",
        "round(sum(t.price::numeric(60, 40)){f} / nullif(count(t.price){f}, 0), 16)",
        "NUMERIC(38, 16)",
    ),
    ("min(t.n){f}", "", "BIGINT"),
    ("max(t.n){f}", "", "BIGINT"),
    ("min(t.k){f}", "", "TEXT"),
    ("max(t.k){f}", "", "TEXT"),
    ("min(t.amount){f}", "", "DOUBLE PRECISION"),
    ("max(t.price){f}", "", "NUMERIC(12, 2)"),
    ("min(t.d){f}", "", "DATE"),
    ("max(t.at){f}", "", "TIME"),
    ("bool_and(t.b){f}", "", "BOOLEAN"),
    ("bool_or(t.b){f}", "", "BOOLEAN"),
    ("bit_xor(t.g){f}", "", "INT"),
    ("bit_and(t.n){f}", "", "BIGINT"),
    (
        "var_pop(t.amount){f}",
        "var_pop(t.exact){f}",
        "DOUBLE PRECISION",
    ),
    ("var_samp(t.g){f}", "", "DOUBLE PRECISION"),
    (
        "stddev_samp(t.amount){f}",
        "stddev_samp(t.exact){f}",
        "DOUBLE PRECISION",
    ),
    ("stddev_pop(t.g){f}", "", "DOUBLE PRECISION"),
    (
        "first_value(t.k ORDER BY t.seq){f}",
        "(array_agg(t.k ORDER BY t.seq){f})[1]",
        "TEXT",
    ),
    (
        "last_value(t.n ORDER BY t.seq){f}",
        "(array_agg(t.n ORDER BY t.seq DESC){f})[1]",
        "BIGINT",
    ),
    (
        "median(t.amount){f}",
        "percentile_cont(0.5) WITHIN GROUP (ORDER BY t.amount){f}",
        "DOUBLE PRECISION",
    ),
    (
        "percentile_cont(0.75) WITHIN GROUP (ORDER BY t.g){f}",
        "",
        "DOUBLE PRECISION",
    ),
    (
        "percentile_disc(0.25) WITHIN GROUP (ORDER BY t.n){f}",
        "",
        "BIGINT",
    ),
    ("string_agg(t.k, ',' ORDER BY t.seq){f}", "", "TEXT"),
    (
        "approx_distinct(t.seq){f}",
        "count(DISTINCT t.seq){f}",
        "ESTIMATE",
    ),
];

/// Expressions over aggregates that fail on some rows. With large numbers, sums leave BIGINT and
/// come back.
const FALLIBLE: [(&str, &str, &str); 4] = [
    ("sum(t.n){f}", "", "BIGINT"),
    ("sum(t.g){f} * 2000", "", "SMALLINT"),
    (
        "CAST(avg(t.n){f} * 4 AS BIGINT)",
        "CAST(round(sum(t.n::numeric(60, 40)){f} / nullif(count(t.n){f}, 0), 16) * 4 AS BIGINT)",
        "BIGINT",
    ),
    // Refused where rows keep changing.
    ("60 / (count(t.g){f} - 2)", "", "BIGINT"),
];

fn aggregates(random: &mut Random, time: &str, keyed: bool) -> Vec<Term> {
    let count = 1 + random.below(5);
    let mut chosen = random.choose(&AGGREGATES, count);
    if random.chance(20) {
        let fallible = FALLIBLE.len() - usize::from(keyed);
        chosen.push(*random.pick(&FALLIBLE[..fallible]));
    }
    chosen
        .into_iter()
        .map(|(ours, theirs, sql_type)| {
            let filter = if random.chance(20) {
                format!(" FILTER (WHERE {})", Predicate::random(random).sql())
            } else {
                String::new()
            };
            let theirs = if theirs.is_empty() { ours } else { theirs };
            let (sql_type, compare) = match sql_type {
                "TIME" => (time, Compare::Exact),
                "ESTIMATE" => ("BIGINT", Compare::Estimate),
                "DOUBLE PRECISION" => (sql_type, Compare::Float),
                exact => (exact, Compare::Exact),
            };
            Term {
                ours: ours.replace("{f}", &filter),
                theirs: theirs.replace("{f}", &filter),
                sql_type: sql_type.to_owned(),
                compare,
            }
        })
        .collect()
}
