//! Makes the values of a column, each a function of the seed and the row's event.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, TimeUnit};

use super::events::{Kind, Rows, last_auction, last_person, open_auctions};
use super::prices::Prices;
use super::words::{CITIES, Channels, FIRST_NAMES, LAST_NAMES, STATES, Texts};
use crate::connector::generator::draw::{Draws, Stream};
use crate::format::EXTENSION;

/// Persons and auctions are counted from here.
const FIRST_ID: u64 = 1000;
/// One of so many persons, and one of so many auctions, is hot while it is among the last.
const HOT_EVERY: u64 = 100;
/// Three of four auctions are by a hot seller, three of four bids by a hot bidder.
const HOT_PERSON_IN: u64 = 4;
/// Every other bid is on a hot auction.
const HOT_AUCTION_IN: u64 = 2;
/// The last so many persons are active; some bid or sell before they are there.
const ACTIVE_PERSONS: u64 = 1000;
const LEAD: u64 = 10;
const FIRST_CATEGORY: i64 = 10;
const CATEGORIES: u64 = 5;

/// Makes the values of one column.
#[derive(Debug)]
pub(super) struct Maker {
    stream: Stream,
    what: What,
    data_type: DataType,
}

/// What the values are.
#[derive(Debug)]
enum What {
    /// Of a person or an auction: its number in its table.
    Id,
    Name,
    EmailAddress,
    CreditCard,
    City,
    State,
    /// Up to so many letters.
    Letters(u64),
    InitialBid(Prices),
    Reserve(Prices),
    Expires,
    Seller,
    Category,
    Auction,
    Bidder,
    Price(Prices),
    Channel(Channels),
    Url(Channels),
    Time,
    /// Letters that make a row as long as the benchmark wants it: so many, a fifth more or less.
    Extra(u64),
}

/// The columns of each kind of event, by name.
const COLUMNS: [(Kind, &[&str]); 3] = [
    (
        Kind::Person,
        &[
            "id",
            "name",
            "email_address",
            "credit_card",
            "city",
            "state",
            "date_time",
            "extra",
        ],
    ),
    (
        Kind::Auction,
        &[
            "id",
            "item_name",
            "description",
            "initial_bid",
            "reserve",
            "date_time",
            "expires",
            "seller",
            "category",
            "extra",
        ],
    ),
    (
        Kind::Bid,
        &[
            "auction",
            "bidder",
            "price",
            "channel",
            "url",
            "date_time",
            "extra",
        ],
    ),
];

