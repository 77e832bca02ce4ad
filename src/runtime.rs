//! The Tokio runtimes, and the one door between a Python thread and the work on them.
//!
//! Plans run on one runtime, whose threads an operator may keep for as long as it computes; what watches
//! over them (deadlines, cancelling, the queue) runs on another, whose threads never compute. `wait`
//! depends on neither: it releases the GIL, looks for signals twenty times a second, honours a deadline,
//! turns a panic into an error and aborts the work when the wait ends early. Nothing else in the crate
//! blocks.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, Once};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::{ErrorKind, NativeError, Result};

/// How long a blocked wait goes without looking for Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// Bytes of stack, of which what is not used takes no memory: deep plans recurse while they are optimised, executed
/// and encoded.
const STACK: usize = 64 * 1024 * 1024;

/// Name of the runtime's threads.
const THREADS: &str = "fusiondelta";

/// A panic on a thread of the runtime is caught and becomes an error; its own words go to standard error
/// only where somebody debugs.
fn hush_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let ours = std::thread::current().name() == Some(THREADS);
            if !ours || std::env::var_os("RUST_BACKTRACE").is_some() {
                before(panic);
            }
        }));
    });
}

struct Owned {
    pid: u32,
    /// Plans.
    runtime: Runtime,
    /// What watches over them.
    control: Runtime,
}

/// One runtime per process. After `fork` the child's copy has no threads, so a child that uses the
/// engine gets a new one and the parent's is left alone (it cannot be dropped there).
static CURRENT: AtomicPtr<Owned> = AtomicPtr::new(std::ptr::null_mut());

/// Handle to the runtime of this process that plans run on, which is started at the first call.
pub fn handle() -> Result<Handle> {
    Ok(current()?.runtime.handle().clone())
}

/// Handle to the runtime that watches over plans. Nothing on it computes, or waits in other ways than Tokio's.
pub fn control() -> Result<Handle> {
    Ok(current()?.control.handle().clone())
}

fn current() -> Result<&'static Owned> {
    let pid = std::process::id();
    let published = CURRENT.load(Ordering::Acquire);
    // SAFETY: the pointer is null or came from `Box::into_raw` below and is never freed.
    #[allow(unsafe_code)]
    if let Some(owned) = unsafe { published.as_ref() }
        && owned.pid == pid
    {
        return Ok(owned);
    }
    hush_panics();
    let failed = |e: std::io::Error| {
        NativeError::new(
            ErrorKind::Internal,
            format!("the runtime could not be started: {e}"),
        )
    };
    let runtime = Builder::new_multi_thread()
        .thread_name(THREADS)
        .thread_stack_size(STACK)
        .enable_all()
        .build()
        .map_err(failed)?;
    let control = Builder::new_multi_thread()
        .thread_name(THREADS)
        .worker_threads(1)
        .thread_stack_size(STACK)
        .enable_all()
        .build()
        .map_err(failed)?;
    let made = Box::into_raw(Box::new(Owned {
        pid,
        runtime,
        control,
    }));
    match CURRENT.compare_exchange(published, made, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: as above; `made` is now the published pointer.
        #[allow(unsafe_code)]
        Ok(_) => Ok(unsafe { &*made }),
        Err(_) => {
            // Another thread was first: ours has never run anything.
            #[allow(unsafe_code)]
            // SAFETY: `made` came from `Box::into_raw` and was not published.
            drop(unsafe { Box::from_raw(made) });
            current()
        }
    }
}

