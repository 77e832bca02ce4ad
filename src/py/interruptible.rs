//! Functions of Python that end with the query that calls them.
#![allow(unsafe_code)]

use std::any::Any;
use std::cell::OnceCell;
use std::ffi::c_long;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use datafusion::common::{Result, exec_err};
use parking_lot::Mutex;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::ffi::PyGILState_STATE;
use pyo3::prelude::*;

use crate::exit;
use crate::planner::abandoned::{Abandoned, Stopping};
use crate::runtime;

thread_local! {
    /// What Python calls this thread.
    static THREAD: OnceCell<c_long> = const { OnceCell::new() };
}

/// Calls that have not ended.
static CALLS: Mutex<Vec<Arc<Call>>> = Mutex::new(Vec::new());

/// A call of Python on one thread.
struct Call {
    /// A child that is forked while it lasts has none of its threads.
    process: u32,
    thread: c_long,
    /// Changed with the interpreter held, like all of it.
    is_there: AtomicBool,
}

impl Call {
    /// Raises KeyboardInterrupt in the thread, once: what it does on its way out is not interrupted.
    fn interrupt(&self, py: Python<'_>) {
        if self.is_there.swap(false, Ordering::Relaxed) {
            let interrupt = py.get_type::<PyKeyboardInterrupt>();
            self.raise(py, Some(interrupt.as_any()));
        }
    }

    /// Raises something in the thread, or takes back what was to be raised (`None`).
    fn raise(&self, py: Python<'_>, what: Option<&Bound<'_, PyAny>>) {
        let _ = py;
        let what = what.map_or(ptr::null_mut(), Bound::as_ptr);
        // SAFETY: the interpreter is held; a thread that is gone is not found, which is no error.
        unsafe { pyo3::ffi::PyThreadState_SetAsyncExc(self.thread, what) };
    }
}

/// A call that is interrupted once the query is abandoned: its Python code, at its next instruction.
struct Interruptible {
    call: Arc<Call>,
    attached: PyGILState_STATE,
    stopping: Option<Stopping>,
}

/// Begins a call of Python on this thread, which ends when what is given is dropped.
///
/// # Errors
/// Where the process ends.
pub fn begin(abandoned: &Arc<Abandoned>) -> Result<Box<dyn Any>> {
    let begun = Python::try_attach(|py| {
        let thread = thread(py)?;
        // One level more than is let go below: what Python knows of the thread stays while the call lasts, which may
        // let go of the interpreter and attach to it many times. What is raised in between would be lost with it.
        // SAFETY: the interpreter is held; `drop` gives the level back on this thread.
        Some((thread, unsafe { pyo3::ffi::PyGILState_Ensure() }))
    });
    let Some((thread, attached)) = begun.flatten() else {
        return exec_err!("the interpreter ends");
    };
    let call = Arc::new(Call {
        process: std::process::id(),
        thread,
        is_there: AtomicBool::new(true),
    });
    CALLS.lock().push(Arc::clone(&call));
    let mut interruptible = Interruptible {
        call: Arc::clone(&call),
        attached,
        stopping: None,
    };
    if exit::has_begun() {
        return exec_err!("the process ends");
    }
    interruptible.stopping = Some(abandoned.stopping(move || {
        let call = Arc::clone(&call);
        // Who abandons a query does not wait for Python.
        let Ok(runtime) = runtime::handle() else {
            return;
        };
        runtime.spawn_blocking(move || {
            Python::try_attach(|py| call.interrupt(py));
        });
    }));
    Ok(Box::new(interruptible))
}

impl Drop for Interruptible {
    /// Nothing is raised in this thread any more.
    fn drop(&mut self) {
        self.stopping = None;
        Python::try_attach(|py| {
            self.call.is_there.store(false, Ordering::Relaxed);
            self.call.raise(py, None);
            // SAFETY: the interpreter is held, on the thread that `begin` ran on: what is given out is not `Send`.
            unsafe { pyo3::ffi::PyGILState_Release(self.attached) };
        });
        CALLS.lock().retain(|call| !Arc::ptr_eq(call, &self.call));
    }
}

/// The process ends: functions are interrupted and called no more, streams that Python feeds are read no further.
#[pyfunction]
pub fn end_calls(py: Python<'_>) {
    exit::begin();
    for call in own_calls() {
        call.interrupt(py);
    }
    py.detach(|| {
        exit::wait_while(|| !own_calls().is_empty(), exit::CALLS);
        exit::wait_while(exit::is_reading, exit::READS);
    });
}

/// Those of this process; none where a thread held them that is not there after a fork.
fn own_calls() -> Vec<Arc<Call>> {
    let process = std::process::id();
    let Some(calls) = CALLS.try_lock_for(Duration::from_millis(100)) else {
        return vec![];
    };
    let own = calls.iter().filter(|call| call.process == process);
    own.cloned().collect()
}

fn thread(py: Python<'_>) -> Option<c_long> {
    THREAD.with(|known| {
        if let Some(thread) = known.get() {
            return Some(*thread);
        }
        let thread = py
            .import("threading")
            .ok()?
            .call_method0("get_ident")
            .ok()?;
        // An unsigned number that the interface takes as a signed one.
        let thread = thread.extract::<u64>().ok()? as c_long;
        Some(*known.get_or_init(|| thread))
    })
}
