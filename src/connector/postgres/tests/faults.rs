//! Fencing, lost connections, lost commits.

use super::*;

/// The process id of the sink's connection.
fn backend(sink: &mut Postgres) -> i32 {
    let client = &mut sink.session.as_mut().unwrap().client;
    client
        .query_one("select pg_backend_pid()", &[])
        .unwrap()
        .get(0)
}

impl Scratch {
    fn terminate(&mut self, pid: i32) {
        // Waits until it is gone.
        let sql = "select pg_terminate_backend($1, 20000)";
        let gone: bool = self.client.query_one(sql, &[&pid]).unwrap().get(0);
        assert!(gone);
    }
}

fn is_fenced(outcome: &Result<(), ConnectorError>) -> bool {
    matches!(outcome, Err(ConnectorError::Fenced { .. }))
}

fn is_transient(outcome: &Result<(), ConnectorError>) -> bool {
    matches!(outcome, Err(ConnectorError::Transient(_)))
}

#[test]
fn a_process_that_was_taken_over_cannot_publish_nor_flush() {
    let Some(mut scratch) = Scratch::new("fenced") else {
        return;
    };
    let mut old = scratch.open("p", counts(&[0]));
    old.take_over(7).unwrap();
    old.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();
    scratch.open("p", counts(&[0])).take_over(8).unwrap();

    let outcome = old.publish(&mark(2), &[upserts(&["a"], &[2])]);

    assert!(is_fenced(&outcome), "{outcome:?}");
    assert!(is_fenced(&old.make_durable()));
    assert_eq!(scratch.content(), [pair("a", 1)]);
}

#[test]
fn a_process_that_comes_back_after_it_was_taken_over_is_fenced() {
    let Some(mut scratch) = Scratch::new("fenced_later") else {
        return;
    };
    let mut old = scratch.open("p", counts(&[0]));
    old.take_over(7).unwrap();
    old.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();
    let pid = backend(&mut old);
    scratch.terminate(pid);
    scratch.open("p", counts(&[0])).take_over(8).unwrap();

    let first = old.publish(&mark(2), &[upserts(&["a"], &[2])]);
    let second = old.publish(&mark(2), &[upserts(&["a"], &[2])]);

    assert!(is_transient(&first), "{first:?}");
    assert!(is_fenced(&second), "{second:?}");
    assert_eq!(scratch.content(), [pair("a", 1)]);
}

#[test]
fn a_start_waits_for_the_commit_under_way_and_sees_it() {
    let Some(mut scratch) = Scratch::new("waits") else {
        return;
    };
    let mut old = scratch.open("p", counts(&[0]));
    old.take_over(7).unwrap();
    old.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();
    // The old process has begun its epoch, and the mark is its first statement.
    scratch.execute(
        "begin; update tidemark_marks set epoch = 2, mark = jsonb_set(mark, '{epoch}', '2')",
    );
    let mut new = scratch.open("p", counts(&[0]));
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);

    let found = std::thread::scope(|scope| {
        let new = &mut new;
        std::thread::Builder::new()
            .spawn_scoped(scope, move || sender.send(new.take_over(8)).unwrap())
            .unwrap();
        // Until it waits: the lock that it asks for is there to be seen.
        let waiting = "select exists (select 1 from pg_stat_activity
                       where application_name = 'tidemark p' and wait_event_type = 'Lock')";
        let mut probe = Client::connect(&scratch.url, NoTls).unwrap();
        while !probe.query_one(waiting, &[]).unwrap().get::<_, bool>(0) {
            assert!(receiver.try_recv().is_err(), "it did not wait");
        }
        scratch.execute("commit");
        receiver.recv().unwrap()
    });

    assert_eq!(found.unwrap().unwrap().epoch, Epoch(2));
}

