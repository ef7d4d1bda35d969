//! The one door to operators' state.
//!
//! ```text
//!   hold("aggregate 5", groups) ──▶ Held: the operator works on it, the door knows it
//!        └── what a snapshot kept of it goes in first: this worker's keys, whoever saved them
//!   cut(epoch)  ──▶ save() ──▶ the vault, which writes on another thread
//! ```
//!
//! Whatever an operator remembers from one epoch to the next is held here, under the operator's
//! name, and nowhere else: who wants to know what a worker holds, or to save it, asks the door
//! and not the operators. State is keyed by the hash of the key, so a run with another number of
//! workers reads all parts and keeps its own. An operator does not know whether it was restored.

use std::cell::{Ref, RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, FieldRef, Schema, UInt64Type};
use arrow::error::ArrowError;

use crate::types::{Epoch, EventTime};

/// Why state could not be saved or restored.
pub type StateError = Box<dyn std::error::Error + Send + Sync>;

/// State that can be asked for its size, saved and restored.
pub trait Stateful {
    /// How many groups or rows are held.
    fn rows(&self) -> usize;

    /// How many bytes they take, about.
    fn bytes(&self) -> usize;

    /// All of it between two epochs, in batches whose first column is the hash that decides
    /// which worker owns a row.
    fn save(&self) -> Result<Vec<RecordBatch>, StateError>;

    /// Takes a batch of `save` as something that has been there before.
    fn restore(&mut self, saved: &RecordBatch) -> Result<(), StateError>;

    /// The windows that it keeps until event time has passed them, where it keeps any.
    fn windows(&self) -> Option<OpenWindows> {
        None
    }
}

/// Windows that have not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenWindows {
    /// How many.
    pub count: usize,
    /// The end of the one that closes next.
    pub next_end: EventTime,
    /// How long after its end it takes rows still, in microseconds.
    pub lateness_us: i64,
}

/// Where saved state goes, and where it comes from.
pub trait Vault: Send + Sync {
    /// What all workers saved of an operator, in the snapshot that this run begins with.
    fn saved(&self, operator: &str) -> Result<Arc<Vec<RecordBatch>>, StateError>;

    /// Takes what a worker saves. Never waits for a disk.
    fn save(&self, part: Part);
}

/// The state of one operator on one worker at the end of an epoch.
#[derive(Clone, Debug)]
pub struct Part {
    /// Every epoch up to this one is applied, and none after.
    pub epoch: Epoch,
    /// The worker.
    pub worker: usize,
    /// The operator, as `explain` names it.
    pub operator: String,
    /// The state.
    pub batches: Vec<RecordBatch>,
}

/// The state of one worker's operators.
#[derive(Clone)]
pub struct State {
    entries: Rc<RefCell<Vec<Entry>>>,
    worker: usize,
    peers: usize,
    vault: Option<Arc<dyn Vault>>,
}

struct Entry {
    name: String,
    state: Rc<RefCell<dyn Stateful>>,
}

/// What one operator holds on one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// The operator, as `explain` names it.
    pub operator: String,
    /// Groups or rows.
    pub rows: usize,
    /// Bytes, about.
    pub bytes: usize,
    /// Windows that have not closed; `None` where there are none.
    pub windows: Option<OpenWindows>,
}

/// An operator's end of the door.
pub struct Held<S> {
    state: Rc<RefCell<S>>,
    name: String,
    door: State,
}

impl State {
    /// The state of `worker` among `peers`, which nobody saves unless there is a vault.
    #[must_use]
    pub fn new(worker: usize, peers: usize, vault: Option<Arc<dyn Vault>>) -> Self {
        Self {
            entries: Rc::default(),
            worker,
            peers,
            vault,
        }
    }

