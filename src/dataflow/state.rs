//! The one door to operators' state.
//!
//! Whatever an operator remembers from one epoch to the next is held here, under the operator's
//! name, and nowhere else: who wants to know what a worker holds, or to save it, asks the door
//! and not the operators. An operator does not know whether its state was restored.

use std::cell::RefCell;
use std::rc::Rc;

/// State that can be asked for its size.
pub trait Stateful {
    /// How many groups or rows are held.
    fn rows(&self) -> usize;
    /// How many bytes they take, about.
    fn bytes(&self) -> usize;
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
            }
        });
        sizes.collect()
    }
}
