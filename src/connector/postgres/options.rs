//! From the options of declared tables to a destination.

use std::path::Path;
use std::time::Duration;

use super::address::{Address, Surroundings};
use super::destination::Postgres;
use super::marks::Lane;
use super::plan::Spec;
use super::session::Limits;
use crate::connector::ConnectorError;
use crate::connector::open::{SinkOrigin, required, sink_table};
use crate::connector::option::length;
use crate::plan::Table;

/// The name by which tables of one database are put together, and which messages say.
pub(super) fn database(table: &Table) -> String {
    match address_of(table) {
        Ok(address) => address.to_string(),
        // Opening says what is wrong; the URL may hold a password.
        Err(_) => format!("the database of `{}`", table.name),
    }
}

pub(super) fn address_of(table: &Table) -> Result<Address, ConnectorError> {
    let url = required(table, "url")?;
    let given: Vec<(&str, &str)> = ["sslmode", "sslrootcert"]
        .into_iter()
        .filter_map(|name| Some((name, table.option(name)?)))
        .collect();
    let surroundings = Surroundings {
        variable: &|name| std::env::var(name).ok(),
        file: &|path: &Path| std::fs::read_to_string(path).ok(),
        private: &is_private,
    };
    Address::parse(url, &given, &surroundings).map_err(|problem| {
        ConnectorError::hinted(
            format!("table `{}`: {problem}", table.name),
            "write url = 'postgres://user@host:5432/database', or '${DATABASE_URL}'",
        )
    })
}

#[cfg(unix)]
pub(super) fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // What belongs to the group and to others.
    std::fs::metadata(path).is_ok_and(|file| file.mode() & 0o077 == 0)
}

#[cfg(not(unix))]
pub(super) fn is_private(_: &Path) -> bool {
    true
}

pub(super) fn limits_of(table: &Table) -> Limits {
    let limit = |name, default| {
        let given = table.option(name).and_then(length);
        given.unwrap_or(Duration::from_secs(default))
    };
    Limits {
        statement: limit("statement.timeout", 60),
        lock: limit("lock.timeout", 10),
    }
}

impl Postgres {
    pub(in crate::connector) fn from_origin(
        origin: &SinkOrigin<'_>,
    ) -> Result<Self, ConnectorError> {
        let first = origin.tables.first().expect("a destination has a table");
        let (address, limits) = (address_of(first)?, limits_of(first));
        let mut specs: Vec<Spec> = Vec::new();
        for table in origin.tables.iter().chain(&origin.beside) {
            let own = address_of(table)?;
            let limits_differ = limits_of(table) != limits;
            let difference = address
                .difference(&own)
                .or(limits_differ.then_some("a timeout"));
            if let Some(difference) = difference {
                return Err(ConnectorError::hinted(
                    format!(
                        "`{}` and `{}` are in one database, but do not agree on {difference}",
                        first.name, table.name
                    ),
                    "give both the same `url` and the same options for the connection",
                ));
            }
            let fillfactor = fillfactor(table)?;
            let target = table.option("table").unwrap_or(&table.name);
            let spec = Spec::new(
                sink_table(table, target),
                table.option("indexes"),
                fillfactor,
            )?;
            refuse_twin(&specs, &spec)?;
            specs.push(spec);
        }
        let (beside, lane) = (specs.split_off(origin.tables.len()), lane_of(origin));
        Ok(Self::new(address, limits, origin.pipeline, specs).beside(beside, lane))
    }
}

fn lane_of(origin: &SinkOrigin<'_>) -> Option<Lane> {
    let sink = origin.tables[0].name.clone();
    origin.share.map(|share| Lane { sink, share })
}

fn fillfactor(table: &Table) -> Result<Option<u8>, ConnectorError> {
    let Some(text) = table.option("fillfactor") else {
        return Ok(None);
    };
    match text.parse() {
        Ok(percent @ 10..=100) => Ok(Some(percent)),
        _ => Err(ConnectorError::permanent(format!(
            "`fillfactor` of table `{}` is `{text}`, but must be from 10 to 100",
            table.name
        ))),
    }
}

/// Two tables of the pipeline must not be one there.
pub(super) fn refuse_twin(specs: &[Spec], spec: &Spec) -> Result<(), ConnectorError> {
    match specs.iter().find(|other| other.target == spec.target) {
        None => Ok(()),
        Some(twin) => Err(ConnectorError::hinted(
            format!(
                "`{}` and `{}` are the same table `{}`",
                twin.table.name, spec.table.name, spec.table.target
            ),
            "insert into one of them twice, or give one of them another `table`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use crate::connector::{ConnectorError, OpenDestination, fixtures, open_destinations};
    use crate::plan::{Role, Table};

    fn sink(name: &str, options: &[(&str, &str)]) -> Table {
        let options: Vec<(&str, &str)> = [("connector", "postgres")]
            .into_iter()
            .chain(options.iter().copied())
            .collect();
        let table = fixtures::table(Role::Sink, &[("n", DataType::Int64)], &options);
        Table {
            name: name.to_owned(),
            ..table
        }
    }

    fn open(tables: &[Table]) -> Result<Vec<OpenDestination>, ConnectorError> {
        let tables: Vec<&Table> = tables.iter().collect();
        open_destinations("p", &tables, std::path::Path::new("."))
    }

    fn refusal(tables: &[Table]) -> String {
        match open(tables) {
            Err(ConnectorError::Permanent { message, .. }) => message,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("opened"),
        }
    }

    const URL: &str = "postgres://u:secret@h/d";

    #[test]
    fn the_tables_of_one_database_are_one_destination_however_it_is_spelled() {
        let opened = open(&[
            sink("a", &[("url", URL)]),
            sink("b", &[("url", "postgresql://u:secret@h:5432/d")]),
            sink("c", &[("url", "host=h user=u password=secret dbname=d")]),
            sink("d", &[("url", "postgres://u:secret@h/other")]),
        ])
        .unwrap();

        let names: Vec<&str> = opened.iter().map(|open| open.name.as_str()).collect();
        assert_eq!(
            names,
            ["postgres://u@h:5432/d", "postgres://u@h:5432/other"]
        );
        assert_eq!(opened[0].tables, [0, 1, 2]);
    }

    #[test]
    fn tables_of_one_database_agree_on_its_connection() {
        let a = || sink("a", &[("url", URL)]);
        for (options, expected) in [
            (
                vec![("url", URL), ("sslmode", "require")],
                "`a` and `b` are in one database, but do not agree on sslmode",
            ),
            (
                vec![("url", "postgres://u:other@h/d")],
                "`a` and `b` are in one database, but do not agree on password",
            ),
            (
                vec![("url", URL), ("lock.timeout", "1s")],
                "`a` and `b` are in one database, but do not agree on a timeout",
            ),
            (
                vec![("url", URL), ("table", "a")],
                "`a` and `b` are the same table `a`",
            ),
            (
                vec![("url", URL), ("fillfactor", "5")],
                "`fillfactor` of table `b` is `5`, but must be from 10 to 100",
            ),
            (
                vec![("url", "postgres://u:secret@h:x/d")],
                "table `b`: the port in `url` must be a number up to 65535",
            ),
        ] {
            assert_eq!(refusal(&[a(), sink("b", &options)]), expected);
        }
    }
}
