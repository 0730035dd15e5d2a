//! What the store's server answered, noted on the way: the errors of the stores' library hold it only as text.

use std::{cell::Cell, time::Duration};

use http::{StatusCode, header};
use leverframe::async_trait;
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
        ReqwestConnector,
    },
};

/// The last answer that was none of success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
}

tokio::task_local! {
    static REFUSAL: Cell<Option<Refusal>>;
}

/// Runs a load, and returns with its outcome the refusal that it met last.
pub(crate) async fn observe<F: Future>(load: F) -> (F::Output, Option<Refusal>) {
    REFUSAL.scope(Cell::new(None), async { (load.await, REFUSAL.with(Cell::get)) }).await
}

/// Makes clients that note refusals, and that read no more of one than its head: an error page has no bound.
#[derive(Debug)]
pub(crate) struct Observing;

impl HttpConnector for Observing {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Observed(ReqwestConnector::default().connect(options)?)))
    }
}

#[derive(Debug)]
struct Observed(HttpClient);

#[async_trait]
impl HttpService for Observed {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = self.0.execute(request).await?.into_parts();
        if head.status.is_success() {
            return Ok(HttpResponse::from_parts(head, body));
        }
        let seconds =
            head.headers.get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.trim().parse().ok());
        let refusal = Refusal { status: head.status, retry_after: seconds.map(Duration::from_secs) };
        // Outside a load there is nobody to tell.
        let _ = REFUSAL.try_with(|noted| noted.set(Some(refusal)));
        Ok(HttpResponse::from_parts(head, HttpResponseBody::from(bytes::Bytes::new())))
    }
}
