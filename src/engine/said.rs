//! What ends a run, on standard error: for people, or in the lines of a log for programs.
//!
//! With `--log json` whoever reads standard error reads one object per line, also where the log has
//! not begun, or a thread panics. They have the shape of the log's own lines.

use std::io::Write;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};

use crate::dataflow::outcome::Failure;
use crate::types::{Clock, panic_text};

/// Whether lines are objects: decided once, by the command line.
static OBJECTS: OnceLock<()> = OnceLock::new();

/// From here on every line is an object.
pub fn say_objects() {
    let _ = OBJECTS.set(());
}

/// Whether every line is an object.
#[must_use]
pub fn says_objects() -> bool {
    OBJECTS.get().is_some()
}

/// A failure with its causes and what to do.
pub fn say_failure(failure: &Failure) {
    let text = if says_objects() {
        let mut fields = Map::from_iter([("message".to_owned(), json!(failure.message))]);
        if !failure.causes.is_empty() {
            fields.insert("cause".to_owned(), json!(failure.causes.join(": ")));
        }
        if let Some(hint) = &failure.hint {
            fields.insert("hint".to_owned(), json!(hint));
        }
        error_line(fields)
    } else {
        text_of(failure)
    };
    write(&text);
}

/// An error that has these fields, `message` among them, as a line.
#[must_use]
pub fn error_line(fields: Map<String, Value>) -> String {
    let at = DateTime::from_timestamp_micros(Clock::machine().wall()).unwrap_or_default();
    let line = json!({
        "timestamp": at.to_rfc3339_opts(SecondsFormat::Micros, true),
        "level": "ERROR",
        "fields": fields,
        "target": "tidemark",
    });
    format!("{line}\n")
}

/// A panic, where every line is an object. Whether it was said.
pub fn say_panic(panic: &PanicHookInfo<'_>) -> bool {
    if says_objects() {
        let place = panic.location().map(ToString::to_string);
        let thread = std::thread::current().name().map(str::to_owned);
        let text = panic_text(panic.payload());
        let fields = [
            ("message", json!(format!("panicked: {text}"))),
            ("place", json!(place)),
            ("thread", json!(thread)),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value));
        write(&error_line(Map::from_iter(fields)));
    }
    says_objects()
}

fn text_of(failure: &Failure) -> String {
    let mut text = format!("error: {}\n", failure.message);
    for cause in &failure.causes {
        text.push_str(&format!("  cause: {cause}\n"));
    }
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("  hint:  {hint}\n"));
    }
    text
}

/// In one piece, so that lines of several threads do not mix.
fn write(text: &str) {
    // Nobody may be reading any more; the exit code says it too.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_shape_of_the_logs_lines() {
        let fields = Map::from_iter([("message".to_owned(), json!("two\nlines"))]);

        let line = error_line(fields);

        let value: Value = serde_json::from_str(line.strip_suffix('\n').unwrap()).unwrap();
        assert_eq!(value["level"], "ERROR");
        assert_eq!(value["fields"]["message"], "two\nlines");
        assert!(value["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn a_failure_for_people_has_a_line_for_each_cause_and_the_hint() {
        let failure = Failure::new("no").because("a").because("b").hint("c");

        assert_eq!(
            text_of(&failure),
            "error: no\n  cause: a\n  cause: b\n  hint:  c\n"
        );
    }
}
