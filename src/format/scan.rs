//! Finds the bytes that matter, sixty-four at a time.
//!
//! A scan byte by byte, or word by word, stumbles at the end of every field: the processor cannot
//! guess how long the next name is. Here one bit per byte says whether it matters, and going from
//! one to the next is counting zeros.
//!
//! `unsafe` stands for three things: instructions that every x86-64 processor has, a load of
//! sixteen bytes out of a reference to sixteen bytes, and text that was just seen to be ASCII.
#![allow(unsafe_code)]

/// How many bytes are looked at together: as many as a mask has bits.
const CHUNK: usize = 64;

/// Walks through bytes from one that matters to the next.
#[derive(Debug)]
pub(super) struct Stops<'a, K> {
    bytes: &'a [u8],
    kind: K,
    /// Where the chunk at hand starts, a multiple of its length.
    base: usize,
    /// A bit for each byte of the chunk that matters.
    mask: u64,
}

/// Which bytes matter.
pub(super) trait Kind {
    /// A bit for each byte of `bytes` that matters.
    fn mask(&self, bytes: &[u8; 16]) -> u16;
}

impl<'a, K: Kind> Stops<'a, K> {
    pub fn new(bytes: &'a [u8], kind: K) -> Self {
        let mut stops = Self {
            bytes,
            kind,
            base: 0,
            mask: 0,
        };
        stops.load(0);
        stops
    }

    /// The first byte at or after `at` that matters, or the end of the bytes.
    #[inline]
    pub fn next_from(&mut self, mut at: usize) -> usize {
        loop {
            if at / CHUNK * CHUNK != self.base {
                if at >= self.bytes.len() {
                    return self.bytes.len();
                }
                self.load(at / CHUNK * CHUNK);
            }
            let rest = self.mask >> (at % CHUNK);
            if rest != 0 {
                return at + rest.trailing_zeros() as usize;
            }
            at = self.base + CHUNK;
        }
    }

    #[inline]
    fn load(&mut self, base: usize) {
        self.base = base;
        let rest = &self.bytes[base..];
        self.mask = match rest.first_chunk() {
            Some(chunk) => self.mask_chunk(chunk),
            None => {
                let mut chunk = [0; CHUNK];
                chunk[..rest.len()].copy_from_slice(rest);
                self.mask_chunk(&chunk) & ((1 << rest.len()) - 1)
            }
        };
    }

    #[inline]
    fn mask_chunk(&self, chunk: &[u8; CHUNK]) -> u64 {
        let (parts, _) = chunk.as_chunks::<16>();
        let mask = |at: usize| u64::from(self.kind.mask(&parts[at])) << (at * 16);
        mask(0) | mask(1) | mask(2) | mask(3)
    }
}

/// What can end a JSON string or make it unusual: quotes, backslashes and control characters.
#[derive(Debug)]
struct JsonStops;

/// The first byte at or after `at` that can end a JSON string or make it unusual, or the end.
///
/// Nothing is kept from one string to the next: nearly all end within thirty-two bytes, so one
/// look at those is cheaper than guessing whether the last look still covers this place.
#[inline]
pub(super) fn json_stop(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<32>()) {
        let (parts, _) = chunk.as_chunks::<16>();
        let (low, high) = (JsonStops.mask(&parts[0]), JsonStops.mask(&parts[1]));
        let mask = u32::from(low) | u32::from(high) << 16;
        if mask != 0 {
            return at + mask.trailing_zeros() as usize;
        }
        at += 32;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let stop = rest
        .iter()
        .position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20);
    stop.map_or(bytes.len(), |stop| at + stop)
}

/// What ends a field outside of quotes: the delimiter and line ends.
#[derive(Debug)]
pub(super) struct CsvStops {
    pub delimiter: u8,
}

#[cfg(target_arch = "x86_64")]
use wide::equal_mask;

