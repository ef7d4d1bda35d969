//! Snapshots: every operator's state at the end of an epoch, and where the input stood then.
//!
//! ```text
//!   00000000000000000417/aggregate-5.0.00193f5c7d204a11.arrow   a part: operator, worker, incarnation
//!   00000000000000000417/aggregate-5.1.00193f5c7d204a11.arrow
//!   00000000000000000417/manifest.json        written last: it names the parts and their checksums
//! ```
//!
//! Replays of one start and the next cut epochs of the same number elsewhere. A process that was
//! fenced and has not heard of it yet may still write parts: they have names of their own.
//!
//! What has no manifest is no snapshot. A part that is not what the manifest says (torn, altered,
//! gone) makes the snapshot useless as a whole, and the one before it is used; nothing is deleted
//! because it is broken.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::store::{Store, StoreError, object_name};
use crate::types::{Epoch, Fates, Mark, SourceMark};

/// The version of the format. A newer one is not read.
const VERSION: u32 = 1;

/// How many good snapshots are kept.
const KEPT: usize = 2;

/// What a snapshot is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the format.
    pub version: u32,
    /// The plan that the state belongs to.
    pub fingerprint: String,
    /// The life of the pipeline that it belongs to.
    pub life: u64,
    /// Where everything stood.
    pub facts: Facts,
    /// The state.
    pub parts: Vec<PartFile>,
    /// How long it took to take, in milliseconds.
    pub took_ms: u64,
}

/// Where everything stood at the end of an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The epoch.
    pub epoch: Epoch,
    /// The sources.
    pub sources: BTreeMap<String, SourceMark>,
    /// What had become of the records, by INSERT, by source.
    pub fates: Vec<(usize, String, Fates)>,
}

/// Whose state a part is, and of when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartOf<'a> {
    /// The end of this epoch.
    pub epoch: Epoch,
    /// The operator.
    pub operator: &'a str,
    /// The worker.
    pub worker: usize,
    /// The start that it is of.
    pub incarnation: u64,
}

/// One object of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartFile {
    /// Its name in the store.
    pub object: String,
    /// Whose state it is.
    pub operator: String,
    /// How many rows.
    pub rows: usize,
    /// How many bytes.
    pub bytes: usize,
    /// Of the bytes.
    pub checksum: String,
}

/// The manifest with its own checksum.
#[derive(Serialize, Deserialize)]
struct Sealed {
    checksum: String,
    manifest: String,
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The store does not give it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not what was written.
    #[error("`{object}` is torn or was altered: {why}")]
    Broken {
        /// Which object.
        object: String,
        /// What does not fit.
        why: String,
    },
    /// A newer program wrote it.
    #[error("its format is version {0}, and this program reads up to {VERSION}")]
    Newer(u32),
}

impl Manifest {
    /// A manifest of the present version.
    #[must_use]
    pub fn new(
        fingerprint: String,
        life: u64,
        facts: Facts,
        parts: Vec<PartFile>,
        took_ms: u64,
    ) -> Self {
        Self {
            version: VERSION,
            fingerprint,
            life,
            facts,
            parts,
            took_ms,
        }
    }

    /// The bytes of all parts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// The rows of all parts.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.rows).sum()
    }

    /// Whether a run whose destinations hold `marks` may begin here. A destination that keeps a
    /// mark and has none yet is `None`.
    #[must_use]
    pub fn serves(&self, fingerprint: &str, marks: &[Option<Mark>]) -> bool {
        let holds = |mark: &Option<Mark>| {
            mark.as_ref()
                .is_some_and(|mark| mark.life == self.life && mark.epoch >= self.facts.epoch)
        };
        self.fingerprint == fingerprint && !marks.is_empty() && marks.iter().all(holds)
    }
}

/// A snapshot that has a manifest, by its epoch, or why the manifest is no good.
pub type Listed = (Epoch, Result<Manifest, Unusable>);

/// How many bytes of parts are kept between their verification and their use. What is beyond is
/// read twice.
const FETCHED_MAX: usize = 256 << 20;

/// The snapshots of one pipeline.
pub struct Snapshots {
    store: Store,
    fetched: Mutex<Fetched>,
}

/// Parts that were read and are whole, until they are used.
#[derive(Default)]
struct Fetched {
    parts: BTreeMap<String, Whole>,
    /// What is wanted is known: nothing is read on suspicion any more.
    decided: bool,
}

/// What is in a part, and the checksum that it has.
struct Whole {
    checksum: String,
    batches: Vec<RecordBatch>,
}

