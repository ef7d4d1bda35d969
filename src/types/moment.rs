//! Dates, times and timestamps out of text, for columns and for casts.
//!
//! Reads ISO 8601 and PostgreSQL's output: `2024-05-01T10:00:00.5Z`, `2024-05-01 10:00:00+02`.
//! Digits beyond microseconds are rounded, as PostgreSQL rounds them.

const DAY_US: i64 = 86_400_000_000;

/// Days since 1970 of a date of the proleptic Gregorian calendar; any year that text can name.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // March is the first month, so that the leap day comes last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// A date as days since 1970.
pub fn date(text: &str) -> Option<i32> {
    let mut at = Cursor::new(text);
    let days = at.date()?;
    at.ended().then_some(())?;
    i32::try_from(days).ok()
}

/// A time of day as microseconds.
pub fn time_of_day(text: &str) -> Option<i64> {
    let mut at = Cursor::new(text);
    let micros = at.time()?;
    (at.ended() && micros < DAY_US).then_some(micros)
}

/// A timestamp as microseconds since 1970, its offset from UTC applied where it has one.
#[inline]
pub fn timestamp(text: &str) -> Option<i64> {
    usual_timestamp(text.as_bytes()).or_else(|| any_timestamp(text))
}

/// The form that nearly every timestamp has: `2024-05-01T10:00:00[.123456][Z]`. Anything else,
/// wrong or only unusual, is `None`.
#[inline]
pub fn usual_timestamp(text: &[u8]) -> Option<i64> {
    let (fixed, rest) = text.split_first_chunk::<19>()?;
    let date = Eight::read(fixed, 0, b"0000-00-");
    let hour = Eight::read(fixed, 8, b"00T00:00");
    let time = Eight::read(fixed, 11, b"00:00:00");
    // Behind the date a space is as good as a `T`.
    let wrong = date.wrong() | time.wrong() | (hour.wrong() & !(0xff << 16));
    if wrong != 0 || (fixed[10] != b'T' && fixed[10] != b' ') {
        return None;
    }
    let (year, month) = (date.two(0) * 100 + date.two(2), date.two(5));
    let (day, hour, minute, second) = (hour.two(0), time.two(0), time.two(3), time.two(6));
    if !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 || year == 0 {
        return None;
    }
    // The twenty-ninth of February needs a look at the calendar.
    const DAYS: [u32; 13] = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if day == 0 || day > DAYS[month as usize] {
        return None;
    }
    // March is the first month, so that the leap day comes last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let seconds =
        (i64::from(days) - 719_468) * 86_400 + i64::from((hour * 60 + minute) * 60 + second);
    Some(seconds * 1_000_000 + usual_fraction(rest)?)
}

/// Eight bytes of digits and other characters, looked at together.
#[derive(Clone, Copy)]
struct Eight {
    /// What each byte has that the form has not: of a digit its value, of anything else nothing.
    differs: u64,
    /// What makes a byte's highest bit out of a difference too large.
    excess: u64,
}

impl Eight {
    /// The bytes at `at`, where `form` has zeros for digits and else what must stand there.
    #[inline]
    fn read<const N: usize>(text: &[u8; N], at: usize, form: &[u8; 8]) -> Self {
        let bytes: [u8; 8] = std::array::from_fn(|place| text[at + place]);
        let excess = form.map(|byte| if byte == b'0' { 0x76 } else { 0x7f });
        Self {
            differs: u64::from_le_bytes(bytes) ^ u64::from_le_bytes(*form),
            excess: u64::from_le_bytes(excess),
        }
    }

    /// Not zero if some byte is not what the form says: the highest bit of the first such byte is
    /// set, and of those behind it maybe, of none before it.
    #[inline]
    fn wrong(self) -> u64 {
        (self.differs.wrapping_add(self.excess) | self.differs) & 0x8080_8080_8080_8080
    }

    /// The number that the digits at `at` and behind it make.
    #[inline]
    fn two(self, at: usize) -> u32 {
        let tens = (self.differs >> (8 * at)) & 0xf;
        let ones = (self.differs >> (8 * at + 8)) & 0xf;
        // Four bits each.
        (tens * 10 + ones) as u32
    }
}

