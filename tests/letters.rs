//! `tidemark dead-letters` against real servers: letters are read back from wherever a pipeline
//! keeps them, and sent again, each once.

use std::path::Path;

use crate::produce::Topic;
use crate::services::postgres_with_url;
use crate::support::{Exit, tidemark};

/// One topic, read by a source for each kind of place that letters are kept in.
fn pipeline(topic: &Topic, database: &str, schema: &str) -> String {
    let (servers, name) = (&topic.servers, &topic.name);
    let columns = "kind TEXT, reason TEXT, source TEXT, partition TEXT, \"offset\" BIGINT, \
                   insert_into TEXT, payload BYTEA";
    let kafka = format!("connector = 'kafka', 'bootstrap.servers' = '{servers}', partitions = '2'");
    let places = [
        ("lite", "connector = 'sqlite', path = 'out.db'".to_owned()),
        (
            "post",
            format!("connector = 'postgres', url = '{database}', table = '{schema}.dead'"),
        ),
        (
            "raw",
            format!("{kafka}, topic = '{name}-raw', format = 'raw'"),
        ),
        (
            "json",
            format!("{kafka}, topic = '{name}-json', format = 'json'"),
        ),
        (
            "csv",
            format!("{kafka}, topic = '{name}-csv', format = 'csv'"),
        ),
    ];
    let mut sql = format!("SET 'pipeline.name' = '{schema}';\n");
    for (source, place) in places {
        sql.push_str(&format!(
            "CREATE TABLE {source} (id BIGINT CHECK (id > 0)) WITH (
               connector = 'kafka', topic = '{name}', 'bootstrap.servers' = '{servers}',
               format = 'json', 'dead.letter' = '{source}_dead');
             CREATE TABLE {source}_dead ({columns}) WITH ({place});
             CREATE TABLE {source}_out (tenth BIGINT) WITH (connector = 'sqlite', path = 'out.db');
             INSERT INTO {source}_out SELECT 10 / (id - 5) FROM {source};\n"
        ));
    }
    sql
}

fn letters(folder: &Path, arguments: &[&str]) -> (Exit, String) {
    let all = [&["dead-letters", "letters.sql"], arguments].concat();
    let ended = tidemark(folder, &all, &[]);
    (ended.how, format!("{}{}", ended.stdout, ended.stderr))
}

fn sent(folder: &Path, arguments: &[&str]) -> String {
    let (how, said) = letters(folder, &[arguments, &["--resend", "--yes"]].concat());
    assert_eq!(how, Exit::Code(0), "{said}");
    said
}

/// What is said and not sent: by a dry run, and where nobody can be asked.
fn not_sent(folder: &Path, arguments: &[&str], records: &str) {
    let (dry, would) = letters(folder, &[arguments, &["--resend", "--dry-run"]].concat());
    let (asked, refused) = letters(folder, &[arguments, &["--resend"]].concat());

    assert_eq!((dry, asked), (Exit::Code(0), Exit::Code(2)));
    assert!(
        would.starts_with(&format!("would send {records} to `")),
        "{would}"
    );
    assert!(
        refused.starts_with(&format!("error: --resend sends {records} to `")),
        "{refused}"
    );
    assert!(refused.contains("nobody is here to ask"), "{refused}");
}

