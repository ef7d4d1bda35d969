//! Which database a `url` names, in libpq's words.
//!
//! A URL or `key=value` pairs, then the service file, then the environment (`PGHOST` and the like),
//! then libpq's defaults: the first that says something holds. The client below does not know
//! `sslmode=verify-full`, `sslrootcert`, `passfile` and `service`, so all of it is read here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::secrets;

/// Parameters that mean something here.
const KNOWN: [&str; 18] = [
    "host",
    "hostaddr",
    "port",
    "user",
    "password",
    "passfile",
    "dbname",
    "service",
    "sslmode",
    "sslrootcert",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "options",
    "target_session_attrs",
    "channel_binding",
];
/// Parameters that change nothing that we rely on.
const IGNORED: [&str; 7] = [
    "application_name",
    "fallback_application_name",
    "client_encoding",
    "gssencmode",
    "keepalives",
    "sslcompression",
    "requirepeer",
];
/// The variables of the environment that libpq reads.
const VARIABLES: [(&str, &str); 13] = [
    ("service", "PGSERVICE"),
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("dbname", "PGDATABASE"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("options", "PGOPTIONS"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
];

/// What `sslmode` may be, weakest first.
pub(super) const SSL_MODES: &[&str] = &[
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// What the outside says besides the URL.
pub(super) struct Surroundings<'a> {
    /// A variable of the environment.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The text of a file, if it can be read.
    pub(super) file: &'a dyn Fn(&Path) -> Option<String>,
    /// Whether only its owner can read a file.
    pub(super) private: &'a dyn Fn(&Path) -> bool,
}

/// A database and how to reach it. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    parameters: BTreeMap<String, String>,
}

impl Address {
    /// Reads `url`; `given` stands before everything that the URL says. An error is one sentence
    /// without any value of the URL, since the password may be anywhere in a wrong one.
    pub(super) fn parse(
        url: &str,
        given: &[(&str, &str)],
        surroundings: &Surroundings<'_>,
    ) -> Result<Self, String> {
        let mut parameters = match url.split_once("://") {
            Some(("postgres" | "postgresql", rest)) => from_url(rest)?,
            Some(_) => return Err("`url` must begin with `postgres://`".to_owned()),
            None => from_pairs(url)?,
        };
        for (name, value) in given {
            parameters.insert((*name).to_owned(), (*value).to_owned());
        }
        let stranger = parameters
            .keys()
            .find(|name| !KNOWN.contains(&name.as_str()) && !IGNORED.contains(&name.as_str()));
        if let Some(stranger) = stranger {
            let hint = crate::types::nearest(stranger, KNOWN)
                .map(|near| format!("; did you mean `{near}`?"))
                .unwrap_or_default();
            return Err(format!(
                "`url` has the parameter `{stranger}`, which is not known here{hint}"
            ));
        }
        parameters.retain(|name, value| KNOWN.contains(&name.as_str()) && !value.is_empty());
        let mut address = Self { parameters };
        address.fill(surroundings)?;
        address.check()?;
        Ok(address)
    }

    /// Whatever the URL left open.
    fn fill(&mut self, surroundings: &Surroundings<'_>) -> Result<(), String> {
        let variable = |name: &str| (surroundings.variable)(name).filter(|text| !text.is_empty());
        let or = |address: &mut Self, name: &str, value: Option<String>| {
            if let (Some(value), None) = (value, address.get(name)) {
                address.parameters.insert(name.to_owned(), value);
            }
        };
        or(self, "service", variable("PGSERVICE"));
        if let Some(service) = self.parameters.remove("service") {
            for (name, value) in secrets::service(&service, surroundings)? {
                if KNOWN.contains(&name.as_str()) {
                    or(self, &name, Some(value));
                }
            }
        }
        for (name, of) in VARIABLES {
            if name != "service" {
                or(self, name, variable(of));
            }
        }
        or(self, "host", self.get("hostaddr").map(str::to_owned));
        or(self, "host", Some("localhost".to_owned()));
        or(self, "port", Some("5432".to_owned()));
        or(self, "sslmode", Some("prefer".to_owned()));
        or(
            self,
            "user",
            variable("USER").or_else(|| variable("LOGNAME")),
        );
        or(self, "dbname", self.get("user").map(str::to_owned));
        let passfile = self.parameters.remove("passfile");
        if self.get("password").is_none() {
            let found = secrets::password(passfile.as_deref(), self, surroundings)?;
            or(self, "password", found);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        if self.get("user").is_none() {
            return Err("`url` names no user".to_owned());
        }
        let mode = self.ssl_mode();
        if !SSL_MODES.contains(&mode) {
            return Err(format!("`sslmode` must be one of {}", SSL_MODES.join(", ")));
        }
        let ports: Result<Vec<u16>, _> = self.list("port").map(str::parse).collect();
        let hosts = self.list("host").count();
        match ports {
            Ok(ports) if ports.len() == 1 || ports.len() == hosts => Ok(()),
            Ok(_) => Err("`url` must have one port, or one for each host".to_owned()),
            Err(_) => Err("the port in `url` must be a number up to 65535".to_owned()),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// A parameter that is set at the latest by a default.
    fn set(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        self.set(name).split(',')
    }

    pub(super) fn user(&self) -> &str {
        self.set("user")
    }

    pub(super) fn database(&self) -> &str {
        self.set("dbname")
    }

    pub(super) fn ssl_mode(&self) -> &str {
        self.set("sslmode")
    }

    /// Every host with its port, in the order in which they are tried.
    pub(super) fn hosts(&self) -> Vec<(&str, u16)> {
        let ports: Vec<u16> = self
            .list("port")
            .map(|port| port.parse().unwrap_or_default())
            .collect();
        let port = |at: usize| *ports.get(at).unwrap_or(&ports[0]);
        self.list("host")
            .enumerate()
            .map(|(at, host)| (host, port(at)))
            .collect()
    }

    /// A parameter in which two spellings of one database differ, if any.
    pub(super) fn difference<'a>(&'a self, other: &'a Self) -> Option<&'a str> {
        let names = self.parameters.keys().chain(other.parameters.keys());
        let mut names = names.map(String::as_str);
        names.find(|name| self.get(name) != other.get(name))
    }
}

/// Who and where, as in a URL: what tables are put together by, and what messages say.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@", self.user())?;
        for (at, (host, port)) in self.hosts().into_iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let host = host.to_ascii_lowercase();
            write!(f, "{comma}{host}:{port}")?;
        }
        write!(f, "/{}", self.database())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// `user:password@host:port,host:port/database?name=value`.
fn from_url(rest: &str) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (place, database) = place.split_once('/').unwrap_or((place, ""));
    let (user, hosts) = place.rsplit_once('@').unwrap_or(("", place));
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let mut put = |name: &str, text: &str| -> Result<(), String> {
        let text = decoded(text)?;
        if !text.is_empty() {
            found.insert(name.to_owned(), text);
        }
        Ok(())
    };
    put("user", user)?;
    put("password", password)?;
    put("dbname", database)?;
    let split = hosts.split(',').map(|host| match host.rsplit_once(':') {
        // An IPv6 address stands in brackets.
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    });
    let (names, ports): (Vec<&str>, Vec<&str>) = split.unzip();
    let plain = |name: &&str| name.trim_matches(['[', ']']).to_owned();
    put(
        "host",
        &names.iter().map(plain).collect::<Vec<_>>().join(","),
    )?;
    if ports.iter().any(|port| !port.is_empty()) {
        let or_default = |port: &&str| if port.is_empty() { "5432" } else { *port }.to_owned();
        let ports: Vec<String> = ports.iter().map(or_default).collect();
        put("port", &ports.join(","))?;
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .ok_or("a parameter in `url` has no `=`")?;
        let name = decoded(name)?;
        match (name.as_str(), value) {
            ("ssl", "true") => put("sslmode", "require")?,
            (name, value) => put(name, value)?,
        }
    }
    Ok(found)
}

/// `host=.. dbname='..'`.
fn from_pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
    let wrong =
        || "`url` must be `postgres://user@host/database`, or `name=value` pairs".to_owned();
    let mut found = BTreeMap::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            break;
        }
        let mut name = String::new();
        while let Some(c) = chars.next_if(|&c| c != '=') {
            name.push(c);
        }
        chars.next().ok_or_else(wrong)?;
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let quoted = chars.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match chars.next() {
                Some('\\') => value.extend(chars.next()),
                Some('\'') if quoted => break,
                Some(c) if c.is_whitespace() && !quoted => break,
                Some(c) => value.push(c),
                None if quoted => return Err(wrong()),
                None => break,
            }
        }
        found.insert(name.trim().to_owned(), value);
    }
    if found.is_empty() {
        Err(wrong())
    } else {
        Ok(found)
    }
}