/// `[.123456][Z]` as microseconds.
#[inline]
fn usual_fraction(rest: &[u8]) -> Option<i64> {
    if let Ok(eight) = <&[u8; 8]>::try_from(rest) {
        let digits = Eight::read(eight, 0, b".000000Z");
        let micros = digits.two(1) * 10_000 + digits.two(3) * 100 + digits.two(5);
        if digits.wrong() == 0 {
            return Some(i64::from(micros));
        }
    }
    let rest = rest.strip_suffix(b"Z").unwrap_or(rest);
    let Some((b'.', digits)) = rest.split_first() else {
        return rest.is_empty().then_some(0);
    };
    if digits.is_empty() || digits.len() > 6 {
        return None;
    }
    let mut micros = 0;
    for at in 0..6 {
        let digit = digits.get(at).map_or(0, |byte| byte.wrapping_sub(b'0'));
        (digit <= 9).then_some(())?;
        micros = micros * 10 + i64::from(digit);
    }
    Some(micros)
}

/// A timestamp in any of the forms.
pub fn any_timestamp(text: &str) -> Option<i64> {
    let mut at = Cursor::new(text);
    let days = at.date()?;
    let mut micros = i128::from(days) * i128::from(DAY_US);
    if !at.ended() {
        if !matches!(at.next()?, b'T' | b't' | b' ') {
            return None;
        }
        micros += i128::from(at.time()?);
        micros -= i128::from(at.offset()?) * 1_000_000;
    }
    at.ended().then_some(())?;
    i64::try_from(micros).ok()
}

/// Reads from the front of a text, byte by byte.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text.as_bytes(),
        }
    }

    fn ended(&self) -> bool {
        self.rest.is_empty()
    }

    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.rest.first() == Some(&byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    /// Two digits.
    #[inline]
    fn two(&mut self) -> Option<i64> {
        let (digits, rest) = self.rest.split_at_checked(2)?;
        let (tens, ones) = (digits[0].wrapping_sub(b'0'), digits[1].wrapping_sub(b'0'));
        (tens <= 9 && ones <= 9).then_some(())?;
        self.rest = rest;
        Some(i64::from(tens * 10 + ones))
    }

    fn year(&mut self) -> Option<i64> {
        if self.rest.get(4) == Some(&b'-') && self.rest[0] != b'-' {
            return Some(self.two()? * 100 + self.two()?);
        }
        let negative = self.skip(b'-');
        if !negative {
            self.skip(b'+');
        }
        let digits = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if !(4..=7).contains(&digits) {
            return None;
        }
        let (year, rest) = self.rest.split_at(digits);
        self.rest = rest;
        let year = year
            .iter()
            .fold(0, |year, digit| year * 10 + i64::from(digit - b'0'));
        Some(if negative { -year } else { year })
    }

    #[inline]
    fn date(&mut self) -> Option<i64> {
        let year = self.year()?;
        self.skip(b'-').then_some(())?;
        let month = self.two()?;
        self.skip(b'-').then_some(())?;
        let day = self.two()?;
        let valid = (1..=12).contains(&month) && day >= 1 && day <= month_days(year, month);
        valid.then(|| days_from_civil(year, month, day))
    }

    /// `HH:MM[:SS[.fraction]]`; second 60 is the next minute, as in PostgreSQL.
    #[inline]
    fn time(&mut self) -> Option<i64> {
        let hour = self.two()?;
        self.skip(b':').then_some(())?;
        let minute = self.two()?;
        let (mut second, mut micros) = (0, 0);
        if self.skip(b':') {
            second = self.two()?;
            if self.skip(b'.') {
                micros = self.fraction()?;
            }
        }
        let valid = hour < 24 && minute < 60 && second <= 60;
        valid.then_some(((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)
    }

    /// The digits after a point as microseconds, rounded.
    fn fraction(&mut self) -> Option<i64> {
        let digits = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        let (fraction, rest) = self.rest.split_at(digits);
        self.rest = rest;
        let digit = |at: usize| i64::from(fraction.get(at).map_or(0, |byte| byte - b'0'));
        let micros = (0..6).fold(0, |micros, at| micros * 10 + digit(at));
        Some(micros + i64::from(digit(6) >= 5))
    }

    /// Seconds east of UTC; none means UTC.
    fn offset(&mut self) -> Option<i64> {
        if self.rest.len() > 1 {
            self.skip(b' ');
        }
        match self.rest {
            [] => return Some(0),
            [b'Z' | b'z'] | [b'U', b'T', b'C'] => {
                self.rest = &[];
                return Some(0);
            }
            _ => {}
        }
        let sign = match self.next()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let mut seconds = self.two()? * 3600;
        for unit in [60, 1] {
            if !self.ended() {
                self.skip(b':');
                let part = self.two()?;
                (part < 60).then_some(())?;
                seconds += part * unit;
            }
        }
        (seconds < 86_400).then_some(sign * seconds)
    }
}
