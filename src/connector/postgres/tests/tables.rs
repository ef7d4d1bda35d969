//! Tables: written, taken over, refused, emptied.

use proptest::prelude::*;

use super::*;
use crate::connector::ConnectorError;

/// Epochs of changes to few keys, None is a delete; whether the process starts again after it.
fn epochs() -> impl Strategy<Value = Vec<(BTreeMap<u8, Option<i64>>, bool)>> {
    let changes = prop::collection::btree_map(0..6u8, prop::option::of(any::<i64>()), 0..6);
    prop::collection::vec((changes, prop::bool::weighted(0.3)), 1..8)
}

#[test]
fn whatever_the_changes_and_restarts_the_table_holds_their_sum() {
    let Some(scratch) = Scratch::new("sum") else {
        return;
    };
    let scratch = std::cell::RefCell::new(scratch);
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(24)
    };
    proptest!(config, |(epochs in epochs())| {
        let mut scratch = scratch.borrow_mut();
        let mut sink = scratch.open("p", counts(&[0]));
        sink.empty().unwrap();
        sink.take_over(1000).unwrap();
        let mut expected: BTreeMap<String, Option<i64>> = BTreeMap::new();
        for (epoch, (changes, restart)) in (1..).zip(epochs) {
            let names: BTreeMap<String, Option<i64>> =
                changes.into_iter().map(|(key, views)| (format!("page {key}"), views)).collect();
            let some = names.iter().filter_map(|(name, views)| Some((name.as_str(), (*views)?)));
            let (pages, views): (Vec<&str>, Vec<i64>) = some.rev().unzip();
            let none = names.iter().filter(|(_, views)| views.is_none());
            let gone: Vec<&str> = none.map(|(name, _)| name.as_str()).collect();
            let change = TableChanges {
                table: 0,
                upserts: Some(rows(&pages, &views)),
                deletes: Some(keys(&gone)),
            };
            sink.publish(&mark(epoch), &[change]).unwrap();
            expected.extend(names);
            if restart {
                sink = scratch.open("p", counts(&[0]));
                let found = sink.take_over(epoch).unwrap().unwrap();
                prop_assert_eq!(found.epoch, Epoch(epoch));
            }
        }
        let expected: Vec<(String, i64)> =
            expected.into_iter().filter_map(|(name, views)| Some((name, views?))).collect();
        prop_assert_eq!(scratch.content(), expected);
    });
}

#[test]
fn a_keyed_table_is_upserted_and_deleted_from() {
    let Some(mut scratch) = Scratch::new("keyed") else {
        return;
    };
    let mut sink = scratch.open("p", counts(&[0]));
    sink.take_over(7).unwrap();

    sink.publish(&mark(1), &[upserts(&["c", "a", "b"], &[3, 1, 2])])
        .unwrap();
    let change = TableChanges {
        table: 0,
        upserts: Some(rows(&["d", "a"], &[4, 10])),
        deletes: Some(keys(&["b"])),
    };
    sink.publish(&mark(2), &[change]).unwrap();

    assert_eq!(
        scratch.content(),
        [pair("a", 10), pair("c", 3), pair("d", 4)]
    );
}

#[test]
fn a_table_of_key_columns_only_keeps_each_key_once() {
    let Some(mut scratch) = Scratch::new("all_key") else {
        return;
    };
    let mut sink = scratch.open("p", counts(&[1, 0]));
    sink.take_over(7).unwrap();

    sink.publish(&mark(1), &[upserts(&["a", "b"], &[1, 1])])
        .unwrap();
    sink.publish(&mark(2), &[upserts(&["a", "b"], &[1, 2])])
        .unwrap();
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let page: ArrayRef = Arc::new(StringArray::from(vec!["b"]));
    let change = TableChanges {
        table: 0,
        upserts: None,
        deletes: Some(RecordBatch::try_from_iter([("views", column), ("page", page)]).unwrap()),
    };
    sink.publish(&mark(3), &[change]).unwrap();

    assert_eq!(scratch.content(), [pair("a", 1), pair("b", 2)]);
}

#[test]
fn a_table_without_a_key_is_appended_to() {
    let Some(mut scratch) = Scratch::new("append") else {
        return;
    };
    let mut sink = scratch.open("p", counts(&[]));
    sink.take_over(7).unwrap();

    sink.publish(&mark(1), &[upserts(&["a", "a"], &[1, 1])])
        .unwrap();
    sink.publish(&mark(2), &[upserts(&["a"], &[1])]).unwrap();

    assert_eq!(scratch.content(), vec![pair("a", 1); 3]);
}