#[test]
fn a_start_that_waits_too_long_says_for_whom() {
    let Some(mut scratch) = Scratch::new("blocked") else {
        return;
    };
    scratch.open("p", counts(&[0])).take_over(7).unwrap();
    scratch
        .execute("set application_name = 'sleeper'; begin; update tidemark_marks set epoch = null");

    let outcome = scratch.open("p", counts(&[0])).take_over(8);

    let Err(ConnectorError::Transient(message)) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(message.contains("(sleeper) holds the mark"), "{message}");
    scratch.execute("rollback");
}

#[test]
fn an_epoch_that_was_cut_off_before_its_commit_is_written_again() {
    let Some(mut scratch) = Scratch::new("cut_off") else {
        return;
    };
    let mut sink = scratch.open("p", counts(&[]));
    sink.take_over(7).unwrap();
    sink.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();
    let pid = backend(&mut sink);
    scratch.terminate(pid);

    let change = [upserts(&["b"], &[2])];
    let first = sink.publish(&mark(2), &change);
    sink.publish(&mark(2), &change).unwrap();
    sink.publish(&mark(3), &[upserts(&["c"], &[3])]).unwrap();

    assert!(is_transient(&first), "{first:?}");
    assert_eq!(
        scratch.content(),
        [pair("a", 1), pair("b", 2), pair("c", 3)]
    );
}

#[test]
fn an_epoch_cut_off_within_a_statement_leaves_nothing_and_is_written_again() {
    let Some(mut scratch) = Scratch::new("within") else {
        return;
    };
    let mut sink = scratch.open("p", counts(&[]));
    sink.take_over(7).unwrap();
    scratch.execute(
        "create function cut() returns trigger language plpgsql as $$ begin
           if new.page = 'cut' then perform pg_terminate_backend(pg_backend_pid()); end if;
           return new; end $$;
         create trigger cut before insert on counts for each row execute function cut()",
    );

    let outcome = sink.publish(&mark(1), &[upserts(&["a", "cut"], &[1, 2])]);
    scratch.execute("drop trigger cut on counts");
    sink.publish(&mark(1), &[upserts(&["a", "cut"], &[1, 2])])
        .unwrap();

    assert!(is_transient(&outcome), "{outcome:?}");
    assert_eq!(scratch.content(), [pair("a", 1), pair("cut", 2)]);
}

#[test]
fn an_epoch_cut_off_at_its_commit_is_not_doubled_whether_it_was_applied_or_not() {
    for applied in [false, true] {
        let Some(mut scratch) = Scratch::new(&format!("doubt_{applied}")) else {
            return;
        };
        let mut sink = scratch.open("p", counts(&[]));
        sink.take_over(7).unwrap();
        sink.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();
        // At COMMIT, a deferred trigger ends the connection.
        scratch.execute(
            "create function cut() returns trigger language plpgsql as $$ begin
               perform pg_terminate_backend(pg_backend_pid()); return null; end $$;
             create constraint trigger cut after insert on counts
               deferrable initially deferred for each row execute function cut()",
        );

        let change = [upserts(&["b"], &[2])];
        let first = sink.publish(&mark(2), &change);
        scratch.execute("drop trigger cut on counts");
        if applied {
            // As if the server had committed, and only its answer had been lost.
            scratch.execute(
                "insert into counts values ('b', 2);
                 update tidemark_marks set epoch = 2, mark = jsonb_set(mark, '{epoch}', '2')",
            );
        }
        sink.publish(&mark(2), &change).unwrap();
        sink.publish(&mark(3), &[upserts(&["c"], &[3])]).unwrap();

        assert!(is_transient(&first), "{first:?}");
        assert_eq!(
            scratch.content(),
            [pair("a", 1), pair("b", 2), pair("c", 3)]
        );
        assert_eq!(sink.peek().unwrap().unwrap().epoch, Epoch(3));
    }
}