#[test]
fn letters_are_listed_and_sent_again_once_from_wherever_they_are_kept() {
    let (Some(topic), Some((mut client, url))) =
        (Topic::new("this test"), postgres_with_url("this test"))
    else {
        return;
    };
    let schema = topic.name.replace('-', "_").to_lowercase();
    client
        .batch_execute(&format!("create schema {schema}"))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bad = "{\"id\": 1}\n{\"id\": -1}\nnonsense\n{\"id\": 5}\n{\"id\": -2}\n";
    std::fs::write(folder.path().join("in.json"), bad).unwrap();
    std::fs::write(
        folder.path().join("letters.sql"),
        pipeline(&topic, &url, &schema),
    )
    .unwrap();
    topic.produce(folder.path(), &["in.json"]);
    let ran = tidemark(
        folder.path(),
        &["run", "letters.sql", "--until-caught-up"],
        &[],
    );
    assert_eq!(ran.how, Exit::Code(0), "{}", ran.stderr);

    let mut expected: Vec<String> = bad.lines().map(str::to_owned).collect();
    for source in ["lite", "post", "raw", "json", "csv"] {
        let table = format!("{source}_dead");
        let of = ["--table", table.as_str()];
        let (_, listed) = letters(folder.path(), &of);
        assert!(
            listed.starts_with(&format!("{table}: 4 letters\n")),
            "{listed}"
        );
        assert!(listed.contains("2  rejected  check_failed"), "{listed}");
        assert!(listed.contains("nonsense"), "{listed}");

        let some = [&of[..], &["--reason", "check_failed"]].concat();
        not_sent(folder.path(), &some, "2 records");
        let first = sent(folder.path(), &[&some[..], &["--limit", "1"]].concat());
        assert_eq!(first, format!("1 record to `{}`\n", topic.name));
        not_sent(folder.path(), &some, "1 record");
        assert!(sent(folder.path(), &some).contains("1 record to"));
        let again = sent(folder.path(), &some);
        assert!(again.contains("0 records to"), "{again}");
        assert!(
            again.contains("not sent: 2 letters were sent before"),
            "{again}"
        );
        let rest = sent(folder.path(), &of);
        assert!(rest.contains("1 record to"), "{rest}");
        assert!(rest.contains("1 letters may have been counted"), "{rest}");
        expected.extend(["{\"id\": -1}", "{\"id\": -2}", "nonsense"].map(str::to_owned));
    }

    let records = topic.records().concat().into_iter();
    let mut found: Vec<String> = records.map(|(_, value)| value).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    client
        .batch_execute(&format!("drop schema {schema} cascade"))
        .unwrap();
}

/// The beginning of a record may be a record: of a number, another number.
#[test]
fn a_record_that_was_too_long_is_not_sent_again_by_its_beginning() {
    let Some(topic) = Topic::new("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let long = "1,a note that is rather long,123456789\n";
    std::fs::write(
        folder.path().join("in.csv"),
        format!("id,note,cents\n{long}x,short,100\n"),
    )
    .unwrap();
    let (servers, name) = (&topic.servers, &topic.name);
    let sql = format!(
        "SET 'pipeline.name' = '{name}';
         CREATE TABLE pays (id BIGINT, note TEXT, cents BIGINT) WITH (
           connector = 'kafka', topic = '{name}', 'bootstrap.servers' = '{servers}',
           format = 'csv', 'max.record.bytes' = '34', 'dead.letter' = 'dead');
         CREATE TABLE dead (kind TEXT, reason TEXT, partition TEXT, \"offset\" BIGINT,
           insert_into TEXT, payload BYTEA) WITH (connector = 'sqlite', path = 'out.db');
         CREATE TABLE kept (id BIGINT, cents BIGINT) WITH (connector = 'sqlite', path = 'out.db');
         INSERT INTO kept SELECT id, cents FROM pays;"
    );
    std::fs::write(folder.path().join("letters.sql"), sql).unwrap();
    topic.produce(folder.path(), &["--as", "csv", "in.csv"]);
    let run = ["run", "letters.sql", "--until-caught-up"];
    tidemark(folder.path(), &run, &[]);

    let (_, listed) = letters(folder.path(), &["--reason", "too_long", "--json"]);
    not_sent(folder.path(), &[], "1 record");
    let said = sent(folder.path(), &["--even-if-counted"]);

    assert!(listed.contains("rather long,12345\""), "{listed}");
    assert!(said.starts_with("1 record to"), "{said}");
    assert!(
        said.contains("not sent: 1 letters have only the beginning of their record"),
        "{said}"
    );
    let mut values: Vec<String> = topic.records().concat().into_iter().map(|r| r.1).collect();
    values.sort();
    assert_eq!(values, [long.trim_end(), "x,short,100", "x,short,100"]);
}

#[test]
fn a_time_says_which_records_are_meant() {
    let Some(topic) = Topic::new("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in.json"), "{\"id\": 1}\nnonsense\n").unwrap();
    let sql = format!(
        "CREATE TABLE events (id BIGINT) WITH (
           connector = 'kafka', topic = '{}', 'bootstrap.servers' = '{}', format = 'json',
           'dead.letter' = 'dead');
         CREATE TABLE dead (partition TEXT, \"offset\" BIGINT)
           WITH (connector = 'sqlite', path = 'out.db');
         CREATE TABLE out (id BIGINT) WITH (connector = 'sqlite', path = 'out.db');
         INSERT INTO out SELECT id FROM events;",
        topic.name, topic.servers
    );
    std::fs::write(folder.path().join("letters.sql"), sql).unwrap();
    topic.produce(folder.path(), &["in.json"]);
    let ran = tidemark(
        folder.path(),
        &["run", "letters.sql", "--until-caught-up"],
        &[],
    );
    assert_eq!(ran.how, Exit::Code(0), "{}", ran.stderr);

    let count = |option: &str, time: &str| letters(folder.path(), &[option, time]).1;

    assert!(count("--since", "2020-01-01 00:00:00").starts_with("dead: 1 letter\n"));
    assert!(count("--since", "2200-01-01 00:00:00").starts_with("dead: 0 letters\n"));
    assert!(count("--until", "2020-01-01 00:00:00").starts_with("dead: 0 letters\n"));
    assert!(count("--until", "2200-01-01 00:00:00").starts_with("dead: 1 letter\n"));
    assert!(count("--since", "yesterday").contains("`yesterday` is no time"));
    let (how, said) = letters(folder.path(), &["--resend"]);
    assert_eq!(how, Exit::Code(1));
    assert!(said.contains("do not have the column `kind`"), "{said}");
}

