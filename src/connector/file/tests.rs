//! Blocks reassemble to the file they were cut from, whatever its bytes and wherever one starts.

use std::io::{Read, Write};
use std::path::Path;

use arrow::datatypes::DataType;
use proptest::prelude::*;
use tempfile::TempDir;

use super::cut::Cutter;
use super::find::find;
use crate::connector::fixtures::table;
use crate::connector::{ConnectorError, SharedSource, open_source};
use crate::format::{Block, Framing, RecordEnds, value_text};
use crate::plan::Role;
use crate::types::{Clock, Offset, Reason};

const CSV: Framing = Framing::QuotedLines {
    quote: b'"',
    delimiter: b',',
};

/// Yields its bytes in bits of one to three.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = (self.0.len() % 3 + 1).min(buffer.len()).min(self.0.len());
        buffer[..len].copy_from_slice(&self.0[..len]);
        self.0 = &self.0[len..];
        Ok(len)
    }
}

/// Every block from `from` on, with a limit of 4 bytes on records: so 64 to look ahead.
fn cut(bytes: &[u8], framing: Framing, from: u64) -> Vec<Block> {
    let mut cutter = Cutter::new(Trickle(bytes), framing, 4).with_block_bytes(16);
    cutter.skip_to(Offset(from)).unwrap();
    std::iter::from_fn(|| cutter.next().unwrap()).collect()
}

/// What a decoder sees: every record's position and bytes, split as decoders do.
fn records(blocks: &[Block], framing: Framing) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    for block in blocks {
        let (mut ends, mut from) = (RecordEnds::new(framing), 0);
        while from < block.bytes.len() {
            let rest = &block.bytes[from..];
            let len = ends.scan_one(rest).unwrap_or(rest.len());
            found.push((block.start.0 + from as u64, rest[..len].to_vec()));
            from += len;
        }
    }
    found
}

fn texts(blocks: &[Block]) -> Vec<String> {
    let text = |block: &Block| String::from_utf8(block.bytes.to_vec()).unwrap();
    blocks.iter().map(text).collect()
}

proptest! {
    #[test]
    fn blocks_from_any_record_on_hold_the_same_records(
        text in "[ab,\"\n]{0,200}", quoted: bool,
    ) {
        let framing = if quoted { CSV } else { Framing::Lines };
        let whole = records(&cut(text.as_bytes(), framing, 0), framing);

        for (index, &(from, _)) in whole.iter().enumerate() {
            let blocks = cut(text.as_bytes(), framing, from);
            prop_assert_eq!(&records(&blocks, framing)[..], &whole[index..]);
        }
    }

    #[test]
    fn blocks_follow_one_another_and_know_their_line(text in "[a,\"\n]{0,200}", quoted: bool) {
        let framing = if quoted { CSV } else { Framing::Lines };
        let mut position = 0;

        for block in cut(text.as_bytes(), framing, 0) {
            prop_assert_eq!(block.start.0, position);
            let (start, end) = (usize::try_from(position).unwrap(), usize::try_from(block.end.0).unwrap());
            prop_assert!(text.as_bytes()[start..end].starts_with(&block.bytes));
            let line = 1 + text.as_bytes()[..start].iter().filter(|&&b| b == b'\n').count();
            prop_assert_eq!(block.line, line as u64);
            position = block.end.0;
        }
        prop_assert_eq!(position, text.len() as u64);
    }
}

#[test]
fn a_block_ends_at_the_last_record_end_within_its_size() {
    let blocks = cut(b"aaaa\nbbbb\ncccc\ndddd\neeee", Framing::Lines, 0);

    assert_eq!(texts(&blocks), ["aaaa\nbbbb\ncccc\n", "dddd\neeee"]);
}

#[test]
fn a_record_larger_than_a_block_makes_the_block_larger() {
    let long = "x".repeat(40);
    let text = format!("a\n{long}\nb\n");

    let blocks = cut(text.as_bytes(), Framing::Lines, 0);

    assert_eq!(texts(&blocks), ["a\n".to_owned(), format!("{long}\nb\n")]);
}

