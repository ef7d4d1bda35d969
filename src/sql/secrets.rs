//! The line of a file as others may see it: where it holds a password, there are stars.
//!
//! Messages are kept in logs and pasted into chats. Columns stay where they are, so that what
//! points below a word still does.

/// The line with every password in it covered.
pub fn covered(line: &str) -> String {
    let mut out: Vec<char> = line.chars().collect();
    let quotes: Vec<usize> = (0..out.len()).filter(|&at| out[at] == '\'').collect();
    for pair in quotes.chunks(2) {
        let begin = pair[0] + 1;
        let end = pair.get(1).copied().unwrap_or(out.len());
        let hidden = match is_secret(&name_before(&out[..pair[0]])) {
            true => vec![(begin, end)],
            false => within(&out, (begin, end)),
        };
        for (from, to) in hidden {
            out[from..to].fill('*');
        }
    }
    out.into_iter().collect()
}

/// The name of the option that a literal is the value of, or nothing.
fn name_before(text: &[char]) -> String {
    let text: String = text.iter().collect();
    let Some(name) = text.trim_end().strip_suffix('=') else {
        return String::new();
    };
    let name = name.trim_end().trim_end_matches(['\'', '"']);
    let is_before = |c: char| c.is_whitespace() || matches!(c, '(' | ',' | '\'' | '"');
    let name = name.rsplit(is_before).next().unwrap_or_default();
    name.to_lowercase()
}

fn is_secret(option: &str) -> bool {
    const WORDS: [&str; 3] = ["password", "secret", "token"];
    WORDS.iter().any(|word| option.contains(word))
}

/// The passwords of a literal that is an address: `scheme://user:password@..` and `password=..`.
fn within(line: &[char], (begin, end): (usize, usize)) -> Vec<(usize, usize)> {
    let mut hidden = Vec::new();
    let find = |from: usize, what: &str| {
        let what: Vec<char> = what.chars().collect();
        let mut places = from..end.saturating_sub(what.len() - 1).max(from);
        places.find(|&at| {
            let here = line[at..at + what.len()].iter();
            here.map(char::to_ascii_lowercase).eq(what.iter().copied())
        })
    };
    if let Some(scheme) = find(begin, "://") {
        let user = scheme + 3;
        let host = (user..end).find(|&at| line[at] == '/').unwrap_or(end);
        let at_sign = (user..end).rev().find(|&at| line[at] == '@');
        let colon = (user..host).find(|&at| line[at] == ':');
        if let (Some(colon), Some(at_sign)) = (colon, at_sign)
            && colon < at_sign
        {
            hidden.push((colon + 1, at_sign));
        }
    }
    let mut from = begin;
    while let Some(at) = find(from, "password=") {
        let value = at + "password=".len();
        let is_end = |&at: &usize| line[at] == '&' || line[at].is_whitespace();
        from = (value..end).find(is_end).unwrap_or(end);
        hidden.push((value, from));
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_covered_and_nothing_else_moves() {
        let cases = [
            (
                "  WITH (url = 'postgres://me:S3c@et@db:5432/x', table = 't');",
                "  WITH (url = 'postgres://me:******@db:5432/x', table = 't');",
            ),
            (
                "('sasl.password' = 'öpen', 'topic' = 'a')",
                "('sasl.password' = '****', 'topic' = 'a')",
            ),
            (
                "url='host=db password=abc user=me', k = '1'",
                "url='host=db password=*** user=me', k = '1'",
            ),
            (
                "\"sasl.oauthbearer.client.secret\"='x'",
                "\"sasl.oauthbearer.client.secret\"='*'",
            ),
            (
                "url = 'postgres://db/x?password=p&sslmode=require'",
                "url = 'postgres://db/x?password=*&sslmode=require'",
            ),
            (
                "SELECT password = 'never', 'http://a/b:c' FROM t WHERE a = 'it''s",
                "SELECT password = '*****', 'http://a/b:c' FROM t WHERE a = 'it''s",
            ),
            ("'sasl.password' = 'unclosed", "'sasl.password' = '********"),
            ("url = '://", "url = '://"),
            ("", ""),
        ];
        for (line, expected) in cases {
            assert_eq!(covered(line), expected);
        }
    }
}
