//! What the binary is made of: licences that it may be passed on under, packages from the registry
//! and nowhere else, and one version of what has to be one type everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Nothing in these asks anything of whoever passes a binary on but to name the authors.
const LICENCES: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

/// A batch, a query or a timestamp of one version is not one of another.
const ONE_VERSION: [&str; 6] = [
    "arrow-array",
    "arrow-schema",
    "datafusion-expr",
    "differential-dataflow",
    "sqlparser",
    "timely",
];

struct Package {
    name: String,
    version: String,
    licence: String,
    source: Option<String>,
}

/// The packages that this machine's binary is built of, as Cargo.lock has them.
fn packages() -> Vec<Package> {
    let of_this_machine = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let host = Command::new(env!("CARGO")).arg("-vV").output().unwrap();
    let host = String::from_utf8(host.stdout).unwrap();
    let host = host.lines().find_map(|line| line.strip_prefix("host: "));
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline", "--locked"])
        .args(["--filter-platform", host.expect("cargo says its host")])
        .args(["--manifest-path", of_this_machine])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| Package {
            name: package["name"].as_str().unwrap().to_owned(),
            version: package["version"].as_str().unwrap().to_owned(),
            licence: package["license"].as_str().unwrap_or("none").to_owned(),
            source: package["source"].as_str().map(str::to_owned),
        })
        .collect()
}

/// Whether an expression such as `(MIT OR GPL-3.0) AND ISC` can be met with `LICENCES`.
fn is_allowed(licence: &str) -> bool {
    let licence = licence.replace(" / ", " OR ").replace('/', " OR ");
    let plain = licence.replace(['(', ')'], "");
    plain.split(" AND ").all(|part| {
        part.split(" OR ")
            .any(|choice| LICENCES.contains(&choice.trim()))
    })
}

#[test]
fn a_licence_may_be_chosen_but_not_left_out() {
    assert!(is_allowed("MIT OR GPL-3.0"));
    assert!(is_allowed("(MIT OR GPL-3.0) AND Unicode-3.0"));
    assert!(!is_allowed("GPL-3.0"));
    assert!(!is_allowed("MIT AND GPL-3.0"));
    assert!(!is_allowed("none"));
}

#[test]
fn every_package_has_a_licence_that_lets_the_binary_be_passed_on() {
    let packages = packages();
    let refused = packages.iter().filter(|p| !is_allowed(&p.licence));
    let refused: Vec<String> = refused
        .map(|p| format!("{} {}: {}", p.name, p.version, p.licence))
        .collect();

    assert!(packages.len() > 100, "{} packages", packages.len());
    assert!(refused.is_empty(), "\n{}", refused.join("\n"));
}

#[test]
fn every_package_but_ours_comes_from_the_registry() {
    let elsewhere: Vec<String> = packages()
        .into_iter()
        .filter(|p| !matches!(&p.source, Some(source) if source.starts_with("registry+")))
        .map(|p| p.name)
        .collect();

    assert_eq!(elsewhere, ["tidemark"]);
}

#[test]
fn what_has_to_be_one_type_everywhere_is_there_in_one_version() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        let of_name = versions.entry(package.name).or_default();
        of_name.insert(package.version);
    }

    for name in ONE_VERSION {
        let found = versions.get(name).expect(name);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
    }
}
