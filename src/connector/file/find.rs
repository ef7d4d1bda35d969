//! Which files a `path` means, and what they are.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::connector::ConnectorError;
use crate::connector::open::resolve;
use crate::plan::Table;

/// A file of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// As the pipeline file would name it: relative if `path` is.
    pub(super) name: String,
    /// Where it is.
    pub(super) path: PathBuf,
}

/// As `list`, where there has to be one.
pub(super) fn find(pattern: &str, base: &Path) -> Result<Vec<Found>, ConnectorError> {
    let found = list(pattern, base)?;
    if found.is_empty() {
        return Err(ConnectorError::hinted(
            format!("no file matches `{pattern}`"),
            format!(
                "looked in {}; `path` may be a file, a folder or a pattern such as data/*.json",
                if base.as_os_str().is_empty() {
                    "the folder that tidemark was started in".to_owned()
                } else {
                    format!("`{}`", base.display())
                }
            ),
        ));
    }
    Ok(found)
}

/// The files that `pattern` means, by name: a file, a folder's files, or what matches a pattern.
/// Names that begin with `.` or `_` are other programs' business, unless they are asked for.
pub(super) fn list(pattern: &str, base: &Path) -> Result<Vec<Found>, ConnectorError> {
    let whole = base.join(pattern);
    let paths = if whole.is_file() {
        vec![whole]
    } else if whole.is_dir() {
        files_of(&whole).map_err(|error| {
            ConnectorError::permanent(format!("cannot list the folder `{pattern}`: {error}"))
        })?
    } else {
        matching(&whole, pattern)?
    };
    let named = |path: PathBuf| {
        let name = path.strip_prefix(base).unwrap_or(&path);
        match name.to_str() {
            Some(name) => Ok(Found {
                name: name.to_owned(),
                path,
            }),
            // Two such names could look the same in a mark.
            None => Err(ConnectorError::hinted(
                format!("the name of `{}` is not UTF-8", name.display()),
                "give the file another name",
            )),
        }
    };
    let mut found: Vec<Found> = paths.into_iter().map(named).collect::<Result<_, _>>()?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Whether `source` finds the file that `sink` writes, now or once it is there.
pub(super) fn reads(source: &Table, sink: &Table, base: &Path) -> bool {
    let (Some(pattern), Some(written)) = (source.option("path"), sink.option("path")) else {
        return false;
    };
    // Also where the folder is yet to be made.
    let whole = |path: PathBuf| path.canonicalize().or_else(|_| std::path::absolute(&path));
    let (Ok(written), Ok(read)) = (whole(resolve(written, base)), whole(resolve(pattern, base)))
    else {
        return false;
    };
    if read == written {
        return true;
    }
    if is_hidden(&written) {
        return false;
    }
    if read.is_dir() {
        return written.parent() == Some(read.as_path());
    }
    let folder = folder_of(&read);
    let rest = read.strip_prefix(&folder).unwrap_or(&read).to_owned();
    let Ok(folder) = whole(folder) else {
        return false;
    };
    let pattern = glob::Pattern::new(&folder.join(rest).to_string_lossy());
    let options = glob::MatchOptions {
        require_literal_separator: true,
        ..glob::MatchOptions::default()
    };
    pattern.is_ok_and(|pattern| pattern.matches_path_with(&written, options))
}

/// The folder that a pattern looks in first: what stands before its first wildcard.
pub(super) fn folder_of(whole: &Path) -> PathBuf {
    if whole.is_dir() {
        return whole.to_owned();
    }
    let is_plain = |part: &&std::ffi::OsStr| !part.to_string_lossy().contains(['*', '?', '[']);
    let folder: PathBuf = whole.iter().take_while(is_plain).collect();
    if folder.as_os_str().is_empty() {
        return PathBuf::from(".");
    }
    folder
}

fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() && !is_hidden(&path) {
            files.push(path);
        }
    }
    Ok(files)
}

fn matching(whole: &Path, pattern: &str) -> Result<Vec<PathBuf>, ConnectorError> {
    let paths = glob::glob(&whole.to_string_lossy()).map_err(|error| {
        ConnectorError::permanent(format!("`{pattern}` is not a pattern: {error}"))
    })?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| {
            ConnectorError::permanent(format!("cannot list `{pattern}`: {error}"))
        })?;
        if path.is_file() && !is_hidden(&path) {
            files.push(path);
        }
    }
    Ok(files)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with('.') || name.starts_with('_'))
}

/// The content of a file, as far as a mark must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// Bytes on disk.
    pub(super) size: u64,
    /// Of all of them.
    checksum: u64,
}

impl Content {
    /// Reads the whole file.
    pub(super) fn of(file: &mut impl Read) -> io::Result<Self> {
        let mut hash = Xxh3::new();
        let mut buffer = vec![0; 1 << 18];
        let mut size = 0;
        loop {
            let len = file.read(&mut buffer)?;
            if len == 0 {
                return Ok(Self {
                    size,
                    checksum: hash.digest(),
                });
            }
            hash.update(&buffer[..len]);
            size += len as u64;
        }
    }

    /// What stands in the mark.
    pub(super) fn identity(self) -> String {
        format!("{} bytes, xxh3 {:016x}", self.size, self.checksum)
    }

    /// The size in what stands in a mark.
    pub(super) fn size_in(identity: &str) -> Option<u64> {
        identity.split(' ').next()?.parse().ok()
    }
}

/// How a file's bytes are packed, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(super) fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz" | "gzip") => Self::Gzip,
            Some("zst" | "zstd") => Self::Zstd,
            _ => Self::None,
        }
    }

    /// The unpacked bytes of a file, of which `size` bytes count: what is appended to it later
    /// belongs to no partition.
    pub(super) fn open(self, path: &Path, size: u64) -> io::Result<Box<dyn Read + Send>> {
        self.unpack(File::open(path)?, size)
    }

    /// The same of one that is open already.
    pub(super) fn unpack(
        self,
        file: impl Read + Send + 'static,
        size: u64,
    ) -> io::Result<Box<dyn Read + Send>> {
        let file = file.take(size);
        Ok(match self {
            Self::None => Box::new(file),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(
                io::BufReader::with_capacity(1 << 17, file),
            )),
            Self::Zstd => Box::new(zstd::Decoder::new(file)?),
        })
    }
}
