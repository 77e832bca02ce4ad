//! Requests as they go out: counted, bounded in number, and never sent twice where that could do harm.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use tokio::sync::Semaphore;

use super::request::{Call, Failure};

/// The answer to a request that is sent once, in place of one that would be tried again.
#[derive(Debug)]
struct NotRepeated(String);

impl std::fmt::Display for NotRepeated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotRepeated {}

/// Makes the clients of one storage profile.
#[derive(Debug)]
pub struct WireConnector {
    in_flight: Arc<Semaphore>,
    longest_wait: Duration,
}

impl WireConnector {
    /// At most `concurrency` requests wait for an answer at once; a store that asks for patience gets as
    /// much as `longest_wait`.
    pub fn new(concurrency: usize, longest_wait: Duration) -> Self {
        Self {
            in_flight: Arc::new(Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS))),
            longest_wait,
        }
    }
}

impl HttpConnector for WireConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Wire {
            client: ReqwestConnector::default().connect(options)?,
            in_flight: Arc::clone(&self.in_flight),
            longest_wait: self.longest_wait,
        }))
    }
}

#[derive(Debug)]
struct Wire {
    client: HttpClient,
    in_flight: Arc<Semaphore>,
    longest_wait: Duration,
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let call = Call::current();
        // Held until the answer begins, not until its body ends: readers keep bodies open while they
        // wait for other readers.
        let permit = self.in_flight.acquire().await;
        let started = Instant::now();
        let answer = self.client.execute(request).await;
        let time = started.elapsed();
        drop(permit);
        let failure = match &answer {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(Failure::Status(response.status().as_u16())),
            Err(error) => Some(match error.kind() {
                HttpErrorKind::Timeout => Failure::Timeout,
                HttpErrorKind::Connect => Failure::Connect,
                _ => Failure::Broken,
            }),
        };
        if let Some(call) = &call {
            call.sent(time, failure);
            if call.is_once() {
                return once(answer);
            }
        }
        if let Ok(response) = &answer
            && let Some(wait) = patience(response)
        {
            tokio::time::sleep(wait.min(self.longest_wait)).await;
        }
        answer
    }
}

/// An answer that the client above does not take for a reason to send the request again.
fn once(answer: Result<HttpResponse, HttpError>) -> Result<HttpResponse, HttpError> {
    let text = match answer {
        Ok(response) => {
            let status = response.status();
            if !(status.is_server_error() || matches!(status.as_u16(), 408 | 429)) {
                return Ok(response);
            }
            format!("the store answered {status}")
        }
        Err(error) => error.to_string(),
    };
    // The one kind that is never tried again.
    Err(HttpError::new(HttpErrorKind::Unknown, NotRepeated(text)))
}

/// How long the store asks to be left alone (RFC 9110, section 10.2.3), where it gives seconds.
fn patience(response: &HttpResponse) -> Option<Duration> {
    if !matches!(response.status().as_u16(), 429 | 503) {
        return None;
    }
    let text = response.headers().get("retry-after")?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}
