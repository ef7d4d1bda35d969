//! A case: data, queries over it, and the ways to run them. All of it follows from the seed.

use std::fmt::Write as _;
use std::path::Path;

use super::data::{self, Flavour, Format, RECORD_BYTES_MAX, SECOND, Source};
use super::query::{Lookup, Query, Shape, Term, Window, inner_columns, named};
use super::random::Random;

pub struct Case {
    pub seed: u64,
    pub flavour: Flavour,
    pub lateness_us: i64,
    pub sources: Vec<Source>,
    pub zones: Vec<Zone>,
    pub queries: Vec<Query>,
    pub runs: Vec<Run>,
}

/// A row of the reference table.
pub struct Zone {
    pub g: i32,
    pub zone: Option<&'static str>,
    /// Hundredths.
    pub factor: i64,
}

/// One way to run the case. All must end with the same tables.
#[derive(Debug)]
pub struct Run {
    pub threads: i64,
    /// Where epochs are cut; by time if not given.
    pub pace: Option<u64>,
    /// Bytes of a block of input; the default if not given.
    pub block: Option<i64>,
    /// The commits around which it is killed, one start after the other.
    pub crashes: Vec<i64>,
}

impl Case {
    pub fn random(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let flavour = Flavour::random(&mut random);
        let mut seq = 0;
        let sources: Vec<Source> = ["events", "others"][..1 + random.below(2)]
            .iter()
            .map(|name| data::source(&mut random, name, flavour, &mut seq))
            .collect();
        // Half of the cases keep two databases, and are killed.
        let crashes = seed % 2 == 1;
        let queries = ["first", "second"][..if crashes { 2 } else { 1 + random.below(2) }]
            .iter()
            .map(|name| Query::random(&mut random, name, sources.len(), flavour.zoned))
            .collect();
        let zones = [1, 2, 3, 5, 8, 11].map(|g| Zone {
            g,
            zone: random
                .chance(80)
                .then(|| *random.pick(&["north", "south", "süd"])),
            factor: random.between(1, 1000),
        });
        Self {
            seed,
            flavour,
            lateness_us: *random.pick(&[0, 0, 10, 60]) * SECOND,
            sources,
            zones: zones.into(),
            queries,
            runs: runs(&mut random, crashes),
        }
    }

    /// Writes the input and the pipeline into a folder.
    pub fn write(&self, folder: &Path) {
        for source in &self.sources {
            let inputs = folder.join(&source.name);
            std::fs::create_dir_all(&inputs).unwrap();
            for (index, records) in source.files.iter().enumerate() {
                let mut bytes = Vec::new();
                if source.format == (Format::Csv { header: true }) {
                    bytes.extend_from_slice(b"at,k,g,b,d,amount,price,n,seq\n");
                }
                for record in records {
                    bytes.extend_from_slice(&record.bytes);
                    bytes.push(b'\n');
                }
                std::fs::write(inputs.join(format!("{index}.data")), bytes).unwrap();
            }
        }
        let mut zones = "g,zone,factor\n".to_owned();
        for zone in &self.zones {
            let factor = data::hundredths(zone.factor);
            let _ = writeln!(
                zones,
                "{},{},{factor}",
                zone.g,
                zone.zone.unwrap_or_default()
            );
        }
        std::fs::write(folder.join("zones.csv"), zones).unwrap();
        std::fs::write(folder.join("case.sql"), self.sql()).unwrap();
    }

    /// The pipeline.
    pub fn sql(&self) -> String {
        let mut sql = format!("-- Seed {}.\n", self.seed);
        let _ = writeln!(
            sql,
            "SET 'allowed.lateness' = '{}s';",
            self.lateness_us / SECOND
        );
        for source in &self.sources {
            self.create_source(&mut sql, source);
        }
        sql.push_str(
            "CREATE TABLE zones (g INT PRIMARY KEY, zone TEXT, factor NUMERIC(6, 2))\n  \
             WITH (connector = 'file', path = 'zones.csv', format = 'csv');\n",
        );
        for query in &self.queries {
            self.create_view(&mut sql, query);
            create_sink(&mut sql, query, self.time_type());
            let _ = writeln!(
                sql,
                "INSERT INTO {} {};",
                query.name,
                self.select(query, Side::Ours)
            );
        }
        sql
    }

