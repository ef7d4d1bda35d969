//! `watch = 'true'`: a folder whose files become more while the pipeline runs.
//!
//! ```text
//!   0          1        2        3            partitions, numbered as files were found
//!   the folder a.csv    b.csv    c.csv        the folder itself has no records and has ended
//! ```
//!
//! A file is taken whole, once it has not changed for a second: names that begin with `.` or `_`, or
//! end in `.tmp` or `.part`, belong to whoever is still writing. What was taken may not change or go
//! away any more. The number of a file is in the mark with its name, size and checksum, so every later
//! run gives it the same; a file that no mark knows is one more partition, at a start as in a run.
//! Those that one look finds become known at once, so that they all begin where event time is then.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use tracing::warn;

use super::find::{self, Compression, Content, Found};
use super::known::{Known, Stamp};
use super::{SourceFile, heads, open_file};
use crate::connector::{ConnectorError, Partition, Source};
use crate::connector::{Consumer, Fetched, Live, Reader, Reads};
use crate::format::{Decoder, FormatOptions, Wanted, decoder};
use crate::types::{Clock, Offset, TakenFile};

/// How often the folder is looked at, and how long a file does not change before it is taken.
const LOOK: Duration = Duration::from_secs(1);

/// How many files one thread reads side by side; those found later wait for one to end.
const ABREAST: usize = 16;

/// What `path` says, and how its files are read.
struct Folder {
    pattern: String,
    base: PathBuf,
    format: FormatOptions,
    wanted: Wanted,
}

/// The files of a folder, and those that will be there.
pub(super) struct Watched {
    folder: Arc<Folder>,
    files: Arc<Mutex<Vec<Taken>>>,
    /// Held by whoever looks: the files that are not taken yet, and when they are if they stay as
    /// they are.
    settling: Mutex<BTreeMap<String, (Stamp, Duration)>>,
    clock: Clock,
    /// Those that were there when it was opened.
    partitions: Vec<Partition>,
}

/// A file that was taken; or the folder itself.
#[derive(Clone)]
struct Taken {
    mark: TakenFile,
    /// Unpacked bytes.
    length: u64,
    /// None for the folder.
    file: Option<Arc<TakenContent>>,
}

struct TakenContent {
    file: SourceFile,
    /// What the file system says of it as long as nobody touches it.
    stamp: Mutex<Stamp>,
}

/// Who holds it has nothing left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Taken {
    /// Whether the file is as it was when it was taken.
    fn check(&self) -> Result<(), ConnectorError> {
        let Some(content) = &self.file else {
            return Ok(());
        };
        let path = &content.file.path;
        let name = &self.mark.name;
        let now = Stamp::of(path).map_err(|_| gone(name))?;
        let mut stamp = lock(&content.stamp);
        if *stamp == now {
            return Ok(());
        }
        // Touched, or written once more with the same bytes.
        match Known::of(path) {
            Ok(known) if known.content.identity() == self.mark.identity => {
                *stamp = now;
                Ok(())
            }
            Ok(_) | Err(_) => Err(changed(&self.mark, now.0)),
        }
    }

    /// A number that no file has.
    fn nothing() -> Self {
        Self {
            mark: TakenFile::default(),
            length: 0,
            file: None,
        }
    }
}

impl Folder {
    /// The files that are there now and whole.
    fn list(&self) -> Result<Vec<Found>, ConnectorError> {
        let mut found = find::list(&self.pattern, &self.base)?;
        found.retain(|found| !is_unfinished(&found.path));
        Ok(found)
    }

    /// The file of this name.
    fn take_named(&self, name: &str) -> Result<Taken, ConnectorError> {
        let found = self.list()?.into_iter().find(|found| found.name == name);
        let found = found.ok_or_else(|| gone(name))?;
        let stamp = Stamp::of(&found.path).map_err(|_| gone(name))?;
        self.read(&found, stamp)
    }