    /// Takes `state` in under an operator's name, and restores what was saved of it.
    pub fn hold<S: Stateful + 'static>(
        &self,
        name: &str,
        mut state: S,
    ) -> Result<Held<S>, StateError> {
        if let Some(vault) = &self.vault {
            for saved in vault.saved(name)?.iter() {
                let own = self.own(saved)?;
                if own.num_rows() > 0 {
                    state.restore(&own)?;
                }
            }
        }
        let state = Rc::new(RefCell::new(state));
        let shared: Rc<RefCell<dyn Stateful>> = Rc::<RefCell<S>>::clone(&state);
        self.entries.borrow_mut().push(Entry {
            name: name.to_owned(),
            state: shared,
        });
        Ok(Held {
            state,
            name: name.to_owned(),
            door: self.clone(),
        })
    }

    /// The rows of saved state that this worker owns.
    fn own(&self, saved: &RecordBatch) -> Result<RecordBatch, StateError> {
        if self.peers == 1 {
            return Ok(saved.clone());
        }
        let hashes = saved.column(0).as_primitive::<UInt64Type>().values();
        let own = |row: usize| owner(hashes[row], self.peers) == self.worker;
        let own = BooleanBuffer::collect_bool(hashes.len(), own);
        // What was saved by as many workers is of one of them.
        match own.count_set_bits() {
            0 => Ok(saved.slice(0, 0)),
            all if all == saved.num_rows() => Ok(saved.clone()),
            _ => Ok(filter_record_batch(saved, &BooleanArray::from(own))?),
        }
    }

    fn save(&self, name: &str, state: &dyn Stateful, epoch: Epoch) -> Result<(), StateError> {
        if let Some(vault) = &self.vault {
            vault.save(Part {
                epoch,
                worker: self.worker,
                operator: name.to_owned(),
                batches: state.save()?,
            });
        }
        Ok(())
    }

    /// Saves everything at once, when all of `epoch` is applied everywhere and nothing follows.
    pub fn cut(&self, epoch: Epoch) -> Result<(), StateError> {
        for Entry { name, state } in self.entries.borrow().iter() {
            self.save(name, &*state.borrow(), epoch)?;
        }
        Ok(())
    }

    /// What each operator holds now.
    #[must_use]
    pub fn sizes(&self) -> Vec<Size> {
        let entries = self.entries.borrow();
        let sizes = entries.iter().map(|Entry { name, state }| {
            let state = state.borrow();
            Size {
                operator: name.clone(),
                rows: state.rows(),
                bytes: state.bytes(),
                windows: state.windows(),
            }
        });
        sizes.collect()
    }
}

impl<S: Stateful> Held<S> {
    /// The state, to look at.
    pub fn borrow(&self) -> Ref<'_, S> {
        self.state.borrow()
    }

    /// The state, to work on.
    pub fn borrow_mut(&self) -> RefMut<'_, S> {
        self.state.borrow_mut()
    }

    /// Every epoch up to `epoch` is applied, and none after: saves it.
    pub fn cut(&self, epoch: Epoch) -> Result<(), StateError> {
        self.door.save(&self.name, &*self.state.borrow(), epoch)
    }
}

/// Rows of `schema` to be saved, behind columns that say more of them; the first of those is the
/// hash of their keys.
pub fn behind<const N: usize>(
    columns: [(&str, ArrayRef); N],
    schema: &Schema,
    rows: &[ArrayRef],
) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut all): (Vec<FieldRef>, Vec<ArrayRef>) = columns
        .into_iter()
        .map(|(name, column)| {
            let field = Field::new(name, column.data_type().clone(), false);
            (Arc::new(field), column)
        })
        .unzip();
    fields.extend(schema.fields().iter().map(Arc::clone));
    all.extend(rows.iter().map(Arc::clone));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), all)
}

/// The rows that were saved behind so many columns.
pub fn without_first(saved: &RecordBatch, columns: usize) -> Result<RecordBatch, ArrowError> {
    saved.project(&(columns..saved.num_columns()).collect::<Vec<_>>())
}

/// The worker that owns a key: a function of its hash alone.
#[must_use]
pub fn owner(hash: u64, peers: usize) -> usize {
    let scaled = (u128::from(hash) * peers as u128) >> 64;
    usize::try_from(scaled).expect("it is below the number of workers")
}
