//! Load reports. They are taken in and counted, so that clients which have to send them can; nothing else is made of them.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use rutter_api::pb::envoy::service::load_stats::v3 as pb;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use crate::ads::Switch;
use crate::metrics::Metrics;
use crate::shutdown::stopped;

/// The time between two reports of a client.
const INTERVAL: Duration = Duration::from_secs(10);

/// The load reporting service of Envoy. It asks each client for reports, and counts them.
pub(crate) struct LoadReports {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// A stream: its requests, and whether the client knows what to report.
struct Reports {
    requests: Streaming<pb::LoadStatsRequest>,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
    is_instructed: bool,
}

impl Reports {
    /// Returns the only answer after the first request, and then nothing until the client has finished.
    async fn next(mut self) -> Option<(Result<pb::LoadStatsResponse, Status>, Self)> {
        loop {
            let request = tokio::select! {
                () = stopped(self.stop.clone()) => {
                    let ending = Status::unavailable("the control plane is ending");
                    // The stream is over after this.
                    return (!std::mem::replace(&mut self.is_instructed, true)).then_some((Err(ending), self));
                }
                request = self.requests.message() => request,
            };
            match request {
                Ok(Some(_)) if self.is_instructed => drop(self.metrics.load_reports.inc()),
                Ok(Some(_)) => {
                    self.is_instructed = true;
                    let interval = i64::try_from(INTERVAL.as_secs()).unwrap_or_default();
                    let response = pb::LoadStatsResponse {
                        send_all_clusters: true,
                        load_reporting_interval: Some(prost_types::Duration { seconds: interval, nanos: 0 }),
                        ..Default::default()
                    };
                    return Some((Ok(response), self));
                }
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

#[tonic::async_trait]
impl pb::load_reporting_service_server::LoadReportingService for LoadReports {
    type StreamLoadStatsStream = std::pin::Pin<Box<dyn Stream<Item = Result<pb::LoadStatsResponse, Status>> + Send>>;

    async fn stream_load_stats(
        &self,
        request: Request<Streaming<pb::LoadStatsRequest>>,
    ) -> Result<Response<Self::StreamLoadStatsStream>, Status> {
        if let Some(switch) = request.extensions().get::<Switch>() {
            switch.use_it();
        }
        let (metrics, stop) = (self.metrics.clone(), self.stop.clone());
        let reports = Reports { requests: request.into_inner(), metrics, stop, is_instructed: false };
        Ok(Response::new(Box::pin(futures::stream::unfold(reports, Reports::next))))
    }
}
