//! A star of connections around process 0, while the run lasts: who is alive, who wants to stop, what
//! failed, and in the end what it came to. Rows never go this way.
//!
//! A thread per connection listens. One more beats: it says every second how often the workers have
//! turned, judges the others by what they say (`pulse`), and passes on what `Shared` has learned.
//! Process 0 judges everyone and everyone judges process 0; what one tells process 0, it tells all.
//!
//! ```text
//!   stop     Shared::stop everywhere; the run ends after the open epoch
//!   failed   Shared::fail everywhere, in the words of the process that failed first
//!   gone     a process is lost: nothing can end well any more, the process ends at once
//!   finish   summaries to process 0; then "bye", after which a closed connection is a clean end
//! ```

use std::net::Shutdown;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use timely::communication::allocator::zero_copy::stream::Stream;

use super::frame::{Failed, Frame, Gone, why};
use super::link::Link;
use super::pulse::{Pulse, Steps};
use super::{FAILED, PEER_LOST, panics};
use crate::dataflow::outcome::{Failure, Shared};
use crate::engine::said::say_failure;
use crate::engine::threads::spawn_named;
use crate::types::Clock;

/// How often the beating thread looks around.
const TICK: Duration = Duration::from_millis(100);
/// How often it beats, at least four times per heartbeat.
const BEAT: Duration = Duration::from_secs(1);
/// How long a word to a process that does not listen may take.
const WORD_MAX: Duration = Duration::from_secs(1);
/// How long the others may take to hang up once all is said.
const HANG_UP: Duration = Duration::from_secs(2);

/// What the control connections serve.
pub struct Duty {
    /// What the threads of the run share: told of stops and failures, and asked for them.
    pub shared: Arc<Shared>,
    /// How often the workers of this process turned.
    pub steps: Arc<Steps>,
    /// How long a process may be silent, or a worker stand still.
    pub heartbeat: Duration,
    /// Time.
    pub clock: Clock,
    /// Takes what another process' run has to say, on process 0.
    pub word: Box<dyn Fn(Vec<u8>) + Send + Sync>,
    /// Ends the process: says the failure and exits with the code. `end_process`, but for tests.
    pub end: End,
}

/// What ends a process, given why and the exit code.
pub type End = Box<dyn Fn(&Failure, u8) + Send + Sync>;

/// Says why and ends the process. What is not committed will be computed again.
pub fn end_process(failure: &Failure, code: u8) -> ! {
    say_failure(failure);
    std::process::exit(i32::from(code))
}

/// The control connections of a process, served by their threads until it is dropped.
pub struct Control {
    inner: Arc<Inner>,
    beating: Option<JoinHandle<()>>,
}

/// What the threads of the control connections share.
pub struct Inner {
    me: usize,
    /// For writing; by process.
    links: Vec<Option<Mutex<Link>>>,
    duty: Duty,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    pulses: Vec<Pulse>,
    summaries: Vec<Option<Vec<u8>>>,
    /// Connections that the other side has not closed.
    open: usize,
    failed: Option<(Failed, Duration)>,
    failure_told: bool,
    stop_told: bool,
    gone: Option<Gone>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// All is said: a closed connection is no loss.
    Over,
    /// The threads go home.
    Leaving,
}

