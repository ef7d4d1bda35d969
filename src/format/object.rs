//! JSON objects taken apart, the general way: any valid JSON, values left as raw text.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Names of wanted keys, each with its position.
#[derive(Debug)]
pub(super) struct Names(HashMap<Box<str>, usize, foldhash::fast::FixedState>);

impl Names {
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let numbered = names.enumerate().map(|(at, name)| (Box::from(name), at));
        Self(numbered.collect())
    }

    /// Names that stand for other positions than their own.
    pub fn at(names: impl Iterator<Item = (Box<str>, usize)>) -> Self {
        Self(names.collect())
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.0.get(name).copied()
    }

    /// One more than the highest position.
    fn slots(&self) -> usize {
        self.0.values().max().map_or(0, |highest| highest + 1)
    }
}

/// The raw values of the wanted keys of an object, by position. Of equal keys the last counts.
pub(super) fn read<'a>(
    text: &'a str,
    names: &Names,
) -> Result<Vec<Option<&'a str>>, serde_json::Error> {
    let mut values = vec![None; names.slots()];
    let mut input = serde_json::Deserializer::from_str(text);
    Wanted {
        names,
        values: &mut values,
    }
    .deserialize(&mut input)?;
    input.end()?;
    Ok(values)
}

struct Wanted<'a, 'v> {
    names: &'v Names,
    values: &'v mut [Option<&'a str>],
}

/// A key, borrowed unless it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> DeserializeSeed<'a> for Wanted<'a, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Wanted<'a, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Text(key)) = map.next_key()? {
            let value: &'a RawValue = map.next_value()?;
            if let Some(at) = self.names.find(&key) {
                self.values[at] = Some(value.get());
            }
        }
        Ok(())
    }
}

/// All keys of an object and their raw values, in order, if the text is an object.
pub(super) fn members(text: &str) -> Option<Vec<(String, &str)>> {
    struct Members;

    impl<'a> Visitor<'a> for Members {
        type Value = Vec<(String, &'a str)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut members = Vec::new();
            while let Some(key) = map.next_key()? {
                let value: &'a RawValue = map.next_value()?;
                members.push((key, value.get()));
            }
            Ok(members)
        }
    }

    let mut input = serde_json::Deserializer::from_str(text);
    let members = input.deserialize_map(Members).ok()?;
    input.end().ok().map(|()| members)
}

/// The text as one JSON value without spaces around it, if it is one.
pub(super) fn raw(text: &str) -> Option<&str> {
    serde_json::from_str::<&RawValue>(text)
        .ok()
        .map(RawValue::get)
}

/// The JSON value that a text starts with.
pub(super) fn first(text: &str) -> Option<&str> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    values.next()?.ok().map(RawValue::get)
}

/// The raw items of an array, which is valid JSON.
pub(super) fn items(raw: &str) -> impl Iterator<Item = &str> {
    let items: Vec<&RawValue> =
        serde_json::from_str(raw).expect("the caller has seen that this is a JSON array");
    items.into_iter().map(RawValue::get)
}

/// The text of a JSON string; `None` if an escape in it stands for no character.
pub(super) fn unescape(raw: &str) -> Option<Cow<'_, str>> {
    let inner = &raw[1..raw.len() - 1];
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw).ok().map(Cow::Owned)
}