#[test]
fn more_rows_than_fit_one_statement_all_arrive() {
    for key in [&[][..], &[0]] {
        let Some(mut scratch) = Scratch::new(&format!("many_{}", key.len())) else {
            return;
        };
        let mut sink = scratch.open("p", counts(key));
        sink.take_over(7).unwrap();
        let pages: Vec<String> = (0..70_000).map(|n| format!("page {n:05}")).collect();
        let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
        let views: Vec<i64> = (0..70_000).collect();

        sink.publish(&mark(1), &[upserts(&pages, &views)]).unwrap();

        let seen = scratch
            .pairs("select min(page) || max(page) || count(*), sum(views)::int8 from counts");
        assert_eq!(seen, [pair("page 00000page 6999970000", 2_449_965_000)]);
        if !key.is_empty() {
            let deletes = TableChanges {
                table: 0,
                upserts: None,
                deletes: Some(keys(&pages)),
            };
            sink.publish(&mark(2), &[deletes]).unwrap();
            assert_eq!(scratch.content(), []);
        }
    }
}

#[test]
fn large_values_are_cut_into_statements_by_their_bytes() {
    let Some(mut scratch) = Scratch::new("large") else {
        return;
    };
    let mut sink = scratch.open("p", counts(&[1]));
    sink.take_over(7).unwrap();
    let text = "x".repeat(9 << 20);
    let pages = vec![text.as_str(); 8];

    sink.publish(&mark(1), &[upserts(&pages, &[0, 1, 2, 3, 4, 5, 6, 7])])
        .unwrap();

    let seen = scratch.pairs("select 'bytes', sum(length(page))::int8 from counts");
    assert_eq!(seen, [pair("bytes", 8 * (9 << 20))]);
}

#[test]
fn the_mark_is_returned_to_the_next_start() {
    let Some(scratch) = Scratch::new("mark") else {
        return;
    };
    let mut sink = scratch.open("p", counts(&[0]));

    assert_eq!(sink.peek().unwrap(), None);
    assert_eq!(sink.take_over(7).unwrap(), None);
    sink.publish(&mark(5), &[]).unwrap();
    drop(sink);

    let mut next = scratch.open("p", counts(&[0]));
    assert_eq!(next.peek().unwrap(), Some(mark(5)));
    let found = next.take_over(8).unwrap().unwrap();
    assert_eq!(found.epoch, Epoch(5));
    assert_eq!((found.generation, found.incarnation), (2, 8));
    assert_eq!(found.recipe, mark(5).recipe);
}

#[test]
fn two_pipelines_keep_their_own_tables_and_marks_in_one_database() {
    let Some(mut scratch) = Scratch::new("two") else {
        return;
    };
    let mut one = scratch.open("one", counts(&[0]));
    let mut two = scratch.open("two", other(&[]));
    one.take_over(7).unwrap();
    two.take_over(8).unwrap();

    one.publish(&mark(3), &[upserts(&["a"], &[1])]).unwrap();
    two.publish(&mark(9), &[upserts(&["b"], &[2])]).unwrap();

    let marks = scratch.pairs("select pipeline, epoch from tidemark_marks order by 1");
    assert_eq!(marks, [pair("one", 3), pair("two", 9)]);
    let (message, hint) = refusal(scratch.open("two", counts(&[0])).take_over(9));
    assert_eq!(message, "table `unit_two.counts` is kept by pipeline `one`");
    assert_eq!(
        hint,
        "choose another name with `table`, or another database with `url`; if this file is that \
         pipeline, SET 'pipeline.name' = 'one'"
    );
}

#[test]
fn a_refused_start_fences_nobody() {
    let Some(mut scratch) = Scratch::new("refused_start") else {
        return;
    };
    let mut sink = scratch.open("p", counts(&[0]));
    sink.take_over(7).unwrap();
    sink.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();

    let mut second = scratch.open_all("p", vec![counts(&[0]), other(&[0])]);
    let (message, _) = refusal(second.take_over(8));

    assert_eq!(
        message,
        "table `unit_refused_start.other` is new to this pipeline, which has already published without it"
    );
    sink.publish(&mark(2), &[upserts(&["a"], &[2])]).unwrap();
    assert_eq!(scratch.content(), [pair("a", 2)]);
}

