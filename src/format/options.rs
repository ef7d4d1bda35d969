//! The options of formats: the table that checks, help and documentation follow, and what they
//! become once parsed.

use std::collections::BTreeMap;

use super::Framing;
use crate::plan::OptionValue;

/// One format: its name and the options that it understands.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// What is written in `format = '..'`.
    pub name: &'static str,
    /// One line for `tidemark list`.
    pub help: &'static str,
    /// The options it takes in `WITH`.
    pub options: &'static [FormatOption],
    kind: FormatKind,
}

/// One option of a format.
#[derive(Clone, Copy, Debug)]
pub struct FormatOption {
    /// The name in `WITH`.
    pub name: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    /// What holds when it is not given.
    pub default: &'static str,
    /// What values it takes.
    pub kind: OptionKind,
}

/// What values an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// `true` or `false`.
    Boolean,
    /// One ASCII character; `\t` for a tab.
    Character,
    /// Any text.
    Text,
    /// A number of bytes, such as `1048576`, `64KiB` or `1MiB`.
    Bytes,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

const RECORD_BYTES: FormatOption = FormatOption {
    name: "max.record.bytes",
    help: "a larger record is rejected as too long",
    default: "1MiB",
    kind: OptionKind::Bytes,
};

const TIMESTAMP_FORMAT: FormatOption = FormatOption {
    name: "timestamp.format",
    help: "how timestamps are written: as text, or as numbers since 1970 in this unit",
    default: "iso",
    kind: OptionKind::OneOf(&["iso", "unix_s", "unix_ms", "unix_us"]),
};

/// Every format. Adding one is one file and one line in here.
pub const FORMATS: &[Format] = &[
    Format {
        name: "json",
        help: "one JSON object per line; columns are its keys",
        options: &[TIMESTAMP_FORMAT, RECORD_BYTES],
        kind: FormatKind::Json,
    },
    Format {
        name: "csv",
        help: "delimited text; columns are found by the header line, or by their order",
        options: &[
            FormatOption {
                name: "csv.header",
                help: "whether a file starts with a line of column names",
                default: "true",
                kind: OptionKind::Boolean,
            },
            FormatOption {
                name: "csv.delimiter",
                help: "what stands between fields",
                default: ",",
                kind: OptionKind::Character,
            },
            FormatOption {
                name: "csv.quote",
                help: "what fields with delimiters or line ends are wrapped in; doubled inside",
                default: "\"",
                kind: OptionKind::Character,
            },
            FormatOption {
                name: "csv.null",
                help: "the text of a NULL; in quotes it is text again for TEXT columns",
                default: "",
                kind: OptionKind::Text,
            },
            TIMESTAMP_FORMAT,
            RECORD_BYTES,
        ],
        kind: FormatKind::Csv,
    },
    Format {
        name: "parquet",
        help: "files of columns, found by name; read by connector `file`",
        options: &[TIMESTAMP_FORMAT],
        kind: FormatKind::Parquet,
    },
];

/// Which format, once its name was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatKind {
    /// JSON lines.
    Json,
    /// Delimited text.
    Csv,
    /// Columns.
    Parquet,
}

/// How timestamps are written in a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampFormat {
    /// ISO 8601 or SQL text.
    Iso,
    /// A number of units since 1970.
    Unix {
        /// How many decimal places a unit has down to microseconds: 6 for seconds.
        places: i8,
    },
}

/// The options of a table's format, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatOptions {
    /// Which format.
    pub kind: FormatKind,
    /// The longest record that is decoded.
    pub record_bytes_max: usize,
    /// How timestamps are written.
    pub timestamps: TimestampFormat,
    /// What is special to CSV; the defaults for other formats.
    pub csv: CsvOptions,
}

/// How delimited text is delimited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvOptions {
    /// Whether a file starts with a line of column names.
    pub header: bool,
    /// What stands between fields.
    pub delimiter: u8,
    /// What wraps a field.
    pub quote: u8,
    /// The text of a NULL.
    pub null: String,
}

