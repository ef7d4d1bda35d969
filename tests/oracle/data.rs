//! Random input: rows out of order, late, with NULLs, and records that are not rows at all.
//!
//! A record is made together with what it means, so that the model never has to decode.

use super::random::Random;

pub const SECOND: i64 = 1_000_000;

/// What a good record says.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Event time: microseconds since 1970.
    pub at: i64,
    pub k: Option<String>,
    pub g: Option<i32>,
    pub b: Option<bool>,
    /// Days since 1970.
    pub d: Option<i32>,
    pub amount: Option<f64>,
    /// Hundredths; never negative.
    pub price: Option<i64>,
    pub n: i64,
    /// Another one for every record of the case: what ordered aggregates order by.
    pub seq: i64,
}

/// One line of a file, and the row it is, unless it is to be rejected.
pub struct Record {
    pub bytes: Vec<u8>,
    pub row: Option<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Csv { header: bool },
    Json,
}

/// A source table; every file is a partition.
pub struct Source {
    pub name: String,
    pub format: Format,
    pub bound_us: i64,
    pub files: Vec<Vec<Record>>,
}

/// What the records of a case have in common.
#[derive(Clone, Copy, Debug)]
pub struct Flavour {
    /// `at` is TIMESTAMPTZ, not TIMESTAMP.
    pub zoned: bool,
    /// When it begins: after 1970, or across it.
    pub start_us: i64,
    /// Records of 100 that are rejected.
    pub bad_percent: u64,
    /// Records of 100 that are far behind.
    pub behind_percent: u64,
    /// `n` is near the ends of its range, so that sums leave it.
    pub large: bool,
    /// Amounts are signed sums of powers of two; otherwise cents, not negative.
    pub dyadic: bool,
}

impl Flavour {
    pub fn random(random: &mut Random) -> Self {
        // 2024-03-10 01:59:30, and half a minute before 1970.
        let start = *random.pick(&[1_710_035_970, 1_710_035_970, -30]);
        Self {
            zoned: random.chance(30),
            start_us: start * SECOND,
            bad_percent: *random.pick(&[0, 3, 10]),
            behind_percent: *random.pick(&[0, 5, 30]),
            large: random.chance(25),
            dyadic: random.chance(50),
        }
    }
}

pub fn source(random: &mut Random, name: &str, flavour: Flavour, seq: &mut i64) -> Source {
    let format = match random.below(4) {
        0 => Format::Csv { header: true },
        1 => Format::Csv { header: false },
        _ => Format::Json,
    };
    let files = (0..random.between(1, 6))
        .map(|_| {
            let mut time = flavour.start_us + random.between(0, 20 * SECOND);
            let count = *random.pick(&[0, 1, 20, 60, 150, 400]);
            (0..count)
                .map(|_| {
                    time += random.between(0, 3 * SECOND);
                    *seq += 1;
                    let row = row(random, flavour, time, *seq);
                    record(random, format, flavour, row)
                })
                .collect()
        })
        .collect();
    Source {
        name: name.to_owned(),
        format,
        bound_us: *random.pick(&[0, 2, 5, 30]) * SECOND,
        files,
    }
}

fn row(random: &mut Random, flavour: Flavour, time: i64, seq: i64) -> Row {
    const WORDS: [&str; 9] = [
        "a",
        "b",
        "home",
        "Ünï",
        "x,y",
        "quo\"te",
        "two\nlines",
        " pad ",
        "",
    ];
    let behind = if random.chance(flavour.behind_percent) {
        random.between(0, 180 * SECOND)
    } else {
        random.between(0, 4 * SECOND)
    };
    let at = time - behind;
    let nullable = |random: &mut Random| !random.chance(12);
    Row {
        // Whole seconds now and then: on the edges of windows.
        at: if random.chance(30) {
            at.div_euclid(SECOND) * SECOND
        } else {
            at
        },
        k: nullable(random).then(|| (*random.pick(&WORDS)).to_owned()),
        g: nullable(random).then(|| i32::try_from(random.between(-3, 12)).unwrap()),
        b: nullable(random).then(|| random.chance(50)),
        d: nullable(random).then(|| i32::try_from(random.between(-2, 3)).unwrap() + 19_000),
        amount: nullable(random).then(|| amount(random, flavour.dyadic)),
        price: nullable(random).then(|| random.between(0, 1_000_000)),
        n: if flavour.large {
            *random.pick(&[1, -1]) * (i64::MAX / 2 - random.between(0, 1000))
        } else {
            random.between(-50, 1000)
        },
        seq,
    }
}

#[expect(clippy::cast_precision_loss, reason = "both are far below 2^53")]
fn amount(random: &mut Random, dyadic: bool) -> f64 {
    if dyadic {
        random.between(-4_000_000, 4_000_000) as f64 / 1024.0
    } else {
        random.between(0, 1_000_000) as f64 / 100.0
    }
}

