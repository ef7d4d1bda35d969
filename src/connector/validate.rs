//! Checks the `WITH` options of a table against what its connector and its format take.

use std::collections::BTreeSet;

use super::catalog::{CONNECTORS, Connector, GENERAL_OPTIONS, connector};
use super::option::{Absent, ConnectorOption, Side};
use super::{lanes, reload};
use crate::format::{FORMATS, Format, FormatOptions, METADATA, format, metadata_of};
use crate::plan::{OptionValue, Place, Role, Table};
use crate::types::nearest;

/// Something wrong with a table's options, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionProblem {
    /// The option's name, or the table's where an option is missing.
    pub place: Place,
    /// One sentence.
    pub message: String,
    /// What to type.
    pub hint: Option<String>,
}

/// Everything that is wrong with the options of `table`, in the order of the file.
#[must_use]
pub fn validate(table: &Table) -> Vec<OptionProblem> {
    let Some(connector) = connector(&table.connector) else {
        return vec![unknown_connector(table)];
    };
    let mut check = Check {
        table,
        connector,
        problems: Vec::new(),
    };
    if check.role() {
        check.metadata();
        check.names();
        check.values();
        check.required();
        check.format();
        check.together();
    }
    check.problems.sort_by_key(|problem| problem.place);
    check.problems
}

fn unknown_connector(table: &Table) -> OptionProblem {
    let names = CONNECTORS.iter().map(|connector| connector.name);
    let all: Vec<String> = names.clone().map(|name| format!("`{name}`")).collect();
    let all = format!("there is {}", all.join(", "));
    if table.connector.is_empty() {
        return OptionProblem {
            place: table.place,
            message: format!("table `{}` has no connector", table.name),
            hint: Some(format!("add WITH (connector = '..'); {all}")),
        };
    }
    OptionProblem {
        place: table
            .options
            .get("connector")
            .map_or(table.place, |value| value.place),
        message: format!("unknown connector `{}`", table.connector),
        hint: Some(match nearest(&table.connector, names) {
            Some(name) => format!("did you mean `{name}`?"),
            None => all,
        }),
    }
}

/// The checks of one table, and what they found.
struct Check<'a> {
    table: &'a Table,
    connector: &'static Connector,
    problems: Vec<OptionProblem>,
}

