//! `dataflows/taxi.sql` on ten processes: CSV files into a topic of ten partitions, and out of it six
//! tables that equal, row for row, what PostgreSQL computes over the same files.
//!
//! `TAXI_ROWS=5000000 cargo test --test main taxi::` asks for more than the usual 20,000 trips.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use postgres::Client;

use crate::services;
use crate::support::{Exit, tidemark_within};

const SCHEMA: &str = "tidemark_taxi_test";

/// The tables of the pipeline, and what PostgreSQL says of the same trips. `good` are the trips that
/// the pipeline's CHECK takes.
const TABLES: [(&str, &str); 6] = [
    (
        "taxi_trips",
        "select vendorid, pickup, dropoff, passengers, distance, rate, flag, pickup_zone, dropoff_zone,
                payment_type, fare, extra, mta_tax, tip, tolls, improvement, total, congestion
         from good",
    ),
    (
        "taxi_odd_duration",
        "select vendorid, pickup, dropoff, distance, total from good
         where dropoff - pickup < interval '1 minute' or dropoff - pickup > interval '120 minutes'",
    ),
    (
        "taxi_odd_total",
        "select vendorid, pickup, parts, total from good where abs(total - parts) > 1",
    ),
    (
        "taxi_revenue",
        // Divided with more digits than are kept.
        "select date_trunc('hour', pickup), coalesce(payment_type, 0), count(*),
                round(sum(total)::numeric(60, 30) / count(total), 2)
         from good group by 1, 2",
    ),
    (
        "taxi_hours",
        "select date_trunc('hour', pickup), count(*) from good group by 1",
    ),
    (
        "taxi_boroughs",
        "select date_trunc('hour', pickup), coalesce(borough, 'Unknown'), count(*)
         from good left join zones on pickup_zone = location group by 1, 2",
    ),
];

/// The trips as PostgreSQL has them.
const ORACLE: &str = "
create table input (
  vendorid int, pickup timestamp, dropoff timestamp, passengers int, distance numeric, rate int,
  flag text, pickup_zone int, dropoff_zone int, payment_type int, fare numeric, extra numeric,
  mta_tax numeric, tip numeric, tolls numeric, improvement numeric, total numeric, congestion numeric
);
create table zones (location int, borough text, zone text, service_zone text);
create view good as
  select *, fare + extra + mta_tax + tip + tolls + improvement + coalesce(congestion, 0) as parts
  from input where pickup >= '2009-01-01' and pickup < '2030-01-01';
";

/// A topic, a schema and a folder of this test's own.
struct Taxi {
    folder: tempfile::TempDir,
    topic: String,
    rows: u64,
    kafka: String,
    url: String,
    client: Client,
}

impl Taxi {
    fn new() -> Option<Self> {
        let kafka = services::kafka("this test")?;
        let (mut client, url) = services::postgres_with_url("this test")?;
        let sql = format!(
            "set client_min_messages = warning; drop schema if exists {SCHEMA} cascade;
             create schema {SCHEMA}; set search_path = {SCHEMA}; {ORACLE}"
        );
        client.batch_execute(&sql).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().file_name().unwrap().to_string_lossy();
        let topic = format!("taxi-{}", name.trim_start_matches('.'));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("dataflows");
        fs::create_dir_all(folder.path().join("dataflows/data")).unwrap();
        for file in ["taxi.sql", "taxi_trips.sql", "data/taxi_zones.csv"] {
            fs::copy(root.join(file), folder.path().join("dataflows").join(file)).unwrap();
        }
        let rows = std::env::var("TAXI_ROWS").map_or(20_000, |rows| rows.parse().unwrap());
        Some(Self {
            topic,
            rows,
            kafka,
            url: format!("{url}?options=-csearch_path%3D{SCHEMA}"),
            folder,
            client,
        })
    }

    fn tidemark(&self, arguments: &[&str]) {
        let rows = self.rows.to_string();
        let variables = [
            ("KAFKA", self.kafka.as_str()),
            ("DATABASE_URL", &self.url),
            ("TAXI_TOPIC", &self.topic),
            ("TAXI_ROWS", &rows),
            ("TAXI_CSV", "made.csv"),
        ];
        let limit = Duration::from_secs(120 + self.rows / 2000);
        let ended = tidemark_within(limit, self.folder.path(), arguments, &variables);
        assert_eq!(ended.how, Exit::Code(0), "{arguments:?}: {}", ended.stderr);
    }