    /// Reads a file once for what has to be known of it. `None` if it changed meanwhile.
    fn take(&self, found: &Found) -> Result<Option<Taken>, ConnectorError> {
        let failed = |error: io::Error| unusable(&found.name, &error);
        let before = Stamp::of(&found.path).map_err(failed)?;
        let taken = self.read(found, before);
        match Stamp::of(&found.path) {
            Ok(after) if after == before => taken.map(Some),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    fn read(&self, found: &Found, stamp: Stamp) -> Result<Taken, ConnectorError> {
        let failed = |error: io::Error| unusable(&found.name, &error);
        let head = heads(std::slice::from_ref(found), &self.format, &self.wanted)?.remove(0);
        let content = Known::of(&found.path).map_err(failed)?.content;
        let compression = Compression::of(&found.path);
        let length = match compression {
            Compression::None => content.size,
            Compression::Gzip | Compression::Zstd => {
                let unpacked = compression.open(&found.path, content.size);
                unpacked
                    .and_then(|mut bytes| io::copy(&mut bytes, &mut io::sink()))
                    .map_err(failed)?
            }
        };
        let file = SourceFile {
            path: found.path.clone(),
            compression,
            size: content.size,
            head,
        };
        Ok(Taken {
            mark: TakenFile {
                name: found.name.clone(),
                identity: content.identity(),
            },
            length,
            file: Some(Arc::new(TakenContent {
                file,
                stamp: Mutex::new(stamp),
            })),
        })
    }
}

/// Whether there is a folder to watch.
fn is_there(pattern: &str, base: &Path) -> Result<(), ConnectorError> {
    let whole = base.join(pattern);
    if whole.is_file() {
        return Err(ConnectorError::hinted(
            format!("`{pattern}` is a file, and only a folder's files become more"),
            "leave `watch` out, or name a folder or a pattern such as data/*.json",
        ));
    }
    let folder = find::folder_of(&whole);
    if !folder.is_dir() {
        return Err(ConnectorError::hinted(
            format!("there is no folder `{}` to watch", folder.display()),
            format!("make it (mkdir -p {}), or change `path`", folder.display()),
        ));
    }
    Ok(())
}

fn is_unfinished(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("tmp" | "part"))
}

fn unusable(name: &str, error: &io::Error) -> ConnectorError {
    ConnectorError::hinted(
        format!("cannot read `{name}`: {error}"),
        "take it out of the folder, or put a whole one there; a file that is still being written has \
         a name that ends in `.part`",
    )
}

/// It has `size` bytes now.
fn changed(mark: &TakenFile, size: u64) -> ConnectorError {
    let name = &mark.name;
    let message = format!("`{name}` has changed since it was taken");
    let hint = match Content::size_in(&mark.identity) {
        Some(taken) if taken < size => format!(
            "put what was added into a file of its own and cut this one back (truncate -s {taken}); a \
             file that is still being written has a name that ends in `.part`"
        ),
        Some(_) | None => {
            "put it back as it was, or start over with --fresh, which empties the tables".to_owned()
        }
    };
    ConnectorError::hinted(message, hint)
}

fn gone(name: &str) -> ConnectorError {
    ConnectorError::hinted(
        format!("`{name}` was taken before and is gone"),
        "put it back as it was, or start over with --fresh, which empties the tables",
    )
}

impl Watched {
    /// Takes the files that are there.
    pub(super) fn open(
        pattern: &str,
        base: &Path,
        format: FormatOptions,
        wanted: Wanted,
        clock: &Clock,
    ) -> Result<Self, ConnectorError> {
        is_there(pattern, base)?;
        let folder = Folder {
            pattern: pattern.to_owned(),
            base: base.to_owned(),
            format,
            wanted,
        };
        let itself = Taken {
            mark: TakenFile {
                name: pattern.to_owned(),
                identity: String::new(),
            },
            length: 0,
            file: None,
        };
        let mut watched = Self {
            folder: Arc::new(folder),
            files: Arc::new(Mutex::new(vec![itself])),
            settling: Mutex::default(),
            clock: clock.clone(),
            partitions: Vec::new(),
        };
        let count = watched.look_twice()?;
        let partition = |number: usize| Partition {
            name: number.to_string(),
            identity: None,
            length: None,
        };
        watched.partitions = (0..count).map(partition).collect();
        Ok(watched)
    }

