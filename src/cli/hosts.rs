//! The file that says where the processes of a cluster listen: a host and port per line, the first
//! for process 0. Pure: text in, addresses or what is wrong with them out.

use std::collections::BTreeMap;

use crate::dataflow::outcome::Failure;

/// Reads the lines of `path`. What follows a `#` is a comment.
pub fn hosts(path: &str, text: &str) -> Result<Vec<String>, Failure> {
    let wrong = |number: usize, what: String| {
        Failure::new(format!("cannot use `{path}`: line {number}: {what}"))
            .hint("a line is a host and a port, like `10.0.0.3:2101`")
    };
    let mut seen = BTreeMap::new();
    let mut addresses = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let address = line.split('#').next().unwrap_or_default().trim();
        if address.is_empty() {
            continue;
        }
        let port = address
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty() && !host.contains(char::is_whitespace))
            .filter(|(host, _)| !host.contains(':') || host.starts_with('['))
            .and_then(|(_, port)| port.parse::<std::num::NonZeroU16>().ok());
        if port.is_none() {
            return Err(wrong(
                number,
                format!("`{address}` is not a host and a port"),
            ));
        }
        if let Some(first) = seen.insert(address.to_owned(), number) {
            return Err(wrong(
                number,
                format!("`{address}` stands in line {first} already"),
            ));
        }
        addresses.push(address.to_owned());
    }
    if addresses.is_empty() {
        return Err(wrong(1, "there are no hosts in it".to_owned()));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_process_and_comments_are_none() {
        let text = "# three\n10.0.0.1:2101\n\n  box.example:2101 # the second\n[::1]:2102\n";

        let found = hosts("hosts", text).unwrap();

        assert_eq!(found, ["10.0.0.1:2101", "box.example:2101", "[::1]:2102"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let said = |text: &str| hosts("hosts", text).unwrap_err().message;

        for line in [
            "10.0.0.1",
            "10.0.0.1:x",
            ":2101",
            "a:0",
            "::1:2101",
            "a b:1",
            "a:70000",
        ] {
            let expected = format!("cannot use `hosts`: line 2: `{line}` is not a host and a port");
            assert_eq!(said(&format!("a:1\n{line}\n")), expected);
        }
        assert_eq!(
            said("a:1\nb:1\na:1"),
            "cannot use `hosts`: line 3: `a:1` stands in line 1 already"
        );
        assert_eq!(
            said("# nobody\n"),
            "cannot use `hosts`: line 1: there are no hosts in it"
        );
    }
}
