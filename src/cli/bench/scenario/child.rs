//! A process that measures one task, on a leash: it ends when the leash is cut, and so also when the
//! process that asked is gone.
//!
//! ```text
//!   this process ──Task, one line of JSON, then silence──▶ bench scenario --measured
//!                ◀──Measured as JSON──                      (the end of its input ends it)
//! ```

use std::io::{BufRead as _, Read as _, Write as _};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use super::task::{self, Measured, Task};
use super::{Wrong, failed};
use crate::cli::{FAILED, WRONG, say};
use crate::engine::spawn_named;

/// A process that measures.
pub struct Child {
    name: String,
    process: std::process::Child,
    leash: Leash,
}

/// What ends a process that measures.
#[derive(Clone)]
pub struct Leash(Arc<Mutex<Option<ChildStdin>>>);

impl Leash {
    /// Ends the process, if it has not ended.
    pub fn cut(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Child {
    /// Starts a task of the scenario `name`.
    pub fn start(name: &str, task: &Task) -> Result<Self, Wrong> {
        let wrong = |error: std::io::Error| failed(format!("could not measure `{name}`: {error}"));
        let program = std::env::current_exe().map_err(wrong)?;
        let mut process = Command::new(program)
            .args(["bench", "scenario", "--measured"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(wrong)?;
        let mut stdin = process.stdin.take().expect("it was asked for");
        let task = serde_json::to_string(task).expect("a task is plain data") + "\n";
        stdin.write_all(task.as_bytes()).map_err(wrong)?;
        Ok(Self {
            name: name.to_owned(),
            process,
            leash: Leash(Arc::new(Mutex::new(Some(stdin)))),
        })
    }

    /// Its leash.
    pub fn leash(&self) -> Leash {
        self.leash.clone()
    }

    /// Waits for what it came to.
    pub fn end(self) -> Result<Measured, Wrong> {
        let wrong = |why: String| failed(format!("could not measure `{}`: {why}", self.name));
        let output = self.process.wait_with_output();
        let output = output.map_err(|error| wrong(error.to_string()))?;
        if !output.status.success() {
            return Err(wrong(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| wrong(error.to_string()))
    }
}

/// The other side: one task in, what it came to out.
pub fn measured() -> u8 {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    let task = read.and_then(|_| Ok(serde_json::from_str::<Task>(&line)?));
    let task = match task {
        Ok(task) => task,
        Err(error) => {
            say::err(&format!("error: no task\n  cause: {error}\n"));
            return WRONG;
        }
    };
    spawn_named("leash", || {
        // An error is an end, too.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        say::err("it was stopped\n");
        std::process::exit(i32::from(FAILED));
    });
    match task::measure(&task) {
        Ok(measured) => {
            say::out(&serde_json::to_string(&measured).expect("a measurement is plain data"));
            0
        }
        Err(failure) => {
            say::failure(&failure);
            FAILED
        }
    }
}
