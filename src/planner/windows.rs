//! Windows that are named: each OVER gets the whole of its own.
//!
//! DataFusion forgets the window that `OVER (w ORDER BY x)` or `w2 AS (w ORDER BY x)` refine, and knows none in
//! QUALIFY and ORDER BY. The rules are the standard's: what refines a window may not partition it anew, may
//! order it where it has no order, and may give a frame where it has none.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, NamedWindowDefinition, NamedWindowExpr, OrderBy, Select, VisitMut, WindowSpec,
    WindowType, visit_expressions_mut,
};

use super::parse::folded;
use super::selects::{self, InSelects};

use crate::error::{ErrorKind, NativeError, Result};

/// Gives every OVER within its window.
///
/// # Errors
/// `sql` for a window that is not defined, is defined twice, or cannot be refined so.
pub fn inline(parsed: &mut impl VisitMut) -> Result<()> {
    selects::each(parsed, Inliner)
}

struct Inliner;

impl InSelects for Inliner {
    type Named = Windows;

    fn in_select(&self, select: &mut Select) -> Result<Windows> {
        in_select(select)
    }

    fn in_order(&self, order: &mut Option<OrderBy>, windows: Windows, _: &Select) -> Result<()> {
        in_expressions(order, &windows)
    }
}

/// Windows by name, whole.
type Windows = Vec<(Ident, WindowSpec)>;

fn in_select(select: &mut Select) -> Result<Windows> {
    let mut windows = Windows::new();
    for NamedWindowDefinition(name, definition) in std::mem::take(&mut select.named_window) {
        if find(&windows, &name).is_some() {
            return Err(wrong(format!("the window {name} is defined twice")));
        }
        let whole = match definition {
            NamedWindowExpr::NamedWindow(base) => named(&windows, &base)?.clone(),
            NamedWindowExpr::WindowSpec(spec) => refined(&windows, spec)?,
        };
        windows.push((name, whole));
    }
    in_expressions(select, &windows)?;
    Ok(windows)
}

fn in_expressions(parsed: &mut impl VisitMut, windows: &Windows) -> Result<()> {
    let visited = visit_expressions_mut(parsed, |expr| {
        let Expr::Function(function) = expr else {
            return ControlFlow::Continue(());
        };
        let whole = match function.over.take() {
            None => return ControlFlow::Continue(()),
            Some(WindowType::NamedWindow(name)) => named(windows, &name).cloned(),
            Some(WindowType::WindowSpec(spec)) => refined(windows, spec),
        };
        match whole {
            Ok(spec) => {
                function.over = Some(WindowType::WindowSpec(spec));
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    });
    match visited {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn refined(windows: &Windows, mut spec: WindowSpec) -> Result<WindowSpec> {
    let Some(name) = spec.window_name.take() else {
        return Ok(spec);
    };
    let base = named(windows, &name)?;
    if !spec.partition_by.is_empty() {
        return Err(wrong(format!(
            "a window made of {name} has its PARTITION BY, and no other"
        )));
    }
    if !spec.order_by.is_empty() && !base.order_by.is_empty() {
        return Err(wrong(format!(
            "a window made of {name} has its ORDER BY, and no other"
        )));
    }
    if base.window_frame.is_some() {
        return Err(wrong(format!(
            "no window can be made of {name}, which has a frame"
        )));
    }
    spec.partition_by.clone_from(&base.partition_by);
    if spec.order_by.is_empty() {
        spec.order_by.clone_from(&base.order_by);
    }
    Ok(spec)
}

fn named<'a>(windows: &'a Windows, name: &Ident) -> Result<&'a WindowSpec> {
    find(windows, name).ok_or_else(|| {
        wrong(format!(
            "the window {name} is not defined; windows are defined by WINDOW {name} AS (…), each before \
             those made of it"
        ))
    })
}

fn find<'a>(windows: &'a Windows, name: &Ident) -> Option<&'a WindowSpec> {
    let is_same = |other: &Ident| match (name.quote_style, other.quote_style) {
        (None, None) => name.value.eq_ignore_ascii_case(&other.value),
        _ => folded(name) == folded(other),
    };
    let found = windows.iter().find(|(other, _)| is_same(other));
    found.map(|(_, spec)| spec)
}

fn wrong(message: String) -> NativeError {
    NativeError::new(ErrorKind::Sql, message)
}
