//! `init`: from nothing to a pipeline that runs.

use std::fs::OpenOptions;
use std::io::Write;

use super::{FAILED, InitArgs, WRONG, say};

const STARTER: &str = include_str!("../../dataflows/starter.sql");

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
