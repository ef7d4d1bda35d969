//! PostgreSQL's answer: one query over all accepted rows; or that it cannot be answered, because
//! an expression fails on a row of the result.

use std::fmt::Write as _;
use std::io::Write as _;

use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage};

use super::case::{Case, Side};
use super::data::{hundredths, timestamp};
use super::model::Accepted;
use super::query::Query;

/// Rows of columns as text; None is NULL.
pub type Rows = Vec<Vec<Option<String>>>;

/// No answer: a division by zero, or a number beyond its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fails;

pub fn answer(
    client: &mut Client,
    case: &Case,
    query: &Query,
    accepted: &[Accepted<'_>],
) -> Result<Rows, Fails> {
    let time = case.time_type();
    client
        .batch_execute(&format!(
            "DROP TABLE IF EXISTS accepted, zones;
             CREATE TEMP TABLE accepted (window_start {time}, window_end {time}, at {time}, k TEXT,
               g INT, b BOOLEAN, d DATE, amount DOUBLE PRECISION, exact NUMERIC,
               price NUMERIC(12, 2), n BIGINT, seq BIGINT);
             CREATE TEMP TABLE zones (g INT, zone TEXT, factor NUMERIC(6, 2));"
        ))
        .unwrap_or_else(|e| panic!("PostgreSQL: {e}"));
    let mut zones = String::new();
    for zone in &case.zones {
        let name = zone.zone.unwrap_or("\\N");
        let _ = writeln!(zones, "{}\t{name}\t{}", zone.g, hundredths(zone.factor));
    }
    copy(client, "zones", &zones);
    let mut rows = String::new();
    for row in accepted {
        for window in &row.windows {
            write_row(&mut rows, row, *window);
        }
    }
    copy(client, "accepted", &rows);

    let sql = case.select(query, Side::Theirs);
    let answered = match client.simple_query(&sql) {
        Ok(answered) => answered,
        Err(e) if EXPECTED.iter().any(|code| e.code() == Some(code)) => return Err(Fails),
        Err(e) => panic!("seed {}: PostgreSQL refuses {sql}: {e:?}", case.seed),
    };
    let mut rows = Vec::new();
    for message in answered {
        if let SimpleQueryMessage::Row(row) = message {
            rows.push(
                (0..row.len())
                    .map(|i| row.get(i).map(str::to_owned))
                    .collect(),
            );
        }
    }
    Ok(rows)
}

const EXPECTED: [SqlState; 2] = [
    SqlState::DIVISION_BY_ZERO,
    SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
];

fn copy(client: &mut Client, table: &str, rows: &str) {
    let mut writer = client
        .copy_in(&format!("COPY {table} FROM STDIN"))
        .unwrap_or_else(|e| panic!("PostgreSQL: {e}"));
    writer.write_all(rows.as_bytes()).unwrap();
    writer
        .finish()
        .unwrap_or_else(|e| panic!("PostgreSQL: {e:?}"));
}

/// A line of COPY.
fn write_row(out: &mut String, accepted: &Accepted<'_>, window: Option<(i64, i64)>) {
    let row = accepted.row;
    // NUMERIC of a float's text would round it to 15 digits; these are all of them.
    let exact = row.amount.map(|a| {
        let digits = format!("{a:.60}");
        digits
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
    });
    let escaped = |k: &String| {
        k.replace('\\', "\\\\")
            .replace('\n', "\\n")
            .replace('\t', "\\t")
    };
    let fields: [Option<String>; 12] = [
        window.map(|(start, _)| timestamp(start)),
        window.map(|(_, end)| timestamp(end)),
        Some(timestamp(row.at)),
        row.k.as_ref().map(escaped),
        row.g.map(|g| g.to_string()),
        row.b.map(|b| b.to_string()),
        row.d
            .map(|d| timestamp(i64::from(d) * 86_400_000_000)[..10].to_owned()),
        row.amount.map(|a| a.to_string()),
        exact,
        row.price.map(hundredths),
        Some(row.n.to_string()),
        Some(row.seq.to_string()),
    ];
    let fields: Vec<String> = fields
        .into_iter()
        .map(|field| field.unwrap_or_else(|| "\\N".to_owned()))
        .collect();
    out.push_str(&fields.join("\t"));
    out.push('\n');
}