impl Snapshots {
    /// Those in `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            store,
            fetched: Mutex::default(),
        }
    }

    /// Where they are, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        self.store.place().to_owned()
    }

    /// Every snapshot, the newest first.
    pub fn list(&self) -> Result<Vec<Listed>, StoreError> {
        let mut epochs: Vec<Epoch> = self
            .store
            .list()?
            .iter()
            .filter_map(|(object, _)| object.strip_suffix("/manifest.json")?.parse().ok())
            .map(Epoch)
            .collect();
        epochs.sort_unstable_by(|a, b| b.cmp(a));
        let read = |epoch: Epoch| (epoch, self.manifest(epoch));
        Ok(epochs.into_iter().map(read).collect())
    }

    fn manifest(&self, epoch: Epoch) -> Result<Manifest, Unusable> {
        let object = manifest_object(epoch);
        let broken = |why: String| Unusable::Broken {
            object: object.clone(),
            why,
        };
        let bytes = self.store.get(&object)?;
        let sealed: Sealed =
            serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
        if checksum(sealed.manifest.as_bytes()) != sealed.checksum {
            return Err(broken("its checksum differs".to_owned()));
        }
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } =
            serde_json::from_str(&sealed.manifest).map_err(|error| broken(error.to_string()))?;
        if version > VERSION {
            return Err(Unusable::Newer(version));
        }
        serde_json::from_str(&sealed.manifest).map_err(|error| broken(error.to_string()))
    }

    /// Reads every part of a snapshot and holds it to its checksum.
    pub fn verify(&self, manifest: &Manifest) -> Result<(), Unusable> {
        for part in &manifest.parts {
            self.bytes_of(part)?;
        }
        Ok(())
    }

    /// As `verify`, and keeps what it reads for `state`: a start reads a snapshot once. Waits for
    /// `read_ahead`, and reads nothing that it has read.
    pub fn fetch(&self, manifest: &Manifest) -> Result<(), Unusable> {
        let mut fetched = self.fetched();
        fetched.decided = true;
        self.fetch_into(&mut fetched.parts, manifest)
    }

    /// Fetches the snapshot that a run of this plan most likely begins with, while others still find
    /// out which it is.
    pub fn read_ahead(&self, fingerprint: &str) {
        let mut fetched = self.fetched();
        if fetched.decided {
            return;
        }
        // What cannot be read now will be said when it is wanted.
        let listed = self.list().into_iter().flatten();
        let mut manifests = listed.filter_map(|(_, manifest)| manifest.ok());
        let newest = manifests.find(|manifest| manifest.fingerprint == fingerprint);
        if let Some(mut newest) = newest {
            // What would not be kept would be read twice.
            let mut room = FETCHED_MAX;
            newest.parts.retain(|part| {
                let left = room.checked_sub(part.bytes);
                room = left.unwrap_or(room);
                left.is_some()
            });
            let _ = self.fetch_into(&mut fetched.parts, &newest);
        }
    }

    fn fetch_into(
        &self,
        whole: &mut BTreeMap<String, Whole>,
        manifest: &Manifest,
    ) -> Result<(), Unusable> {
        let mut before = std::mem::take(whole);
        let mut room = FETCHED_MAX;
        for part in &manifest.parts {
            let has = before.remove(&part.object);
            let has = has.filter(|whole| whole.checksum == part.checksum);
            let batches = has.map_or_else(|| self.read(part), |whole| Ok(whole.batches))?;
            if let Some(left) = room.checked_sub(part.bytes) {
                room = left;
                let checksum = part.checksum.clone();
                whole.insert(part.object.clone(), Whole { checksum, batches });
            }
        }
        Ok(())
    }

    /// Nothing that was fetched is wanted any more.
    pub fn forget_fetched(&self) {
        self.fetched().parts.clear();
    }

    fn fetched(&self) -> MutexGuard<'_, Fetched> {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes_of(&self, part: &PartFile) -> Result<Vec<u8>, Unusable> {
        let bytes = self.store.get(&part.object)?;
        if checksum(&bytes) == part.checksum {
            return Ok(bytes);
        }
        let why = match bytes.len() == part.bytes {
            true => "its checksum differs".to_owned(),
            false => format!(
                "it has {} bytes and should have {}",
                bytes.len(),
                part.bytes
            ),
        };
        Err(Unusable::Broken {
            object: part.object.clone(),
            why,
        })
    }

    /// What all workers saved of an operator.
    pub fn state(&self, manifest: &Manifest, operator: &str) -> Result<Vec<RecordBatch>, Unusable> {
        let mut batches = Vec::new();
        for part in manifest
            .parts
            .iter()
            .filter(|part| part.operator == operator)
        {
            let kept = self.fetched().parts.remove(&part.object);
            let kept = kept.filter(|whole| whole.checksum == part.checksum);
            batches.extend(kept.map_or_else(|| self.read(part), |whole| Ok(whole.batches))?);
        }
        Ok(batches)
    }

    fn read(&self, part: &PartFile) -> Result<Vec<RecordBatch>, Unusable> {
        let bytes = self.bytes_of(part)?;
        let broken = |error: ArrowError| Unusable::Broken {
            object: part.object.clone(),
            why: error.to_string(),
        };
        let batches = StreamReader::try_new(bytes.as_slice(), None).map_err(broken)?;
        batches.map(|batch| batch.map_err(broken)).collect()
    }

    /// Writes the state of one operator on one worker. There is no part for no state.
    pub fn write_part(
        &self,
        of: PartOf<'_>,
        batches: &[RecordBatch],
    ) -> Result<Option<PartFile>, StoreError> {
        let Some(first) = batches.first() else {
            return Ok(None);
        };
        let bytes = encode(first, batches).expect("state is plain columns, written to memory");
        let part = PartFile {
            object: of.object(),
            operator: of.operator.to_owned(),
            rows: batches.iter().map(RecordBatch::num_rows).sum(),
            bytes: bytes.len(),
            checksum: checksum(&bytes),
        };
        self.store.put(&part.object, bytes)?;
        Ok(Some(part))
    }

    /// Writes the manifest, which makes a snapshot of the parts, and then deletes what is older
    /// than the last good ones.
    pub fn publish(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let text = serde_json::to_string(manifest).expect("a manifest is plain data");
        let sealed = Sealed {
            checksum: checksum(text.as_bytes()),
            manifest: text,
        };
        let bytes = serde_json::to_vec_pretty(&sealed).expect("a manifest is plain data");
        self.store
            .put(&manifest_object(manifest.facts.epoch), bytes)?;
        self.forget(manifest)
    }

    /// Deletes what was superseded: good snapshots of this life beyond the newest, and parts
    /// without a manifest that are older than `newest`.
    fn forget(&self, newest: &Manifest) -> Result<(), StoreError> {
        let good = |(epoch, manifest): Listed| Some((epoch, manifest.ok()?));
        let own = self.list()?.into_iter().filter_map(good);
        let own: Vec<Epoch> = own
            .filter(|(epoch, manifest)| {
                manifest.life == newest.life && *epoch <= newest.facts.epoch
            })
            .map(|(epoch, _)| epoch)
            .collect();
        let Some(&oldest) = own.get(KEPT - 1) else {
            return Ok(());
        };
        for epoch in &own[KEPT..] {
            // Without its manifest it is none: a crash in between leaves only parts.
            self.store.delete(&manifest_object(*epoch))?;
        }
        let listed: Vec<String> = self
            .store
            .list()?
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let whole = |folder: &str| listed.contains(&format!("{folder}/manifest.json"));
        for object in &listed {
            let Some((folder, _)) = object.split_once('/') else {
                continue;
            };
            let is_older = folder.parse().is_ok_and(|epoch| Epoch(epoch) < oldest);
            if is_older && !whole(folder) {
                self.store.delete(object)?;
            }
        }
        Ok(())
    }

    /// Deletes those of `life` that are from after `held`, and says which they were. A destination
    /// that held them has gone back, as a backup does that is restored: from here on other epochs have
    /// their numbers. One that cannot be read now may be one of them, and be readable later.
    pub fn forget_after(&self, held: Epoch, life: u64) -> Result<Vec<Epoch>, StoreError> {
        let is_after = |(epoch, manifest): &Listed| {
            *epoch > held && manifest.as_ref().map_or(true, |own| own.life == life)
        };
        let after = self.list()?.into_iter().filter(is_after);
        let after: Vec<Epoch> = after.map(|(epoch, _)| epoch).collect();
        for epoch in &after {
            self.store.delete(&manifest_object(*epoch))?;
        }
        Ok(after)
    }

    /// Deletes all of them.
    pub fn clear(&self) -> Result<(), StoreError> {
        let mut objects: Vec<String> = self
            .store
            .list()?
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        // Manifests first: what is left by a crash is then no snapshot.
        objects.sort_by_key(|object| !object.ends_with("/manifest.json"));
        let numbered = |object: &&String| {
            let folder = object
                .split_once('/')
                .map(|(folder, _)| folder.parse::<u64>());
            folder.is_some_and(|folder| folder.is_ok())
        };
        objects
            .iter()
            .filter(numbered)
            .try_for_each(|object| self.store.delete(object))
    }
}

impl PartOf<'_> {
    fn object(&self) -> String {
        let operator = object_name(self.operator);
        let (worker, incarnation) = (self.worker, self.incarnation);
        format!(
            "{}/{operator}.{worker}.{incarnation:016x}.arrow",
            folder(self.epoch)
        )
    }
}

fn folder(epoch: Epoch) -> String {
    format!("{:020}", epoch.0)
}

fn manifest_object(epoch: Epoch) -> String {
    format!("{}/manifest.json", folder(epoch))
}

pub(super) fn checksum(bytes: &[u8]) -> String {
    format!("{:032x}", xxh3_128(bytes))
}

pub(super) fn encode(first: &RecordBatch, batches: &[RecordBatch]) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &first.schema())?;
    batches.iter().try_for_each(|batch| writer.write(batch))?;
    writer.finish()?;
    writer.into_inner()
}

#[cfg(test)]
mod tests;