    /// Whether there is a folder to watch, and whether the files in it have the columns that are
    /// wanted.
    pub(super) fn inspect(
        pattern: &str,
        base: &Path,
        format: &FormatOptions,
        wanted: &Wanted,
    ) -> Result<(), ConnectorError> {
        is_there(pattern, base)?;
        let clock = Clock::machine();
        let is_whole = |found: &Found| {
            let stamp = Stamp::of(&found.path);
            !is_unfinished(&found.path) && stamp.is_ok_and(|stamp| stamp.age(&clock) >= LOOK)
        };
        let mut found = find::list(pattern, base)?;
        found.retain(is_whole);
        heads(&found, format, wanted).map(drop)
    }

    /// Takes what is there now: a file that was put there a moment ago is waited for.
    fn look_twice(&self) -> Result<usize, ConnectorError> {
        let count = self.look()?;
        if lock(&self.settling).is_empty() {
            return Ok(count);
        }
        self.clock.wait_until(self.clock.elapsed() + LOOK);
        let count = self.look()?;
        for file in lock(&self.settling).keys() {
            warn!(file, "is still being written, and is left for later");
        }
        Ok(count)
    }

    /// Takes what is new; says how many partitions there are.
    fn look(&self) -> Result<usize, ConnectorError> {
        let mut settling = match self.settling.try_lock() {
            Ok(settling) => settling,
            Err(TryLockError::Poisoned(settling)) => settling.into_inner(),
            // Another thread looks just now: what it finds is seen by the next look.
            Err(TryLockError::WouldBlock) => return Ok(lock(&self.files).len()),
        };
        // What is taken may be long, and others read meanwhile.
        let known = lock(&self.files).clone();
        let found = self.folder.list()?;
        for taken in &known {
            taken.check()?;
        }
        let known: BTreeSet<&str> = known.iter().map(|taken| taken.mark.name.as_str()).collect();
        let new = found.iter();
        let new = new.filter(|found| !known.contains(found.name.as_str()));
        let (mut taken, now) = (Vec::new(), self.clock.elapsed());
        let mut before = std::mem::take(&mut *settling);
        for found in new {
            // One that is gone again was not to be read.
            let Ok(stamp) = Stamp::of(&found.path) else {
                continue;
            };
            let known = before.remove(&found.name);
            let due = match known.filter(|(before, _)| *before == stamp) {
                Some((_, due)) => due,
                None => now + LOOK.saturating_sub(stamp.age(&self.clock)),
            };
            match (due <= now).then(|| self.folder.take(found)).transpose()? {
                Some(Some(file)) => taken.push(file),
                Some(None) | None => drop(settling.insert(found.name.clone(), (stamp, due))),
            }
        }
        let mut files = lock(&self.files);
        files.extend(taken);
        Ok(files.len())
    }
}

impl Source for Watched {
    fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    fn open(&self, index: usize, from: Offset) -> Result<Box<dyn Reader>, ConnectorError> {
        let taken = lock(&self.files)[index].clone();
        let content = taken.file.expect("the folder itself is not read");
        open_file(&content.file, taken.mark.name, &self.folder.format, from)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        decoder(&self.folder.format, &self.folder.wanted)
            .expect("the same decoder was made when the source was opened")
    }

    fn live(&self) -> Option<&dyn Live> {
        Some(self)
    }
}

impl Live for Watched {
    fn beginning(&self) -> Result<Vec<Offset>, ConnectorError> {
        Ok(vec![Offset(0); self.partitions.len()])
    }

    fn ends(&self) -> Result<Vec<Offset>, ConnectorError> {
        self.look()?;
        let files = lock(&self.files);
        Ok(files.iter().map(|taken| Offset(taken.length)).collect())
    }

    fn consumer(
        &self,
        from: &[(usize, Offset)],
        _: Reads,
    ) -> Result<Box<dyn Consumer>, ConnectorError> {
        let mut consumer = WatchedConsumer {
            folder: Arc::clone(&self.folder),
            files: Arc::clone(&self.files),
            reading: VecDeque::new(),
            waiting: BTreeMap::new(),
            paused: BTreeSet::new(),
            ended: Vec::new(),
        };
        for &(partition, offset) in from {
            consumer.add(partition, offset)?;
        }
        Ok(Box::new(consumer))
    }

    fn discovery(&self) -> Duration {
        LOOK
    }

    fn count_partitions(&self) -> Result<usize, ConnectorError> {
        self.look()
    }

    fn show_progress(&self, _: &[(usize, Offset)]) {}

