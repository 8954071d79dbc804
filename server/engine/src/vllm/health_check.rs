//! Checks the health of one replica for as long as the engine lives: which model it serves, whether it completes
//! requests, and its metrics. A model list alone proves nothing, since a server whose engine has crashed still returns it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::client::{ModelCard, Unhealthy};
use super::pool::Pool;
use super::replica::{Availability, Replica};
use super::served_model::ServedModel;
use crate::EngineError;
use crate::source::ModelSource;

/// Interval between checks while the replica serves and is idle, while it has requests (its queue is watched then), and
/// while it does not serve.
const CALM: Duration = Duration::from_secs(10);
const BUSY: Duration = Duration::from_secs(2);
const EAGER: Duration = Duration::from_secs(1);
/// Idle time after which a completion is requested to prove that the replica still answers.
const BELIEF: Duration = Duration::from_secs(60);

/// Checks the replica in a loop.
pub(super) async fn run(pool: Arc<Pool>, replica: Arc<Replica>) {
    let mut known: Option<ModelCard> = None;
    let mut last_trouble = String::new();
    loop {
        let wait = match check(&pool, &replica, known.as_ref()).await {
            Ok(card) => {
                known = Some(card);
                last_trouble.clear();
                if replica.in_flight() > 0 { BUSY } else { CALM }
            }
            Err(HealthCheckError::Gone(Unhealthy { message, cause })) => {
                // Log each reason once, not every second.
                if message != last_trouble {
                    tracing::warn!(
                        replica = replica.url,
                        error = cause,
                        reason = message,
                        "failed to reach a replica; will send it no requests until a health check succeeds"
                    );
                    last_trouble.clone_from(&message);
                }
                known = None;
                replica.mark_unreachable(message);
                replica.set_metrics(None);
                EAGER
            }
            Err(HealthCheckError::Unfit(why)) => {
                if why != last_trouble {
                    tracing::warn!(
                        replica = replica.url,
                        reason = why,
                        "a replica answers its health check, but cannot be used; will send it no requests until a health check succeeds"
                    );
                    last_trouble.clone_from(&why);
                }
                known = None;
                replica.set_state(Availability::Unfit(why));
                CALM
            }
        };
        pool.update_health();
        replica.wait_for_next_check(wait).await;
    }
}

/// Why a check failed.
enum HealthCheckError {
    /// Not reachable, or not serving yet.
    Gone(Unhealthy),
    /// Serving something that this configuration cannot use.
    Unfit(String),
}

impl From<Unhealthy> for HealthCheckError {
    fn from(gone: Unhealthy) -> Self {
        Self::Gone(gone)
    }
}

/// Reads the model list and, for a model other than `known`, its files. Requests a completion where the last success is
/// not recent enough.
async fn check(
    pool: &Arc<Pool>,
    replica: &Arc<Replica>,
    known: Option<&ModelCard>,
) -> Result<ModelCard, HealthCheckError> {
    let wanted = pool.options.files.as_ref().map(ModelSource::id);
    let card = replica.client.card(wanted.as_deref()).await?;
    let serving = known == Some(&card) && replica.state() == Availability::Ready;
    let idle = replica.in_flight() == 0 && replica.since_success() > BELIEF;
    let doubted = replica.take_check_request() || idle;
    if !serving || doubted {
        replica.set_accepts_mm_kwargs(replica.client.accepts_mm_kwargs(&card.id).await?);
        replica.record_success();
    }
    if !serving {
        replica.set_accepts_priority(replica.client.accepts_priority(&card.id).await?);
        let model = model(pool, &card).await?;
        pool.register(replica, Arc::clone(&model)).map_err(HealthCheckError::Unfit)?;
        tracing::info!(
            replica = replica.url,
            model = card.id,
            context_tokens = model.info.max_model_len,
            accepts_mm_kwargs = replica.accepts_mm_kwargs(),
            accepts_priority = replica.accepts_priority(),
            counts_tokens = model.builder.is_some(),
            "a replica passed its health check; will send it requests"
        );
    }
    replica.set_metrics(replica.client.metrics().await);
    Ok(card)
}

/// Returns the model that the pool already knows, or reads its files.
async fn model(pool: &Arc<Pool>, card: &ModelCard) -> Result<Arc<ServedModel>, HealthCheckError> {
    if let Some(model) = pool.model().filter(|model| model.card == *card) {
        return Ok(model);
    }
    let (pool, card) = (Arc::clone(pool), card.clone());
    let read = spawn_blocking(move || ServedModel::read(card, &pool.options)).await;
    match read {
        Ok(model) => {
            model.map(Arc::new).map_err(|error: EngineError| HealthCheckError::Unfit(error.to_string()))
        }
        Err(error) => Err(HealthCheckError::Unfit(format!("its model's files could not be read: {error}"))),
    }
}