impl Control {
    /// Begins to serve the connections of process `me`. To be called as soon as it has joined.
    pub fn start(links: Vec<Option<Link>>, me: usize, duty: Duty) -> Result<Self, Failure> {
        let broken = |error| Failure::new("could not start the control connections").because(error);
        let now = duty.clock.elapsed();
        let mut listening = Vec::new();
        for (peer, link) in links.iter().enumerate() {
            if let Some(link) = link {
                link.set_write_timeout(Some(WORD_MAX)).map_err(broken)?;
                listening.push((peer, link.try_clone().map_err(broken)?));
            }
        }
        let state = State {
            pulses: vec![Pulse::new(now, duty.heartbeat); links.len()],
            summaries: vec![None; links.len()],
            open: listening.len(),
            failed: None,
            failure_told: false,
            stop_told: false,
            gone: None,
            phase: Phase::Running,
        };
        let inner = Arc::new(Inner {
            me,
            links: links.into_iter().map(|link| link.map(Mutex::new)).collect(),
            duty,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        for (peer, mut link) in listening {
            let inner = Arc::clone(&inner);
            spawn_named(&format!("control-{peer}"), move || {
                inner.listen(peer, &mut link)
            });
        }
        let beater = Arc::clone(&inner);
        let beating = spawn_named("beat", move || beater.beat());
        Ok(Self {
            inner,
            beating: Some(beating),
        })
    }

    /// A panic ends the process, whichever thread it happens on; one of timely's because of a lost
    /// peer is said in a line.
    pub fn exit_on_panic(&self) {
        panics::set_hook(Arc::downgrade(&self.inner));
    }

    /// Asks all processes to stop after the open epoch. What asks `Shared` is passed on as well.
    pub fn stop(&self) {
        self.inner.duty.shared.stop();
        self.inner.pass_on();
    }

    /// The run cannot go on: tells all processes why. What fails `Shared` is passed on as well.
    pub fn failed(&self, failure: &Failure) {
        self.inner.duty.shared.fail(failure.clone());
        self.inner.pass_on();
    }

    /// What lets the run speak to process 0, and process 0 to the others.
    #[must_use]
    pub fn teller(&self) -> Teller {
        Teller(Arc::clone(&self.inner))
    }

    /// This process is done, and its workers have ended. Returns when all are: on process 0 with all
    /// summaries, in order, elsewhere with none.
    pub fn finish(self, summary: Vec<u8>) -> Result<Vec<Vec<u8>>, Failure> {
        self.inner.finish(summary)
    }
}

/// Says something to process 0, or on process 0 to the others.
pub struct Teller(Arc<Inner>);

impl Teller {
    /// On process 0: has the others' sources cut a snapshot, whichever can first.
    pub fn want_cut(&self) {
        self.0.tell_all(&Frame::Cut);
    }

    /// Says it. Whether it is heard shows in what becomes of it.
    pub fn tell(&self, bytes: Vec<u8>) {
        self.0.tell_all(&Frame::Word(bytes));
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.inner.leave();
        if let Some(beating) = self.beating.take() {
            beating.thread().unpark();
            // A panic there has been said already.
            let _ = beating.join();
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One thread per connection: hears until the other side hangs up.
    fn listen(&self, peer: usize, link: &mut Link) {
        loop {
            match Frame::read(link) {
                Ok(frame) => self.hear(peer, frame),
                Err(error) => {
                    let mut state = self.lock();
                    state.open -= 1;
                    let expected = state.phase != Phase::Running || state.failed.is_some();
                    drop(state);
                    self.changed.notify_all();
                    if !expected {
                        self.lost(Gone {
                            process: peer,
                            why: why(&error),
                        });
                    }
                    return;
                }
            }
        }
    }

    fn hear(&self, peer: usize, frame: Frame) {
        match frame {
            Frame::Beat(turns) => {
                let now = self.duty.clock.elapsed();
                self.lock().pulses[peer].beat(now, &turns);
            }
            Frame::Stop => self.duty.shared.stop(),
            Frame::Failed(failed) => {
                // First: what `Shared` learns is passed on, and by then it is known whose words it is.
                self.note(failed.clone());
                self.duty.shared.fail(failed.told());
            }
            Frame::Gone(gone) => self.lost(gone),
            Frame::Summary(summary) => {
                self.lock().summaries[peer] = Some(summary);
                self.changed.notify_all();
            }
            Frame::Word(bytes) => (self.duty.word)(bytes),
            Frame::Cut => self.duty.shared.want_cut(),
            Frame::Bye => {
                self.lock().phase = Phase::Over;
                self.changed.notify_all();
            }
            Frame::Connected | Frame::Orders(_) | Frame::Ready | Frame::Go => self.lost(Gone {
                process: peer,
                why: "it said something else than was expected".to_owned(),
            }),
        }
    }

    /// Remembers the first failure.
    fn note(&self, failed: Failed) {
        let now = self.duty.clock.elapsed();
        self.lock().failed.get_or_insert((failed, now));
        self.changed.notify_all();
    }

    /// A process is gone: the others hear of it, and this one ends. Not after a clean end, and not
    /// when a failure is known, which is why it went.
    pub fn lost(&self, gone: Gone) {
        let mut state = self.lock();
        if state.phase != Phase::Running || state.failed.is_some() || state.gone.is_some() {
            return;
        }
        state.gone = Some(gone.clone());
        drop(state);
        let failure = gone.told();
        self.duty.shared.fail(failure.clone());
        if self.me == 0 {
            self.tell_all(&Frame::Gone(gone));
        }
        self.changed.notify_all();
        (self.duty.end)(&failure, PEER_LOST);
    }

    /// The beating thread.
    fn beat(&self) {
        let every = BEAT.min(self.duty.heartbeat / 4);
        let mut next = Duration::ZERO;
        loop {
            self.pass_on();
            let now = self.duty.clock.elapsed();
            if now >= next {
                self.tell_all(&Frame::Beat(self.duty.steps.counts()));
                next = now + every;
            }
            match self.judge() {
                Verdict::Well => {}
                Verdict::Lost(gone) => self.lost(gone),
                Verdict::Stuck(failed) => {
                    let failure = self.in_our_words(&failed);
                    (self.duty.end)(&failure, failed.code);
                    return;
                }
                Verdict::Leaving => return,
            }
            std::thread::park_timeout(TICK.min(every));
        }
    }

    fn judge(&self) -> Verdict {
        let now = self.duty.clock.elapsed();
        let mut state = self.lock();
        match state.phase {
            Phase::Leaving => return Verdict::Leaving,
            Phase::Over => return Verdict::Well,
            Phase::Running => {}
        }
        if let Some((failed, since)) = &state.failed {
            // All are winding down. Whoever hangs meanwhile would hold up a new start.
            let late = now.saturating_sub(*since) >= self.duty.heartbeat;
            return match late {
                true => Verdict::Stuck(failed.clone()),
                false => Verdict::Well,
            };
        }
        let judged = self.links.iter().zip(&mut state.pulses).enumerate();
        let mut judged = judged.filter(|(_, (link, _))| link.is_some());
        let silent = judged.find_map(|(peer, (_, pulse))| Some((peer, pulse.look(now)?)));
        match silent {
            Some((process, silence)) => Verdict::Lost(Gone {
                process,
                why: silence.to_string(),
            }),
            None => Verdict::Well,
        }
    }

    /// Tells the others what `Shared` has learned, once.
    fn pass_on(&self) {
        if self.duty.shared.is_stopping() && !std::mem::replace(&mut self.lock().stop_told, true) {
            self.tell_all(&Frame::Stop);
        }
        if self.lock().gone.is_some() {
            return;
        }
        if let Some(failure) = self.duty.shared.failure() {
            // If it came from another process, that is noted already, in its words.
            let code = if failure.again { PEER_LOST } else { FAILED };
            self.note(Failed::of(self.me, code, &failure));
        }
        // What another process said may be noted and not yet be in `Shared`: it is told all the same,
        // or a process that leaves just then would leave without a word.
        let mut state = self.lock();
        let untold = match state.failure_told {
            true => None,
            false => state.failed.clone(),
        };
        state.failure_told |= untold.is_some();
        drop(state);
        if let Some((failed, _)) = untold {
            self.tell_all(&Frame::Failed(failed));
        }
    }

    /// Whether someone hears it shows in what is heard of them.
    fn tell_all(&self, frame: &Frame) {
        for link in self.links.iter().flatten() {
            let mut link = link.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = frame.write(&mut *link);
        }
    }

    fn finish(&self, summary: Vec<u8>) -> Result<Vec<Vec<u8>>, Failure> {
        if self.me != 0 {
            self.tell_all(&Frame::Summary(summary.clone()));
        }
        let mut state = self.lock();
        state.summaries[self.me] = Some(summary);
        let done = loop {
            if let Some((failed, _)) = &state.failed {
                break Err(self.in_our_words(failed));
            }
            if let Some(gone) = &state.gone {
                break Err(gone.told());
            }
            if state.phase == Phase::Over {
                break Ok(Vec::new());
            }
            let all = state.summaries.iter().all(Option::is_some);
            if self.me == 0 && all {
                state.phase = Phase::Over;
                break Ok(state
                    .summaries
                    .iter_mut()
                    .filter_map(Option::take)
                    .collect());
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        if self.me == 0 && done.is_ok() {
            self.tell_all(&Frame::Bye);
        }
        done
    }

    /// Says the last, and waits until the others have heard it: a connection that is closed while
    /// something is unread takes back what was sent.
    pub fn leave(&self) {
        self.pass_on();
        let mut state = self.lock();
        if state.phase == Phase::Leaving {
            return;
        }
        state.phase = Phase::Leaving;
        drop(state);
        for link in self.links.iter().flatten() {
            let link = link.lock().unwrap_or_else(PoisonError::into_inner);
            // It may be closed already.
            let _ = link.shutdown(Shutdown::Write);
            if let Some(pump) = link.pump() {
                pump.drain();
            }
        }
        let still_open = |state: &mut State| state.open > 0;
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), HANG_UP, still_open);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        for link in self.links.iter().flatten() {
            let link = link.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = link.shutdown(Shutdown::Both);
        }
    }

    fn in_our_words(&self, failed: &Failed) -> Failure {
        let mut failure = failed.told();
        if failed.process == self.me {
            failure.message = failed.message.clone();
        }
        failure
    }

    /// What ended the run and the code for it, if that is known. For a panic hook: never waits.
    pub fn failure(&self) -> Option<(Failure, u8)> {
        self.reason(&*self.state.try_lock().ok()?)
    }

    /// Waits until it is known why the run ends, not long: the reason and the code for it.
    pub fn wait_for_reason(&self, wait: Duration) -> Option<(Failure, u8)> {
        // It may be this process that has failed, just now.
        self.pass_on();
        let unknown = |state: &mut State| state.failed.is_none() && state.gone.is_none();
        let waited = self.changed.wait_timeout_while(self.lock(), wait, unknown);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.reason(&state)
    }

    fn reason(&self, state: &State) -> Option<(Failure, u8)> {
        if let Some((failed, _)) = &state.failed {
            return Some((self.in_our_words(failed), failed.code));
        }
        state.gone.as_ref().map(|gone| (gone.told(), PEER_LOST))
    }

    /// Tells the others that a thread of this process panicked. For a panic hook: never waits.
    pub fn tell_panic(&self, text: &str) {
        let gone = Frame::Gone(Gone {
            process: self.me,
            why: format!("a thread panicked: {text}"),
        });
        for link in self.links.iter().flatten() {
            if let Ok(mut link) = link.try_lock() {
                let _ = gone.write(&mut *link);
            }
        }
    }
}

/// What the beating thread concludes.
enum Verdict {
    Well,
    Lost(Gone),
    /// A failure is known, and the process has not ended for too long.
    Stuck(Failed),
    Leaving,
}
