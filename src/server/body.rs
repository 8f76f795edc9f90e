//! A request's body: bounded alone and together with all others, hashed as it arrives.
//!
//! Memory is taken for bytes that are there, never for bytes that are announced:
//! whoever holds no secret cannot reserve it by a header. The first piece of a
//! body comes from a share of its own, so that large bodies hold up no small ones,
//! which nearly all webhooks are.

use super::{Answer, TOO_LARGE};
use crate::webhook::{MAX_BODY, Verifier};
use axum::body::Body;
use axum::http::StatusCode;
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Longest that a body may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);
/// Longest that a body may wait for memory.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that one permit stands for.
const PERMIT: usize = 64 << 10;
/// First pieces that may be held at once: 64 MiB.
const FIRST: usize = 1024;
/// Further pieces that may be held at once: 192 MiB.
const FURTHER: usize = 3072;

const BUSY: Answer = (StatusCode::SERVICE_UNAVAILABLE, "busy: deliver it again\n");
const SLOW: Answer = (StatusCode::REQUEST_TIMEOUT, "too slow\n");
const BROKEN: Answer = (StatusCode::BAD_REQUEST, "the body broke off\n");

/// The memory of all bodies together.
pub(super) struct Memory {
    first: Semaphore,
    further: Semaphore,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            first: Semaphore::new(FIRST),
            further: Semaphore::new(FURTHER),
        }
    }
}

/// A body that is here; its memory is given back with it.
pub(super) struct Arrived<'a> {
    pub(super) bytes: Vec<u8>,
    _first: SemaphorePermit<'a>,
    further: Option<SemaphorePermit<'a>>,
}

impl Memory {
    /// Reads a body and hashes it as it comes.
    ///
    /// * `announced`: its length by the header, if there is one.
    ///
    /// # Errors
    /// 408, 413, 503 as an answer.
    pub(super) async fn read(
        &self,
        body: Body,
        announced: Option<usize>,
        verifier: &mut Verifier,
    ) -> Result<Arrived<'_>, Answer> {
        let first = patient(self.first.acquire()).await?;
        let arrived = Arrived {
            // Address space only, until it is written.
            bytes: Vec::with_capacity(announced.unwrap_or(PERMIT).min(MAX_BODY)),
            _first: first,
            further: None,
        };
        let all = self.all(body, arrived, verifier);
        tokio::time::timeout(ARRIVAL, all).await.unwrap_or(Err(SLOW))
    }

    async fn all<'a>(
        &'a self,
        mut body: Body,
        mut arrived: Arrived<'a>,
        verifier: &mut Verifier,
    ) -> Result<Arrived<'a>, Answer> {
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(|_| BROKEN)?.into_data() else {
                continue;
            };
            let length = arrived.bytes.len() + piece.len();
            if length > MAX_BODY {
                return Err(TOO_LARGE);
            }
            self.grow(&mut arrived, length).await?;
            verifier.update(&piece);
            arrived.bytes.extend_from_slice(&piece);
        }
        Ok(arrived)
    }

    /// Takes memory for a body of this length.
    async fn grow<'a>(&'a self, arrived: &mut Arrived<'a>, length: usize) -> Result<(), Answer> {
        let wanted = length.div_ceil(PERMIT).saturating_sub(1);
        let held = arrived.further.as_ref().map_or(0, SemaphorePermit::num_permits);
        let Some(more) = wanted.checked_sub(held).filter(|more| *more > 0) else {
            return Ok(());
        };
        let more = self.further.acquire_many(u32::try_from(more).unwrap_or(u32::MAX));
        let more = patient(more).await?;
        match &mut arrived.further {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

async fn patient<'a>(
    permit: impl Future<Output = Result<SemaphorePermit<'a>, tokio::sync::AcquireError>>,
) -> Result<SemaphorePermit<'a>, Answer> {
    match tokio::time::timeout(PATIENCE, permit).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(BUSY),
    }
}
