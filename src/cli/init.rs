//! `init` and `infer`: from nothing, or from a file of data, to a pipeline that runs.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use super::{FAILED, InferArgs, InitArgs, WRONG, produce, say};
use crate::connector::{FileSource, parquet_columns};
use crate::format::{InferredTable, infer, is_parquet, told};

const STARTER: &str = include_str!("../../dataflows/starter.sql");
/// How much of a file is looked at.
const SAMPLE_BYTES: u64 = 1 << 20;

/// Writes a commented starter file. Never over a file that is there.
pub fn init(arguments: &InitArgs) -> u8 {
    let path = arguments.file.display();
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&arguments.file);
    match opened.and_then(|mut file| file.write_all(STARTER.as_bytes())) {
        Ok(()) => {
            say::out(&format!("wrote {path}; now: tidemark run {path}\n"));
            0
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            say::err(&format!(
                "error: `{path}` is there already\n  hint:  give another name\n"
            ));
            WRONG
        }
        Err(error) => {
            say::err(&format!(
                "error: could not write `{path}`\n  cause: {error}\n"
            ));
            FAILED
        }
    }
}

/// Prints a CREATE TABLE for a file of data; of a folder or a pattern, the first file stands for all.
pub fn infer_table(arguments: &InferArgs) -> u8 {
    let path = arguments.file.display().to_string();
    let (first, sample) = match FileSource::sample(&path, Path::new(""), SAMPLE_BYTES) {
        Ok(found) => found,
        Err(error) => {
            produce::refuse(&error);
            return WRONG;
        }
    };
    let table = if is_parquet(&first, &sample) {
        match parquet_columns(&path) {
            Ok(columns) => Ok(told(&first, columns)),
            Err(error) => {
                produce::refuse(&error);
                return WRONG;
            }
        }
    } else {
        infer(&first, &sample)
    };
    match table {
        Ok(table) => {
            let table = InferredTable { path, ..table };
            say::out(&format!("{table}\n"));
            0
        }
        Err(error) => {
            say::err(&format!(
                "error: cannot tell the columns of `{path}`\n  cause: {error}\n"
            ));
            WRONG
        }
    }
}
