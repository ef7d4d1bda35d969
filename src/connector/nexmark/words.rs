//! Texts: written one behind the other into one buffer, as the column holds them.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer};

use crate::connector::generator::draw::{Draws, Stream};

pub(super) const FIRST_NAMES: [&str; 11] = [
    "Ada", "Ben", "Carla", "David", "Emma", "Felix", "Grace", "Hugo", "Ines", "Jonas", "Lena",
];
pub(super) const LAST_NAMES: [&str; 9] = [
    "Adler", "Brook", "Castle", "Dorn", "Ember", "Frost", "Garner", "Hill", "Iverson",
];
pub(super) const CITIES: [&str; 10] = [
    "Tucson", "Fresno", "Oakland", "Nampa", "Salem", "Eugene", "Tacoma", "Spokane", "Olympia",
    "Laramie",
];
/// Three of six are those that the third query asks for.
pub(super) const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];

/// Half of the bids come through one of these.
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
/// The other half, evenly, through so many others.
const CHANNELS: u64 = 10_000;

/// Bytes of random letters: every fourteenth, about, is a space.
const LETTERS: [u8; 256] = letters();

const fn letters() -> [u8; 256] {
    let alphabet = b"abcdefghijklmnopqrstuvwxyz  ";
    let mut table = [0; 256];
    let mut at = 0;
    while at < table.len() {
        table[at] = alphabet[at % alphabet.len()];
        at += 1;
    }
    table
}

/// The texts of a column under way.
pub(super) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<i32>,
}

impl Texts {
    /// For so many texts of about so many bytes.
    pub(super) fn new(rows: usize, length: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self {
            bytes: Vec::with_capacity(rows * length),
            ends,
        }
    }

    pub(super) fn add(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Random letters, of which some are spaces.
    pub(super) fn add_letters(&mut self, draws: &mut Draws, mut length: usize) {
        while length > 0 {
            let letters = draws
                .bits()
                .to_le_bytes()
                .map(|byte| LETTERS[usize::from(byte)]);
            let taken = length.min(letters.len());
            self.bytes.extend_from_slice(&letters[..taken]);
            length -= taken;
        }
    }

    /// Random digits.
    pub(super) fn add_digits(&mut self, draws: &mut Draws, count: u32) {
        let mut rest = draws.bits();
        for _ in 0..count {
            self.bytes
                .push(b'0' + u8::try_from(rest % 10).expect("a digit"));
            rest /= 10;
        }
    }

    /// The text ends here.
    pub(super) fn end(&mut self) {
        let end = i32::try_from(self.bytes.len()).expect("a block is far below 2 GB");
        self.ends.push(end);
    }

    pub(super) fn finish(self) -> ArrayRef {
        let ends = OffsetBuffer::new(self.ends.into());
        let texts = StringArray::try_new(ends, Buffer::from_vec(self.bytes), None);
        Arc::new(texts.expect("all of it is ASCII"))
    }
}

/// Channels that bids come through, with their URLs.
#[derive(Debug)]
pub(super) struct Channels(Vec<(String, String)>);

impl Channels {
    pub(super) fn new(seed: u64) -> Self {
        let stream = Stream::new(seed, "channels");
        let hot = HOT_CHANNELS.iter().map(|name| (*name).to_owned());
        let others = (0..CHANNELS).map(|number| format!("channel-{number}"));
        let channel = |(number, name): (u64, String)| {
            let mut draws = stream.of(number);
            let mut url = "https://www.nexmark.com/".to_owned();
            for _ in 0..3 {
                url.extend((0..5).map(|_| char::from(b'a' + draws.below(26) as u8)));
                url.push('/');
            }
            url.push_str("item.htm?query=1");
            // The hot ones are known by their names, and a tenth of the others is not known at all.
            if number >= HOT_CHANNELS.len() as u64 && draws.below(10) > 0 {
                url.push_str(&format!("&channel_id={}", draws.below(1 << 31)));
            }
            (name, url)
        };
        Self((0..).zip(hot.chain(others)).map(channel).collect())
    }

    /// The channel of a bid, and its URL.
    pub(super) fn draw(&self, draws: &mut Draws) -> (&str, &str) {
        let hot = HOT_CHANNELS.len() as u64;
        let number = if draws.below(2) > 0 {
            draws.below(hot)
        } else {
            hot + draws.below(CHANNELS)
        };
        let (name, url) = &self.0[usize::try_from(number).expect("channels are few")];
        (name, url)
    }
}
