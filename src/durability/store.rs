//! Where snapshots are kept: a blocking face over `object_store`, which is async.
//!
//! A local folder now; other stores are another line in `open`. An object appears whole or not at
//! all, and one that is overwritten is the old one or the new one.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tokio::runtime::{Builder, Runtime};

/// A folder of objects.
pub struct Store {
    objects: OnceLock<Opened>,
    place: PathBuf,
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

impl Store {
    /// The store in a local folder, which is made with the first object in it.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self {
            objects: OnceLock::new(),
            place: folder.to_owned(),
        }
    }

    /// The folder, opened and made if it is not there.
    fn open(&self) -> Result<&Opened, StoreError> {
        if let Some(opened) = self.objects.get() {
            return Ok(opened);
        }
        let failed = |cause: String| StoreError {
            doing: "open",
            object: ".".to_owned(),
            place: self.place.display().to_string(),
            cause,
        };
        std::fs::create_dir_all(&self.place).map_err(|error| failed(error.to_string()))?;
        let objects = LocalFileSystem::new_with_prefix(&self.place)
            .map_err(|error| failed(error.to_string()))?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        Ok(self.objects.get_or_init(|| Opened {
            objects: Arc::new(objects.with_automatic_cleanup(true)),
            runtime,
        }))
    }

    /// Where it is, for messages.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Writes an object.
    pub fn put(&self, object: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let key = Key::from(object);
        let Opened { objects, runtime } = self.open()?;
        let written = runtime.block_on(objects.put(&key, PutPayload::from(bytes)));
        written.map(drop).map_err(self.failed("write", object))
    }

    /// Reads an object.
    pub fn get(&self, object: &str) -> Result<Vec<u8>, StoreError> {
        let key = Key::from(object);
        let Opened { objects, runtime } = self.open()?;
        let bytes = runtime.block_on(async { objects.get(&key).await?.bytes().await });
        bytes.map(Vec::from).map_err(self.failed("read", object))
    }

    /// The names of all objects in folders, with their sizes.
    pub fn list(&self) -> Result<Vec<(String, u64)>, StoreError> {
        if !self.place.exists() {
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
        let key = Key::from(object);
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
        let (object, place) = (object.to_owned(), self.place.display().to_string());
        move |error| StoreError {
            doing,
            object: object.clone(),
            place: place.clone(),
            cause: error.to_string(),
        }
    }
}
