//! What `tidemark list` prints: every connector, format and option, as the tables have them.

use std::fmt::Write as _;

use super::catalog::{CONNECTORS, Connector, GENERAL_OPTIONS};
use super::option::{Absent, ConnectorOption, Side};
use crate::format::FORMATS;

/// How far names reach before what they mean begins.
const NAME_WIDTH: usize = 30;

/// Connectors, formats and their options.
#[must_use]
pub fn list() -> String {
    let mut out = "Connectors (connector = '..'):\n".to_owned();
    for connector in CONNECTORS {
        line(&mut out, 2, connector.name, connector.help);
        line(&mut out, 4, "can be", &roles(connector));
        if takes_format(connector) {
            line(
                &mut out,
                4,
                "format (required)",
                "the format of its records, and its options: see below",
            );
        }
        for option in connector.options {
            line(&mut out, 4, &name(option), &meaning(option, connector));
        }
    }
    out.push_str("\nOptions of every connector:\n");
    for option in GENERAL_OPTIONS {
        let side = match option.side {
            Side::Source => "sources: ",
            Side::Sink => "sinks: ",
            Side::Both => "",
        };
        line(&mut out, 2, option.name, &format!("{side}{}", option.help));
    }
    out.push_str("\nFormats (format = '..'):\n");
    for format in FORMATS {
        line(&mut out, 2, format.name, format.help);
        for option in format.options {
            let default = if option.default.is_empty() {
                "nothing"
            } else {
                option.default
            };
            line(
                &mut out,
                4,
                option.name,
                &format!("{} (default: {default})", option.help),
            );
        }
    }
    out
}

fn line(out: &mut String, indent: usize, name: &str, meaning: &str) {
    let width = NAME_WIDTH.saturating_sub(indent);
    writeln!(out, "{:indent$}{name:width$}  {meaning}", "").expect("a String takes all text");
}

fn takes_format(connector: &Connector) -> bool {
    let source = connector
        .source
        .as_ref()
        .is_some_and(|source| source.takes_format);
    source
        || connector
            .sink
            .as_ref()
            .is_some_and(|sink| sink.takes_format)
}

/// What a table with this connector can be.
fn roles(connector: &Connector) -> String {
    let mut roles = Vec::new();
    if let Some(source) = &connector.source {
        roles.push("source".to_owned());
        if source.reference {
            roles.push("reference table".to_owned());
        }
    }
    if let Some(sink) = &connector.sink {
        let rows = if sink.keyed {
            ""
        } else {
            ", rows appended only"
        };
        roles.push(format!("sink ({}{rows})", sink.guarantee));
    }
    roles.join(", ")
}

fn name(option: &ConnectorOption) -> String {
    let name = option.name.replace(".*.", ".<column>.");
    let name = name.replace(".*", ".<setting>");
    match option.default {
        Absent::Required => format!("{name} (required)"),
        Absent::Means(_) => name,
    }
}

fn meaning(option: &ConnectorOption, connector: &Connector) -> String {
    let mut meaning = option.help.to_owned();
    if let Some(values) = option.kind.words() {
        write!(meaning, ": {values}").expect("a String takes all text");
    }
    let both = connector.source.is_some() && connector.sink.is_some();
    match option.side {
        Side::Source if both => meaning.push_str(" (sources only)"),
        Side::Sink if both => meaning.push_str(" (sinks only)"),
        Side::Source | Side::Sink | Side::Both => {}
    }
    if let Absent::Means(default) = option.default {
        write!(meaning, " (default: {default})").expect("a String takes all text");
    }
    meaning
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_every_connector_format_and_option() {
        let text = list();

        let own = CONNECTORS
            .iter()
            .flat_map(|connector| connector.options)
            .map(name);
        let format = FORMATS
            .iter()
            .flat_map(|format| format.options)
            .map(|option| option.name.to_owned());
        let names = CONNECTORS.iter().map(|connector| connector.name.to_owned());
        for name in own.chain(format).chain(names) {
            assert!(text.contains(&format!(" {name} ")), "{name}:\n{text}");
        }
    }

    #[test]
    fn a_connector_says_what_it_can_be_and_what_a_crash_does() {
        let text = list();

        assert!(
            text.contains("can be                      sink (at least once)\n"),
            "{text}"
        );
        assert!(
            text.contains("can be                      source, reference table, sink (exactly once, rows appended only)\n"),
            "{text}"
        );
    }
}