/// A spawned task that is aborted when its owner goes away.
pub struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    /// Work that computes.
    pub fn spawn(work: impl Future<Output = T> + Send + 'static) -> Result<Self> {
        Ok(Self(handle()?.spawn(work)))
    }

    /// Its outcome.
    ///
    /// # Errors
    /// `internal` when it panicked, without the words of the panic, which may have values of rows;
    /// `query_cancelled` when it was aborted.
    pub async fn outcome(&mut self) -> Result<T> {
        match (&mut self.0).await {
            Ok(done) => Ok(done),
            Err(e) if e.is_panic() => Err(NativeError::new(
                ErrorKind::Internal,
                "the query engine failed unexpectedly while it executed the query",
            )),
            Err(_) => Err(cancelled()),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Calls `call` once `token` is cancelled, unless what is given is dropped before. It must not wait.
///
/// # Errors
/// `internal` where the runtime cannot be started.
pub fn once_cancelled(
    token: &CancellationToken,
    call: impl FnOnce() + Send + 'static,
) -> Result<Task<()>> {
    let cancelled = token.clone().cancelled_owned();
    Ok(Task(control()?.spawn(async move {
        cancelled.await;
        call();
    })))
}

/// Runs `work` on the runtime and waits for it. See the module's head for what a wait honours.
///
/// # Errors
/// `query_timeout` past the deadline, the pending Python exception on a signal, `internal` when the
/// work panicked, and the work's own error.
pub fn run<T: Send + 'static>(
    py: Python<'_>,
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let mut task = Task::spawn(work)?;
    wait(py, deadline, &mut task.0).and_then(joined_outcome)
}

/// How long a wait that ended early still waits for what became of a commit: after a deadline, and after
/// Ctrl-C, which is to be heeded within a second.
const GRACE: Duration = Duration::from_secs(5);
const SIGNAL_GRACE: Duration = Duration::from_millis(700);

/// As `run`, for work that commits: it is not aborted but told to stop, and has some time to find out what
/// became of a commit that was on its way.
///
/// # Errors
/// As `run`, with the outcome in the details; `unknown` where the work still waits for it.
pub fn run_to_outcome<T: Send + 'static>(
    py: Python<'_>,
    deadline: Option<Instant>,
    stop: &CancellationToken,
    commit_id: &str,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let mut task = handle()?.spawn(work);
    let early = match wait(py, deadline, &mut task) {
        Ok(joined) => return joined_outcome(joined),
        Err(early) => early,
    };
    stop.cancel();
    let was_signal = early.python.is_some();
    let grace = if was_signal { SIGNAL_GRACE } else { GRACE };
    let control = control()?;
    // On the runtime whose timers fire whatever is computed.
    let ended =
        py.detach(|| control.block_on(async { tokio::time::timeout(grace, &mut task).await }));
    match ended {
        // Late, and done all the same.
        Ok(joined) if !was_signal => match joined_outcome(joined) {
            Ok(done) => Ok(done),
            Err(e) if e.kind == ErrorKind::QueryCancelled => Err(early.with_all(e.details)),
            Err(e) => Err(e),
        },
        Ok(_) => Err(early),
        Err(_) => Err(early
            .with("outcome", "unknown")
            .with("commit_id", commit_id)),
    }
}

fn joined_outcome<T>(joined: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    match joined {
        Ok(outcome) => outcome,
        Err(e) if e.is_panic() => Err(NativeError::new(
            ErrorKind::Internal,
            format!("an unexpected failure inside the engine: {}", panic_text(e)),
        )),
        Err(_) => Err(cancelled()),
    }
}

std::thread_local! {
    /// Whether this thread, one of the runtime's, is in a function of Python.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Calls a function of Python from within a plan. Nothing it does may wait for the runtime, whose thread it keeps.
pub fn inside_function<T>(call: impl FnOnce() -> T) -> T {
    let before = INSIDE.replace(true);
    let result = call();
    INSIDE.set(before);
    result
}

/// Waits for `work`, which is polled on the calling thread and so must be light.
pub fn wait<T: Send>(
    py: Python<'_>,
    deadline: Option<Instant>,
    work: impl Future<Output = T> + Send,
) -> Result<T> {
    if INSIDE.get() {
        return Err(NativeError::new(
            ErrorKind::Query,
            "an engine cannot be used inside a function that a query calls; make what it needs before",
        ));
    }
    let handle = handle()?;
    py.detach(|| {
        // What is polled here may start work, and timers.
        let _entered = handle.enter();
        let mut work = pin!(work);
        let parked = Arc::new(Parked {
            thread: std::thread::current(),
            woken: AtomicBool::new(true),
        });
        let waker = Waker::from(Arc::clone(&parked));
        let mut context = Context::from_waker(&waker);
        let mut looked = Instant::now();
        loop {
            if parked.woken.swap(false, Ordering::AcqRel)
                && let Poll::Ready(done) = work.as_mut().poll(&mut context)
            {
                return Ok(done);
            }
            let now = Instant::now();
            if deadline.is_some_and(|at| at <= now) {
                return Err(timed_out());
            }
            if now.duration_since(looked) >= SIGNAL_INTERVAL {
                looked = now;
                // While the interpreter shuts down there is no signal left to serve.
                if let Some(Err(e)) = Python::try_attach(|py| py.check_signals()) {
                    return Err(NativeError::python(e));
                }
            }
            let left = match deadline {
                Some(at) => at.duration_since(now).min(SIGNAL_INTERVAL),
                None => SIGNAL_INTERVAL,
            };
            if !parked.woken.load(Ordering::Acquire) {
                std::thread::park_timeout(left);
            }
        }
    })
}

/// A thread that waits by itself: no timer of a runtime has to fire for it.
struct Parked {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

pub fn timed_out() -> NativeError {
    NativeError::new(
        ErrorKind::QueryTimeout,
        "the deadline passed before the work was done; give it more time with timeout=, or less to do",
    )
}

pub fn cancelled() -> NativeError {
    NativeError::new(ErrorKind::QueryCancelled, "the query was cancelled")
}

fn panic_text(error: tokio::task::JoinError) -> String {
    let payload = error.into_panic();
    payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
