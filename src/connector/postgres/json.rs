//! Whether a text is JSON that a `jsonb` column holds.
//!
//! PostgreSQL refuses more than the grammar does: `\u0000`, halves of surrogate pairs, numbers
//! outside `numeric`, and nesting that exhausts its stack.

/// Deeper nesting is refused. PostgreSQL's own limit depends on its stack; this is below it.
const DEPTH_MAX: usize = 1000;
/// Digits of a `numeric` before and after the point.
const DIGITS_BEFORE: i64 = 131_072;
const DIGITS_AFTER: i64 = 16_383;

/// Whether `jsonb` holds this.
pub(super) fn is_held(text: &str) -> bool {
    let mut scanner = Scanner {
        text: text.as_bytes(),
        at: 0,
    };
    scanner.document().is_some() && scanner.at == text.len()
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    /// A value and the space around it. A stack of our own: texts come from strangers.
    fn document(&mut self) -> Option<()> {
        // For each open container, what closes it.
        let mut open: Vec<u8> = Vec::new();
        loop {
            self.space();
            if self.value_begins(&mut open)? {
                continue;
            }
            loop {
                self.space();
                let Some(&close) = open.last() else {
                    return Some(());
                };
                if self.eat(close).is_some() {
                    open.pop();
                    continue;
                }
                self.eat(b',')?;
                if close == b'}' {
                    self.name()?;
                }
                break;
            }
        }
    }

    /// A plain value, an empty container, or the beginning of a container: then true.
    fn value_begins(&mut self, open: &mut Vec<u8>) -> Option<bool> {
        let close = match self.peek()? {
            b'{' => b'}',
            b'[' => b']',
            _ => return self.plain().map(|()| false),
        };
        if open.len() == DEPTH_MAX {
            return None;
        }
        self.at += 1;
        self.space();
        if self.eat(close).is_some() {
            return Some(false);
        }
        if close == b'}' {
            self.name()?;
        }
        open.push(close);
        Some(true)
    }

    fn name(&mut self) -> Option<()> {
        self.space();
        self.string()?;
        self.space();
        self.eat(b':')
    }

    fn plain(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.text[self.at..].starts_with(word).then(|| {
            self.at += word.len();
        })
    }

    fn string(&mut self) -> Option<()> {
        self.eat(b'"')?;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => self.escape()?,
                0..0x20 => return None,
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        self.at += 1;
        match self.peek()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                self.at += 1;
                Some(())
            }
            b'u' => {
                let unit = self.unit()?;
                match unit {
                    0 | 0xdc00..=0xdfff => None,
                    0xd800..=0xdbff => {
                        self.eat(b'\\')?;
                        matches!(self.unit()?, 0xdc00..=0xdfff).then_some(())
                    }
                    _ => Some(()),
                }
            }
            _ => None,
        }
    }

    /// `uXXXX`.
    fn unit(&mut self) -> Option<u32> {
        self.eat(b'u')?;
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |unit, &digit| {
            Some(unit * 16 + char::from(digit).to_digit(16)?)
        })
    }

    fn digits(&mut self) -> Option<i64> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > start).then(|| i64::try_from(self.at - start).unwrap_or(i64::MAX))
    }

    fn number(&mut self) -> Option<()> {
        let _ = self.eat(b'-');
        let leading_zero = self.peek() == Some(b'0');
        let before = self.digits()?;
        if leading_zero && before > 1 {
            return None;
        }
        let after = match self.eat(b'.') {
            Some(()) => self.digits()?,
            None => 0,
        };
        let mut exponent = 0;
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            let negative = self.peek() == Some(b'-');
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            let start = self.at;
            self.digits()?;
            let digits = std::str::from_utf8(&self.text[start..self.at]).ok()?;
            let size: i64 = digits.parse().unwrap_or(i64::MAX / 2);
            exponent = if negative { -size } else { size };
        }
        let (before, after) = (
            before.saturating_add(exponent),
            after.saturating_sub(exponent),
        );
        (before <= DIGITS_BEFORE && after <= DIGITS_AFTER).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::is_held;

    #[test]
    fn what_jsonb_takes_passes() {
        for text in [
            "{}",
            " [ ] ",
            "null",
            "-0",
            "1.5e-3",
            "1E5",
            r#"{"a": [1, {"b": "\u00e9\n\ud83d\ude00"}], "a": 2}"#,
            "\"\u{7f}\u{2028}\"",
            "1e131071",
            "1e-16383",
        ] {
            assert!(is_held(text), "{text}");
        }
        assert!(is_held(&("[".repeat(1000) + &"]".repeat(1000))));
    }

    #[test]
    fn what_jsonb_refuses_does_not() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "01",
            "1.",
            ".5",
            "+1",
            "NaN",
            "nul",
            "1 2",
            "[1}",
            "\"\t\"",
            r#""\u0000""#,
            r#""\ud800""#,
            r#""\ud800\u0041""#,
            r#""\udc00""#,
            r#""\x""#,
            r#""\u12""#,
            "1e131072",
            "1e-16384",
            "1e99999999999999999999",
        ] {
            assert!(!is_held(text), "{text}");
        }
        assert!(!is_held(&("[".repeat(1001) + &"]".repeat(1001))));
    }
}