impl Maker {
    /// The maker of a column, or why there is none of this name and type.
    pub(super) fn new(field: &Field, kind: Kind, seed: u64) -> Result<Self, String> {
        let name = known_name(field.name(), kind)?;
        let what = What::new(name, kind, seed);
        let data_type = field.data_type();
        let (fits, wanted) = match what.type_name() {
            wanted @ "BIGINT" => (*data_type == DataType::Int64, wanted),
            wanted @ "TIMESTAMP" => {
                let micros = matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, _));
                (micros, wanted)
            }
            wanted => {
                let plain = !field.metadata().contains_key(EXTENSION);
                (*data_type == DataType::Utf8 && plain, wanted)
            }
        };
        if !fits {
            return Err(format!("column `{}` must be {wanted}", field.name()));
        }
        // Both are drawn from the prices of an auction, and from the channel of a bid.
        let drawn = match name {
            "reserve" => "initial_bid",
            "url" => "channel",
            other => other,
        };
        Ok(Self {
            stream: Stream::new(seed, &format!("nexmark {kind:?} {drawn}")),
            what,
            data_type: data_type.clone(),
        })
    }

    /// The values of these rows.
    pub(super) fn make(&self, rows: &Rows) -> ArrayRef {
        match &self.what {
            What::Id => {
                let ids = rows.numbers.iter().map(|number| number + FIRST_ID);
                Arc::new(ids.map(whole).collect::<Int64Array>())
            }
            What::InitialBid(prices) | What::Price(prices) => {
                self.wholes(rows, |_, draws| prices.draw(draws))
            }
            What::Reserve(prices) => {
                self.wholes(rows, |_, draws| prices.draw(draws) + prices.draw(draws))
            }
            What::Seller => self.wholes(rows, |event, draws| whole(person(event, 0, draws))),
            // Not the first, so that hot bidders are not the hot sellers.
            What::Bidder => self.wholes(rows, |event, draws| whole(person(event, 1, draws))),
            What::Category => self.wholes(rows, |_, draws| {
                FIRST_CATEGORY + whole(draws.below(CATEGORIES))
            }),
            What::Auction => self.wholes(rows, |event, draws| whole(auction(event, draws))),
            What::Time => self.times(rows.events.iter().map(|&event| rows.times.of(event))),
            What::Expires => self.times(rows.events.iter().map(|&event| {
                let horizon = rows.times.horizon_us(event);
                let length = 1 + self.stream.of(event).below((horizon * 2).max(1));
                rows.times.of(event).saturating_add_unsigned(length)
            })),
            What::Name
            | What::EmailAddress
            | What::CreditCard
            | What::City
            | What::State
            | What::Letters(_)
            | What::Channel(_)
            | What::Url(_)
            | What::Extra(_) => self.texts(rows),
        }
    }

    /// One number per event, each from its own draws.
    fn wholes(&self, rows: &Rows, value: impl Fn(u64, &mut Draws) -> i64) -> ArrayRef {
        let value = |&event: &u64| value(event, &mut self.stream.of(event));
        let values: Vec<i64> = rows.events.iter().map(value).collect();
        Arc::new(Int64Array::from(values))
    }

    fn times(&self, micros: impl Iterator<Item = i64>) -> ArrayRef {
        let micros: Vec<i64> = micros.collect();
        let times = TimestampMicrosecondArray::from(micros);
        Arc::new(times.with_data_type(self.data_type.clone()))
    }

    fn texts(&self, rows: &Rows) -> ArrayRef {
        let mut texts = Texts::new(rows.events.len(), self.what.length());
        for &event in &rows.events {
            self.text(&mut texts, &mut self.stream.of(event));
            texts.end();
        }
        texts.finish()
    }

    fn text(&self, texts: &mut Texts, draws: &mut Draws) {
        match &self.what {
            What::Name => {
                texts.add(one_of(&FIRST_NAMES, draws));
                texts.add(" ");
                texts.add(one_of(&LAST_NAMES, draws));
            }
            What::EmailAddress => {
                texts.add(one_of(&LAST_NAMES, draws));
                texts.add_digits(draws, 4);
                texts.add("@example.com");
            }
            What::CreditCard => {
                for part in 0..4 {
                    texts.add(if part == 0 { "" } else { " " });
                    texts.add_digits(draws, 4);
                }
            }
            What::City => texts.add(one_of(&CITIES, draws)),
            What::State => texts.add(one_of(&STATES, draws)),
            What::Letters(most) => {
                let length = 3 + draws.below(most - 3);
                texts.add_letters(draws, usize::try_from(length).expect("texts are short"));
            }
            What::Channel(channels) => texts.add(channels.draw(draws).0),
            What::Url(channels) => texts.add(channels.draw(draws).1),
            What::Extra(usual) => {
                let fifth = usual / 5;
                let length = usual - fifth + draws.below(2 * fifth);
                texts.add_letters(draws, usize::try_from(length).expect("texts are short"));
            }
            What::Id
            | What::InitialBid(_)
            | What::Reserve(_)
            | What::Expires
            | What::Seller
            | What::Category
            | What::Auction
            | What::Bidder
            | What::Price(_)
            | What::Time => unreachable!("these are no texts"),
        }
    }
}

