//! Where snapshots are kept: a blocking face over `object_store`, which is async.
//!
//! ```text
//!   --state some/folder           files of this machine, or of a volume that several share
//!   --state s3://bucket/prefix    objects in S3 or what speaks its protocol
//! ```
//!
//! An object appears whole or not at all, and one that is overwritten is the old one or the new one. A
//! large one goes to a bucket in pieces, which become the object in one step when all are there.
//! What a bucket needs to be reached (keys, region, an endpoint of one's own) is taken from the
//! variables of the environment that begin with `AWS_`.

use std::path::{Path, PathBuf};
use std::slice::Chunks;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::prefix::PrefixStore;
use object_store::{
    ClientConfigKey, GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode,
    PutPayload, RetryConfig,
};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use xxhash_rust::xxh3::xxh3_64;

/// How `--state` names a bucket.
const BUCKET: &str = "s3://";

/// How long one request may take.
const REQUEST: &str = "300s";

/// An object that has more bytes than this goes to a bucket in pieces of so many: one request may bring
/// 5 GiB at most, and a piece that is lost is sent again alone. Ten thousand make an object at most.
const PIECE: usize = 16 << 20;

/// How many pieces are under way at a time.
const UNDER_WAY: usize = 4;

/// Of so many folders around the place the names are kept in any case: an earlier start may have made
/// `.tidemark` and the pipeline's folder in it, and ended before it could.
const KEPT_ABOVE: usize = 2;

/// So many characters of a text are shown in the name of an object.
const PLAIN: usize = 60;

/// How many bytes one request asks a bucket for.
const ASKED: u64 = 256 << 20;

/// How long a request that failed is tried again, each pause twice the one before: a store that begins
/// anew is waited for. A snapshot that could not be written is tried again with the next.
const RETRIES: usize = 8;
const RETRY_FOR: Duration = Duration::from_secs(15);

/// A folder of objects.
pub struct Store {
    objects: OnceLock<Opened>,
    place: String,
}

struct Opened {
    objects: Arc<dyn ObjectStore>,
    runtime: Runtime,
}

/// What the store could not do.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} `{object}` in `{place}`: {cause}")]
pub struct StoreError {
    doing: &'static str,
    object: String,
    place: String,
    cause: String,
}

/// Whether a place of snapshots is a bucket, which every machine reaches alike.
#[must_use]
pub fn is_bucket(place: &Path) -> bool {
    place
        .to_str()
        .is_some_and(|place| place.starts_with(BUCKET))
}

/// A name for an object or a folder of objects: the same in a folder and in a bucket whatever the text is,
/// short enough for a file, and not that of another text.
#[must_use]
pub fn object_name(text: &str) -> String {
    let dashed = text.replace(' ', "-");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if dashed.len() <= PLAIN && dashed.chars().all(is_plain) {
        return dashed;
    }
    let plain = dashed.chars().map(|c| if is_plain(c) { c } else { '-' });
    let plain: String = plain.take(PLAIN).collect();
    format!("{plain}-{:016x}", xxh3_64(text.as_bytes()))
}

/// An object by its name, or by what a listing calls it.
fn key(object: &str) -> Key {
    Key::parse(object).unwrap_or_else(|_| Key::from(object))
}

/// What is wrong with the name of a place.
pub fn check_place(place: &str) -> Result<(), String> {
    match (place.strip_prefix(BUCKET), place.split_once("://")) {
        (Some(rest), _) if rest.split('/').next().is_some_and(|it| !it.is_empty()) => Ok(()),
        (Some(_), _) => Err("it names no bucket: write s3://bucket/prefix".to_owned()),
        (None, Some((scheme, _))) => Err(format!(
            "`{scheme}` is no store of snapshots: write a folder, or s3://bucket/prefix"
        )),
        (None, None) => Ok(()),
    }
}

impl Store {
    /// The store at a place, which is made with the first object in it.
    #[must_use]
    pub fn at(place: &Path) -> Self {
        Self {
            objects: OnceLock::new(),
            place: place.display().to_string(),
        }
    }

