//! Texts of errors as people read them.

/// Without terminal colours, backtraces and what is shown of a Python exception besides its type and its words.
pub fn plain(text: &str) -> String {
    // DataFusion says where its backtrace starts, the kernel puts the frames below the message.
    let text = text.split("\n\nbacktrace:").next().unwrap_or(text);
    let text = text.split("\n   0: ").next().unwrap_or(text);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            for c in rest.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            out.push(c);
        }
    }
    let out = raised(&out).unwrap_or(out);
    without_rules(&out).to_owned()
}

/// The text without the names of the planner's rules that the error went through.
fn without_rules(text: &str) -> &str {
    let mut text = text;
    while let Some((rule, cause)) = text.split_once("\ncaused by\n") {
        let is_name = rule.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let is_rule =
            is_name || (rule.starts_with("Optimizer rule '") && rule.ends_with("' failed"));
        if !is_rule {
            break;
        }
        text = cause;
    }
    text
}

/// How a Python exception is shown that went through other libraries.
const EXCEPTION: &str = "PyErr { type: <class ";

/// The text with `ValueError: why` in the place of all that is shown of an exception, and of the names of what
/// it went through.
fn raised(text: &str) -> Option<String> {
    let (before, shown) = text.split_once(EXCEPTION)?;
    let (_, shown) = shown.split_once("value: ")?;
    let (shown, _) = shown.split_once(", traceback: ")?;
    // Each library that it went through quoted it once more.
    let mut shown = shown.to_owned();
    while shown.contains("\\\\") || shown.contains("\\'") || shown.contains("\\\"") {
        let quoted = shown.replace("\\\\", "\\");
        shown = quoted.replace("\\'", "'").replace("\\\"", "\"");
    }
    let said = shown
        .strip_suffix(')')
        .and_then(|call| call.split_once('('))
        .and_then(|(name, said)| {
            let quote = said.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
            let said = said.strip_prefix(quote)?.strip_suffix(quote)?;
            Some(format!("{name}: {said}"))
        });
    Some(format!("{}{}", outermost(before), said.unwrap_or(shown)))
}

/// What stands before an exception, without `Execution("` and the like at its end.
fn outermost(before: &str) -> &str {
    let mut before = before.trim_end_matches("Python error ");
    loop {
        let called = before.trim_end_matches(['"', '\\']);
        let Some(called) = called.strip_suffix('(') else {
            return before;
        };
        before = called
            .trim_end_matches(|c: char| c.is_ascii_alphabetic())
            .trim_end_matches("RuntimeError: ");
    }
}