#[test]
fn a_table_with_rows_and_no_mark_is_refused() {
    let Some(mut scratch) = Scratch::new("rows_no_mark") else {
        return;
    };
    scratch.execute(
        "create table counts (page text primary key, views int8); insert into counts values ('x', 1)",
    );

    let (message, hint) = refusal(scratch.open("p", counts(&[0])).take_over(7));

    assert_eq!(
        message,
        "table `unit_rows_no_mark.counts` holds rows that no mark accounts for"
    );
    assert_eq!(
        hint,
        "empty it (TRUNCATE \"unit_rows_no_mark\".\"counts\"), or choose another name with `table`"
    );
    assert_eq!(scratch.content(), [pair("x", 1)]);
}

#[test]
fn a_table_that_was_dropped_under_its_mark_is_refused() {
    let Some(mut scratch) = Scratch::new("dropped") else {
        return;
    };
    let mut sink = scratch.open("p", counts(&[0]));
    sink.take_over(7).unwrap();
    sink.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();
    scratch.execute("drop table counts");

    let (message, hint) = refusal(scratch.open("p", counts(&[0])).take_over(8));

    assert_eq!(
        message,
        "table `unit_dropped.counts` is gone, but the mark says that its rows are there"
    );
    assert_eq!(hint, "start over with --fresh");
}

/// A table that is there, what is wrong with it, and what mends it, if one statement does.
const DIFFERENT: &[(&str, &str, Option<&str>)] = &[
    (
        "create table counts (page text primary key)",
        "has no column `views`",
        Some("ALTER TABLE T ADD COLUMN \"views\" bigint"),
    ),
    (
        "create table counts (page text primary key, views text)",
        "has column `views` as text, but bigint is needed",
        Some("ALTER TABLE T ALTER COLUMN \"views\" TYPE bigint USING \"views\"::bigint"),
    ),
    (
        "create table counts (page text primary key, views int4)",
        "has column `views` as integer, but bigint is needed",
        Some("ALTER TABLE T ALTER COLUMN \"views\" TYPE bigint USING \"views\"::bigint"),
    ),
    (
        "create table counts (page text primary key, views int8 not null)",
        "has column `views` as NOT NULL, but NULL may be written to it",
        Some("ALTER TABLE T ALTER COLUMN \"views\" DROP NOT NULL"),
    ),
    (
        "create table counts (page text primary key, views int8 generated always as (length(page)) stored)",
        "computes column `views` itself",
        Some("ALTER TABLE T ALTER COLUMN \"views\" DROP EXPRESSION"),
    ),
    (
        "create table counts (page text, views int8)",
        "has no key; PRIMARY KEY (page) is declared",
        Some("ALTER TABLE T ADD PRIMARY KEY (\"page\")"),
    ),
    (
        "create table counts (page text, views int8, primary key (page, views));
         alter table counts alter views drop not null",
        "",
        None,
    ),
    (
        "create table counts (page text, views int8, id int4 primary key default 1)",
        "has PRIMARY KEY (id); PRIMARY KEY (page) is declared",
        None,
    ),
    (
        "create table counts (page text primary key deferrable, views int8)",
        "has a deferrable key (page), by which no row can be replaced",
        Some("ALTER TABLE T DROP CONSTRAINT counts_pkey; ALTER TABLE T ADD UNIQUE (\"page\")"),
    ),
    (
        "create table counts (page text primary key, views int8, at text not null)",
        "has a column `at` that must not be NULL and is not declared",
        Some("ALTER TABLE T ALTER COLUMN \"at\" DROP NOT NULL"),
    ),
    (
        "create unlogged table counts (page text primary key, views int8)",
        "is unlogged: a crash of the database empties it, but not its mark",
        Some("ALTER TABLE T SET LOGGED"),
    ),
    (
        "create collation loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         create table counts (page text collate loose primary key, views int8)",
        "takes different keys for the same, by the collation \"loose\"",
        Some("ALTER TABLE T ALTER COLUMN \"page\" TYPE text COLLATE \"C\""),
    ),
];

