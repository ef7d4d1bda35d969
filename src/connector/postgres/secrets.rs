//! libpq's two files: `.pg_service.conf`, which names databases, and `.pgpass`, which has their
//! passwords.

use std::path::{Path, PathBuf};

use super::address::{Address, Surroundings};

/// What the service file says of `name`.
pub(super) fn service(
    name: &str,
    surroundings: &Surroundings<'_>,
) -> Result<Vec<(String, String)>, String> {
    let variable = surroundings.variable;
    let own = variable("PGSERVICEFILE")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&variable("HOME")?).join(".pg_service.conf")));
    let shared = variable("PGSYSCONFDIR").map(|folder| Path::new(&folder).join("pg_service.conf"));
    let texts = [own, shared]
        .into_iter()
        .flatten()
        .filter_map(|path| (surroundings.file)(&path));
    for text in texts {
        let mut lines = text.lines().map(str::trim);
        if !lines.any(|line| line == format!("[{name}]")) {
            continue;
        }
        let own = lines.take_while(|line| !line.starts_with('['));
        let pairs = own.filter(|line| !line.starts_with('#'));
        let pairs = pairs.filter_map(|line| line.split_once('='));
        return Ok(pairs
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect());
    }
    Err(format!(
        "there is no service `{name}` in `~/.pg_service.conf`"
    ))
}

/// The password of the first line of the password file that fits.
pub(super) fn password(
    passfile: Option<&str>,
    address: &Address,
    surroundings: &Surroundings<'_>,
) -> Result<Option<String>, String> {
    let of_user = || Some(Path::new(&(surroundings.variable)("HOME")?).join(".pgpass"));
    let Some(path) = passfile.map(PathBuf::from).or_else(of_user) else {
        return Ok(None);
    };
    let Some(text) = (surroundings.file)(&path) else {
        return Ok(None);
    };
    if !(surroundings.private)(&path) {
        let path = path.display();
        return Err(format!(
            "others may read the passwords in `{path}`; chmod 600 it"
        ));
    }
    let fits = |pattern: &str, value: &str| pattern == "*" || pattern == value;
    let found = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let [host, port, database, user, password] = fields(line)?;
            let here = address.hosts().into_iter().any(|(of, at)| {
                // A socket's folder is `localhost` in this file.
                let of = if of.starts_with('/') { "localhost" } else { of };
                fits(&host, of) && fits(&port, &at.to_string())
            });
            let ours = fits(&database, address.database()) && fits(&user, address.user());
            (here && ours).then_some(password)
        });
    Ok(found)
}

/// Five fields between colons; a backslash takes the next character as it is.
fn fields(line: &str) -> Option<[String; 5]> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == ':' && fields.len() < 5 {
            fields.push(String::new());
            continue;
        }
        let last = fields.last_mut()?;
        match c {
            '\\' => last.extend(chars.next()),
            c => last.push(c),
        }
    }
    fields.try_into().ok()
}