#[test]
fn letters_of_a_file_are_not_sent_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in.csv"), "id\nx\n7\n").unwrap();
    let sql = "CREATE TABLE events (id BIGINT) WITH (
           connector = 'file', path = 'in.csv', format = 'csv', 'dead.letter' = 'dead');
         CREATE TABLE dead (kind TEXT, payload TEXT) WITH (connector = 'sqlite', path = 'out.db');
         CREATE TABLE out (id BIGINT) WITH (connector = 'sqlite', path = 'out.db');
         INSERT INTO out SELECT id FROM events;";
    std::fs::write(folder.path().join("letters.sql"), sql).unwrap();
    let ran = tidemark(folder.path(), &["run", "letters.sql"], &[]);
    assert_eq!(ran.how, Exit::Code(0), "{}", ran.stderr);

    let (how, said) = letters(folder.path(), &["--resend"]);
    let (_, wrong) = letters(folder.path(), &["--table", "deaf"]);
    let (source, misspelt) = letters(folder.path(), &["--source", "eventz", "--resend"]);
    let (_, printed) = letters(folder.path(), &["--json"]);

    assert_eq!(source, Exit::Code(2), "{misspelt}");
    assert!(misspelt.contains("did you mean `events`?"), "{misspelt}");
    assert_eq!(how, Exit::Code(1));
    assert!(said.contains("its connector is `file`"), "{said}");
    assert!(wrong.contains("did you mean `dead`?"), "{wrong}");
    assert_eq!(printed, "{\"kind\":\"rejected\",\"payload\":\"x\"}\n");
}