#[test]
fn a_database_that_lost_acknowledged_epochs_is_noticed() {
    let Some(mut scratch) = Scratch::new("rewound") else {
        return;
    };
    let mut sink = scratch.open("p", counts(&[]));
    sink.take_over(7).unwrap();
    sink.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();
    sink.publish(&mark(5), &[upserts(&["b"], &[1])]).unwrap();
    // What a crash of the server without its last commits looks like.
    let pid = backend(&mut sink);
    scratch.terminate(pid);
    scratch.execute("delete from counts where page = 'b'; update tidemark_marks set epoch = 1");

    let first = sink.publish(&mark(6), &[upserts(&["c"], &[1])]);
    let second = sink.publish(&mark(6), &[upserts(&["c"], &[1])]);

    assert!(is_transient(&first), "{first:?}");
    let Err(ConnectorError::Rewound {
        acknowledged,
        found,
        ..
    }) = second
    else {
        panic!("{second:?}");
    };
    assert_eq!((acknowledged, found), (Epoch(5), Epoch(1)));
    assert_eq!(scratch.content(), [pair("a", 1)]);
}

fn is_rewound(outcome: &Result<(), ConnectorError>) -> bool {
    matches!(
        outcome,
        Err(ConnectorError::Rewound {
            acknowledged: Epoch(2),
            found: Epoch(1),
            ..
        })
    )
}

/// As a restored backup does, or a replica that takes over before it has heard of the last start.
#[test]
fn a_database_from_before_this_start_is_not_one_that_another_process_took_over() {
    let Some(mut scratch) = Scratch::new("restored") else {
        return;
    };
    let begin = |scratch: &mut Scratch| {
        scratch.execute("delete from tidemark_marks; insert into tidemark_marks select * from old");
        let mut sink = scratch.open("p", counts(&[0]));
        sink.take_over(8).unwrap();
        sink.publish(&mark(2), &[upserts(&["a"], &[2])]).unwrap();
        sink
    };
    let mut before = scratch.open("p", counts(&[0]));
    before.take_over(7).unwrap();
    before.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();
    scratch.execute("create table old as select * from tidemark_marks");
    let change = [upserts(&["a"], &[3])];
    let restore = "delete from tidemark_marks; insert into tidemark_marks select * from old";

    let mut connected = begin(&mut scratch);
    let mut flushing = begin(&mut scratch);
    let mut lost = begin(&mut scratch);
    let pid = backend(&mut lost);
    scratch.terminate(pid);
    assert!(is_transient(&lost.publish(&mark(3), &change)));
    scratch.execute(restore);

    assert!(is_rewound(&connected.publish(&mark(3), &change)));
    assert!(is_rewound(&flushing.make_durable()));
    assert!(is_rewound(&lost.publish(&mark(3), &change)));

    // Who begins afresh counts from 1, and is no older state.
    let mut older = begin(&mut scratch);
    let mut fresh = scratch.open("p", counts(&[0]));
    fresh.empty().unwrap();
    assert!(is_transient(&older.publish(&mark(3), &change)));
    fresh.take_over(9).unwrap();
    assert!(is_fenced(&older.publish(&mark(3), &change)));
    let born = Mark { life: 1, ..mark(1) };
    fresh.publish(&born, &[]).unwrap();
    assert!(is_fenced(&older.publish(&mark(3), &change)));
}

#[test]
fn a_database_whose_marks_are_gone_is_waited_for() {
    let Some(mut scratch) = Scratch::new("dropped") else {
        return;
    };
    let mut sink = scratch.open("p", counts(&[0]));
    sink.take_over(7).unwrap();
    sink.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();
    let change = [upserts(&["a"], &[2])];

    scratch.execute("alter table tidemark_marks rename to away");
    let connected = sink.publish(&mark(2), &change);
    let again = sink.publish(&mark(2), &change);
    scratch.execute("alter table away rename to tidemark_marks");
    sink.publish(&mark(2), &change).unwrap();

    assert!(is_transient(&connected), "{connected:?}");
    assert!(is_transient(&again), "{again:?}");
    assert_eq!(scratch.content(), [pair("a", 2)]);
}

/// What an address names may for a while be a server that has not become the primary yet.
#[test]
fn a_start_that_meets_a_standby_waits() {
    let Some(scratch) = Scratch::new("standby") else {
        return;
    };
    let mut sink = scratch.open("p", counts(&[0]));
    let mut found = sink.connect().unwrap();
    found.standby = true;
    *sink.looked.get_mut().unwrap() = Some(found);

    let outcome = sink.take_over(7);

    assert!(
        matches!(&outcome, Err(ConnectorError::Away { message, .. }) if message.contains("is a standby")),
        "{outcome:?}"
    );
    sink.take_over(7).unwrap();
}