#[test]
fn a_table_that_differs_is_refused_with_the_statement_that_mends_it() {
    for (existing, expected, mend) in DIFFERENT.iter().filter(|case| !case.1.is_empty()) {
        let Some(mut scratch) = Scratch::new("differs") else {
            return;
        };
        scratch.execute(existing);

        let findings = scratch.open("p", counts(&[0])).inspect().unwrap();
        let (message, hint) = refusal(scratch.open("p", counts(&[0])).take_over(7));

        assert_eq!(
            message,
            format!("table `unit_differs.counts` {expected}"),
            "{existing}"
        );
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].message, message);
        if let Some(mend) = mend {
            let mend = mend.replace('T', "\u{1}").replace("\u{1}YPE", "TYPE");
            let mend = mend
                .replace("AL\u{1}ER", "ALTER")
                .replace("\u{1}ABLE", "TABLE")
                .replace("NO\u{1}", "NOT")
                .replace("SE\u{1}", "SET")
                .replace("CONS\u{1}RAIN\u{1}", "CONSTRAINT")
                .replace("COLLA\u{1}E", "COLLATE")
                .replace('\u{1}', "\"unit_differs\".\"counts\"");
            assert_eq!(hint, mend);
            scratch.execute(&hint);
            assert_eq!(scratch.open("p", counts(&[0])).inspect().unwrap(), []);
        }
    }
}

#[test]
fn an_inspection_finds_everything_and_changes_nothing() {
    let Some(mut scratch) = Scratch::new("inspect") else {
        return;
    };
    scratch.execute("create table counts (page int4 primary key)");

    let sink = scratch.open_all("p", vec![other(&[0]), counts(&[0])]);
    let found: Vec<usize> = sink.inspect().unwrap().iter().map(|f| f.table).collect();

    assert_eq!(found, [1, 1]);
    let tables = scratch.pairs(
        "select 'tables', count(*) from pg_class
         where relnamespace = current_schema()::regnamespace and relkind = 'r'",
    );
    assert_eq!(tables, [pair("tables", 1)]);
}

#[test]
fn an_existing_table_that_holds_the_values_serves() {
    let Some(mut scratch) = Scratch::new("serves") else {
        return;
    };
    scratch.execute(
        "create table counts (id int4 generated always as identity primary key, views int8,
                              page varchar(4), note text);
         create unique index on counts (page)",
    );
    let mut sink = scratch.open("p", counts(&[0]));
    sink.take_over(7).unwrap();

    sink.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();
    sink.publish(&mark(2), &[upserts(&["a"], &[2])]).unwrap();

    assert_eq!(scratch.content(), [pair("a", 2)]);
    let (message, _) = refusal(sink.publish(&mark(3), &[upserts(&["abcde"], &[2])]));
    assert_eq!(
        message,
        "table `unit_serves.counts` cannot hold a value of column `page` in the row with \
         page = abcde: it is longer than the 4 characters there"
    );
}

#[test]
fn a_table_is_made_with_its_key_indexes_and_room_for_updates() {
    let Some(mut scratch) = Scratch::new("made") else {
        return;
    };
    let table = SinkTable {
        target: "unit_made.We \"ird".to_owned(),
        ..counts(&[0])
    };
    let spec = Spec::new(table, Some("views, page; page;"), None).unwrap();
    let open = |spec: &Spec| Postgres::new(scratch.address(), LIMITS, "p", vec![spec.clone()]);

    open(&spec).take_over(7).unwrap();
    open(&spec).take_over(8).unwrap();

    let made = scratch.text(
        "select string_agg(indexdef, '; ' order by indexdef) from pg_indexes
         where tablename = 'We \"ird'",
    );
    assert_eq!(
        made,
        "CREATE INDEX \"We \"\"ird_views_page_idx\" ON unit_made.\"We \"\"ird\" USING btree (views, page); \
         CREATE UNIQUE INDEX \"We \"\"ird_pkey\" ON unit_made.\"We \"\"ird\" USING btree (page)"
    );
    let options = scratch.text("select reloptions::text from pg_class where relname = 'We \"ird'");
    assert_eq!(options, "{fillfactor=70}");
    let (message, hint) = refusal(Spec::new(counts(&[0]), Some("page, view"), None));
    assert_eq!(
        (message.as_str(), hint.as_str()),
        (
            "`indexes` names `view`, which table `counts` does not have",
            "did you mean `views`?"
        )
    );
}