impl What {
    /// What the column `name` of a kind's table is.
    fn new(name: &str, kind: Kind, seed: u64) -> Self {
        match name {
            "id" => Self::Id,
            "name" => Self::Name,
            "email_address" => Self::EmailAddress,
            "credit_card" => Self::CreditCard,
            "city" => Self::City,
            "state" => Self::State,
            "item_name" => Self::Letters(20),
            "description" => Self::Letters(100),
            "initial_bid" => Self::InitialBid(Prices::new()),
            "reserve" => Self::Reserve(Prices::new()),
            "expires" => Self::Expires,
            "seller" => Self::Seller,
            "category" => Self::Category,
            "auction" => Self::Auction,
            "bidder" => Self::Bidder,
            "price" => Self::Price(Prices::new()),
            "channel" => Self::Channel(Channels::new(seed)),
            "url" => Self::Url(Channels::new(seed)),
            "date_time" => Self::Time,
            // The public benchmark's rows have 200, 500 and 100 bytes.
            "extra" => Self::Extra(match kind {
                Kind::Person => 135,
                Kind::Auction => 380,
                Kind::Bid => 68,
            }),
            other => unreachable!("{other} is in no list of columns"),
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Id
            | Self::InitialBid(_)
            | Self::Reserve(_)
            | Self::Seller
            | Self::Category
            | Self::Auction
            | Self::Bidder
            | Self::Price(_) => "BIGINT",
            Self::Expires | Self::Time => "TIMESTAMP",
            Self::Name
            | Self::EmailAddress
            | Self::CreditCard
            | Self::City
            | Self::State
            | Self::Letters(_)
            | Self::Channel(_)
            | Self::Url(_)
            | Self::Extra(_) => "TEXT",
        }
    }

    /// How long its texts are, about.
    fn length(&self) -> usize {
        match self {
            Self::Letters(length) | Self::Extra(length) => {
                usize::try_from(*length).expect("texts are short")
            }
            Self::Url(_) => 80,
            Self::Id
            | Self::Name
            | Self::EmailAddress
            | Self::CreditCard
            | Self::City
            | Self::State
            | Self::InitialBid(_)
            | Self::Reserve(_)
            | Self::Expires
            | Self::Seller
            | Self::Category
            | Self::Auction
            | Self::Bidder
            | Self::Price(_)
            | Self::Channel(_)
            | Self::Time => 20,
        }
    }
}

/// The column's name as it stands in the list: `dateTime`, as others write it, is `date_time`.
fn known_name(given: &str, kind: Kind) -> Result<&'static str, String> {
    let plain = |name: &str| name.replace('_', "").to_lowercase();
    let (_, names) = COLUMNS
        .iter()
        .find(|(of, _)| *of == kind)
        .expect("every kind has a list");
    names
        .iter()
        .find(|name| plain(name) == plain(given))
        .copied()
        .ok_or_else(|| {
            format!(
                "there is no column `{given}`; there is {}",
                names.join(", ")
            )
        })
}

/// A person who sells or bids: often a hot one, `place` behind each hundredth.
fn person(event: u64, place: u64, draws: &mut Draws) -> u64 {
    let last = last_person(event);
    if draws.below(HOT_PERSON_IN) > 0 {
        return FIRST_ID + last / HOT_EVERY * HOT_EVERY + place;
    }
    let count = last + 1;
    let active = count.min(ACTIVE_PERSONS);
    FIRST_ID + count - active + draws.below(active + LEAD)
}

/// The auction that is bid on: often a hot one.
fn auction(event: u64, draws: &mut Draws) -> u64 {
    if draws.below(HOT_AUCTION_IN) > 0 {
        return FIRST_ID + last_auction(event) / HOT_EVERY * HOT_EVERY;
    }
    let (first, count) = open_auctions(event);
    FIRST_ID + first + draws.below(count + LEAD)
}

fn one_of<'a>(texts: &[&'a str], draws: &mut Draws) -> &'a str {
    texts[usize::try_from(draws.below(texts.len() as u64)).expect("the list is short")]
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).expect("rows are not as many")
}