/// Rows that go by COPY, which carries no types.
fn many(first: i64) -> TableChanges {
    let views: Vec<i64> = (first..first + 3000).collect();
    upserts(&vec!["a"; views.len()], &views)
}

#[test]
fn rows_for_a_table_that_is_altered_meanwhile_are_made_for_what_it_is_then() {
    let Some(mut scratch) = Scratch::new("widened") else {
        return;
    };
    let mut sink = scratch.open("p", counts(&[]));
    sink.take_over(7).unwrap();
    sink.publish(&mark(1), &[many(0)]).unwrap();
    scratch.execute("alter table counts alter page type varchar(10)");

    let first = sink.publish(&mark(2), &[many(3000)]);
    sink.publish(&mark(2), &[many(3000)]).unwrap();

    assert!(is_transient(&first), "{first:?}");
    let sum = "select count(*) || ' ' || sum(views) from counts";
    assert_eq!(scratch.text(sum), "6000 17997000");
}

#[test]
fn rows_are_not_written_to_a_table_that_is_altered_into_one_that_does_not_hold_them() {
    let Some(mut scratch) = Scratch::new("altered") else {
        return;
    };
    let mut sink = scratch.open("p", counts(&[]));
    sink.take_over(7).unwrap();
    sink.publish(&mark(1), &[many(0)]).unwrap();
    // Of the same width.
    scratch.execute("alter table counts alter views type double precision");

    let (message, hint) = refusal(sink.publish(&mark(2), &[many(3000)]));

    assert_eq!(
        message,
        "table `unit_altered.counts` has column `views` as double precision, but bigint is needed"
    );
    assert_eq!(scratch.text("select max(views)::text from counts"), "2999");
    // What it says mends it.
    scratch.execute(&hint);
    sink.publish(&mark(2), &[many(3000)]).unwrap();
    assert_eq!(scratch.text("select max(views)::text from counts"), "5999");
}

#[test]
fn what_is_durable_has_been_flushed() {
    let Some(mut scratch) = Scratch::new("durable") else {
        return;
    };
    let mut sink = scratch.open("p", counts(&[]));
    sink.take_over(7).unwrap();
    sink.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();
    sink.publish(&mark(2), &[upserts(&["b"], &[1])]).unwrap();
    let before = scratch.text("select pg_current_wal_insert_lsn()::text");

    sink.make_durable().unwrap();

    let flushed = format!("select (pg_current_wal_flush_lsn() >= '{before}')::text");
    assert_eq!(scratch.text(&flushed), "true");
    // Also over a new connection.
    let pid = backend(&mut sink);
    scratch.terminate(pid);
    assert!(is_transient(&sink.make_durable()));
    sink.make_durable().unwrap();
    sink.publish(&mark(3), &[upserts(&["c"], &[1])]).unwrap();
    assert_eq!(scratch.content().len(), 3);
}

#[test]
fn a_lock_that_is_not_given_is_waited_for_and_the_connection_kept() {
    let Some(mut scratch) = Scratch::new("locked") else {
        return;
    };
    let mut sink = scratch.open("p", counts(&[0]));
    sink.take_over(7).unwrap();
    let pid = backend(&mut sink);
    scratch.execute("begin; lock table counts");

    let first = sink.publish(&mark(1), &[upserts(&["a"], &[1])]);
    scratch.execute("rollback");
    sink.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();

    assert!(is_transient(&first), "{first:?}");
    assert_eq!(backend(&mut sink), pid);
    assert_eq!(scratch.content(), [pair("a", 1)]);
}

