//! What people read: the exact text of every error, and how plans are explained.
//!
//! Each `tests/wrong/*.sql` is a file with something wrong in it, and each `tests/explained/*.sql`
//! one with a plan worth seeing; the `.txt` beside it is what must be said. `UPDATE=1` rewrites the
//! texts: reviewing that difference is reviewing the product.

use std::fs;
use std::path::{Path, PathBuf};

use tidemark::engine::check_options;
use tidemark::plan::{Pipeline, explain};
use tidemark::sql::{Given, Problem, SourceText, plan};

/// Plans a file and goes on with what that comes to.
fn planned<T>(
    path: &Path,
    then: impl FnOnce(&Pipeline) -> Result<T, Vec<Problem>>,
) -> Result<T, String> {
    let text = fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let file = SourceText {
        path: &name,
        text: &text,
    };
    let pipeline = plan(&file, &Given::default()).map_err(|refused| refused.problems);
    let result = pipeline.and_then(|pipeline| then(&pipeline));
    result.map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(|p| p.render(&file)).collect();
        problems.join("\n")
    })
}

/// The pipeline files of a folder of tests, in order.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .collect();
    files.sort();
    files
}

/// Compares what is said of each file with the text beside it.
fn compare(folder: &str, of_file: impl Fn(&Path) -> String) {
    let update = std::env::var_os("UPDATE").is_some();
    let mut different = Vec::new();
    for path in files(folder) {
        let (actual, expected) = (of_file(&path), path.with_extension("txt"));
        if update {
            fs::write(&expected, &actual).unwrap();
        } else if fs::read_to_string(&expected).ok().as_deref() != Some(actual.as_str()) {
            different.push(format!("{}:\n{actual}", path.display()));
        }
    }
    assert!(
        different.is_empty(),
        "{} differ; UPDATE=1 rewrites them\n{}",
        different.len(),
        different.join("\n")
    );
}

#[test]
fn every_wrong_file_is_refused_with_its_exact_text() {
    assert!(files("wrong").len() >= 40);

    // What planning lets through is refused by a look at the whole.
    let refuse = |pipeline: &Pipeline| match check_options(pipeline) {
        problems if problems.is_empty() => Ok(explain(pipeline, |_| String::new())),
        problems => Err(problems),
    };
    compare("wrong", |path| match planned(path, refuse) {
        Ok(plan) => panic!("{} was planned:\n{plan}", path.display()),
        Err(problems) => problems,
    });
}

#[test]
fn plans_are_explained_as_people_read_them() {
    let explained = |pipeline: &Pipeline| match check_options(pipeline) {
        problems if problems.is_empty() => Ok(explain(pipeline, |_| String::new())),
        problems => Err(problems),
    };
    compare("explained", |path| {
        let text = planned(path, explained);
        text.unwrap_or_else(|problems| panic!("{}:\n{problems}", path.display()))
    });
}