    fn produce(&self, files: &str) {
        let topic = ["produce", "--topic", &self.topic, "--partitions", "10"];
        self.tidemark(&[&topic[..], &["--quiet", files]].concat());
    }

    fn run(&self, processes: &str, threads: &str) {
        let file = ["run", "dataflows/taxi.sql", "--quiet", "--until-caught-up"];
        let many = ["--processes", processes, "--threads", threads];
        self.tidemark(&[&file[..], &many].concat());
    }

    /// Gives PostgreSQL a file.
    fn load(&mut self, table: &str, csv: &str) {
        let copy = format!("copy {table} from stdin with (format csv, header)");
        let mut copy = self.client.copy_in(&copy).unwrap();
        copy.write_all(csv.as_bytes()).unwrap();
        copy.finish().unwrap();
    }

    fn count(&mut self, sql: &str) -> i64 {
        let count = self.client.query_one(sql, &[]);
        count.unwrap_or_else(|e| panic!("{sql}: {e}")).get(0)
    }

    fn compare(&mut self) {
        for (table, query) in TABLES {
            let rows = self.count(&format!("select count(*) from {table}"));
            assert!(rows > 0, "{table} is empty");
            for difference in [
                format!("(table {table}) except all ({query})"),
                format!("({query}) except all (table {table})"),
            ] {
                let sql = format!("select count(*) from ({difference}) d");
                assert_eq!(self.count(&sql), 0, "of {rows} rows: {difference}");
            }
        }
        let refused = self.count(
            "select (select count(*) from input) - (select count(*) from good)
                  - (select count(*) from taxi_dead where reason = 'check_failed')",
        );
        assert_eq!(refused, 0);
        assert_eq!(
            self.count("select count(*) from taxi_dead where reason <> 'check_failed'"),
            0
        );
    }
}

/// As some years of the real files are: lines end in CR LF, an empty one follows the names, and
/// numbers below one begin with the point.
fn as_published(csv: &str) -> String {
    let mut text = String::with_capacity(csv.len() * 2);
    for (at, line) in csv.lines().enumerate() {
        let mut fields: Vec<&str> = line.split(',').collect();
        fields[4] = match fields[4].strip_prefix("0.") {
            Some(_) => &fields[4][1..],
            None => fields[4],
        };
        write!(text, "{}\r\n", fields.join(",")).unwrap();
        if at == 0 {
            text.push_str("\r\n");
        }
    }
    text
}

/// Two halves of a file, each with its line of names.
fn halves(csv: &str) -> [String; 2] {
    let (names, rows) = csv.split_once('\n').unwrap();
    let middle = rows.len() / 2;
    let (first, second) = rows.split_at(middle + rows[middle..].find('\n').unwrap() + 1);
    [first, second].map(|half| format!("{names}\n{half}"))
}

#[test]
fn six_tables_on_ten_processes_equal_what_postgresql_computes_row_for_row() {
    let Some(mut taxi) = Taxi::new() else { return };
    let path = |name: &str| taxi.folder.path().join(name);
    taxi.tidemark(&["run", "dataflows/taxi_trips.sql", "--quiet"]);
    let files = halves(&fs::read_to_string(path("made.csv")).unwrap());
    let zones = fs::read_to_string(path("dataflows/data/taxi_zones.csv")).unwrap();
    fs::write(path("yellow_1.csv"), as_published(&files[0])).unwrap();
    fs::write(path("yellow_2.csv"), &files[1]).unwrap();
    taxi.load("zones", &zones);

    taxi.produce("yellow_1.csv");
    taxi.run("10", "1");
    taxi.load("input", &files[0]);
    taxi.compare();

    // More comes, and other processes go on.
    taxi.produce("yellow_2.csv");
    taxi.run("3", "2");
    taxi.load("input", &files[1]);
    taxi.compare();

    let sql = format!("drop schema {SCHEMA} cascade");
    taxi.client.batch_execute(&sql).unwrap();
}