impl Check<'_> {
    fn problem(&mut self, place: Place, message: String, hint: Option<String>) {
        self.problems.push(OptionProblem {
            place,
            message,
            hint,
        });
    }

    /// Whether the connector can be what the file uses the table for.
    fn role(&mut self) -> bool {
        let (name, table, place) = (self.connector.name, &self.table.name, self.table.place);
        let source = self.connector.source.as_ref();
        let sink = self.connector.sink.as_ref();
        let message = match self.table.role {
            Role::Source if source.is_none() => {
                format!("cannot read from `{table}`: connector `{name}` is only written to")
            }
            Role::Reference if !source.is_some_and(|source| source.reference) => {
                format!("cannot look up in `{table}`: connector `{name}` cannot be read whole")
            }
            Role::Sink if sink.is_none() => {
                format!("cannot write to `{table}`: connector `{name}` is only read from")
            }
            Role::Sink
                if !self.table.primary_key.is_empty() && !sink.is_some_and(|sink| sink.keyed) =>
            {
                let message = format!(
                    "connector `{name}` cannot replace rows, but `{table}` has a PRIMARY KEY"
                );
                let hint = "leave the PRIMARY KEY out, so that rows are appended, or use another connector such as `sqlite`";
                self.problem(place, message, Some(hint.to_owned()));
                return true;
            }
            Role::Source | Role::Reference | Role::Sink | Role::Unused => return true,
        };
        let fitting: Vec<String> = CONNECTORS
            .iter()
            .filter(|connector| match self.table.role {
                Role::Source => connector.source.is_some(),
                Role::Reference => connector
                    .source
                    .as_ref()
                    .is_some_and(|source| source.reference),
                Role::Sink | Role::Unused => connector.sink.is_some(),
            })
            .map(|connector| format!("`{}`", connector.name))
            .collect();
        self.problem(
            place,
            message,
            Some(format!("possible here: {}", fitting.join(", "))),
        );
        false
    }

    /// The side the table is on; an unused one may have the options of either.
    fn side(&self) -> Side {
        match self.table.role {
            Role::Source | Role::Reference => Side::Source,
            Role::Sink => Side::Sink,
            Role::Unused => Side::Both,
        }
    }

    /// The formats that may be chosen.
    fn formats(&self) -> impl Iterator<Item = &'static Format> + use<> {
        let source = self.connector.source.as_ref();
        let takes_columns =
            self.side() != Side::Sink && source.is_some_and(|source| source.takes_columns);
        FORMATS
            .iter()
            .filter(move |format| takes_columns || format.is_of_bytes())
    }

    fn takes_format(&self) -> bool {
        let source = self
            .connector
            .source
            .as_ref()
            .is_some_and(|source| source.takes_format);
        let sink = self
            .connector
            .sink
            .as_ref()
            .is_some_and(|sink| sink.takes_format);
        match self.side() {
            Side::Source => source,
            Side::Sink => sink,
            Side::Both => source || sink,
        }
    }

    /// Columns that come with a record where records come with nothing, or where none come.
    fn metadata(&mut self) {
        let (table, connector) = (self.table, self.connector);
        let is_sink = table.role == Role::Sink;
        if connector.source.as_ref().is_some_and(|s| s.has_metadata) && !is_sink {
            return;
        }
        for column in &table.columns {
            let Some(what) = metadata_of(&column.field).and(column.field.metadata().get(METADATA))
            else {
                continue;
            };
            let name = column.field.name();
            let (message, hint) = if is_sink {
                let message = format!(
                    "`{name}` is METADATA of records that are read, but `{}` is written to",
                    table.name
                );
                (message, "leave METADATA FROM out".to_owned())
            } else {
                let connector = connector.name;
                let message = format!("records of connector `{connector}` come without `{what}`");
                (
                    message,
                    format!("leave the column `{name}` out; a topic's records have it"),
                )
            };
            self.problem(column.place, message, Some(hint));
        }
    }

    fn names(&mut self) {
        let table = self.table;
        for (name, value) in &table.options {
            if name != "connector" && !self.is_known(name) {
                self.unknown_name(name, value);
            }
        }
    }

    /// Whether an option of this name may be given here.
    fn is_known(&self, name: &str) -> bool {
        let side = self.side();
        let general = GENERAL_OPTIONS
            .iter()
            .any(|general| general.name == name && side.meets(general.side));
        let own = self
            .option(name)
            .is_some_and(|option| side.meets(option.side));
        general || own || (self.takes_format() && (name == "format" || self.is_of_format(name)))
    }

    /// Whether an option is one of the format's; of any format's where none is chosen yet.
    fn is_of_format(&self, name: &str) -> bool {
        match self.table.option("format").and_then(format) {
            Some(chosen) => has_option(chosen, name),
            None => FORMATS.iter().any(|format| has_option(format, name)),
        }
    }

    fn unknown_name(&mut self, name: &str, value: &OptionValue) {
        let connector = self.connector.name;
        if let Some(option) = self.option(name) {
            let (here, there) = match option.side {
                Side::Source => ("sink", "sources"),
                Side::Sink | Side::Both => ("source", "sinks"),
            };
            let message = format!("option `{name}` of connector `{connector}` is for {there}");
            let hint = format!("`{}` is a {here} here; leave it out", self.table.name);
            return self.problem(value.place, message, Some(hint));
        }
        if let (true, Some(other)) = (
            self.takes_format(),
            FORMATS.iter().find(|format| has_option(format, name)),
        ) {
            let message = format!("option `{name}` is for the format `{}`", other.name);
            let hint = format!("leave it out, or say format = '{}'", other.name);
            return self.problem(value.place, message, Some(hint));
        }
        if let Some(problem) = self.unknown_field(name, value) {
            return self.problems.push(problem);
        }
        let known = self.known_names();
        let hint = match (nearest(name, known.iter().copied()), self.who_takes(name)) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Some(other)) => format!("leave it out; connector `{other}` takes it"),
            (None, None) if known.is_empty() => "it takes none".to_owned(),
            (None, None) => format!("it takes {}", known.join(", ")),
        };
        let message = format!("unknown option `{name}` for connector `{connector}`");
        self.problem(value.place, message, Some(hint));
    }

    /// `fields.<column>.<property>` with a column or a property that is not there.
    fn unknown_field(&self, name: &str, value: &OptionValue) -> Option<OptionProblem> {
        let properties: Vec<&str> = self
            .connector
            .options
            .iter()
            .filter_map(|o| o.name.strip_prefix("fields.*."))
            .collect();
        let (column, property) = name.strip_prefix("fields.")?.rsplit_once('.')?;
        if properties.is_empty() {
            return None;
        }
        let columns = || {
            self.table
                .columns
                .iter()
                .filter(|c| c.computed.is_none())
                .map(|c| c.field.name().as_str())
        };
        let (message, hint) = if columns().any(|name| name == column) {
            let hint = match nearest(property, properties.iter().copied()) {
                Some(near) => format!("did you mean `fields.{column}.{near}`?"),
                None => format!("there is {}", properties.join(", ")),
            };
            (
                format!("unknown property `{property}` of field `{column}`"),
                hint,
            )
        } else {
            let hint = match nearest(column, columns()) {
                Some(near) => format!("did you mean `fields.{near}.{property}`?"),
                None => "only columns that are not computed have one".to_owned(),
            };
            (
                format!("table `{}` has no column `{column}`", self.table.name),
                hint,
            )
        };
        Some(OptionProblem {
            place: value.place,
            message,
            hint: Some(hint),
        })
    }

    /// Another connector that has an option of this very name on this side.
    fn who_takes(&self, name: &str) -> Option<&'static str> {
        let side = self.side();
        let takes = |other: &&Connector| {
            let mut options = other.options.iter();
            options.any(|option| option.name == name && side.meets(option.side))
        };
        Some(CONNECTORS.iter().find(takes)?.name)
    }

    fn known_names(&self) -> Vec<&'static str> {
        let side = self.side();
        let on_side = |options: &'static [ConnectorOption]| {
            options
                .iter()
                .filter(move |option| side.meets(option.side))
                .map(|option| option.name)
        };
        let mut names: Vec<&'static str> = on_side(self.connector.options).collect();
        if self.takes_format() {
            names.push("format");
            // Only those of the format that was chosen, if one was.
            let chosen = self.table.option("format").and_then(format);
            for format in self
                .formats()
                .filter(|f| chosen.is_none_or(|chosen| chosen.name == f.name))
            {
                names.extend(format.options.iter().map(|option| option.name));
            }
        }
        names.extend(on_side(GENERAL_OPTIONS));
        // Several formats have some options in common.
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(*name));
        names
    }

    /// The connector's option of this name, on whichever side.
    fn option(&self, name: &str) -> Option<&'static ConnectorOption> {
        self.connector
            .options
            .iter()
            .find(|option| match option.name.strip_prefix("fields.*.") {
                None => match option.name.strip_suffix('*') {
                    None => option.name == name,
                    Some(prefix) => name
                        .strip_prefix(prefix)
                        .is_some_and(|rest| !rest.is_empty()),
                },
                Some(property) => {
                    let columns = self
                        .table
                        .columns
                        .iter()
                        .filter(|column| column.computed.is_none());
                    columns.into_iter().any(|column| {
                        name.strip_prefix("fields.")
                            .and_then(|rest| rest.strip_prefix(column.field.name().as_str()))
                            .and_then(|rest| rest.strip_prefix('.'))
                            == Some(property)
                    })
                }
            })
    }

    fn values(&mut self) {
        let table = self.table;
        for (name, value) in &table.options {
            let mismatch = self
                .option(name)
                .and_then(|option| option.kind.mismatch(&value.text));
            if let Some(expected) = mismatch {
                let message = format!(
                    "option `{name}` is `{}`, but must be {expected}",
                    value.text
                );
                self.problem(value.place, message, None);
            }
        }
    }

    fn required(&mut self) {
        let side = self.side();
        for option in self.connector.options {
            if option.default == Absent::Required
                && side.meets(option.side)
                && self.table.option(option.name).is_none()
            {
                self.missing(option.name, option.help);
            }
        }
    }

    fn missing(&mut self, name: &str, help: &str) {
        let is_meant = |given: &String| !self.is_known(given) && nearest(given, [name]).is_some();
        if self.table.options.keys().any(is_meant) {
            return; // It is there, misspelt, and that has been said.
        }
        let message = format!("table `{}` needs the option `{name}`", self.table.name);
        let hint = format!("add {name} = '..': {help}");
        self.problem(self.table.place, message, Some(hint));
    }

    fn format(&mut self) {
        if !self.takes_format() {
            return;
        }
        let Some(name) = self.table.option("format") else {
            let names: Vec<&str> = self.formats().map(|format| format.name).collect();
            return self.missing("format", &names.join(" or "));
        };
        let own = self
            .connector
            .sink
            .as_ref()
            .map_or(&[][..], |s| s.own_formats);
        if self.side() != Side::Source && own.contains(&name) {
            return;
        }
        let names: Vec<&str> = self.formats().map(|format| format.name).collect();
        if !names.contains(&name) {
            let hint = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there is {}", names.join(", ")),
            };
            let message = match format(name) {
                None => format!("unknown format `{name}`"),
                Some(_) => format!("format `{name}` is read from files, and from nowhere else"),
            };
            let place = self.place_of("format");
            return self.problem(place, message, Some(hint));
        }
        if let Err(error) = FormatOptions::parse(name, &self.table.options) {
            let place = self.place_of(error.option.as_deref().unwrap_or("format"));
            self.problem(place, error.message, None);
        }
    }

    /// What the connector itself has to say, once each option is right by itself.
    fn together(&mut self) {
        let has_lanes = self.option(lanes::OPTION).is_some();
        if let Some((message, hint)) = lanes::refusal(self.table).filter(|_| has_lanes) {
            let place = self.place_of(lanes::OPTION);
            self.problem(place, message, Some(hint.to_owned()));
        }
        for (option, message, hint) in reload::refusals(self.table) {
            let place = option.map_or(self.table.place, |option| self.place_of(option));
            self.problem(place, message, Some(hint));
        }
        if let (Some(source), true) = (&self.connector.source, self.problems.is_empty()) {
            for (option, message) in (source.check)(self.table) {
                let place = self.place_of(&option);
                self.problem(place, message, None);
            }
        }
    }

    fn place_of(&self, option: &str) -> Place {
        self.table
            .options
            .get(option)
            .map_or(self.table.place, |value| value.place)
    }
}

fn has_option(format: &Format, name: &str) -> bool {
    format.options.iter().any(|option| option.name == name)
}

impl Side {
    /// Whether something on one side has to do with something on the other.
    fn meets(self, other: Self) -> bool {
        self == other || self == Self::Both || other == Self::Both
    }
}

#[cfg(test)]
mod tests;
