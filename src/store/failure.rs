//! What a store's failure means, from how the last request on the wire ended.

use object_store::Error;

use super::request::{Call, Failure};
use crate::error::{ErrorKind, NativeError};

/// Detail of errors of requests that had no answer, and so may take effect yet.
pub const UNANSWERED: &str = "unanswered";

/// The error with its kind in it, where the store's own error has none.
pub fn explain(error: Error, call: &Call) -> Error {
    explained(error, call, call.failure())
}

/// The same of an error that came while a body was read, which the wire has seen nothing of.
pub fn explain_body(error: Error, call: &Call) -> Error {
    explained(error, call, call.failure().or(Some(Failure::Broken)))
}

fn explained(error: Error, call: &Call, failure: Option<Failure>) -> Error {
    let known = match &error {
        Error::NotFound { .. } => Some(ErrorKind::ObjectNotFound),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            Some(ErrorKind::Authentication)
        }
        Error::Generic { .. } => None,
        _ => return error,
    };
    if let Some(kind) = known {
        call.remember(kind, error.to_string());
        return error;
    }
    let text = error.to_string();
    let unanswered = matches!(failure, Some(Failure::Timeout | Failure::Broken));
    let (kind, advice) = match failure {
        // By its words: the types of these errors are the store's own.
        Some(_) if text.contains("token request") => (
            ErrorKind::Authentication,
            "no token for the store: the service that gives them did not answer as it should; give \
             credentials, or anonymous=True where everybody may read",
        ),
        Some(Failure::Status(429 | 503)) => (
            ErrorKind::Throttled,
            "the store asked for fewer requests, longer than the retries of IoPolicy allow; try \
             again later, or lower IoPolicy.concurrency",
        ),
        Some(Failure::Timeout | Failure::Status(408 | 504)) => (
            ErrorKind::StorageTimeout,
            "the store did not answer in time; allow more with IoPolicy.request_timeout",
        ),
        Some(Failure::Status(401 | 403)) => (
            ErrorKind::Authentication,
            "the store refused the credentials or what they permit",
        ),
        Some(Failure::Connect) => (
            ErrorKind::Storage,
            "no connection to the store; check endpoint, region and network",
        ),
        Some(Failure::Broken) => (ErrorKind::Storage, "the connection to the store broke"),
        Some(Failure::Status(_)) => (ErrorKind::Storage, "the store failed"),
        // Not of a request: credentials, for one, which say themselves what is wrong.
        None => {
            let kind = NativeError::from_store(&error).kind;
            call.remember(kind, error.to_string());
            return error;
        }
    };
    let message = format!("{advice}: {}", without_signatures(&text));
    call.remember(kind, message.clone());
    let mut native = NativeError::new(kind, message);
    if unanswered {
        native = native.with(UNANSWERED, "true");
    }
    Error::Generic {
        store: "object store",
        source: Box::new(native),
    }
}

/// Text without what signs a URL (Azure's `sig=`, AWS's and Google's `X-…-Signature=`).
pub fn without_signatures(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = ["sig=", "Signature=", "Security-Token=", "Credential="]
        .iter()
        .filter_map(|name| rest.find(name).map(|at| at + name.len()))
        .min()
    {
        out.push_str(&rest[..at]);
        out.push_str("***");
        let end = rest[at..]
            .find(['&', ' ', '"', '\'', '<', ')', ',', '\n'])
            .unwrap_or(rest.len() - at);
        rest = &rest[at + end..];
    }
    out.push_str(rest);
    out
}