/// A format or one of its options is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FormatError {
    /// The option at fault, where there is one: its place in the file is the table's to know.
    pub option: Option<String>,
    /// One sentence, lower case, without full stop.
    pub message: String,
}

impl FormatError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            option: None,
            message: message.into(),
        }
    }
}

impl Format {
    /// Whether its records are bytes, which any connector may carry, and not columns of a file.
    #[must_use]
    pub fn is_of_bytes(&self) -> bool {
        match self.kind {
            FormatKind::Json | FormatKind::Csv => true,
            FormatKind::Parquet => false,
        }
    }
}

/// The format of this name.
#[must_use]
pub fn format(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

impl FormatOptions {
    /// Checks the options of format `name`. Options that no format knows are the connector's to
    /// judge and are passed over here.
    pub fn parse(name: &str, options: &BTreeMap<String, OptionValue>) -> Result<Self, FormatError> {
        let Some(format) = format(name) else {
            let names: Vec<String> = FORMATS.iter().map(|f| format!("`{}`", f.name)).collect();
            return Err(FormatError {
                option: Some("format".to_owned()),
                message: format!("unknown format `{name}`; there is {}", names.join(", ")),
            });
        };
        let given = Given { format, options };
        let csv = match format.kind {
            FormatKind::Json | FormatKind::Parquet => CsvOptions::default(),
            FormatKind::Csv => given.csv()?,
        };
        Ok(Self {
            kind: format.kind,
            record_bytes_max: match format.kind {
                FormatKind::Json | FormatKind::Csv => given.bytes(RECORD_BYTES.name)?,
                // Nobody says how many bytes a record has.
                FormatKind::Parquet => usize::MAX,
            },
            timestamps: given.timestamps()?,
            csv,
        })
    }

    /// How records are framed, for cutting blocks.
    #[must_use]
    pub fn framing(&self) -> Framing {
        match self.kind {
            // Columns have no bytes to be cut.
            FormatKind::Json | FormatKind::Parquet => Framing::Lines,
            FormatKind::Csv => Framing::QuotedLines {
                quote: self.csv.quote,
                delimiter: self.csv.delimiter,
            },
        }
    }

    /// Whether each file starts with a header line, which the reader takes off (`read_header`).
    #[must_use]
    pub fn has_header(&self) -> bool {
        match self.kind {
            FormatKind::Json | FormatKind::Parquet => false,
            FormatKind::Csv => self.csv.header,
        }
    }
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            header: true,
            delimiter: b',',
            quote: b'"',
            null: String::new(),
        }
    }
}

/// The options of one format as given.
struct Given<'a> {
    format: &'static Format,
    options: &'a BTreeMap<String, OptionValue>,
}

impl Given<'_> {
    fn text(&self, name: &str) -> &str {
        let default = || {
            let option = self
                .format
                .options
                .iter()
                .find(|option| option.name == name);
            option
                .expect("the format's table lists every option it reads")
                .default
        };
        self.options
            .get(name)
            .map_or_else(default, |value| &value.text)
    }

    fn wrong(&self, name: &str, expected: &str) -> FormatError {
        let text = self.text(name);
        FormatError {
            option: Some(name.to_owned()),
            message: format!("option `{name}` is `{text}`, but must be {expected}"),
        }
    }

    fn csv(&self) -> Result<CsvOptions, FormatError> {
        let csv = CsvOptions {
            header: self.boolean("csv.header")?,
            delimiter: self.character("csv.delimiter")?,
            quote: self.character("csv.quote")?,
            null: self.text("csv.null").to_owned(),
        };
        if csv.delimiter == csv.quote {
            return Err(self.wrong("csv.quote", "another character than `csv.delimiter`"));
        }
        if csv
            .null
            .bytes()
            .any(|b| b == csv.delimiter || b == csv.quote || b < b' ')
        {
            return Err(self.wrong("csv.null", "without delimiters, quotes and line ends"));
        }
        Ok(csv)
    }

    fn boolean(&self, name: &str) -> Result<bool, FormatError> {
        match self.text(name).to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.wrong(name, "`true` or `false`")),
        }
    }

    fn character(&self, name: &str) -> Result<u8, FormatError> {
        match self.text(name).as_bytes() {
            br"\t" | b"\t" => Ok(b'\t'),
            &[byte] if byte.is_ascii_graphic() || byte == b' ' => Ok(byte),
            _ => Err(self.wrong(name, "one ASCII character")),
        }
    }

    fn bytes(&self, name: &str) -> Result<usize, FormatError> {
        parse_bytes(self.text(name))
            .filter(|bytes| (1..=RECORD_BYTES_LIMIT).contains(bytes))
            .ok_or_else(|| self.wrong(name, "a number of bytes between 1 and 256MiB"))
    }

    fn timestamps(&self) -> Result<TimestampFormat, FormatError> {
        let name = TIMESTAMP_FORMAT.name;
        match self.text(name) {
            "iso" => Ok(TimestampFormat::Iso),
            "unix_s" => Ok(TimestampFormat::Unix { places: 6 }),
            "unix_ms" => Ok(TimestampFormat::Unix { places: 3 }),
            "unix_us" => Ok(TimestampFormat::Unix { places: 0 }),
            _ => Err(self.wrong(name, "one of `iso`, `unix_s`, `unix_ms`, `unix_us`")),
        }
    }
}

