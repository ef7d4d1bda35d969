//! Steps into JSON text: finding a member or an element without building anything.

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A part of the text, or that it is not JSON.
pub type Found<'a> = Result<Option<&'a str>, serde_json::Error>;

/// The parts of `{a,0,b}`. Parts that hold a comma are written ARRAY['a,b'].
pub fn path_parts(path: &str) -> impl Iterator<Item = &str> {
    let path = path.trim().trim_start_matches('{').trim_end_matches('}');
    path.split(',')
        .map(|part| part.trim().trim_matches('"'))
        .filter(|part| !part.is_empty())
}

/// One step into a value.
#[derive(Clone, Copy)]
pub enum Step<'s> {
    Key(&'s str),
    Index(i64),
    /// A key of an object or an index of an array, whichever the value is.
    Either(&'s str),
}

/// What `step` leads to in `json`, if there is something.
pub fn enter<'a>(json: &'a str, step: Step) -> Found<'a> {
    let is_array = json.trim_start().starts_with('[');
    let mut reader = serde_json::Deserializer::from_str(json);
    match (step, is_array) {
        (Step::Key(key), false) | (Step::Either(key), false) => {
            if !json.trim_start().starts_with('{') {
                return Ok(None);
            }
            reader.deserialize_map(Member { key })
        }
        (Step::Index(index), true) => element(&mut reader, index),
        (Step::Either(text), true) => match text.parse() {
            Ok(index) => element(&mut reader, index),
            Err(_) => Ok(None),
        },
        (Step::Key(_), true) | (Step::Index(_), false) => Ok(None),
    }
}

/// The element of an array; a negative index counts from the end.
fn element<'a>(
    reader: &mut serde_json::Deserializer<serde_json::de::StrRead<'a>>,
    index: i64,
) -> Found<'a> {
    let elements = reader.deserialize_seq(Elements)?;
    let at = if index < 0 {
        usize::try_from(index.unsigned_abs())
            .ok()
            .and_then(|back| elements.len().checked_sub(back))
    } else {
        usize::try_from(index).ok()
    };
    Ok(at.and_then(|at| elements.get(at).copied()))
}

/// Finds a member of an object; of equal keys the last, as jsonb does.
struct Member<'s> {
    key: &'s str,
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(Equals(self.key))? {
            if is_it {
                found = Some(map.next_value::<&RawValue>()?.get());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a key is the wanted one, without copying it.
struct Equals<'s>(&'s str);

impl<'de> DeserializeSeed<'de> for Equals<'_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Equals<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

/// The elements of an array, as text.
struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element::<&RawValue>()? {
            elements.push(element.get());
        }
        Ok(elements)
    }
}
