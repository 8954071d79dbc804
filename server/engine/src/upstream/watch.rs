//! Watches over one upstream for as long as the engine lives: which model it serves, whether it answers, what it tells
//! of itself. A list of models alone proves nothing: a dead engine's server still has it, so that a word is asked for.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::client::{Card, Gone};
use super::front::Front;
use super::pool::Pool;
use super::replica::{Replica, State};
use crate::EngineError;
use crate::source::ModelSource;

/// How often it is looked at, while it serves and while it doesn't.
const CALM: Duration = Duration::from_secs(10);
const EAGER: Duration = Duration::from_secs(1);
/// How long an idle one is believed to answer without having been asked.
const BELIEF: Duration = Duration::from_secs(60);

/// Looks at the replica again and again.
pub(super) async fn watch(pool: Arc<Pool>, replica: Arc<Replica>) {
    let mut known: Option<Card> = None;
    let mut last_trouble = String::new();
    loop {
        let wait = match look(&pool, &replica, known.as_ref()).await {
            Ok(card) => {
                known = Some(card);
                last_trouble.clear();
                CALM
            }
            Err(Trouble::Gone(Gone { told, cause })) => {
                // Once for each reason, not each second.
                if told != last_trouble {
                    tracing::warn!(upstream = replica.url, cause, "the upstream does not serve: {told}");
                    last_trouble.clone_from(&told);
                }
                known = None;
                replica.lose(told);
                replica.keep_metrics(None);
                EAGER
            }
            Err(Trouble::Unfit(why)) => {
                if why != last_trouble {
                    tracing::warn!(upstream = replica.url, "the upstream is not used: {why}");
                    last_trouble.clone_from(&why);
                }
                known = None;
                replica.set_state(State::Unfit(why));
                CALM
            }
        };
        pool.settle();
        replica.rest(wait).await;
    }
}

/// Why a look did not find it serving.
enum Trouble {
    /// It is not there, or not yet.
    Gone(Gone),
    /// It can't be used as this program was told to.
    Unfit(String),
}

impl From<Gone> for Trouble {
    fn from(gone: Gone) -> Self {
        Self::Gone(gone)
    }
}

/// Asks which model is served; for another than `known`, reads its files. Asks for a word where it is not sure that there
/// would be one.
async fn look(pool: &Arc<Pool>, replica: &Arc<Replica>, known: Option<&Card>) -> Result<Card, Trouble> {
    let wanted = pool.options.files.as_ref().map(ModelSource::id);
    let card = replica.client.card(wanted.as_deref()).await?;
    let serving = known == Some(&card) && replica.state() == State::Ready;
    let idle = replica.in_flight() == 0 && replica.unproven_for() > BELIEF;
    let doubted = replica.take_suspicion() || idle;
    if !serving || doubted {
        replica.set_trusting(replica.client.is_trusting(&card.id).await?);
        replica.prove();
    }
    if !serving {
        let front = front(pool, &card).await?;
        pool.admit(replica, Arc::clone(&front)).map_err(Trouble::Unfit)?;
        tracing::info!(
            upstream = replica.url,
            model = card.id,
            context = front.info.max_model_len,
            trusting = replica.is_trusting(),
            counts_tokens = front.builder.is_some(),
            "the upstream serves"
        );
    }
    replica.keep_metrics(replica.client.metrics().await);
    Ok(card)
}

/// What the pool knows of this model already, or what its files say.
async fn front(pool: &Arc<Pool>, card: &Card) -> Result<Arc<Front>, Trouble> {
    if let Some(front) = pool.front().filter(|front| front.card == *card) {
        return Ok(front);
    }
    let (pool, card) = (Arc::clone(pool), card.clone());
    let read = spawn_blocking(move || Front::read(card, &pool.options)).await;
    match read {
        Ok(front) => front.map(Arc::new).map_err(|error: EngineError| Trouble::Unfit(error.to_string())),
        Err(error) => Err(Trouble::Unfit(format!("its model's files could not be read: {error}"))),
    }
}