#[test]
fn a_line_past_the_look_ahead_passes_on_its_head_and_is_skipped() {
    let text = format!("a\n{}\nb\n", "x".repeat(1000));

    let blocks = cut(text.as_bytes(), Framing::Lines, 0);

    assert_eq!(texts(&blocks), ["a\n", "xxxxx", "b\n"]);
    assert_eq!((blocks[1].start, blocks[1].end), (Offset(2), Offset(1003)));
    assert_eq!(blocks[2].line, 3);
}

#[test]
fn a_quote_that_does_not_close_costs_one_line() {
    let tail = "c,d\n".repeat(50);
    let text = format!("a,b\n\"oops\n{tail}");

    let blocks = cut(text.as_bytes(), CSV, 0);

    assert_eq!(texts(&blocks)[..2], ["a,b\n", "\"oops\n"]);
    let rest: String = texts(&blocks)[2..].concat();
    assert_eq!(rest, tail);
}

#[test]
fn a_quote_that_does_not_close_before_the_end_of_the_file_costs_one_line() {
    let blocks = cut(b"a,b\n\"oops\nc,d", CSV, 0);

    assert_eq!(texts(&blocks), ["a,b\n", "\"oops\n", "c,d"]);
}

#[test]
fn line_ends_in_quotes_stay_in_their_record() {
    let blocks = cut(b"1,\"a\nb\"\n2,\"c\nd\"\n3,\"e\nf\"\n", CSV, 0);

    assert_eq!(texts(&blocks), ["1,\"a\nb\"\n2,\"c\nd\"\n", "3,\"e\nf\"\n"]);
    assert_eq!(blocks[1].line, 5);
}

fn names(pattern: &str, base: &Path) -> Vec<String> {
    find(pattern, base)
        .unwrap()
        .into_iter()
        .map(|found| found.name)
        .collect()
}

fn folder_with(names: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in names {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x\n").unwrap();
    }
    folder
}

#[test]
fn a_file_a_folder_and_a_pattern_are_found_sorted_by_name() {
    let folder = folder_with(&[
        "in/b.json",
        "in/a.json",
        "in/a.csv",
        "in/.hidden",
        "in/_SUCCESS",
        "in/deep/c.json",
    ]);
    let base = folder.path();

    assert_eq!(names("in/b.json", base), ["in/b.json"]);
    assert_eq!(names("in/*.json", base), ["in/a.json", "in/b.json"]);
    assert_eq!(names("in", base), ["in/a.csv", "in/a.json", "in/b.json"]);
    assert_eq!(
        names("in/**/*.json", base),
        ["in/a.json", "in/b.json", "in/deep/c.json"]
    );
}

#[test]
fn a_file_with_brackets_in_its_name_is_found_as_itself() {
    let folder = folder_with(&["day[1].csv"]);

    assert_eq!(names("day[1].csv", folder.path()), ["day[1].csv"]);
}

#[test]
fn a_pattern_that_matches_nothing_is_an_error_with_a_hint() {
    let folder = folder_with(&["a.csv"]);

    let Err(ConnectorError::Permanent { message, hint }) = find("*.json", folder.path()) else {
        panic!("found something");
    };

    assert_eq!(message, "no file matches `*.json`");
    assert!(
        hint.unwrap()
            .contains("`path` may be a file, a folder or a pattern")
    );
}

#[test]
fn what_a_pattern_finds_is_known_before_it_is_there() {
    let folder = folder_with(&["in/a.json"]);
    let reads = |pattern: &str, written: &str| {
        let columns = [("n", DataType::Int64)];
        let table = |role, path| table(role, &columns, &[("connector", "file"), ("path", path)]);
        let (source, sink) = (table(Role::Source, pattern), table(Role::Sink, written));
        super::find::reads(&source, &sink, folder.path())
    };

    for pattern in [
        "in/b.json",
        "in",
        "in/*.json",
        "./in/?.json",
        "in/../in/b.json",
    ] {
        assert!(reads(pattern, "in/b.json"), "{pattern}");
    }
    assert!(reads("later/*.json", "./later/b.json"));
    assert!(reads("later/**/*.json", "later/deep/b.json"));
    for pattern in ["in/a.json", "in/*.csv", "*.json", "later", "in/deep"] {
        assert!(!reads(pattern, "in/b.json"), "{pattern}");
    }
    assert!(!reads("in", "in/_b.json"));
}

