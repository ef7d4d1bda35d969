//! The one door to operators' state.
//!
//! Whatever an operator remembers from one epoch to the next is held here, under the operator's
//! name, and nowhere else: who wants to know what a worker holds, or to save it, asks the door
//! and not the operators. An operator does not know whether its state was restored.

use std::cell::RefCell;
use std::rc::Rc;

use crate::types::EventTime;

/// State that can be asked for its size.
pub trait Stateful {
    /// How many groups or rows are held.
    fn rows(&self) -> usize;
    /// How many bytes they take, about.
    fn bytes(&self) -> usize;
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

/// The state of one worker's operators.
#[derive(Clone, Default)]
pub struct State(Rc<RefCell<Vec<Entry>>>);

struct Entry {
    name: String,
    state: Rc<RefCell<dyn Stateful>>,
}

/// What one operator holds on one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The operator, as `explain` names it.
    pub operator: String,
    /// Groups or rows.
    pub rows: usize,
    /// Bytes, about.
    pub bytes: usize,
    /// Windows that have not closed; `None` where there are none.
    pub windows: Option<OpenWindows>,
}

impl State {
    /// Takes `state` in under an operator's name.
    pub fn hold<S: Stateful + 'static>(&self, name: &str, state: S) -> Rc<RefCell<S>> {
        let state = Rc::new(RefCell::new(state));
        let shared: Rc<RefCell<dyn Stateful>> = Rc::<RefCell<S>>::clone(&state);
        self.0.borrow_mut().push(Entry {
            name: name.to_owned(),
            state: shared,
        });
        state
    }

    /// What each operator holds now.
    #[must_use]
    pub fn sizes(&self) -> Vec<Held> {
        let entries = self.0.borrow();
        let sizes = entries.iter().map(|Entry { name, state }| {
            let state = state.borrow();
            Held {
                operator: name.clone(),
                rows: state.rows(),
                bytes: state.bytes(),
                windows: state.windows(),
            }
        });
        sizes.collect()
    }
}
