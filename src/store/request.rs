//! One call of a store, from the counting wrapper down to the wire: who asked, for what, and what became
//! of it.
//!
//! The wrapper (`counted`) opens a `Call` and enters it while the store beneath works; the HTTP service
//! (`wire`) finds it there and tells it of every request it sends. So each request is counted for the
//! query that caused it, retries and pages of listings included, whatever the store does in between.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use futures::stream::BoxStream;
use parking_lot::Mutex;

use super::account::{IoAccount, Operation, Purpose};
use super::scan::ScanIo;
use super::trace::{Traced, nanos, now};
use crate::error::ErrorKind;

tokio::task_local! {
    static CURRENT: Arc<Call>;
}

/// How the last request of a call ended, where that was not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The store answered with this status.
    Status(u16),
    /// No answer within the time.
    Timeout,
    /// No connection.
    Connect,
    /// The connection broke.
    Broken,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Timeout => f.write_str("timeout"),
            Self::Connect => f.write_str("connect"),
            Self::Broken => f.write_str("broken"),
        }
    }
}

#[derive(Debug)]
struct State {
    /// The purpose, once it is certain (a footer is known by its bytes).
    purpose: Option<Purpose>,
    requests: u64,
    /// Requests not counted yet: (requests, retries, time).
    pending: (u64, u64, Duration),
    failure: Option<Failure>,
    /// Where the last request is in the account's trace.
    traced: Option<usize>,
}

#[derive(Debug)]
pub struct Call {
    account: Arc<IoAccount>,
    /// The scan that it is for.
    scan: Option<Arc<ScanIo>>,
    operation: Operation,
    location: String,
    likely: Purpose,
    /// A request that must not be sent twice: a put that only may create.
    once: bool,
    state: Mutex<State>,
}

impl Call {
    pub fn new(
        account: &Arc<IoAccount>,
        operation: Operation,
        likely: Purpose,
        location: &str,
    ) -> Arc<Self> {
        Arc::new(Self::make(account, operation, likely, location, false))
    }

    /// A call whose request is sent once, whatever happens to it.
    pub fn once(
        account: &Arc<IoAccount>,
        operation: Operation,
        likely: Purpose,
        location: &str,
    ) -> Arc<Self> {
        Arc::new(Self::make(account, operation, likely, location, true))
    }

    fn make(
        account: &Arc<IoAccount>,
        operation: Operation,
        likely: Purpose,
        location: &str,
        once: bool,
    ) -> Self {
        account.begun();
        Self {
            account: Arc::clone(account),
            scan: ScanIo::current(),
            operation,
            location: location.to_owned(),
            likely,
            once,
            state: Mutex::new(State {
                purpose: None,
                requests: 0,
                pending: (0, 0, Duration::ZERO),
                failure: None,
                traced: None,
            }),
        }
    }

    /// The call that the running task works for.
    pub fn current() -> Option<Arc<Call>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Runs `work` for this call.
    pub async fn run<T>(self: &Arc<Self>, work: impl Future<Output = T>) -> T {
        CURRENT.scope(Arc::clone(self), work).await
    }

    /// A stream whose every poll works for this call.
    pub fn stream<T: 'static>(
        self: &Arc<Self>,
        inner: BoxStream<'static, T>,
    ) -> BoxStream<'static, T> {
        Box::pin(Scoped {
            call: Arc::clone(self),
            inner,
        })
    }

    /// Whether the call's request is sent once, whatever happens to it.
    pub fn is_once(&self) -> bool {
        self.once
    }

    /// Notes a request that was sent, and how it ended.
    pub fn sent(&self, time: Duration, failure: Option<Failure>) {
        let mut state = self.state.lock();
        let repeats = state.requests > 0 && (self.operation.is_single() || state.failure.is_some());
        state.requests += 1;
        state.failure = failure;
        let retries = u64::from(repeats);
        if let Some(scan) = &self.scan {
            scan.sent(repeats, time);
        }
        state.traced = self.account.trace.add(Traced {
            operation: self.operation,
            purpose: state.purpose.unwrap_or(self.likely),
            location: self.location.clone(),
            started: now().saturating_sub(nanos(time)),
            nanos: nanos(time),
            bytes: 0,
            is_retry: repeats,
            failure: state.failure.clone(),
            scan: self.scan.as_ref().map(|scan| scan.scan),
        });
        match state.purpose {
            Some(purpose) => self
                .account
                .count(self.operation, purpose, 1, retries, time),
            None => {
                state.pending.0 += 1;
                state.pending.1 += retries;
                state.pending.2 += time;
            }
        }
    }

    /// Says what the call was for; what it sent is counted so from here on.
    pub fn settle(&self, purpose: Purpose) {
        let mut state = self.state.lock();
        state.purpose = Some(purpose);
        if let Some(place) = state.traced {
            self.account
                .trace
                .amend(place, |request| request.purpose = purpose);
        }
        let (requests, retries, time) = std::mem::take(&mut state.pending);
        if requests > 0 {
            self.account
                .count(self.operation, purpose, requests, retries, time);
        }
    }

    /// Counts bytes that came or went.
    pub fn moved(&self, bytes: u64) {
        let state = self.state.lock();
        let purpose = state.purpose.unwrap_or(self.likely);
        if let Some(scan) = &self.scan {
            scan.moved(bytes);
        }
        if let Some(place) = state.traced {
            self.account
                .trace
                .amend(place, |request| request.bytes += bytes);
        }
        drop(state);
        self.account.moved(self.operation, purpose, bytes);
    }

    /// Remembers how the call failed, for errors that will only have its text.
    pub fn remember(&self, kind: ErrorKind, text: String) {
        self.account.failed(kind, text);
    }

    /// How the last request ended, where that was not well.
    pub fn failure(&self) -> Option<Failure> {
        self.state.lock().failure.clone()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.state.get_mut().purpose.is_none() {
            self.settle(self.likely);
        }
        self.account.done();
    }
}

struct Scoped<T> {
    call: Arc<Call>,
    inner: BoxStream<'static, T>,
}

impl<T> Stream for Scoped<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let call = Arc::clone(&self.call);
        CURRENT.sync_scope(call, || self.inner.as_mut().poll_next(context))
    }
}