fn open(folder: &TempDir, options: &[(&str, &str)]) -> Result<SharedSource, ConnectorError> {
    let columns = [("page", DataType::Utf8), ("views", DataType::Int64)];
    let mut all = vec![("connector", "file")];
    all.extend(options);
    open_source(
        &table(Role::Source, &columns, &all),
        &[0, 1],
        folder.path(),
        &Clock::manual(),
    )
}

/// Every row of a partition from `from` on, with its offset.
fn rows(source: &SharedSource, index: usize, from: u64) -> Vec<String> {
    let mut reader = source.open(index, Offset(from)).unwrap();
    let mut decoder = source.decoder();
    let mut found = Vec::new();
    while let Some(block) = reader.next().unwrap() {
        let decoded = decoder.decode(&block);
        assert_eq!(decoded.rejects, []);
        for (row, span) in decoded.spans.iter().enumerate() {
            let values: Vec<String> = decoded
                .rows
                .columns()
                .iter()
                .map(|c| value_text(c, row).unwrap_or_default())
                .collect();
            found.push(format!(
                "{}@{}",
                values.join(" "),
                block.start.plus(span.start)
            ));
        }
    }
    found
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A mark calls a file by its name: two that are not text could look the same there.
#[test]
fn a_name_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let folder = TempDir::new().unwrap();
    let name = std::ffi::OsStr::from_bytes(b"a\xff.csv");
    std::fs::write(folder.path().join(name), "1").unwrap();

    let Err(ConnectorError::Permanent { message, .. }) = super::find::find(".", folder.path())
    else {
        panic!("it was taken");
    };

    assert!(message.ends_with("is not UTF-8"), "{message}");
}

#[test]
fn packed_files_have_the_rows_and_offsets_of_plain_ones() {
    let text = b"views,page\n1,a\n2,b\n3,c\n";
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("plain.csv"), text).unwrap();
    std::fs::write(
        folder.path().join("two.csv.gz"),
        [gzip(&text[..15]), gzip(&text[15..])].concat(),
    )
    .unwrap();
    std::fs::write(
        folder.path().join("z.csv.zst"),
        zstd::encode_all(&text[..], 0).unwrap(),
    )
    .unwrap();

    let source = open(&folder, &[("path", "*"), ("format", "csv")]).unwrap();

    let names: Vec<&str> = source
        .partitions()
        .iter()
        .map(|p| p.name.as_str())
        .collect();
    assert_eq!(names, ["plain.csv", "two.csv.gz", "z.csv.zst"]);
    for index in 0..3 {
        assert_eq!(rows(&source, index, 0), ["a 1@11", "b 2@15", "c 3@19"]);
        assert_eq!(rows(&source, index, 15), ["b 2@15", "c 3@19"]);
        assert_eq!(rows(&source, index, 23), Vec::<String>::new());
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_name() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("a.csv"), "\u{feff}page,views\na,1\n").unwrap();

    let source = open(&folder, &[("path", "a.csv"), ("format", "csv")]).unwrap();

    assert_eq!(rows(&source, 0, 0), ["a 1@14"]);
}

#[test]
fn a_file_without_a_declared_column_is_refused() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("a.csv"), "page,clicks\na,1\n").unwrap();

    let Err(ConnectorError::Permanent { message, .. }) =
        open(&folder, &[("path", "a.csv"), ("format", "csv")])
    else {
        panic!("opened");
    };

    assert_eq!(
        message,
        "`a.csv` does not have the declared columns: column `views` is not in the header line (page, clicks)"
    );
}

