//! What one value looks like, and what two of them have in common.

use crate::format::number::decimal;
use crate::format::{object, time};

/// The narrowest type that holds the values seen so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guess {
    Boolean,
    Integer,
    Decimal {
        whole: usize,
        places: usize,
    },
    Float,
    Date,
    Timestamp,
    /// A time that says in which zone it is.
    Zoned,
    Uuid,
    Json,
    /// A text that is JSON: with others that are not it is text, too.
    JsonText,
    Text,
}

/// More digits after the point than this look like measurements, not like money.
const PLACES_MAX: usize = 4;

impl Guess {
    /// What a CSV field looks like; `None` for an empty one.
    pub fn of_text(text: &str) -> Option<Self> {
        let word = text.trim();
        if text.is_empty() {
            return None;
        }
        if word.eq_ignore_ascii_case("true") || word.eq_ignore_ascii_case("false") {
            return Some(Self::Boolean);
        }
        let digits = word.strip_prefix('-').unwrap_or(word);
        // `007` is a name.
        let named = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
        if digits.starts_with(|c: char| c.is_ascii_digit())
            && !named
            && let Some(number) = Self::of_number(word)
        {
            return Some(number);
        }
        if word.starts_with(['{', '[']) && object::raw(word).is_some() {
            return Some(Self::JsonText);
        }
        Some(Self::of_word(word))
    }

    /// What a JSON value looks like; `None` for null.
    pub fn of_json(raw: &str) -> Option<Self> {
        match raw.as_bytes()[0] {
            b'n' => None,
            b't' | b'f' => Some(Self::Boolean),
            b'{' | b'[' => Some(Self::Json),
            b'"' => Some(object::unescape(raw).map_or(Self::Text, |text| Self::of_word(&text))),
            _ => Some(Self::of_number(raw).unwrap_or(Self::Float)),
        }
    }

    fn of_word(word: &str) -> Self {
        let hex = word.bytes().filter(u8::is_ascii_hexdigit).count();
        let hyphens = [8, 13, 18, 23]
            .iter()
            .all(|&at| word.as_bytes().get(at) == Some(&b'-'));
        if time::date(word).is_some() {
            Self::Date
        } else if time::timestamp(word).is_some() {
            match says_its_zone(word) {
                true => Self::Zoned,
                false => Self::Timestamp,
            }
        } else if word.len() == 36 && hex == 32 && hyphens {
            Self::Uuid
        } else {
            Self::Text
        }
    }

    fn of_number(text: &str) -> Option<Self> {
        if decimal(text, 38, 0).is_ok_and(|value| i64::try_from(value).is_ok()) {
            let plain = text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-');
            return Some(if plain {
                Self::Integer
            } else {
                Self::decimal_of(text)
            });
        }
        let number: f64 = text.parse().ok()?;
        number.is_finite().then(|| Self::decimal_of(text))
    }

    fn decimal_of(text: &str) -> Self {
        let digits = text.trim_start_matches('-');
        let (whole, places) = digits.split_once('.').unwrap_or((digits, ""));
        let exact = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-' || byte == b'.');
        if exact && places.len() <= PLACES_MAX && whole.len() <= 38 - PLACES_MAX {
            Self::Decimal {
                whole: whole.len(),
                places: places.len(),
            }
        } else {
            Self::Float
        }
    }

    /// The narrowest type that holds both.
    pub fn with(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Json, _) | (_, Self::Json) => Self::Json,
            (
                Self::Decimal { whole, places },
                Self::Decimal {
                    whole: whole_too,
                    places: places_too,
                },
            ) => Self::Decimal {
                whole: whole.max(whole_too),
                places: places.max(places_too),
            },
            (decimal @ Self::Decimal { .. }, Self::Integer)
            | (Self::Integer, decimal @ Self::Decimal { .. }) => decimal.with(Self::Decimal {
                whole: 19,
                places: 0,
            }),
            (Self::Float, Self::Integer | Self::Decimal { .. })
            | (Self::Integer | Self::Decimal { .. }, Self::Float) => Self::Float,
            (Self::Date, Self::Timestamp) | (Self::Timestamp, Self::Date) => Self::Timestamp,
            (Self::Date | Self::Timestamp, Self::Zoned)
            | (Self::Zoned, Self::Date | Self::Timestamp) => Self::Zoned,
            (_, _) => Self::Text,
        }
    }

    pub fn sql_type(self) -> String {
        match self {
            Self::Boolean => "BOOLEAN".to_owned(),
            Self::Integer => "BIGINT".to_owned(),
            // The sample need not have the largest: eighteen digits are as cheap as three.
            Self::Decimal { whole, places } => {
                format!("DECIMAL({},{places})", (whole + places).clamp(18, 38))
            }
            Self::Float => "DOUBLE PRECISION".to_owned(),
            Self::Date => "DATE".to_owned(),
            Self::Timestamp => "TIMESTAMP".to_owned(),
            Self::Zoned => "TIMESTAMPTZ".to_owned(),
            Self::Uuid => "UUID".to_owned(),
            Self::Json | Self::JsonText => "JSON".to_owned(),
            Self::Text => "TEXT".to_owned(),
        }
    }
}

/// Whether a time ends with `Z` or with how far it is from UTC.
fn says_its_zone(word: &str) -> bool {
    let Some((_, time)) = word.split_once(['T', 't', ' ']) else {
        return false;
    };
    time.ends_with(['Z', 'z']) || time.contains(['+', '-'])
}
