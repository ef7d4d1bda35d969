//! `watch = 'true'`: a folder whose files become more while the pipeline runs.
//!
//! ```text
//!   0          1        2        3            partitions, numbered as files were found
//!   the folder a.csv    b.csv    c.csv        the folder itself has no records and has ended
//! ```
//!
//! A file is taken when a look finds its name, whole: names that begin with `.` or `_`, or end in
//! `.tmp` or `.part`, belong to whoever is still writing. What was taken may not change or go away
//! any more. The number of a file is in the mark with its name, size and checksum, so every later
//! run gives it the same; a file that no mark knows is one more partition, at a start as in a run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::find::{self, Compression, Content, Found};
use super::{SourceFile, heads, open_file, unreadable};
use crate::connector::{ConnectorError, Partition, Source};
use crate::connector::{Consumer, Fetched, Live, Reader};
use crate::format::{Decoder, FormatOptions, Wanted, decoder};
use crate::types::{Offset, TakenFile};

/// How often the folder is looked at.
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
    /// What the file system says of it as long as nobody changes it.
    stamp: Stamp,
}

/// Size and time of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(u64, Option<SystemTime>);

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let of = |data: Metadata| Self(data.len(), data.modified().ok());
        path.metadata().map(of)
    }
}

impl Taken {
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
        self.take(&found.ok_or_else(|| gone(name))?)
    }

    /// Reads a file once for what has to be known of it.
    fn take(&self, found: &Found) -> Result<Taken, ConnectorError> {
        let failed = |error: io::Error| unreadable(&found.name, &error);
        let before = Stamp::of(&found.path).map_err(failed)?;
        let head = heads(std::slice::from_ref(found), &self.format, &self.wanted)?.remove(0);
        let content = Content::of(&found.path).map_err(failed)?;
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
        if Stamp::of(&found.path).map_err(failed)? != before {
            return Err(changed(&found.name));
        }
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
                stamp: before,
            })),
        })
    }
}

fn is_unfinished(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("tmp" | "part"))
}

fn changed(name: &str) -> ConnectorError {
    ConnectorError::hinted(
        format!("`{name}` has changed since it was taken"),
        "write a file under a name that ends in `.part`, and rename it when it is whole; put this \
         one back as it was, or start over with --fresh",
    )
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
    ) -> Result<Self, ConnectorError> {
        Self::inspect(pattern, base, &format, &wanted)?;
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
            partitions: Vec::new(),
        };
        let count = watched.look()?;
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
        let found = find::list(pattern, base)?.into_iter();
        let whole: Vec<Found> = found.filter(|it| !is_unfinished(&it.path)).collect();
        heads(&whole, format, wanted).map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Taken>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is new; says how many partitions there are.
    fn look(&self) -> Result<usize, ConnectorError> {
        let mut files = self.lock();
        let found = self.folder.list()?;
        for taken in files.iter() {
            let Some(content) = &taken.file else { continue };
            match Stamp::of(&content.file.path) {
                Ok(stamp) if stamp == content.stamp => {}
                Ok(_) => return Err(changed(&taken.mark.name)),
                Err(_) => return Err(gone(&taken.mark.name)),
            }
        }
        let known: BTreeSet<&str> = files.iter().map(|taken| taken.mark.name.as_str()).collect();
        let new: Vec<&Found> = found
            .iter()
            .filter(|found| !known.contains(found.name.as_str()))
            .collect();
        for found in new {
            let taken = self.folder.take(found)?;
            files.push(taken);
        }
        Ok(files.len())
    }
}

impl Source for Watched {
    fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    fn open(&self, index: usize, from: Offset) -> Result<Box<dyn Reader>, ConnectorError> {
        let taken = self.lock()[index].clone();
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
        let files = self.lock();
        Ok(files.iter().map(|taken| Offset(taken.length)).collect())
    }

    fn consumer(&self, from: &[(usize, Offset)]) -> Result<Box<dyn Consumer>, ConnectorError> {
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
        Some(self.lock().get(partition)?.mark.clone())
    }