#[test]
fn emptying_removes_this_pipelines_rows_and_mark_and_stops_its_process() {
    let Some(mut scratch) = Scratch::new("emptying") else {
        return;
    };
    let mut old = scratch.open("one", counts(&[0]));
    let mut two = scratch.open("two", other(&[0]));
    old.take_over(7).unwrap();
    two.take_over(8).unwrap();
    old.publish(&mark(3), &[upserts(&["a"], &[1])]).unwrap();
    two.publish(&mark(9), &[upserts(&["b"], &[2])]).unwrap();

    scratch.open("one", counts(&[0])).empty().unwrap();

    assert_eq!(scratch.content(), []);
    assert_eq!(
        scratch.pairs("select page, views from other"),
        [pair("b", 2)]
    );
    // It waits for what comes of that,
    let outcome = old.publish(&mark(4), &[upserts(&["a"], &[2])]);
    assert!(
        matches!(outcome, Err(ConnectorError::Transient(_))),
        "{outcome:?}"
    );
    assert_eq!(
        scratch.open("one", counts(&[0])).take_over(9).unwrap(),
        None
    );
    // and is over when somebody begins.
    let outcome = old.publish(&mark(4), &[upserts(&["a"], &[2])]);
    assert!(
        matches!(outcome, Err(ConnectorError::Fenced { .. })),
        "{outcome:?}"
    );
}

#[test]
fn emptying_makes_way_for_a_changed_declaration_of_a_table_made_here() {
    let Some(mut scratch) = Scratch::new("changed") else {
        return;
    };
    scratch.open("p", counts(&[0])).take_over(7).unwrap();
    let mut changed = scratch.open("p", counts(&[]));

    refusal(changed.take_over(8));
    changed.empty().unwrap();
    changed.take_over(9).unwrap();

    changed
        .publish(&mark(1), &[upserts(&["a", "a"], &[1, 1])])
        .unwrap();
    assert_eq!(scratch.content().len(), 2);
}

#[test]
fn a_wrong_address_is_said_with_what_to_do_and_without_the_password() {
    let Some(scratch) = Scratch::new("wrong_address") else {
        return;
    };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port().to_string();
    drop(closed);
    for (given, part, hint) in [
        (
            ("port", port.as_str()),
            "Connection refused",
            "start the server",
        ),
        (
            ("host", "no-such-host.invalid"),
            "lookup",
            "start the server",
        ),
        (
            ("password", "hush-hush"),
            "refuses the password of `tidemark`",
            "PGPASSWORD",
        ),
        (
            ("dbname", "nowhere"),
            "there is no database `nowhere`",
            "CREATE DATABASE",
        ),
        (
            ("user", "nobody"),
            "refuses the password of `nobody`",
            "PGPASSWORD",
        ),
        (("sslmode", "require"), "TLS", "sslmode"),
        (
            ("options", "-csearch_path=nope"),
            "no schema of the role's search_path",
            "CREATE SCHEMA",
        ),
    ] {
        let specs = vec![Spec::new(counts(&[0]), None, None).unwrap()];
        let sink = Postgres::new(address(&scratch.url, &[given]), LIMITS, "p", specs);

        let (message, advice) = match sink.inspect().unwrap_err() {
            ConnectorError::Permanent {
                message,
                hint: Some(advice),
            }
            | ConnectorError::Away {
                message,
                hint: advice,
            } => (message, advice),
            other @ (ConnectorError::Permanent { hint: None, .. }
            | ConnectorError::Transient(_)
            | ConnectorError::Fenced { .. }
            | ConnectorError::Rewound { .. }) => panic!("{given:?}: {other:?}"),
        };
        assert!(message.contains(part), "{given:?}: {message}");
        assert!(advice.contains(hint), "{given:?}: {advice}");
        assert!(
            !format!("{message}{advice}").contains("hush-hush"),
            "{message}"
        );
    }
}

#[test]
fn a_database_that_one_start_knows_by_two_names_is_refused() {
    let Some(scratch) = Scratch::new("two_names") else {
        return;
    };
    let mut one = scratch.open("p", counts(&[0]));
    let mut two = scratch.open("p", other(&[0]));
    one.take_over(7).unwrap();

    let (message, hint) = refusal(two.take_over(7));

    assert!(
        message.ends_with("is a database that this pipeline writes to by another name, too"),
        "{message}"
    );
    assert_eq!(hint, "write the same `url` for all tables of one database");
    one.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();
    one.take_over(7).unwrap();
}