    /// The place, opened and made if it is not there.
    fn open(&self) -> Result<&Opened, StoreError> {
        if let Some(opened) = self.objects.get() {
            return Ok(opened);
        }
        let failed = |cause: String| StoreError {
            doing: "open",
            object: ".".to_owned(),
            place: self.place.clone(),
            cause,
        };
        let objects = match self.place.strip_prefix(BUCKET) {
            Some(bucket) => in_bucket(bucket).map_err(|error| error.to_string()),
            None => in_folder(&self.place),
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let objects = objects.map_err(failed)?;
        Ok(self.objects.get_or_init(|| Opened { objects, runtime }))
    }

    fn is_there(&self) -> bool {
        self.is_in_bucket() || Path::new(&self.place).exists()
    }

    fn is_in_bucket(&self) -> bool {
        self.place.starts_with(BUCKET)
    }

    /// Where it is, for messages.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Writes an object, which is there for good: a machine that loses its power keeps it.
    pub fn put(&self, object: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let key = key(object);
        let Opened { objects, runtime } = self.open()?;
        let written = runtime.block_on(async {
            if self.is_in_bucket() && bytes.len() > PIECE {
                return put_in_pieces(&**objects, &key, (bytes.as_slice(), PIECE)).await;
            }
            objects.put(&key, PutPayload::from(bytes)).await.map(drop)
        });
        written.map_err(self.failed("write", object))?;
        self.keep(object)
    }

    /// Writes an object that is not there yet, and says whether it was not. It is there for good:
    /// of two that write it one does, and a machine that loses its power keeps it.
    pub fn create(&self, object: &str, bytes: Vec<u8>) -> Result<bool, StoreError> {
        let key = key(object);
        let Opened { objects, runtime } = self.open()?;
        let only_new = PutMode::Create.into();
        let put = objects.put_opts(&key, PutPayload::from(bytes), only_new);
        match runtime.block_on(put) {
            Ok(_) => {}
            Err(object_store::Error::AlreadyExists { .. }) => return Ok(false),
            Err(error) => return Err(self.failed("write", object)(error)),
        }
        self.keep(object)?;
        Ok(true)
    }

    /// Waits until an object is on the disk, with all names that lead to it.
    fn keep(&self, object: &str) -> Result<(), StoreError> {
        if self.is_in_bucket() {
            return Ok(());
        }
        let place = Path::new(&self.place);
        let file = place.join(object);
        let mut all = file.ancestors().take_while(|it| it.starts_with(place));
        let kept = all.try_for_each(|it| std::fs::File::open(it)?.sync_all());
        kept.map_err(|error| StoreError {
            doing: "write",
            object: object.to_owned(),
            place: self.place.clone(),
            cause: error.to_string(),
        })
    }

    /// Reads an object.
    pub fn get(&self, object: &str) -> Result<Vec<u8>, StoreError> {
        let key = key(object);
        let Opened { objects, runtime } = self.open()?;
        let bytes = runtime.block_on(async {
            if self.is_in_bucket() {
                return get_in_ranges(&**objects, &key, ASKED).await;
            }
            objects.get(&key).await?.bytes().await.map(Vec::from)
        });
        bytes.map_err(self.failed("read", object))
    }

    /// The names of all objects in folders, with their sizes.
    pub fn list(&self) -> Result<Vec<(String, u64)>, StoreError> {
        if !self.is_there() {
            return Ok(Vec::new());
        }
        let Opened { objects, runtime } = self.open()?;
        let list = async {
            let mut found = Vec::new();
            for folder in objects.list_with_delimiter(None).await?.common_prefixes {
                found.extend(objects.list_with_delimiter(Some(&folder)).await?.objects);
            }
            Ok(found)
        };
        let objects = runtime.block_on(list).map_err(self.failed("list", "."))?;
        let named = objects
            .into_iter()
            .map(|object| (object.location.to_string(), object.size));
        Ok(named.collect())
    }

    /// Deletes an object; one that is not there is none the less deleted.
    pub fn delete(&self, object: &str) -> Result<(), StoreError> {
        let key = key(object);
        let Opened { objects, runtime } = self.open()?;
        match runtime.block_on(objects.delete(&key)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("delete", object)(error)),
        }
    }

    fn failed(
        &self,
        doing: &'static str,
        object: &str,
    ) -> impl Fn(object_store::Error) -> StoreError {
        let (object, place) = (object.to_owned(), self.place.clone());
        move |error| StoreError {
            doing,
            object: object.clone(),
            place: place.clone(),
            cause: error.to_string(),
        }
    }
}

/// Writes an object that is too large for one request. Until all of it is there, nothing is.
async fn put_in_pieces(
    objects: &dyn ObjectStore,
    key: &Key,
    (bytes, piece): (&[u8], usize),
) -> object_store::Result<()> {
    let mut upload = objects.put_multipart(key).await?;
    let sent = send(&mut *upload, bytes.chunks(piece)).await;
    if sent.is_err() {
        // Pieces that nobody makes an object of would stay, and be paid for.
        let _ = upload.abort().await;
    }
    sent
}

async fn send(
    upload: &mut dyn MultipartUpload,
    pieces: Chunks<'_, u8>,
) -> object_store::Result<()> {
    let mut under_way = JoinSet::new();
    for piece in pieces {
        if under_way.len() == UNDER_WAY
            && let Some(sent) = under_way.join_next().await
        {
            sent??;
        }
        under_way.spawn(upload.put_part(PutPayload::from(piece.to_vec())));
    }
    while let Some(sent) = under_way.join_next().await {
        sent??;
    }
    upload.complete().await.map(drop)
}

