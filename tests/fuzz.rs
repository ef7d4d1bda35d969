//! Whatever stands in a pipeline file: it is planned, or refused with what is wrong and where.
//! `TIDEMARK_CASES` says how many files are tried. The decoders' twins of this are in
//! `format::tests`, beside what they break.

use proptest::prelude::*;
use proptest::sample::Index;
use tidemark::sql::{Given, SourceText, plan};

use crate::oracle;

/// What is done to a file, token by token.
#[derive(Clone, Debug)]
enum Edit {
    Remove(Index),
    Repeat(Index, Index),
    Insert(Index, String),
    Cut(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    const WORDS: &str = "SELECT FROM WHERE GROUP BY HAVING ORDER LIMIT DISTINCT ON AS JOIN LEFT FULL CROSS LATERAL \
        UNION ALL EXCEPT INTERSECT WITH RECURSIVE VALUES INSERT INTO CREATE TABLE VIEW MATERIALIZED SOURCE SINK SET \
        PRIMARY KEY CHECK NOT NULL UNIQUE DEFAULT REFERENCES WATERMARK FOR INTERVAL SECOND '1 minute' EMIT CHANGES \
        ON WINDOW CLOSE TUMBLE HOP CUMULATE SESSION window_start OVER PARTITION ROWS UNNEST CASE WHEN END CAST \
        count sum avg median FILTER WITHIN EXISTS IN ANY BETWEEN LIKE ARRAY STRUCT JSON -> ->> :: || ( ) , ; . * - \
        + / % = < > 0 1 -1 9223372036854775808 1e999 'x' '' \"k\" ${X} ${X:-1} /* */ -- \u{0} ü $$ NaN now() 1/0";
    let words: Vec<String> = WORDS.split_whitespace().map(str::to_owned).collect();
    let word = prop_oneof![
        6 => prop::sample::select(words),
        1 => any::<String>(),
    ];
    prop_oneof![
        any::<Index>().prop_map(Edit::Remove),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Edit::Repeat(from, to)),
        (any::<Index>(), word).prop_map(|(at, word)| Edit::Insert(at, word)),
        any::<Index>().prop_map(Edit::Cut),
    ]
}

/// A file that is right, with edits that mostly make it wrong.
fn edited(seed: u64, edits: &[Edit]) -> String {
    let text = oracle::pipeline(seed);
    let mut tokens: Vec<String> = text
        .split_inclusive([' ', '(', ')', ',', ';', '\n'])
        .map(str::to_owned)
        .collect();
    for edit in edits {
        if tokens.is_empty() {
            break;
        }
        match edit {
            Edit::Remove(at) => {
                tokens.remove(at.index(tokens.len()));
            }
            Edit::Repeat(from, to) => {
                let token = tokens[from.index(tokens.len())].clone();
                tokens.insert(to.index(tokens.len()), token);
            }
            Edit::Insert(at, word) => tokens.insert(at.index(tokens.len()), format!("{word} ")),
            // Rarely more than the end: what stands before is worth keeping.
            Edit::Cut(at) => tokens.truncate(tokens.len() - at.index(tokens.len()) / 4),
        }
    }
    tokens.concat()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases())
    })]

    #[test]
    fn any_file_is_planned_or_refused_with_a_place(
        seed in 0u64..50, edits in prop::collection::vec(edit(), 1..6),
    ) {
        let text = edited(seed, &edits);
        let file = SourceText { path: "fuzz.sql", text: &text };

        let planned = plan(&file, &Given::default());

        if let Err(refused) = planned {
            let problems = refused.problems;
            prop_assert!(!problems.is_empty(), "refused without a reason");
            for problem in &problems {
                prop_assert!(!problem.message.is_empty());
                prop_assert!(problem.render(&file).starts_with("error: "));
            }
        }
    }
}

fn cases() -> u32 {
    match std::env::var("TIDEMARK_CASES") {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|e| panic!("TIDEMARK_CASES={text}: {e}")),
        Err(_) => 64,
    }
}