fn as_guest(scratch: &Scratch, user: &str, table: SinkTable, indexes: Option<&str>) -> Postgres {
    let path = format!("-csearch_path={}", scratch.schema);
    let given = [
        ("options", path.as_str()),
        ("user", user),
        ("password", "hush"),
    ];
    let specs = vec![Spec::new(table, indexes, None).unwrap()];
    Postgres::new(address(&scratch.url, &given), LIMITS, "p", specs)
}

#[test]
fn what_a_role_may_not_do_is_found_before_it_is_tried() {
    let Some(mut scratch) = Scratch::new("role") else {
        return;
    };
    scratch.execute(
        "do $$ begin create role unit_guest login password 'hush'; exception when duplicate_object then end $$;
         grant usage on schema unit_role to unit_guest",
    );
    let open = |scratch: &Scratch, table: SinkTable| as_guest(scratch, "unit_guest", table, None);

    let found = open(&scratch, counts(&[0])).inspect().unwrap();
    let hints: Vec<&str> = found.iter().filter_map(|f| f.hint.as_deref()).collect();
    assert_eq!(
        hints,
        [
            "GRANT CREATE ON SCHEMA \"unit_role\" TO \"unit_guest\", or name a schema of its own: \
             ?options=-csearch_path%3Dname",
            "GRANT CREATE ON SCHEMA \"unit_role\" TO \"unit_guest\", or make the table: \
             create table \"unit_role\".\"counts\" (\"page\" text not null, \"views\" bigint, \
             primary key (\"page\")) with (fillfactor = 70)",
        ]
    );
    let (message, _) = refusal(open(&scratch, counts(&[0])).take_over(7));
    assert_eq!(
        message,
        "`unit_guest` may not keep tidemark_marks and tidemark_tables there"
    );

    scratch.execute(
        "grant create on schema unit_role to unit_guest;
         create table counts (page text primary key, views int8);
         grant select, insert on counts to unit_guest",
    );
    let (message, hint) = refusal(open(&scratch, counts(&[0])).take_over(7));
    assert_eq!(
        message,
        "table `unit_role.counts` does not grant UPDATE, DELETE to `unit_guest`"
    );
    scratch.execute(&hint);
    open(&scratch, counts(&[0])).take_over(8).unwrap();
    scratch.execute("drop owned by unit_guest; drop role unit_guest");
}

#[test]
fn what_only_an_owner_may_do_is_found_before_it_is_tried() {
    let Some(mut scratch) = Scratch::new("owner") else {
        return;
    };
    scratch.execute(
        "do $$ begin create role unit_tenant login password 'hush'; exception when duplicate_object then end $$;
         grant usage, create on schema unit_owner to unit_tenant;
         create table counts (page text primary key, views int8);
         grant select, insert, update, delete on counts to unit_tenant",
    );
    scratch.open("q", other(&[0])).take_over(1).unwrap();
    scratch.execute(
        "grant select, insert, update, delete on tidemark_marks, tidemark_tables to unit_tenant",
    );
    let found = as_guest(&scratch, "unit_tenant", counts(&[0]), Some("views"));
    let found = found.inspect().unwrap();
    let texts = found
        .iter()
        .map(|it| (it.message.as_str(), it.hint.as_deref()));
    assert_eq!(
        texts.collect::<Vec<_>>(),
        [(
            "table `unit_owner.counts` is not owned by `unit_tenant`, so that it may not make an index there",
            Some(
                "create index on \"unit_owner\".\"counts\" (\"views\"), as its owner; or leave out `indexes`"
            ),
        )]
    );
    scratch.execute("alter table tidemark_tables enable row level security");
    let (message, hint) =
        refusal(as_guest(&scratch, "unit_tenant", counts(&[0]), None).take_over(9));
    assert!(
        message.starts_with("`unit_tenant` may not keep tidemark_marks"),
        "{message}"
    );
    let mend = hint.split(", or name").next().unwrap();
    assert!(mend.contains("DISABLE ROW LEVEL SECURITY"), "{mend}");
    scratch.execute(mend);
    as_guest(&scratch, "unit_tenant", counts(&[0]), None)
        .take_over(9)
        .unwrap();
    scratch.execute("drop owned by unit_tenant; drop role unit_tenant");
}