/// A part of a URL without its percent signs.
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || "`url` has a `%` that is not followed by two hexadecimal digits".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest.get(..2).ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| "`url` is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(
        url: &str,
        given: &[(&str, &str)],
        variables: &[(&str, &str)],
        files: &[(&str, &str)],
    ) -> Result<Address, String> {
        let find = |list: &[(&str, &str)], name: &str| {
            let found = list.iter().find(|(of, _)| *of == name);
            found.map(|(_, text)| (*text).to_owned())
        };
        Address::parse(
            url,
            given,
            &Surroundings {
                variable: &|name| find(variables, name),
                file: &|path| find(files, path.to_str().unwrap()),
                private: &|path| path.to_str() != Some("/open/.pgpass"),
            },
        )
    }

    #[test]
    fn a_url_and_pairs_name_the_same_database() {
        let url = parse(
            "postgres://me:p%40ss@Db:5433/shop?sslmode=require",
            &[],
            &[],
            &[],
        );
        let pairs = parse(
            "host=db port=5433 user=me dbname='shop' password='p@ss' sslmode=require",
            &[],
            &[],
            &[],
        );

        let (url, pairs) = (url.unwrap(), pairs.unwrap());
        assert_eq!(url.to_string(), "postgres://me@db:5433/shop");
        assert_eq!(pairs.to_string(), url.to_string());
        assert_eq!(url.get("password"), Some("p@ss"));
        assert_eq!(url.difference(&pairs), Some("host"));
        assert_eq!(url.ssl_mode(), "require");
    }

    #[test]
    fn what_the_url_leaves_open_comes_from_the_outside_in_libpqs_order() {
        let address = parse(
            "postgres:///?service=s",
            &[("sslmode", "verify-full")],
            &[("HOME", "/h"), ("PGUSER", "env"), ("PGPORT", "1")],
            &[
                (
                    "/h/.pg_service.conf",
                    "[x]\nuser=no\n[s]\n# c\nport = 2\nhost=there\n",
                ),
                ("/h/.pgpass", "# c\nother:*:*:*:no\nthere:2:*:env:a\\:b\n"),
            ],
        )
        .unwrap();

        assert_eq!(address.to_string(), "postgres://env@there:2/env");
        assert_eq!(address.get("password"), Some("a:b"));
        assert_eq!(address.ssl_mode(), "verify-full");
    }

    #[test]
    fn several_hosts_have_their_ports() {
        let address = parse("postgres://u@a:1,[::1]/d", &[], &[], &[]).unwrap();

        assert_eq!(address.hosts(), [("a", 1), ("::1", 5432)]);
    }

    #[test]
    fn a_wrong_url_is_refused_without_its_password() {
        for (url, expected) in [
            (
                "mysql://u:secret@h/d",
                "`url` must begin with `postgres://`",
            ),
            (
                "secret",
                "`url` must be `postgres://user@host/database`, or `name=value` pairs",
            ),
            (
                "postgres://u:secret@h/d?sslmod=x",
                "`url` has the parameter `sslmod`, which is not known here; did you mean `sslmode`?",
            ),
            (
                "postgres://u:secret@h:port/d",
                "the port in `url` must be a number up to 65535",
            ),
            (
                "postgres://u:sec%ret@h/d",
                "`url` has a `%` that is not followed by two hexadecimal digits",
            ),
            ("postgres://h/d", "`url` names no user"),
            (
                "postgres://u@h/d?service=none",
                "there is no service `none` in `~/.pg_service.conf`",
            ),
        ] {
            assert_eq!(parse(url, &[], &[], &[]).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_password_file_that_others_can_read_is_refused() {
        let file = [("/open/.pgpass", "*:*:*:*:secret\n")];

        let problem = parse("postgres://u@h/d", &[], &[("HOME", "/open")], &file).unwrap_err();

        assert_eq!(
            problem,
            "others may read the passwords in `/open/.pgpass`; chmod 600 it"
        );
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        let address = parse("postgres://u:secret@h/d", &[], &[], &[]).unwrap();

        assert_eq!(
            format!("{address:?} {address}").matches("secret").count(),
            0
        );
    }
}