    pub fn time_type(&self) -> &'static str {
        if self.flavour.zoned {
            "TIMESTAMPTZ"
        } else {
            "TIMESTAMP"
        }
    }

    fn create_source(&self, sql: &mut String, source: &Source) {
        let format = match source.format {
            Format::Json => "format = 'json'".to_owned(),
            Format::Csv { header } => format!("format = 'csv', 'csv.header' = '{header}'"),
        };
        let _ = writeln!(
            sql,
            "CREATE TABLE {name} (\n  at {time} NOT NULL, k TEXT, g INT, b BOOLEAN, d DATE, \
             amount DOUBLE PRECISION,\n  price NUMERIC(12, 2) CHECK (price >= 0), \
             n BIGINT NOT NULL, seq BIGINT NOT NULL,\n  \
             WATERMARK FOR at AS at - INTERVAL '{bound}' SECOND\n) \
             WITH (connector = 'file', path = '{name}/*.data', {format}, \
             'max.record.bytes' = '{RECORD_BYTES_MAX}');",
            name = source.name,
            time = self.time_type(),
            bound = source.bound_us / SECOND,
        );
    }

    /// A view of what a query reads, where it does not read a table as it is.
    fn create_view(&self, sql: &mut String, query: &Query) {
        if !query.view {
            return;
        }
        let branches: Vec<String> = query
            .branches
            .iter()
            .map(|branch| {
                let filter = match &branch.filter {
                    Some(filter) => format!(" WHERE {}", filter.sql()),
                    None => String::new(),
                };
                format!(
                    "SELECT t.at, t.k, t.g, t.b, t.d, t.amount, t.price, t.n, t.seq FROM {} t{filter}",
                    self.sources[branch.source].name
                )
            })
            .collect();
        let _ = writeln!(
            sql,
            "CREATE VIEW {}_input AS {};",
            query.name,
            branches.join("\n  UNION ALL ")
        );
    }

    /// The query, for the pipeline over its sources, or for PostgreSQL over the accepted rows.
    pub fn select(&self, query: &Query, side: Side) -> String {
        let Some(outer) = &query.outer else {
            let terms = columns(query, self.time_type());
            return self.select_terms(query, side, &shown(&terms, side));
        };
        let inner: Vec<String> = inner_columns(query, self.time_type())
            .into_iter()
            .map(|(name, term)| match side {
                Side::Ours => format!("CAST({} AS {}) AS {name}", term.ours, term.sql_type),
                Side::Theirs => format!("cast({} AS {}) AS {name}", term.theirs, term.sql_type),
            })
            .collect();
        let mut sql = format!(
            "SELECT {}\n  FROM ({}) AS i",
            shown(&columns(query, self.time_type()), side).join(", "),
            self.select_terms(query, side, &inner)
        );
        let keys: Vec<&str> = outer.keys.iter().map(|key| key.ours.as_str()).collect();
        if !keys.is_empty() {
            let _ = write!(sql, "\n  GROUP BY {}", keys.join(", "));
        }
        sql
    }

    fn select_terms(&self, query: &Query, side: Side, terms: &[String]) -> String {
        let distinct = matches!(query.shape, Shape::Distinct(_));
        let mut sql = format!(
            "SELECT {}{}\n  FROM {}",
            if distinct { "DISTINCT " } else { "" },
            terms.join(", "),
            self.from(query, side)
        );
        match query.lookup {
            Some(Lookup::Inner) => sql.push_str(" JOIN zones z ON t.g = z.g"),
            Some(Lookup::Left) => sql.push_str(" LEFT JOIN zones z ON t.g = z.g"),
            None => {}
        }
        if let (Side::Ours, false, Some(filter)) = (side, query.view, &query.branches[0].filter) {
            let _ = write!(sql, " WHERE {}", filter.sql());
        }
        if let Shape::Group {
            window,
            keys,
            sets,
            having,
            ..
        } = &query.shape
        {
            let mut group: Vec<String> = Vec::new();
            if window.is_some() {
                group.extend(["window_start".to_owned(), "window_end".to_owned()]);
            }
            let keys: Vec<String> = keys
                .iter()
                .map(|key| match side {
                    Side::Ours => key.ours.clone(),
                    Side::Theirs => key.theirs.clone(),
                })
                .collect();
            match sets {
                None => group.extend(keys),
                Some(sets) => group.push(sets.sql(&keys)),
            }
            if !group.is_empty() {
                let _ = write!(sql, "\n  GROUP BY {}", group.join(", "));
            }
            if let Some(having) = having {
                let _ = write!(sql, " HAVING {having}");
            }
        }
        sql
    }

    fn from(&self, query: &Query, side: Side) -> String {
        if side == Side::Theirs {
            return "accepted t".to_owned();
        }
        let input = if query.view {
            format!("{}_input", query.name)
        } else {
            self.sources[query.branches[0].source].name.clone()
        };
        let seconds = |us: i64| format!("INTERVAL '{}' SECOND", us / SECOND);
        match query.window() {
            None => format!("{input} t"),
            Some(Window::Tumble { size }) => {
                format!("TUMBLE({input}, at, {}) t", seconds(size))
            }
            Some(Window::Hop { slide, size }) => {
                format!("HOP({input}, at, {}, {}) t", seconds(slide), seconds(size))
            }
            Some(Window::Cumulate { step, size }) => {
                format!(
                    "CUMULATE({input}, at, {}, {}) t",
                    seconds(step),
                    seconds(size)
                )
            }
            Some(Window::Session { gap, by_p: false }) => {
                format!("SESSION({input}, at, {}) t", seconds(gap))
            }
            Some(Window::Session { gap, by_p: true }) => {
                format!(
                    "SESSION((SELECT *, coalesce(k, '-') AS p FROM {input}) PARTITION BY p, at, {}) t",
                    seconds(gap)
                )
            }
        }
    }
}

