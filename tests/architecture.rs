//! The shape of the source tree: which layer may see which, where third-party crates live, how
//! long a file may be. These read the tree as it is; they know no module by name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each may use what stands after it. A layer that is not there yet takes its place when it comes.
const LAYERS: [&str; 11] = [
    "main",
    "cli",
    "web",
    "engine",
    "sql",
    "dataflow",
    "durability",
    "connector",
    "format",
    "plan",
    "types",
];

/// Used by all layers, uses none.
const SHARED: [&str; 1] = ["metrics"];

/// Not allowed although the order would: (who, whom, why).
const FORBIDDEN: [(&str, &str, &str); 4] = [
    (
        "sql",
        "dataflow",
        "a plan is data; who executes it is not its business",
    ),
    (
        "sql",
        "durability",
        "what a file means does not depend on what was stored",
    ),
    (
        "sql",
        "connector",
        "options are checked by whoever knows the connectors",
    ),
    (
        "sql",
        "format",
        "options are checked by whoever knows the formats",
    ),
];

/// Where a third-party crate may be used: path prefixes under src/.
const HOMES: [(&str, &[&str]); 29] = [
    ("axum", &["web/"]),
    ("prometheus_client", &["metrics.rs"]),
    ("hdrhistogram", &["metrics"]),
    ("timely", &["dataflow/", "engine/"]),
    ("datafusion_sql", &["sql/"]),
    ("datafusion_optimizer", &["sql/"]),
    ("sqlparser", &["sql/"]),
    ("regex", &["sql/functions/captures.rs"]),
    ("rusqlite", &["connector/sqlite"]),
    ("rdkafka", &["connector/kafka/"]),
    ("postgres", &["connector/postgres"]),
    ("bytes", &["connector/postgres"]),
    ("tokio_postgres_rustls", &["connector/postgres"]),
    ("object_store", &["durability/store.rs"]),
    ("parquet", &["connector/file/parquet"]),
    ("csv_core", &["format/csv"]),
    ("fast_float2", &["format/"]),
    ("flate2", &["connector/file"]),
    ("zstd", &["connector/file"]),
    ("glob", &["connector/file"]),
    ("hashbrown", &["dataflow/"]),
    ("clap", &["cli/", "main.rs"]),
    ("indicatif", &["cli/"]),
    ("signal_hook", &["cli/", "engine/"]),
    ("tracing_subscriber", &["cli/", "main.rs"]),
    ("mimalloc", &["main.rs"]),
    ("ring", &["connector/postgres", "engine/mesh"]),
    ("rustls", &["connector/", "engine/mesh"]),
    ("socket2", &["engine/mesh"]),
];

/// The modules that may hold `unsafe`; each says why in its first lines.
const UNSAFE: [&str; 3] = [
    "connector/kafka/batch.rs",
    "connector/kafka/identity.rs",
    "format/scan.rs",
];

/// Who may read the clock or throw dice, and what for: never for what a result is.
const CHANCE: [(&str, &str, &str); 5] = [
    (
        "connector/file/known.rs",
        "SystemTime",
        "when a file was changed, which is refused",
    ),
    (
        "types/clock.rs",
        "SystemTime",
        "says how old a record is, for people",
    ),
    (
        "types/clock.rs",
        "Instant::now",
        "paces commits, shows progress",
    ),
    (
        "engine/start.rs",
        "RandomState",
        "tells one start from another",
    ),
    (
        "sql/asof/joins.rs",
        "SystemTime",
        "the parser's name of FOR SYSTEM_TIME AS OF, which goes by event time",
    ),
];

const LINES_MAX: usize = 600;
const LINES_MAX_OF_TESTS: usize = 1000;

