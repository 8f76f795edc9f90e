//! The commits of a quarantine, handed over as soon as all are there.
//!
//! In a pack commits stand first. So the walk over them, which reads much of
//! the main store, need not wait until trees and blobs have been looked at.

use super::body::{CommitHead, commit_head};
use crate::push::Oid;
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A commit of the quarantine.
pub(super) struct Brought {
    pub(super) head: CommitHead,
    pub(super) data: Vec<u8>,
}

/// Commits as they come, from several threads.
#[derive(Default)]
pub(super) struct Gathered {
    state: Mutex<State>,
    all: Condvar,
}

#[derive(Default)]
struct State {
    commits: Vec<(Oid, Vec<u8>)>,
    /// How many there are, if that is known beforehand.
    expected: Option<usize>,
    over: bool,
}

/// Says that no more commits come, however the work on them ends.
pub(super) struct Ending<'a>(&'a Gathered);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.locked().over = true;
        self.0.all.notify_all();
    }
}

impl Gathered {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever adds commits holds this for as long as more may come.
    pub(super) fn ending(&self) -> Ending<'_> {
        Ending(self)
    }

    /// Says how many commits there are at most. If fewer come, whoever waits for them waits for the end.
    pub(super) fn expect(&self, count: usize) {
        self.locked().expected = Some(count);
    }

    /// Adds a commit; one that is too large to read has no content.
    pub(super) fn add(&self, oid: Oid, data: Vec<u8>) {
        let mut state = self.locked();
        state.commits.push((oid, data));
        if state.expected == Some(state.commits.len()) {
            self.all.notify_all();
        }
    }

    /// Waits until all commits are there, and takes them.
    pub(super) fn wait(&self) -> HashMap<Oid, Brought> {
        let mut state = self.locked();
        while !state.over && state.expected != Some(state.commits.len()) {
            state = self.all.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let commits = std::mem::take(&mut state.commits);
        drop(state);
        let read = |(oid, data): (Oid, Vec<u8>)| {
            let head = commit_head(&data);
            (oid, Brought { head, data })
        };
        commits.into_iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(number: u8) -> Oid {
        Oid::from_bytes(&[number; 20]).unwrap()
    }

    #[test]
    fn commits_are_there_when_all_have_come_or_no_more_can() {
        let gathered = Gathered::default();
        let ending = gathered.ending();
        gathered.expect(2);
        let taken = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gathered.wait());
            gathered.add(oid(1), Vec::new());
            gathered.add(oid(2), Vec::new());
            waiting.join().unwrap()
        });
        assert_eq!(taken.len(), 2);
        gathered.expect(9);
        gathered.add(oid(3), Vec::new());
        drop(ending);
        assert_eq!(gathered.wait().len(), 1);
    }
}
