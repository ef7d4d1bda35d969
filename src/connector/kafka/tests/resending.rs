//! Letters that are sent again while they are read, however long that takes.

use std::ops::ControlFlow;

use arrow::datatypes::DataType;

use super::kit::{Topic, record, unique};
use crate::connector::fixtures;
use crate::connector::kafka::{ResendJob, resend};
use crate::connector::letters::{KeptLetter, LetterFilter};
use crate::plan::{Role, Table};

const COLUMNS: [(&str, DataType); 6] = [
    ("kind", DataType::Utf8),
    ("reason", DataType::Utf8),
    ("partition", DataType::Utf8),
    ("offset", DataType::Int64),
    ("insert_into", DataType::Utf8),
    ("payload", DataType::Binary),
];

fn letter(offset: u64) -> KeptLetter {
    because(offset, Some("malformed"))
}

fn because(offset: u64, reason: Option<&str>) -> KeptLetter {
    let mut letter = KeptLetter::default();
    letter.payload = Some(format!("record {offset}").into_bytes());
    letter.set("kind", Some("rejected".to_owned()));
    letter.set("reason", reason.map(str::to_owned));
    letter.set("partition", Some("0".to_owned()));
    letter.set("offset", Some(offset.to_string()));
    letter
}

fn job<'a>(
    pipeline: &'a str,
    (letters, source): (&'a Table, &'a Table),
    filter: &'a LetterFilter,
    limit: Option<u64>,
) -> ResendJob<'a> {
    ResendJob {
        pipeline,
        letters,
        source,
        filter,
        counted_too: false,
        limit,
        dry: false,
    }
}

/// The cluster drops a transaction that is open for long, and readers wait for it.
#[test]
fn no_transaction_is_open_while_letters_are_looked_for() {
    let Some(topic) = Topic::new("resend_slow", 1) else {
        return;
    };
    let (letters, source) = (
        fixtures::table(Role::Sink, &COLUMNS, &[("connector", "sqlite")]),
        topic.table(&[], &[]),
    );
    let (pipeline, filter) = (unique(), LetterFilter::default());
    let job = job(&pipeline, (&letters, &source), &filter, None);

    let resent = resend(&job, |each| {
        assert!(each(letter(1))?.is_continue());
        topic.write(&[record(0, "of another")]);
        assert_eq!(topic.committed().len(), 1, "it waits for a transaction");
        assert_eq!(each(letter(2))?, ControlFlow::Continue(()));
        Ok(())
    });

    assert_eq!(resent.unwrap().sent, 2);
    let values: Vec<Option<String>> = topic.committed().into_iter().map(|it| it.1).collect();
    let expected = ["of another", "record 1", "record 2"];
    assert_eq!(values, expected.map(|value| Some(value.to_owned())));
}

#[test]
fn nothing_more_is_read_once_there_are_enough() {
    let Some(topic) = Topic::new("resend_few", 1) else {
        return;
    };
    let (letters, source) = (
        fixtures::table(Role::Sink, &COLUMNS, &[("connector", "sqlite")]),
        topic.table(&[], &[]),
    );
    let (pipeline, filter) = (unique(), LetterFilter::default());
    let job = job(&pipeline, (&letters, &source), &filter, Some(1));

    for offset in [1, 2] {
        let resent = resend(&job, |each| {
            for read in 1..=offset {
                let enough = each(letter(read))?.is_break();
                assert_eq!(enough, read == offset, "letter {read}");
            }
            Ok(())
        });
        assert_eq!(resent.unwrap().sent, 1);
    }

    assert_eq!(topic.committed().len(), 2);
}

/// As where the column has been added to the table since.
#[test]
fn what_does_not_say_why_it_is_a_letter_may_be_cut_and_stays() {
    let Some(topic) = Topic::new("resend_why", 1) else {
        return;
    };
    let (letters, source) = (
        fixtures::table(Role::Sink, &COLUMNS, &[("connector", "sqlite")]),
        topic.table(&[], &[]),
    );
    let (pipeline, filter) = (unique(), LetterFilter::default());
    let job = job(&pipeline, (&letters, &source), &filter, None);

    let resent = resend(&job, |each| {
        for (offset, reason) in [(1, None), (2, Some("too_long")), (3, Some("check_failed"))] {
            assert!(each(because(offset, reason))?.is_continue());
        }
        Ok(())
    })
    .unwrap();

    assert_eq!((resent.sent, resent.cut, resent.incomplete), (1, 1, 1));
    let values: Vec<Option<String>> = topic.committed().into_iter().map(|it| it.1).collect();
    assert_eq!(values, [Some("record 3".to_owned())]);
}
