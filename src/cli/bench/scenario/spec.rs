//! A scenario: a pipeline file whose first lines say what it measures and which load it gets.
//!
//! ```text
//!   -- Running totals of 60 groups, from Kafka into PostgreSQL.
//!   -- load: input=kafka format=json rows=3000000 output=postgres rate=50000
//! ```
//!
//! The file runs as it is: its one source is a generator, whose rows become the load, and its sinks
//! discard. `rate` asks for a second measurement, of latency at so many records per second: of a
//! topic, by a pipeline that writes rows in every epoch. A window writes them when it ends, and how old its
//! records are then says nothing of the speed.

use std::path::Path;

/// A scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The file's stem.
    pub name: String,
    /// What it measures, in one line.
    pub about: String,
    /// The file.
    pub text: String,
    /// Where the load waits.
    pub input: Input,
    /// How its records are written.
    pub format: String,
    /// How many there are.
    pub rows: u64,
    /// Where the rows go.
    pub output: Output,
    /// Records per second for latency.
    pub rate: Option<u64>,
}

/// Where a load is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Files, one for each partition of the generator.
    Files,
    /// A topic.
    Kafka,
}

/// Where rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Nowhere.
    Discard,
    /// A SQLite file.
    Sqlite,
    /// A PostgreSQL database.
    Postgres,
    /// A topic.
    Kafka,
}

impl Scenario {
    /// All scenarios of a folder, by name.
    pub fn all(folder: &Path) -> Result<Vec<Self>, String> {
        let unreadable = |error| {
            format!(
                "could not read `{}`\n  cause: {error}\n  hint:  --folder DIR says where scenarios are; those \
                 of Tidemark are in `benchmarks/scenarios` of its repository",
                folder.display()
            )
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            paths.push(entry.map_err(unreadable)?.path());
        }
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
        paths.sort();
        let read = |path: &std::path::PathBuf| {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("could not read `{}`: {error}", path.display()))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            Self::parse(&name, &text).map_err(|why| format!("`{}`: {why}", path.display()))
        };
        paths.iter().map(read).collect()
    }

    /// Reads a scenario.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let mut comment = || lines.next().and_then(|line| line.strip_prefix("-- "));
        let about = comment().ok_or("the first line says what it measures, after `-- `")?;
        let load = comment().and_then(|line| line.strip_prefix("load: "));
        let load = load.ok_or("the second line says `-- load: input=.. rows=.. output=..`")?;
        let mut scenario = Self {
            name: name.to_owned(),
            about: about.to_owned(),
            text: text.to_owned(),
            input: Input::Files,
            format: "json".to_owned(),
            rows: 0,
            output: Output::Discard,
            rate: None,
        };
        for word in load.split_whitespace() {
            let (what, value) = word.split_once('=').ok_or_else(|| unknown(word))?;
            scenario.set(what, value)?;
        }
        scenario.is_whole()?;
        Ok(scenario)
    }

    /// Whether what it says goes together.
    fn is_whole(&self) -> Result<(), &'static str> {
        match (self.input, self.format.as_str(), self.rate) {
            _ if self.rows == 0 => Err("`rows` says how many, more than none"),
            (_, _, Some(0)) => Err("`rate` says how many a second, more than none"),
            (Input::Files, _, Some(_)) => Err("files are not sent: `rate` is for input=kafka"),
            (Input::Kafka, "csv", _) => Err("a topic is filled with JSON: format=json"),
            (Input::Files | Input::Kafka, _, _) => Ok(()),
        }
    }

    fn set(&mut self, what: &str, value: &str) -> Result<(), String> {
        let wrong = || unknown(&format!("{what}={value}"));
        match (what, value) {
            ("input", "files") => self.input = Input::Files,
            ("input", "kafka") => self.input = Input::Kafka,
            ("output", "discard") => self.output = Output::Discard,
            ("output", "sqlite") => self.output = Output::Sqlite,
            ("output", "postgres") => self.output = Output::Postgres,
            ("output", "kafka") => self.output = Output::Kafka,
            ("format", "json" | "csv") => value.clone_into(&mut self.format),
            ("rows", _) => self.rows = value.parse().map_err(|_| wrong())?,
            ("rate", _) => self.rate = Some(value.parse().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        }
        Ok(())
    }

    /// Whether it needs a broker, and whether a database.
    pub fn needs(&self) -> (bool, bool) {
        let kafka = self.input == Input::Kafka || self.output == Output::Kafka;
        (kafka, self.output == Output::Postgres)
    }
}

fn unknown(word: &str) -> String {
    format!(
        "the load says `{word}`; it may say input=files|kafka, format=json|csv, rows=N, \
         output=discard|sqlite|postgres|kafka and rate=N"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_line_is_the_load() {
        let text = "-- Windows.\n-- load: input=kafka rows=5 output=postgres rate=7\n\nSELECT";
        let scenario = Scenario::parse("w", text).unwrap();

        assert_eq!((scenario.about.as_str(), scenario.rows), ("Windows.", 5));
        assert_eq!(
            (scenario.input, scenario.output),
            (Input::Kafka, Output::Postgres)
        );
        assert_eq!((scenario.rate, scenario.needs()), (Some(7), (true, true)));
        for wrong in [
            "",
            "-- a",
            "-- a\n-- load: rows=0",
            "-- a\n-- load: rows=1 input=sea",
            "-- a\n-- load: rows=1 input=files rate=7",
            "-- a\n-- load: rows=1 input=kafka rate=0",
            "-- a\n-- load: rows=1 input=kafka format=csv",
        ] {
            assert!(Scenario::parse("w", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_scenario_of_the_repository_can_be_read_and_planned() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benchmarks/scenarios");
        let all = Scenario::all(&folder).unwrap();

        assert!(all.len() >= 8);
        for scenario in &all {
            let pipeline = super::super::task::plan(&scenario.name, &scenario.text, 10);
            let pipeline = pipeline.unwrap_or_else(|why| panic!("{}: {why}", scenario.name));
            assert!(super::super::task::source_of(&pipeline).is_ok());
        }
    }
}
