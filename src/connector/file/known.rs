//! A file that was looked at once and is read later: it has to be what it was.
//!
//! ```text
//!   start: stamp, checksum ──▶ marks     its turn comes: the same stamp, or else the same bytes?
//!                                        its end is read: the same again
//! ```
//!
//! Hours may lie between, and a file that is written anew meanwhile has other rows than the mark says.
//! What is appended to it is nobody's, and does no harm.

use std::fs::{File, Metadata};
use std::io::{self, Read as _, Seek as _};
use std::path::Path;
use std::time::SystemTime;

use super::find::Content;
use super::unreadable;
use crate::connector::ConnectorError;
use crate::types::Clock;

/// Size and time of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(pub u64, Option<SystemTime>);

impl Stamp {
    pub fn of(path: &Path) -> io::Result<Self> {
        path.metadata().map(Self::from)
    }

    /// How long ago it was changed; no time at all if that is to come, by a clock that goes ahead.
    pub fn age(self, clock: &Clock) -> std::time::Duration {
        let since = self
            .1
            .and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let now = u64::try_from(clock.wall()).unwrap_or_default();
        let now = std::time::Duration::from_micros(now);
        since
            .and_then(|since| now.checked_sub(since))
            .unwrap_or_default()
    }
}

impl From<Metadata> for Stamp {
    fn from(data: Metadata) -> Self {
        Self(data.len(), data.modified().ok())
    }
}

/// What a file was when it was looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Its bytes.
    pub content: Content,
    stamp: Stamp,
}

impl Known {
    /// Reads the whole file.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        // Before it is read: what is written to it meanwhile is seen later.
        let stamp = Stamp::from(file.metadata()?);
        let content = Content::of(&mut file)?;
        Ok(Self { content, stamp })
    }

    /// Whether the file, of which nobody reads now, is still that. It stands at its beginning then, if it
    /// had to be looked at.
    pub fn check(&self, name: &str, mut file: &File) -> Result<(), ConnectorError> {
        let mut is_still = || -> io::Result<bool> {
            if Stamp::from(file.metadata()?) == self.stamp {
                return Ok(true);
            }
            // Touched, written once more with the same bytes, or longer.
            file.rewind()?;
            let now = Content::of(&mut file.take(self.content.size))?;
            file.rewind()?;
            Ok(now == self.content)
        };
        match is_still() {
            Ok(true) => Ok(()),
            Ok(false) => Err(ConnectorError::hinted(
                format!("`{name}` has changed since this run began"),
                "a file that is read may not be written anew: put it back as it was and start again, or with --fresh if \
                 rows of what it was meanwhile may have been read",
            )),
            Err(error) => Err(unreadable(name, &error)),
        }
    }
}
