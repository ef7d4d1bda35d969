//! What is said about options that are wrong.

use arrow::datatypes::DataType;

use super::validate;
use crate::connector::fixtures::table;
use crate::plan::Role;

const COLUMNS: &[(&str, DataType)] = &[("page", DataType::Utf8), ("views", DataType::Int64)];

/// Every problem on a line: its line in the file, what is wrong, what to type.
fn problems(role: Role, options: &[(&str, &str)]) -> String {
    let lines = validate(&table(role, COLUMNS, options));
    let line = |problem: &super::OptionProblem| {
        let hint = problem
            .hint
            .as_ref()
            .map_or(String::new(), |hint| format!(" ({hint})"));
        format!("{}: {}{hint}", problem.place.line, problem.message)
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_table_with_the_options_of_its_connector_and_format_is_fine() {
    let file = [
        ("connector", "file"),
        ("path", "x"),
        ("format", "csv"),
        ("csv.header", "false"),
    ];

    assert_eq!(problems(Role::Source, &file), "");
    assert_eq!(problems(Role::Reference, &file), "");
    assert_eq!(
        problems(Role::Sink, &[("connector", "sqlite"), ("path", "x.db")]),
        ""
    );
    assert_eq!(problems(Role::Source, &[("connector", "generator")]), "");
}

#[test]
fn an_unknown_connector_suggests_the_nearest_name() {
    assert_eq!(
        problems(Role::Sink, &[("connector", "sqlight")]),
        "1: unknown connector `sqlight` (did you mean `sqlite`?)"
    );
}

#[test]
fn an_unknown_option_suggests_the_nearest_name_which_is_not_missing_then() {
    assert_eq!(
        problems(
            Role::Source,
            &[
                ("connector", "file"),
                ("paht", "x"),
                ("format", "csv"),
                ("csv.delimeter", ";")
            ]
        ),
        "3: unknown option `paht` for connector `file` (did you mean `path`?)\n\
         5: unknown option `csv.delimeter` for connector `file` (did you mean `csv.delimiter`?)"
    );
}

#[test]
fn an_option_of_several_formats_is_listed_once() {
    let said = problems(
        Role::Source,
        &[
            ("connector", "file"),
            ("path", "x"),
            ("zzzzzzzzzzzzzzzz", "1"),
        ],
    );

    assert_eq!(said.matches("timestamp.format").count(), 1, "{said}");
}

#[test]
fn a_table_that_is_read_again_takes_no_files_as_they_come() {
    let watched = [
        ("connector", "file"),
        ("path", "x"),
        ("format", "json"),
        ("watch", "true"),
    ];
    assert_eq!(problems(Role::Source, &watched), "");

    let both = [&watched[..], &[("reload.interval", "30s")]].concat();
    assert!(
        problems(Role::Source, &both)
            .contains("5: `t` is read again whole, with the files that are there then")
    );
}

#[test]
fn columns_are_read_from_files_alone_and_not_while_they_come() {
    let watched = [
        ("connector", "file"),
        ("path", "x"),
        ("format", "parquet"),
        ("watch", "true"),
    ];
    assert_eq!(problems(Role::Source, &watched[..3]), "");
    assert_eq!(
        problems(Role::Source, &watched),
        "5: a folder is watched for CSV or JSON lines, not for Parquet"
    );
    assert_eq!(
        problems(Role::Sink, &watched[..3]),
        "4: format `parquet` is read from files, and from nowhere else (there is json, csv)"
    );
}

#[test]
fn a_table_without_a_connector_says_what_to_add() {
    assert!(problems(Role::Sink, &[]).starts_with(
        "1: table `t` has no connector (add WITH (connector = '..'); there is `file`"
    ));
}

#[test]
fn a_connector_on_the_wrong_side_says_which_fit() {
    assert_eq!(
        problems(Role::Source, &[("connector", "discard")]),
        "1: cannot read from `t`: connector `discard` is only written to (possible here: `file`, `generator`, `kafka`, `nexmark`, `postgres`)"
    );
    assert!(
        problems(Role::Sink, &[("connector", "generator")]).starts_with("1: cannot write to `t`")
    );
}

#[test]
fn an_unknown_format_suggests_the_nearest_name() {
    assert_eq!(
        problems(
            Role::Source,
            &[("connector", "file"), ("path", "x"), ("format", "jsn")]
        ),
        "4: unknown format `jsn` (did you mean `json`?)"
    );
    assert_eq!(
        problems(Role::Source, &[("connector", "file"), ("path", "x")]),
        "1: table `t` needs the option `format` (add format = '..': json or csv or parquet)"
    );
}

#[test]
fn a_bad_value_says_what_it_must_be() {
    assert_eq!(
        problems(
            Role::Source,
            &[("connector", "generator"), ("rows", "many"), ("rate", "-1")]
        ),
        "3: option `rows` is `many`, but must be a whole number\n\
         4: option `rate` is `-1`, but must be a number above 0"
    );
    assert_eq!(
        problems(
            Role::Source,
            &[
                ("connector", "file"),
                ("path", "x"),
                ("format", "csv"),
                ("csv.header", "maybe")
            ]
        ),
        "5: option `csv.header` is `maybe`, but must be `true` or `false`"
    );
}

#[test]
fn a_field_option_names_its_column_and_its_property() {
    assert_eq!(
        problems(
            Role::Source,
            &[
                ("connector", "generator"),
                ("fields.page.kind", "choice"),
                ("fields.pgae.kind", "choice"),
                ("fields.views.kid", "zipf"),
            ]
        ),
        "4: table `t` has no column `pgae` (did you mean `fields.page.kind`?)\n\
         5: unknown property `kid` of field `views` (did you mean `fields.views.kind`?)"
    );
}

#[test]
fn a_field_option_that_does_not_fit_its_column_is_found_before_it_runs() {
    assert_eq!(
        problems(
            Role::Source,
            &[("connector", "generator"), ("fields.views.values", "1,two")]
        ),
        "3: `1,two` are not all values of type Int64"
    );
}

#[test]
fn made_up_rows_to_look_up_in_must_end() {
    let rows = [("connector", "generator"), ("rows", "5")];

    assert_eq!(problems(Role::Reference, &rows), "");
    assert_eq!(
        problems(Role::Reference, &rows[..1]),
        "1: a table that is looked up in must have an end: give `rows`"
    );
}

#[test]
fn an_option_of_another_format_says_which() {
    let json = [
        ("connector", "file"),
        ("path", "x"),
        ("format", "json"),
        ("csv.header", "false"),
    ];

    assert_eq!(
        problems(Role::Source, &json),
        "5: option `csv.header` is for the format `csv` (leave it out, or say format = 'csv')"
    );
}