#[test]
fn a_layer_uses_only_layers_below_it() {
    let mut wrong = Vec::new();
    for file in sources() {
        let layer = file.layer();
        for used in file.layers_used() {
            if used == layer || SHARED.contains(&used.as_str()) {
                continue;
            }
            if rank(&used) <= rank(&layer) {
                wrong.push(format!(
                    "{file}: `{layer}` uses `{used}`, which stands above it"
                ));
            }
            for (from, to, why) in FORBIDDEN {
                if layer == from && used == to {
                    wrong.push(format!("{file}: `{from}` uses `{to}`: {why}"));
                }
            }
        }
    }

    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_folder_of_the_source_is_a_layer() {
    for file in sources() {
        let layer = file.layer();

        assert!(
            layer == "lib" || LAYERS.contains(&layer.as_str()) || SHARED.contains(&layer.as_str()),
            "{file}: `{layer}` has no place in the order of layers"
        );
    }
}

#[test]
fn a_third_party_crate_stays_in_its_home() {
    let mut wrong = Vec::new();
    for file in sources() {
        for (name, homes) in HOMES {
            let at_home = homes.iter().any(|home| file.path.starts_with(home));
            if !at_home && file.names_crate(name) {
                wrong.push(format!("{file}: uses `{name}`, whose home is {homes:?}"));
            }
        }
    }

    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_file_says_what_it_is_and_fits_in_a_readers_head() {
    let mut wrong = Vec::new();
    for file in sources() {
        let lines = file.text.lines().count();
        let is_tests = file.path.ends_with("tests.rs") || file.path.contains("tests/");
        let max = if is_tests {
            LINES_MAX_OF_TESTS
        } else {
            LINES_MAX
        };
        if lines > max {
            wrong.push(format!("{file}: {lines} lines, at most {max}"));
        }
        if !is_tests && !file.text.starts_with("//!") {
            wrong.push(format!("{file}: does not begin by saying what it is for"));
        }
    }

    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_result_depends_on_the_clock_or_on_chance() {
    const SOURCES_OF_CHANCE: [&str; 7] = [
        "SystemTime",
        "Instant::now",
        "Utc::now",
        "Local::now",
        "thread_rng",
        "rand::random",
        "RandomState",
    ];
    let mut wrong = Vec::new();
    for file in sources() {
        for chance in SOURCES_OF_CHANCE {
            let allowed =
                |(path, what, _): &(&str, &str, &str)| file.path == *path && chance == *what;
            if file.code.contains(chance) && !CHANCE.iter().any(allowed) {
                wrong.push(format!("{file}: uses `{chance}`"));
            }
        }
    }

    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_is_where_the_list_says_and_nowhere_else() {
    let allowed: BTreeSet<String> = UNSAFE.iter().map(ToString::to_string).collect();

    let found: BTreeSet<String> = sources()
        .into_iter()
        .filter(|file| file.code.contains("unsafe_code"))
        .map(|file| file.path)
        .collect();

    assert_eq!(found, allowed);
}

#[test]
fn the_scanner_sees_paths_groups_and_nothing_in_comments() {
    let file = Source::new(
        "sql/example.rs",
        "use crate::{plan::Node, types};\n// crate::web::Page\nfn f() { crate::format::g(); timely::x() }",
    );

    assert_eq!(
        file.layers_used(),
        ["format", "plan", "types"].map(str::to_owned).into()
    );
    assert!(file.names_crate("timely"));
    assert!(!file.names_crate("web"));
}

fn rank(layer: &str) -> usize {
    // The library's root only declares the layers.
    LAYERS.iter().position(|l| *l == layer).unwrap_or(0)
}

/// A file under src/.
struct Source {
    /// From src/ on.
    path: String,
    text: String,
    /// The text without comments.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let code = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\n");
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
        }
    }

    fn layer(&self) -> String {
        let first = self.path.split('/').next().unwrap_or_default();
        first.trim_end_matches(".rs").to_owned()
    }

    /// The first names after `crate::`, and layers reached by going up.
    fn layers_used(&self) -> BTreeSet<String> {
        let mut used = BTreeSet::new();
        for root in ["crate::", "tidemark::"] {
            for (at, _) in self.code.match_indices(root) {
                if !follows_a_name(&self.code, at) {
                    used.extend(first_names(&self.code[at + root.len()..]));
                }
            }
        }
        for (at, up) in self.code.match_indices("super::") {
            let name = leading_name(&self.code[at + up.len()..]);
            if self.code[..at].ends_with("super::") && LAYERS.contains(&name) {
                used.insert(name.to_owned());
            }
        }
        used
    }

    fn names_crate(&self, name: &str) -> bool {
        let path = format!("{name}::");
        self.code
            .match_indices(&path)
            .any(|(at, _)| !follows_a_name(&self.code, at))
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "src/{}", self.path)
    }
}

/// Whether what begins at `at` is only the tail of a longer name or path.
fn follows_a_name(code: &str, at: usize) -> bool {
    code[..at]
        .chars()
        .next_back()
        .is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
}

fn leading_name(code: &str) -> &str {
    let end = code
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(code.len());
    &code[..end]
}

/// The name a path begins with; of a group in braces, the name each member begins with.
fn first_names(code: &str) -> Vec<String> {
    let Some(group) = code.strip_prefix('{') else {
        return vec![leading_name(code).to_owned()];
    };
    let mut names = Vec::new();
    let mut depth = 0;
    let mut member = String::new();
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(std::mem::take(&mut member)),
            _ => member.push(c),
        }
    }
    names.push(member);
    names
        .iter()
        .map(|member| leading_name(member.trim()).to_owned())
        .filter(|name| !name.is_empty() && name != "self")
        .collect()
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(!files.is_empty(), "no sources under {}", root.display());
    files
        .iter()
        .map(|path| {
            let relative = path.strip_prefix(&root).unwrap().to_str().unwrap();
            Source::new(relative, &std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}
