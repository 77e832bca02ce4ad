//! Functions of Python that end with the query that calls them.
#![allow(unsafe_code)]

use std::any::Any;
use std::cell::OnceCell;
use std::ffi::c_long;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::ffi::PyGILState_STATE;
use pyo3::prelude::*;

use crate::planner::abandoned::{Abandoned, Stopping};
use crate::runtime;

thread_local! {
    /// What Python calls this thread.
    static THREAD: OnceCell<c_long> = const { OnceCell::new() };
}

/// A call of Python on one thread.
struct Call {
    thread: c_long,
    /// Changed with the interpreter held, like all of it.
    is_there: AtomicBool,
}

impl Call {
    /// Raises KeyboardInterrupt in the thread, or takes back what was to be raised (`None`).
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
    _stopping: Stopping,
}

/// Begins a call of Python on this thread, which ends when what is given is dropped; nothing where the interpreter
/// ends.
pub fn begin(abandoned: &Arc<Abandoned>) -> Option<Box<dyn Any>> {
    let begun = Python::try_attach(|py| {
        let thread = thread(py)?;
        // One level more than is let go below: what Python knows of the thread stays while the call lasts, which may
        // let go of the interpreter and attach to it many times. What is raised in between would be lost with it.
        // SAFETY: the interpreter is held; `drop` gives the level back on this thread.
        Some((thread, unsafe { pyo3::ffi::PyGILState_Ensure() }))
    });
    let (thread, attached) = begun.flatten()?;
    let call = Arc::new(Call {
        thread,
        is_there: AtomicBool::new(true),
    });
    let called = Arc::clone(&call);
    let stopping = abandoned.stopping(move || {
        let called = Arc::clone(&called);
        // Who abandons a query does not wait for Python.
        let Ok(runtime) = runtime::handle() else {
            return;
        };
        runtime.spawn_blocking(move || {
            Python::try_attach(|py| {
                // Once: what it does on its way out is not interrupted.
                if called.is_there.swap(false, Ordering::Relaxed) {
                    let interrupt = py.get_type::<PyKeyboardInterrupt>();
                    called.raise(py, Some(interrupt.as_any()));
                }
            });
        });
    });
    Some(Box::new(Interruptible {
        call,
        attached,
        _stopping: stopping,
    }))
}

impl Drop for Interruptible {
    /// Nothing is raised in this thread any more.
    fn drop(&mut self) {
        Python::try_attach(|py| {
            self.call.is_there.store(false, Ordering::Relaxed);
            self.call.raise(py, None);
            // SAFETY: the interpreter is held, on the thread that `begin` ran on: what is given out is not `Send`.
            unsafe { pyo3::ffi::PyGILState_Release(self.attached) };
        });
    }
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