    fn recall(&self, known: &BTreeMap<usize, TakenFile>) -> Result<(), ConnectorError> {
        let mut files = self.lock();
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
                return Err(changed(&mark.name));
            }
            files.push(taken);
        }
        // The others are found again, as those that came while nobody ran.
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
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files[partition].clone()
    }

    /// Opens files as far as they may be read side by side.
    fn open(&mut self) -> Result<(), ConnectorError> {
        while self.reading.len() < ABREAST {
            let Some((partition, from)) = self.waiting.pop_first() else {
                break;
            };
            let taken = self.taken(partition);
            match &taken.file {
                Some(content) if from.0 < taken.length => {
                    let format = &self.folder.format;
                    let reader = open_file(&content.file, taken.mark.name, format, from)?;
                    self.reading.push_back((partition, reader));
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
        let taken = self.taken(partition);
        let content = taken.file.expect("it was read just now");
        match Stamp::of(&content.file.path) {
            Ok(stamp) if stamp == content.stamp => Ok(Some((partition, Fetched::End))),
            Ok(_) => Err(changed(&taken.mark.name)),
            Err(_) => Err(gone(&taken.mark.name)),
        }
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
mod tests {
    use std::fs;

    use arrow::datatypes::DataType;
    use tempfile::TempDir;

    use super::*;
    use crate::connector::fixtures::table;
    use crate::connector::{SharedSource, open_source};
    use crate::plan::Role;
    use crate::types::Clock;

    fn open(folder: &TempDir) -> Result<SharedSource, ConnectorError> {
        let options = [
            ("connector", "file"),
            ("path", "in"),
            ("format", "csv"),
            ("watch", "true"),
        ];
        let table = table(Role::Source, &[("n", DataType::Int64)], &options);
        open_source(&table, &[0], folder.path(), &Clock::manual())
    }

    fn folder(files: &[&str]) -> TempDir {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        files.iter().for_each(|file| put(&folder, file, "n\n1\n"));
        folder
    }

    fn put(folder: &TempDir, file: &str, content: &str) {
        fs::write(folder.path().join("in").join(file), content).unwrap();
    }

    fn names(live: &dyn Live) -> Vec<String> {
        let taken = (0..).map_while(|number| live.taken(number));
        taken.map(|file| file.name).collect()
    }

    fn refusal(outcome: Result<usize, ConnectorError>) -> String {
        outcome.expect_err("it is refused").to_string()
    }

    #[test]
    fn a_file_keeps_the_number_that_it_was_found_with() {
        let folder = folder(&["b.csv"]);
        let source = open(&folder).unwrap();
        let live = source.live().unwrap();
        assert_eq!(
            live.beginning().unwrap().len(),
            2,
            "the folder itself is one"
        );

        put(&folder, "a.csv", "n\n2\n");
        put(&folder, ".hidden.csv", "n\n");
        put(&folder, "later.csv.part", "not whole");
        assert_eq!(live.count_partitions().unwrap(), 3);
        assert_eq!(names(live), ["in", "in/b.csv", "in/a.csv"]);

        put(&folder, "0.csv", "n\n3\n");
        let known: BTreeMap<usize, TakenFile> = (0..3)
            .map(|number| (number, live.taken(number).unwrap()))
            .collect();
        let source = open(&folder).unwrap();
        let live = source.live().unwrap();
        live.recall(&known).unwrap();
        assert_eq!(names(live), ["in", "in/b.csv", "in/a.csv"]);
        assert_eq!(live.count_partitions().unwrap(), 4);
        assert_eq!(names(live)[3], "in/0.csv");
    }

    #[test]
    fn a_file_that_changes_or_goes_away_is_named() {
        let folder = folder(&["a.csv", "b.csv"]);
        let source = open(&folder).unwrap();
        let live = source.live().unwrap();

        put(&folder, "a.csv", "n\n1\n2\n");
        let said = refusal(live.count_partitions());
        assert_eq!(said, "`in/a.csv` has changed since it was taken");
        fs::remove_file(folder.path().join("in/a.csv")).unwrap();
        let said = refusal(live.count_partitions());
        assert_eq!(said, "`in/a.csv` was taken before and is gone");
    }

    #[test]
    fn a_file_ends_and_the_folder_has_no_records() {
        let folder = folder(&["a.csv"]);
        let source = open(&folder).unwrap();
        let live = source.live().unwrap();
        let mut consumer = live.consumer(&[(0, Offset(0)), (1, Offset(0))]).unwrap();

        let mut fetched = Vec::new();
        while fetched.len() < 3 {
            fetched.extend(consumer.poll(Duration::ZERO).unwrap());
        }

        assert!(matches!(fetched[0], (0, Fetched::End)));
        assert!(matches!(fetched[1], (1, Fetched::Block(_))));
        assert!(matches!(fetched[2], (1, Fetched::End)));
    }

    #[test]
    fn a_single_file_is_not_watched() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("in"), "n\n1\n").unwrap();

        let Err(error) = open(&folder) else {
            panic!("opened")
        };

        assert_eq!(
            error.to_string(),
            "`in` is a file, and only a folder's files become more"
        );
    }
}