/// What came to be here: PostgreSQL has no NUL in a text.
#[test]
fn a_record_with_a_zero_byte_has_a_letter_in_postgres() {
    let Some((mut client, url)) = postgres_with_url("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().file_name().unwrap().to_str().unwrap();
    let schema = format!("zero_{}", schema.trim_start_matches('.').to_lowercase());
    client
        .batch_execute(&format!("create schema {schema}"))
        .unwrap();
    let bad = b"{\"id\": \"a\\u0000b\"}\n\0\0\0\0\x01\x02\n{\"id\": 1}\n";
    std::fs::write(folder.path().join("in.json"), bad).unwrap();
    let mut sql = format!("SET 'pipeline.name' = '{schema}';\n");
    for payload in ["text", "bytea"] {
        sql.push_str(&format!(
            "CREATE TABLE {payload}_in (id BIGINT) WITH (
               connector = 'file', path = 'in.json', format = 'json', 'dead.letter' = 'd_{payload}');
             CREATE TABLE d_{payload} (reason TEXT, message TEXT, \"offset\" BIGINT, payload {payload})
               WITH (connector = 'postgres', url = '{url}', table = '{schema}.d_{payload}');
             CREATE TABLE {payload}_out (id BIGINT) WITH (connector = 'sqlite', path = 'out.db');
             INSERT INTO {payload}_out SELECT id FROM {payload}_in;\n"
        ));
    }
    std::fs::write(folder.path().join("letters.sql"), sql).unwrap();

    let ran = tidemark(folder.path(), &["run", "letters.sql"], &[]);

    assert_eq!(ran.how, Exit::Code(0), "{}", ran.stderr);
    let texts = format!("select reason, message, payload from {schema}.d_text order by \"offset\"");
    let texts = client.query(&texts, &[]).unwrap();
    let text = |row: usize, column: usize| texts[row].get::<_, String>(column);
    assert_eq!(text(0, 0), "bad_value");
    assert_eq!(text(0, 1), "`a\\u{0}b` is not a number");
    assert_eq!(text(1, 0), "malformed");
    assert_eq!(text(1, 2), "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{1}\u{2}");
    let whole = format!("select payload from {schema}.d_bytea order by \"offset\"");
    let whole = client.query(&whole, &[]).unwrap();
    assert_eq!(whole[1].get::<_, Vec<u8>>(0), b"\0\0\0\0\x01\x02");
    client
        .batch_execute(&format!("drop schema {schema} cascade"))
        .unwrap();
}

#[test]
fn a_letter_that_is_too_large_for_its_topic_goes_without_its_payload() {
    let Some(topic) = Topic::new("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (servers, name) = (&topic.servers, &topic.name);
    let bad = |bytes: usize| format!("{{\"id\": \"{}\"}}\n", "x".repeat(bytes));
    let good = "{\"id\": 1}\n".to_owned();
    let records = [good, bad(10), bad(600_000), bad(1_040_000)].concat();
    std::fs::write(folder.path().join("in.json"), records).unwrap();
    let mut sql = format!("SET 'pipeline.name' = '{name}';\n");
    for format in ["raw", "json"] {
        sql.push_str(&format!(
            "CREATE TABLE {format}_in (id BIGINT) WITH (
               connector = 'file', path = 'in.json', format = 'json', 'dead.letter' = 'd_{format}');
             CREATE TABLE d_{format} (kind TEXT, message TEXT, \"offset\" BIGINT, payload BYTEA)
               WITH (connector = 'kafka', topic = '{name}-{format}', partitions = '1',
                     'bootstrap.servers' = '{servers}', format = '{format}');
             CREATE TABLE {format}_out (id BIGINT) WITH (connector = 'sqlite', path = 'out.db');
             INSERT INTO {format}_out SELECT id FROM {format}_in;\n"
        ));
    }
    std::fs::write(folder.path().join("letters.sql"), sql).unwrap();

    let ran = tidemark(folder.path(), &["run", "letters.sql"], &[]);

    assert_eq!(ran.how, Exit::Code(0), "{}", ran.stderr);
    for (table, whole) in [("d_raw", 2), ("d_json", 1)] {
        let (_, printed) = letters(folder.path(), &["--table", table, "--json"]);
        let left_out = |line: &&str| line.contains("\"payload\":null");
        assert_eq!(printed.lines().count(), 3, "{table}");
        assert_eq!(
            printed.lines().filter(left_out).count(),
            3 - whole,
            "{table}"
        );
        for line in printed.lines().filter(left_out) {
            assert!(line.contains("bytes are left out"), "{line}");
        }
    }
}