#[test]
fn a_value_that_the_server_refuses_is_named_by_its_key_and_nothing_of_the_epoch_is_there() {
    let Some(mut scratch) = Scratch::new("check") else {
        return;
    };
    let mut sink = scratch.open_all("p", vec![counts(&[0]), other(&[])]);
    sink.take_over(7).unwrap();
    scratch.execute("alter table counts add constraint small check (views < 1000)");
    let pages: Vec<String> = (0..3000).map(|n| format!("p{n}")).collect();
    let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
    let mut views = vec![1; 3000];
    views[1234] = 1000;
    let second = TableChanges {
        table: 1,
        ..upserts(&["x"], &[1])
    };

    let (message, _) = refusal(sink.publish(&mark(1), &[second, upserts(&pages, &views)]));

    assert_eq!(
        message,
        "table `unit_check.counts` refuses a value in the row with page = p1234: new row for \
         relation \"counts\" violates check constraint \"small\" (Failing row contains (p1234, 1000))"
    );
    assert_eq!(scratch.pairs("select page, views from other"), []);
    views[1234] = 1;
    sink.publish(&mark(1), &[upserts(&pages, &views)]).unwrap();
    assert_eq!(scratch.content().len(), 3000);
}

/// A large epoch comes in several parts.
#[test]
fn a_value_that_is_refused_is_named_whichever_part_of_its_epoch_it_is_in() {
    let Some(mut scratch) = Scratch::new("parts") else {
        return;
    };
    let mut sink = scratch.open("p", counts(&[0]));
    sink.take_over(7).unwrap();
    scratch.execute("alter table counts add constraint small check (views < 1000)");

    let parts = [
        upserts(&["a", "b"], &[1, 2]),
        upserts(&["c", "d"], &[3, 4]),
        upserts(&["e", "f"], &[5, 1000]),
    ];
    let (message, _) = refusal(sink.publish(&mark(1), &parts));

    let named = "table `unit_parts.counts` refuses a value in the row with page = f: ";
    assert!(message.starts_with(named), "{message}");
}

#[test]
fn a_violation_that_shows_at_the_commit_ends_the_run() {
    let Some(mut scratch) = Scratch::new("deferred") else {
        return;
    };
    scratch.execute("create table parents (page text primary key)");
    let mut sink = scratch.open("p", counts(&[0]));
    sink.take_over(7).unwrap();
    scratch.execute(
        "alter table counts add foreign key (page) references parents deferrable initially deferred",
    );

    let outcome = sink.publish(&mark(1), &[upserts(&["a"], &[1])]);

    let Err(ConnectorError::Permanent { message, .. }) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(
        message.contains("Key (page)=(a) is not present"),
        "{message}"
    );
    assert_eq!(scratch.content(), []);
}

#[test]
fn a_reader_sees_both_tables_of_an_epoch_or_neither() {
    let Some(mut scratch) = Scratch::new("cut") else {
        return;
    };
    let mut sink = scratch.open_all("p", vec![counts(&[0]), other(&[0])]);
    sink.take_over(7).unwrap();
    let url = scratch.address();
    let torn = std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(1);
        let mut reader = Client::connect(&scratch.url, NoTls).unwrap();
        let path = format!("set search_path = {}", scratch.schema);
        let reading = std::thread::Builder::new()
            .spawn_scoped(scope, move || {
                reader.batch_execute(&path).unwrap();
                let sql = "select coalesce((select max(views) from counts), 0)
                           <> coalesce((select max(views) from other), 0)";
                let mut torn = 0;
                while stopped.try_recv().is_err() {
                    torn += usize::from(reader.query_one(sql, &[]).unwrap().get::<_, bool>(0));
                }
                torn
            })
            .unwrap();
        for epoch in 1..200 {
            let views = i64::try_from(epoch).unwrap();
            let second = TableChanges {
                table: 1,
                ..upserts(&["a"], &[views])
            };
            sink.publish(&mark(epoch), &[upserts(&["a"], &[views]), second])
                .unwrap();
        }
        stop.send(()).unwrap();
        reading.join().unwrap()
    });

    assert_eq!(torn, 0, "{url}");
    assert_eq!(scratch.content(), [pair("a", 199)]);
}