/// The limit of the limit: a block holds several records and its places are 32 bits wide.
const RECORD_BYTES_LIMIT: usize = 256 << 20;

/// A number of bytes: `1048576`, `64KiB`, `1 MB`.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Place;

    fn parse(name: &str, options: &[(&str, &str)]) -> Result<FormatOptions, FormatError> {
        let given = options.iter().map(|(name, text)| {
            let value = OptionValue {
                text: (*text).to_owned(),
                place: Place::default(),
            };
            ((*name).to_owned(), value)
        });
        FormatOptions::parse(name, &given.collect())
    }

    #[test]
    fn the_defaults_are_those_of_the_table() {
        let csv = parse("csv", &[]).unwrap();

        assert_eq!(csv.csv, CsvOptions::default());
        assert_eq!(csv.record_bytes_max, 1 << 20);
        assert_eq!(csv.timestamps, TimestampFormat::Iso);
        assert_eq!(parse("json", &[]).unwrap().framing(), Framing::Lines);
    }

    #[test]
    fn an_error_names_the_option_and_what_it_must_be() {
        for (name, text, expected) in [
            (
                "csv.header",
                "yes",
                "option `csv.header` is `yes`, but must be `true` or `false`",
            ),
            (
                "csv.delimiter",
                ",,",
                "option `csv.delimiter` is `,,`, but must be one ASCII character",
            ),
            (
                "csv.quote",
                ",",
                "option `csv.quote` is `,`, but must be another character than `csv.delimiter`",
            ),
            (
                "max.record.bytes",
                "0",
                "option `max.record.bytes` is `0`, but must be a number of bytes between 1 and 256MiB",
            ),
            (
                "timestamp.format",
                "unix",
                "option `timestamp.format` is `unix`, but must be one of `iso`, `unix_s`, `unix_ms`, `unix_us`",
            ),
        ] {
            let error = parse("csv", &[(name, text)]).unwrap_err();

            assert_eq!(error.option.as_deref(), Some(name));
            assert_eq!(error.message, expected);
        }
    }

    #[test]
    fn an_unknown_format_lists_the_known_ones() {
        let error = parse("xml", &[]).unwrap_err();

        assert_eq!(
            error.message,
            "unknown format `xml`; there is `json`, `csv`, `parquet`"
        );
    }

    #[test]
    fn sizes_are_read_with_and_without_unit() {
        assert_eq!(parse_bytes("1048576"), Some(1 << 20));
        assert_eq!(parse_bytes("64KiB"), Some(65_536));
        assert_eq!(parse_bytes("1 MB"), Some(1_000_000));
        assert_eq!(parse_bytes("MB"), None);
        assert_eq!(parse_bytes("1 parsec"), None);
    }
}
