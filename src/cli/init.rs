//! `init` and `infer`: from nothing, or from a file of data, to a pipeline that runs.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};

use super::{FAILED, InferArgs, InitArgs, WRONG, say};
use crate::format::infer;

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

/// Prints a CREATE TABLE for a file of data.
pub fn infer_table(arguments: &InferArgs) -> u8 {
    let path = arguments.file.display().to_string();
    let mut sample = Vec::new();
    let read = File::open(&arguments.file)
        .and_then(|file| file.take(SAMPLE_BYTES).read_to_end(&mut sample));
    if let Err(error) = read {
        say::err(&format!(
            "error: could not read `{path}`\n  cause: {error}\n"
        ));
        return WRONG;
    }
    match infer(&path, &sample) {
        Ok(table) => {
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