#[test]
fn an_identity_changes_with_any_byte_and_not_with_the_name() {
    let folder = TempDir::new().unwrap();
    let identity = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        open(&folder, &[("path", name), ("format", "json")])
            .unwrap()
            .partitions()[0]
            .identity
            .clone()
            .unwrap()
    };

    assert_eq!(identity("a", "{}\n"), identity("b", "{}\n"));
    assert_ne!(identity("a", "{}\n"), identity("a", "{}\r"));
}

#[test]
fn what_is_appended_while_it_is_read_belongs_to_no_partition() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, "page,views\na,1\n").unwrap();
    let source = open(&folder, &[("path", "a.csv"), ("format", "csv")]).unwrap();

    std::fs::write(&path, "page,views\na,1\nb,2\n").unwrap();

    assert_eq!(rows(&source, 0, 0), ["a 1@11"]);
}

#[test]
fn a_file_that_cannot_be_unpacked_names_itself() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("a.json.gz"), "not gzip").unwrap();

    let Err(ConnectorError::Permanent { message, .. }) =
        open(&folder, &[("path", "a.json.gz"), ("format", "json")])
    else {
        panic!("opened");
    };

    assert!(
        message.starts_with("cannot read `a.json.gz`: "),
        "{message}"
    );
}

/// How many rows, and why the others are none.
fn outcomes(source: &SharedSource) -> (usize, Vec<Reason>) {
    let (mut reader, mut decoder) = (source.open(0, Offset(0)).unwrap(), source.decoder());
    let (mut rows, mut reasons) = (0, Vec::new());
    while let Some(block) = reader.next().unwrap() {
        let decoded = decoder.decode(&block);
        rows += decoded.rows.num_rows();
        reasons.extend(decoded.rejects.iter().map(|reject| reject.reject.reason));
    }
    (rows, reasons)
}

#[test]
fn a_record_past_every_limit_is_one_reject() {
    let folder = TempDir::new().unwrap();
    let long = "x".repeat(3 << 20);
    let text = format!("{{\"page\": \"a\"}}\n{{\"page\": \"{long}\"}}\n{{\"page\": \"b\"}}\n");
    std::fs::write(folder.path().join("a.json"), text).unwrap();

    let options = [
        ("path", "a.json"),
        ("format", "json"),
        ("max.record.bytes", "64KiB"),
    ];
    let source = open(&folder, &options).unwrap();

    assert_eq!(outcomes(&source), (2, vec![Reason::TooLong]));
}

#[test]
fn a_stray_quote_in_a_file_is_one_reject() {
    let folder = TempDir::new().unwrap();
    let text = format!("page,views\na,1\n\"b,2\n{}", "c,3\n".repeat(1000));
    std::fs::write(folder.path().join("a.csv"), text).unwrap();

    let source = open(&folder, &[("path", "a.csv"), ("format", "csv")]).unwrap();

    assert_eq!(outcomes(&source), (1001, vec![Reason::Malformed]));
}

/// Between the look at all files and the turn of one there may be hours.
#[test]
fn a_file_that_becomes_another_before_its_turn_or_in_it_is_an_error() {
    for (name, bytes) in [
        ("a.csv", b"views,page\n1,a\n2,b\n".to_vec()),
        ("a.csv.gz", gzip(b"views,page\n1,a\n2,b\n")),
    ] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join(name);
        let write = |bytes: &[u8]| std::fs::write(&path, bytes).unwrap();
        write(&bytes);
        let source = open(&folder, &[("path", name), ("format", "csv")]).unwrap();

        // It grows, and is written once more: what was there is there.
        write(&[&bytes[..], b"3,c\n"].concat());
        assert_eq!(rows(&source, 0, 0).len(), 2);
        write(&bytes);
        let mut reader = source.open(0, Offset(0)).unwrap();
        assert!(reader.next().unwrap().is_some());

        write(b"views,page\n7,a\n");
        let in_its_turn = reader.next().map(|_| ());
        let before = source.open(0, Offset(0)).map(|_| ());
        for refused in [in_its_turn, before] {
            let message = refused.unwrap_err().to_string();
            assert_eq!(
                message,
                format!("`{name}` has changed since this run began")
            );
        }
    }
}