/// How the columns of a sink are asked for.
fn shown(columns: &[(String, Term)], side: Side) -> Vec<String> {
    let shown = columns.iter().map(|(_, term)| match side {
        Side::Ours => term.ours.clone(),
        // As text of the sink's type: what both sides are compared by.
        Side::Theirs => {
            let shown = if term.sql_type == "BOOLEAN" {
                "::int"
            } else {
                ""
            };
            format!("cast({} AS {}){shown}::text", term.theirs, term.sql_type)
        }
    });
    shown.collect()
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Ours,
    Theirs,
}

/// The columns of a query's sink, by name.
pub fn columns(query: &Query, time_type: &str) -> Vec<(String, Term)> {
    match &query.outer {
        None => inner_columns(query, time_type),
        Some(outer) => named(
            outer
                .keys
                .iter()
                .chain(&outer.aggregates)
                .cloned()
                .collect(),
        ),
    }
}

/// How many of the columns, from the left, are the key of a keyed sink.
pub fn key_columns(query: &Query) -> usize {
    if let Some(outer) = &query.outer {
        return outer.keys.len();
    }
    match &query.shape {
        Shape::Project(_) => 0,
        Shape::Distinct(columns) => columns.len(),
        Shape::Group {
            window, keys, sets, ..
        } => keys.len() + if window.is_some() { 2 } else { 0 } + usize::from(sets.is_some()),
    }
}

fn create_sink(sql: &mut String, query: &Query, time_type: &str) {
    let columns = columns(query, time_type);
    let mut parts: Vec<String> = columns
        .iter()
        .map(|(name, term)| format!("{name} {}", term.sql_type))
        .collect();
    if query.keyed {
        let keys: Vec<&str> = columns[..key_columns(query)]
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        parts.push(format!("PRIMARY KEY ({})", keys.join(", ")));
    }
    let _ = writeln!(
        sql,
        "CREATE TABLE {name} ({})\n  WITH (connector = 'sqlite', path = '{name}.db', table = '{name}');",
        parts.join(", "),
        name = query.name
    );
}

fn runs(random: &mut Random, crashes: bool) -> Vec<Run> {
    let mut runs = vec![Run {
        threads: random.between(1, 5),
        pace: None,
        block: None,
        crashes: Vec::new(),
    }];
    runs.push(Run {
        threads: random.between(1, 5),
        pace: Some(random.next() % 1000),
        block: Some(random.between(50, 4000)),
        crashes: Vec::new(),
    });
    if crashes {
        let starts = random.between(1, 5);
        runs.push(Run {
            threads: random.between(1, 5),
            pace: Some(random.next() % 1000),
            block: Some(random.between(50, 2000)),
            crashes: (0..starts).map(|_| random.between(1, 12)).collect(),
        });
    }
    runs
}