    fn taken(&self, partition: usize) -> Option<TakenFile> {
        Some(lock(&self.files).get(partition)?.mark.clone())
    }

    fn recall(&self, known: &BTreeMap<usize, TakenFile>) -> Result<(), ConnectorError> {
        let _nobody_looks = lock(&self.settling);
        let mut files = lock(&self.files);
        let now = std::mem::take(&mut *files);
        let itself = now[0].clone();
        let mut by_name: BTreeMap<String, Taken> = now
            .into_iter()
            .skip(1)
            .map(|taken| (taken.mark.name.clone(), taken))
            .collect();
        files.push(itself);
        for (&number, mark) in known.range(1..) {
            // Numbers of files that were found and never read.
            let gap = number.saturating_sub(files.len());
            files.extend(std::iter::repeat_with(Taken::nothing).take(gap));
            if mark.is_nothing() {
                files.push(Taken::nothing());
                continue;
            }
            let taken = match by_name.remove(&mark.name) {
                Some(taken) => taken,
                None => self.folder.take_named(&mark.name)?,
            };
            if taken.mark.identity != mark.identity {
                let size = taken.file.as_ref().map_or(0, |content| content.file.size);
                return Err(changed(mark, size));
            }
            files.push(taken);
        }
        // The others came while nobody ran.
        files.extend(by_name.into_values());
        Ok(())
    }
}

/// Reads some of the files in one thread, a block of each in turn.
struct WatchedConsumer {
    folder: Arc<Folder>,
    files: Arc<Mutex<Vec<Taken>>>,
    reading: VecDeque<(usize, Box<dyn Reader>)>,
    /// Not opened yet: where they begin.
    waiting: BTreeMap<usize, Offset>,
    paused: BTreeSet<usize>,
    /// To be said.
    ended: Vec<usize>,
}

impl WatchedConsumer {
    fn taken(&self, partition: usize) -> Taken {
        lock(&self.files)[partition].clone()
    }

    /// Opens files as far as they may be read side by side.
    fn open(&mut self) -> Result<(), ConnectorError> {
        // Those that are paused may be so until others have been read.
        let paused = &self.paused;
        let read = self.reading.iter().filter(|(it, _)| !paused.contains(it));
        let mut abreast = read.count();
        while abreast < ABREAST {
            let Some((partition, from)) = self.waiting.pop_first() else {
                break;
            };
            let taken = self.taken(partition);
            match &taken.file {
                Some(content) if from.0 < taken.length => {
                    let format = &self.folder.format;
                    let reader = open_file(&content.file, taken.mark.name, format, from)?;
                    self.reading.push_back((partition, reader));
                    abreast += 1;
                }
                Some(_) | None => self.ended.push(partition),
            }
        }
        Ok(())
    }

    /// The next block of the first file that is not paused.
    fn read(&mut self) -> Result<Option<(usize, Fetched)>, ConnectorError> {
        let paused = &self.paused;
        let next = self.reading.iter().position(|(it, _)| !paused.contains(it));
        let Some((partition, mut reader)) = next.and_then(|next| self.reading.remove(next)) else {
            return Ok(None);
        };
        if let Some(block) = reader.next()? {
            self.reading.push_back((partition, reader));
            return Ok(Some((partition, Fetched::Block(block))));
        }
        self.taken(partition).check()?;
        Ok(Some((partition, Fetched::End)))
    }
}

impl Consumer for WatchedConsumer {
    fn poll(&mut self, wait: Duration) -> Result<Vec<(usize, Fetched)>, ConnectorError> {
        self.open()?;
        let ended = self
            .ended
            .drain(..)
            .map(|partition| (partition, Fetched::End));
        let mut fetched: Vec<_> = ended.collect();
        fetched.extend(self.read()?);
        if fetched.is_empty() {
            // Nobody says when a file comes.
            std::thread::sleep(wait);
        }
        Ok(fetched)
    }

    fn pause(&mut self, partition: usize) -> Result<(), ConnectorError> {
        self.paused.insert(partition);
        Ok(())
    }

    fn resume(&mut self, partition: usize) -> Result<(), ConnectorError> {
        self.paused.remove(&partition);
        Ok(())
    }

    fn add(&mut self, partition: usize, from: Offset) -> Result<(), ConnectorError> {
        self.waiting.insert(partition, from);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
