//! Parts of large files, scanned by whoever has nothing else to do.
//!
//! A thread that reads a large file gives its windows away as long as others
//! are idle, and scans the rest itself. So one huge file is scanned on all
//! cores, and the memory is bounded by one window a thread.

use crate::scan::stream::Window;
use crate::scan::{Match, Scanner};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// All threads of a scan.
pub(super) struct Crew {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    waiting: Vec<Job>,
    /// Threads that wait for a window.
    idle: usize,
    /// Threads that may yet give one.
    reading: usize,
}

/// A window that somebody else is to scan.
struct Job {
    window: Window,
    number: usize,
    open: Open,
}

/// A window that is not scanned yet.
struct Open {
    tally: Arc<Tally>,
    done: bool,
}

/// What has been found in the windows of one file.
#[derive(Default)]
struct Tally {
    state: Mutex<Found>,
    changed: Condvar,
}

#[derive(Default)]
struct Found {
    open: usize,
    lost: bool,
    matches: Vec<(usize, Vec<Match>)>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crew {
    /// * `reading`: threads that will each call [`Self::help`] in the end.
    pub(super) fn new(reading: usize) -> Self {
        let state = State {
            waiting: Vec::new(),
            idle: 0,
            reading,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Scans other threads' windows until none of them reads any more.
    pub(super) fn help(&self, scanner: &Scanner) {
        let mut state = locked(&self.state);
        state.reading -= 1;
        self.changed.notify_all();
        state.idle += 1;
        loop {
            if let Some(job) = state.waiting.pop() {
                state.idle -= 1;
                drop(state);
                job.run(scanner);
                state = locked(&self.state);
                state.idle += 1;
            } else if state.reading == 0 {
                return;
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Gives a job to an idle thread; gives it back if there is none.
    fn give(&self, job: Job) -> Option<Job> {
        let mut state = locked(&self.state);
        if state.waiting.len() >= state.idle {
            return Some(job);
        }
        state.waiting.push(job);
        self.changed.notify_one();
        None
    }
}

/// Says that a thread reads no more if it ends before it says so itself.
pub(super) struct Leave<'c>(pub(super) Option<&'c Crew>);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if let Some(crew) = self.0 {
            locked(&crew.state).reading -= 1;
            crew.changed.notify_all();
        }
    }
}

impl Job {
    fn run(mut self, scanner: &Scanner) {
        let found = self.window.scan(scanner);
        locked(&self.open.tally.state).matches.push((self.number, found));
        self.open.done = true;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = locked(&self.tally.state);
        // Not done: the thread that had it broke off.
        state.lost |= !self.done;
        state.open -= 1;
        self.tally.changed.notify_all();
    }
}

/// One file whose windows the crew scans.
pub(super) struct Shared<'c, 's> {
    crew: &'c Crew,
    scanner: &'c Scanner<'s>,
    tally: Arc<Tally>,
    given: usize,
}

impl<'c, 's> Shared<'c, 's> {
    pub(super) fn new(crew: &'c Crew, scanner: &'c Scanner<'s>) -> Self {
        Self {
            crew,
            scanner,
            tally: Arc::default(),
            given: 0,
        }
    }

    /// Has a window scanned, by another thread or at once.
    pub(super) fn scan(&mut self, window: Window) {
        locked(&self.tally.state).open += 1;
        let job = Job {
            window,
            number: self.given,
            open: Open {
                tally: Arc::clone(&self.tally),
                done: false,
            },
        };
        self.given += 1;
        if let Some(own) = self.crew.give(job) {
            own.run(self.scanner);
        }
    }

    /// Waits until all windows are scanned: their matches in the order of the text; `None` if a thread broke off.
    pub(super) fn finish(self) -> Option<Vec<Match>> {
        let mut state = locked(&self.tally.state);
        while state.open > 0 {
            state = self.tally.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut parts = std::mem::take(&mut state.matches);
        parts.sort_by_key(|(number, _)| *number);
        (!state.lost).then(|| parts.into_iter().flat_map(|(_, found)| found).collect())
    }
}

#[cfg(test)]
mod tests {
    //! What becomes of a window whose thread is gone; what the windows give is tested where files are read.

    use super::*;
    use crate::scan::stream::Cutter;
    use crate::scan::{FingerprintKey, RuleSet};

    #[test]
    fn a_thread_that_breaks_off_is_not_taken_for_a_clean_file() {
        let key = FingerprintKey::new(Box::new([7; 32]));
        let scanner = Scanner::new(RuleSet::builtin(), &key);
        for lost in [false, true] {
            let crew = Crew::new(1);
            let mut shared = Shared::new(&crew, &scanner);
            shared.scan(Cutter::new(0).finish());
            if lost {
                locked(&shared.tally.state).open += 1;
                let tally = Arc::clone(&shared.tally);
                drop(Open { tally, done: false });
            }
            assert_eq!(shared.finish().is_none(), lost);
        }
    }
}