#[cfg(not(target_arch = "x86_64"))]
use narrow::equal_mask;

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8,
    };

    use super::{CsvStops, JsonStops, Kind};

    impl Kind for JsonStops {
        #[inline]
        fn mask(&self, bytes: &[u8; 16]) -> u16 {
            // SAFETY: SSE2 is part of every x86-64 processor.
            unsafe { json_mask(bytes) }
        }
    }

    impl Kind for CsvStops {
        #[inline]
        fn mask(&self, bytes: &[u8; 16]) -> u16 {
            // SAFETY: SSE2 is part of every x86-64 processor.
            unsafe { csv_mask(bytes, self.delimiter) }
        }
    }

    /// A bit for each place where both have the same byte.
    #[inline]
    pub fn equal_mask(left: &[u8; 16], right: &[u8; 16]) -> u16 {
        // SAFETY: SSE2 is part of every x86-64 processor.
        unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(load(left), load(right))) as u16 }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn load(bytes: &[u8; 16]) -> __m128i {
        // SAFETY: the reference covers the sixteen bytes, and the load needs no alignment.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn json_mask(bytes: &[u8; 16]) -> u16 {
        let bytes = load(bytes);
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"'.cast_signed()));
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\'.cast_signed()));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control)) as u16
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn csv_mask(bytes: &[u8; 16], delimiter: u8) -> u16 {
        let bytes = load(bytes);
        let field = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(delimiter.cast_signed()));
        let line = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\n'.cast_signed()));
        _mm_movemask_epi8(_mm_or_si128(field, line)) as u16
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod narrow {
    use super::{CsvStops, JsonStops, Kind};

    fn mask(bytes: &[u8; 16], stops: impl Fn(u8) -> bool) -> u16 {
        let bits = bytes.iter().enumerate();
        bits.fold(0, |mask, (at, &byte)| mask | u16::from(stops(byte)) << at)
    }

    pub fn equal_mask(left: &[u8; 16], right: &[u8; 16]) -> u16 {
        let bits = left.iter().zip(right).enumerate();
        bits.fold(0, |mask, (at, (left, right))| {
            mask | u16::from(left == right) << at
        })
    }

    impl Kind for JsonStops {
        fn mask(&self, bytes: &[u8; 16]) -> u16 {
            mask(bytes, |byte| byte == b'"' || byte == b'\\' || byte < 0x20)
        }
    }

    impl Kind for CsvStops {
        fn mask(&self, bytes: &[u8; 16]) -> u16 {
            mask(bytes, |byte| byte == self.delimiter || byte == b'\n')
        }
    }
}

/// A short text to look for at a known place.
#[derive(Clone, Debug)]
pub(super) struct Needle {
    text: Box<[u8]>,
    /// The text with zeros behind it, if it fits.
    padded: Option<[[u8; 16]; 2]>,
    /// A bit for each of its bytes.
    mask: u32,
}

impl Needle {
    pub fn new(text: &[u8]) -> Self {
        let mut padded = [0; 32];
        let fits = padded
            .get_mut(..text.len())
            .map(|start| start.copy_from_slice(text));
        let (parts, _) = padded.as_chunks::<16>();
        Self {
            text: text.into(),
            padded: fits.map(|()| [parts[0], parts[1]]),
            mask: u32::try_from((1_u64 << text.len().min(32)) - 1).expect("32 bits at most"),
        }
    }

    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether `bytes` start with the text. What follows it may be looked at, and does not matter.
    #[inline]
    pub fn starts(&self, bytes: &[u8]) -> bool {
        if let (Some(padded), Some(bytes)) = (&self.padded, bytes.first_chunk::<32>()) {
            let (parts, _) = bytes.as_chunks::<16>();
            let low = u32::from(equal_mask(&parts[0], &padded[0]));
            let high = u32::from(equal_mask(&parts[1], &padded[1]));
            return !(low | high << 16) & self.mask == 0;
        }
        bytes.starts_with(&self.text)
    }
}

/// The bytes as text, if they are UTF-8. Most are ASCII, which is faster to see.
pub(super) fn as_text(bytes: &[u8]) -> Option<&str> {
    if bytes.is_ascii() {
        // SAFETY: ASCII is UTF-8.
        Some(unsafe { std::str::from_utf8_unchecked(bytes) })
    } else {
        std::str::from_utf8(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all<K: Kind>(bytes: &[u8], kind: K) -> Vec<usize> {
        let mut stops = Stops::new(bytes, kind);
        let (mut found, mut at) = (Vec::new(), 0);
        loop {
            at = stops.next_from(at);
            if at == bytes.len() {
                return found;
            }
            found.push(at);
            at += 1;
        }
    }

    proptest! {
        #[test]
        fn a_needle_is_found_where_it_is(text in "[ab]{0,40}", other in "[ab]{0,40}") {
            let needle = Needle::new(text.as_bytes());
            let found = format!("{text}{other}");

            prop_assert!(needle.starts(found.as_bytes()));
            prop_assert_eq!(needle.starts(other.as_bytes()), other.starts_with(&text));
        }

        #[test]
        fn the_stops_are_those_seen_byte_by_byte(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let places = |stops: fn(u8) -> bool| -> Vec<usize> {
                (0..bytes.len()).filter(|&at| stops(bytes[at])).collect()
            };

            let json = places(|byte| byte == b'"' || byte == b'\\' || byte < 0x20);
            let csv = places(|byte| byte == b';' || byte == b'\n');

            prop_assert_eq!(all(&bytes, JsonStops), &json[..]);
            prop_assert_eq!(all(&bytes, CsvStops { delimiter: b';' }), csv);
            for at in 0..=bytes.len() {
                let next = json.iter().copied().find(|&stop| stop >= at);
                prop_assert_eq!(json_stop(&bytes, at), next.unwrap_or(bytes.len()));
            }
        }

        #[test]
        fn the_stops_are_the_same_from_any_place_on(
            bytes in prop::collection::vec(prop::sample::select(b"\"abcdefgh".to_vec()), 0..300),
            places in prop::collection::vec(0_usize..310, 1..5),
        ) {
            let mut stops = Stops::new(&bytes, JsonStops);
            for at in places {
                let rest = bytes.get(at..).unwrap_or_default();
                let expected = rest.iter().position(|&byte| byte == b'"').map(|found| at + found);

                prop_assert_eq!(stops.next_from(at), expected.unwrap_or(bytes.len()));
            }
        }
    }
}