/// The record of a row, or in its stead one that has to be rejected.
fn record(random: &mut Random, format: Format, flavour: Flavour, row: Row) -> Record {
    let mut fields = Fields::of(random, flavour, &row);
    if !random.chance(flavour.bad_percent) {
        return Record {
            bytes: fields.encode(random, format),
            row: Some(row),
        };
    }
    let bad = match random.below(9) {
        0 => return garbage(b"\xff\xfe\x00garbage"),
        1 => return garbage(b"neither this nor that"),
        2 => fields.with("at", "yesterday or so"),
        3 => fields.without("at"),
        4 => fields.with("n", "many"),
        5 => fields.without("n"),
        6 => fields.with("n", "99999999999999999999"),
        7 => fields.with("price", "-0.01"),
        _ => fields.with("k", &"long".repeat(RECORD_BYTES_MAX / 4)),
    };
    bad.encode(random, format).into()
}

/// The sources' limit; larger records are rejected.
pub const RECORD_BYTES_MAX: usize = 2048;

fn garbage(bytes: &[u8]) -> Record {
    bytes.to_vec().into()
}

impl From<Vec<u8>> for Record {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, row: None }
    }
}

/// The columns of a record as text, in the declared order; None is NULL.
struct Fields(Vec<(&'static str, Option<String>)>);

impl Fields {
    fn of(random: &mut Random, flavour: Flavour, row: &Row) -> Self {
        let day = |days: i32| timestamp(i64::from(days) * 86_400 * SECOND)[..10].to_owned();
        Self(vec![
            ("at", Some(written_time(random, flavour.zoned, row.at))),
            ("k", row.k.clone()),
            ("g", row.g.map(|g| g.to_string())),
            ("b", row.b.map(|b| b.to_string())),
            ("d", row.d.map(day)),
            ("amount", row.amount.map(|a| a.to_string())),
            ("price", row.price.map(hundredths)),
            ("n", Some(row.n.to_string())),
            ("seq", Some(row.seq.to_string())),
        ])
    }

    fn with(&mut self, name: &str, value: &str) -> &mut Self {
        let field = self.0.iter_mut().find(|(n, _)| *n == name).unwrap();
        field.1 = Some(value.to_owned());
        self
    }

    fn without(&mut self, name: &str) -> &mut Self {
        let field = self.0.iter_mut().find(|(n, _)| *n == name).unwrap();
        field.1 = None;
        self
    }

    fn encode(&self, random: &mut Random, format: Format) -> Vec<u8> {
        match format {
            Format::Csv { .. } => self.csv(random),
            Format::Json => self.json(random),
        }
    }

    fn csv(&self, random: &mut Random) -> Vec<u8> {
        let fields: Vec<String> = self
            .0
            .iter()
            .map(|(_, value)| match value {
                None => String::new(),
                // An empty text needs quotes to be told from NULL.
                Some(v) if v.is_empty() || v.contains(['"', ',', '\n']) || random.chance(10) => {
                    format!("\"{}\"", v.replace('"', "\"\""))
                }
                Some(v) => v.clone(),
            })
            .collect();
        fields.join(",").into_bytes()
    }

    /// Mostly keys in the declared order, as one producer writes them; now and then not.
    fn json(&self, random: &mut Random) -> Vec<u8> {
        let mut members: Vec<String> = Vec::new();
        for (name, value) in &self.0 {
            match value {
                None if random.chance(50) => {}
                None => members.push(format!("\"{name}\":null")),
                Some(v) => {
                    let quoted = match *name {
                        "at" | "k" | "d" => true,
                        "n" => v.parse::<f64>().is_err(),
                        _ => false,
                    };
                    let v = if quoted {
                        serde_json::Value::from(v.as_str()).to_string()
                    } else {
                        v.clone()
                    };
                    members.push(format!("\"{name}\":{v}"));
                }
            }
        }
        if random.chance(10) {
            members.push("\"more\":{\"x\":[1,\"}\"]}".to_owned());
        }
        if random.chance(10) {
            let at = random.below(members.len());
            members.rotate_left(at);
        }
        let comma = if random.chance(10) { " , " } else { "," };
        format!("{{{}}}", members.join(comma)).into_bytes()
    }
}

/// A time as records have it: with `T` or a space, and where it has a zone, in any zone.
fn written_time(random: &mut Random, zoned: bool, at: i64) -> String {
    let (shift, zone) = match (zoned, random.below(3)) {
        (false, _) => (0, ""),
        (true, 0) => (0, "Z"),
        (true, 1) => (2 * 3600, "+02:00"),
        (true, _) => (0, "+00:00"),
    };
    let text = timestamp(at + shift * SECOND);
    let text = if random.chance(50) {
        text.replace(' ', "T")
    } else {
        text
    };
    format!("{text}{zone}")
}

/// `2024-03-10 02:00:00.5`, as PostgreSQL writes it.
pub fn timestamp(us: i64) -> String {
    let time = chrono::DateTime::from_timestamp_micros(us).unwrap();
    let seconds = time.format("%Y-%m-%d %H:%M:%S").to_string();
    match us.rem_euclid(SECOND) {
        0 => seconds,
        fraction => format!(
            "{seconds}.{}",
            format!("{fraction:06}").trim_end_matches('0')
        ),
    }
}

/// `12.34` of 1234.
pub fn hundredths(value: i64) -> String {
    format!("{}.{:02}", value / 100, value % 100)
}