/// Reads an object by requests that each end in time, however large it is.
async fn get_in_ranges(
    objects: &dyn ObjectStore,
    key: &Key,
    asked: u64,
) -> object_store::Result<Vec<u8>> {
    let options = GetOptions {
        range: Some(GetRange::Bounded(0..asked)),
        ..GetOptions::default()
    };
    let first = objects.get_opts(key, options).await?;
    let size = first.meta.size;
    let mut bytes = Vec::from(first.bytes().await?);
    while (bytes.len() as u64) < size {
        let from = bytes.len() as u64;
        let more = objects.get_range(key, from..size.min(from + asked)).await?;
        bytes.extend_from_slice(&more);
    }
    Ok(bytes)
}

/// Objects are files; one that a crash left half written is not seen. The names that lead to the place
/// are on the disk before the first of them is.
fn in_folder(place: &str) -> Result<Arc<dyn ObjectStore>, String> {
    let made = Path::new(place).ancestors().take_while(|it| !it.exists());
    let made = made.count();
    std::fs::create_dir_all(place).map_err(|error| error.to_string())?;
    let above = above(Path::new(place)).map_err(|error| error.to_string())?;
    for folder in above.into_iter().take(made.max(KEPT_ABOVE)) {
        // What may not be opened was not made by us.
        if let Ok(opened) = std::fs::File::open(&folder) {
            let kept = opened.sync_all();
            kept.map_err(|error| format!("`{}`: {error}", folder.display()))?;
        }
    }
    let objects = LocalFileSystem::new_with_prefix(place).map_err(|error| error.to_string())?;
    Ok(Arc::new(objects.with_automatic_cleanup(true)))
}

/// The folders that a folder is in, from the nearest to the root.
fn above(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let whole = folder.canonicalize()?;
    Ok(whole.ancestors().skip(1).map(Path::to_path_buf).collect())
}

/// `place` is the bucket, and what all names in it begin with.
fn in_bucket(place: &str) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let retry = RetryConfig {
        max_retries: RETRIES,
        retry_timeout: RETRY_FOR,
        ..RetryConfig::default()
    };
    let objects = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), REQUEST)
        .with_retry(retry)
        .build()?;
    Ok(Arc::new(PrefixStore::new(objects, prefix)))
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn any_text_names_an_object_that_is_kept_listed_and_deleted() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = Store::at(folder.path());
        let long = "a".repeat(300);
        let texts = ["top by k, price * qty", "größe", "a/b", "a-b", "50%", &long];
        for text in texts {
            let object = format!("1/{}", object_name(text));
            store.put(&object, vec![7]).unwrap();
            assert_eq!(store.get(&object).unwrap(), [7]);
        }

        let listed = store.list().unwrap();
        assert_eq!(listed.len(), texts.len());
        for (object, _) in listed {
            store.delete(&object).unwrap();
        }
        assert_eq!(store.list().unwrap(), []);
    }

    /// An earlier version gave its parts such names.
    #[test]
    fn what_a_listing_names_is_deleted() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = Store::at(folder.path());
        let Opened { objects, runtime } = store.open().unwrap();
        let object = Key::from("1/größe*");
        let put = objects.put(&object, PutPayload::from_static(b"x"));
        runtime.block_on(put).unwrap();

        let (listed, _) = store.list().unwrap().pop().unwrap();
        store.delete(&listed).unwrap();

        assert_eq!(store.list().unwrap(), []);
    }

    #[test]
    fn what_is_written_in_pieces_is_one_object_and_read_in_ranges_is_the_same() {
        let (objects, key) = (InMemory::new(), Key::from("part"));
        let bytes: Vec<u8> = (0..=99).collect();
        let runtime = Builder::new_current_thread().build().unwrap();

        runtime.block_on(async {
            for piece in [7, 10, 99, 100] {
                let put = put_in_pieces(&objects, &key, (bytes.as_slice(), piece)).await;
                assert!(put.is_ok(), "{put:?}");
                for asked in [1, 33, 50, 100, 1000] {
                    let got = get_in_ranges(&objects, &key, asked).await.unwrap();
                    assert_eq!(got, bytes, "{asked} at a time");
                }
            }
        });
    }

    /// A crash of the machine must not take what the names of the folders lead to.
    #[test]
    fn every_name_that_leads_to_a_place_is_kept_also_those_of_folders_around_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let place = root.join(".tidemark/orders");
        std::fs::create_dir_all(&place).unwrap();

        let kept = above(&place).unwrap();

        assert_eq!(kept[..2], [root.join(".tidemark"), root]);
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert!(above(Path::new("src")).unwrap().contains(&here));
    }

    #[test]
    fn a_place_is_a_folder_or_a_bucket() {
        for place in ["state", "/var/state", "s3://bucket", "s3://bucket/a/b"] {
            assert_eq!(check_place(place), Ok(()));
            assert_eq!(is_bucket(Path::new(place)), place.starts_with("s3"));
        }
        for place in ["s3://", "s3:///prefix", "gs://bucket/prefix", "http://host"] {
            assert!(check_place(place).is_err(), "{place}");
        }
        // A pipeline's own folder in it.
        let own = Path::new("s3://bucket/a").join("orders");
        assert_eq!(Store::at(&own).place(), "s3://bucket/a/orders");
    }
}
