//! The pool of replicas: the model that they serve, their aggregate health, and the choice of one for a request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tower::retry::budget::{Budget as _, TpsBudget};

use super::balancer::{self, ReplicaLoad, VideoAffinity};
use super::errors::RETRY_AFTER_S;
use super::options::VllmOptions;
use super::replica::{Availability, Replica, ReplicaSlot};
use super::served_model::ServedModel;
use crate::{EngineError, Health};

/// Window and size of the retry budget: a fixed number per second plus a share of all requests.
const RETRY_WINDOW: Duration = Duration::from_secs(10);
const RETRIES_PER_S: u32 = 10;
const RETRY_SHARE: f32 = 0.2;

/// The replicas.
pub(super) struct Pool {
    pub(super) options: VllmOptions,
    pub(super) replicas: Vec<Arc<Replica>>,
    health: watch::Sender<Health>,
    /// The model that all replicas serve, or that the last healthy one served.
    model: RwLock<Option<Arc<ServedModel>>>,
    videos: Mutex<VideoAffinity>,
    turns: AtomicU64,
    /// Keeps a failing fleet from receiving every request twice.
    retries: TpsBudget,
}

impl Pool {
    pub(super) fn new(options: VllmOptions) -> Result<Self, EngineError> {
        let replicas = options.urls.iter().enumerate();
        let replicas = replicas.map(|(id, url)| Replica::new(id, url, options.max_requests).map(Arc::new));
        Ok(Self {
            replicas: replicas.collect::<Result<_, _>>()?,
            health: watch::Sender::new(Health::Loading),
            model: RwLock::default(),
            videos: Mutex::default(),
            turns: AtomicU64::new(0),
            retries: TpsBudget::new(RETRY_WINDOW, RETRIES_PER_S, RETRY_SHARE),
            options,
        })
    }

    pub(super) fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    pub(super) fn watch_health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Returns the served model while a replica is healthy.
    pub(super) fn ready(&self) -> Result<Arc<ServedModel>, EngineError> {
        match (&*self.health.borrow(), self.model()) {
            (Health::Ready, Some(model)) => Ok(model),
            (Health::Failed(why), _) => Err(EngineError::Failed(why.clone())),
            // It served before, so it is unreachable rather than loading.
            (Health::Loading, Some(_)) => Err(EngineError::Unavailable { retry_after_s: RETRY_AFTER_S }),
            (Health::Loading | Health::Ready, None) => Err(EngineError::NotReady),
        }
    }

    pub(super) fn model(&self) -> Option<Arc<ServedModel>> {
        self.model.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether all replicas that receive requests accept `media_io_kwargs`.
    pub(super) fn all_accept_mm_kwargs(&self) -> bool {
        self.replicas.iter().filter(|replica| replica.is_usable()).all(|replica| replica.accepts_mm_kwargs())
    }

    /// Marks a replica as ready to serve `model`, unless the others serve another model.
    ///
    /// # Errors
    /// Names both models, or both context lengths.
    pub(super) fn register(&self, replica: &Replica, model: Arc<ServedModel>) -> Result<(), String> {
        let mut own = self.model.write().unwrap_or_else(PoisonError::into_inner);
        let others =
            self.replicas.iter().any(|other| other.id != replica.id && other.state() == Availability::Ready);
        match own.as_ref().filter(|_| others) {
            Some(known) if known.info.id != model.info.id => {
                return Err(format!(
                    "it serves the model {} where the others serve {}",
                    model.info.id, known.info.id
                ));
            }
            Some(known) if known.info.max_model_len > model.info.max_model_len => {
                return Err(format!(
                    "its context holds {} tokens where those of the others hold {}",
                    model.info.max_model_len, known.info.max_model_len
                ));
            }
            Some(_) => {}
            None => *own = Some(model),
        }
        // The model is set before the state, so that a reader that sees `Ready` finds it.
        replica.set_state(Availability::Ready);
        drop(own);
        self.update_health();
        Ok(())
    }

    /// Derives the engine's health from the states of the replicas.
    pub(super) fn update_health(&self) {
        let unfit = || {
            self.replicas.iter().map(|replica| match replica.state() {
                Availability::Unfit(why) => Some(why),
                _ => None,
            })
        };
        let health = if self.replicas.iter().any(|replica| replica.is_usable()) {
            Health::Ready
        } else if let (true, Some(why)) = (unfit().all(|why| why.is_some()), unfit().flatten().next()) {
            Health::Failed(why)
        } else {
            Health::Loading
        };
        self.health.send_if_modified(|known| {
            let changed = *known != health;
            *known = health;
            changed
        });
    }

    /// Acquires a slot for a request about `video`, on none of the replicas in `tried`.
    ///
    /// # Errors
    /// `Unavailable` where no other replica serves, `Overloaded` where all of them are full.
    pub(super) fn choose(&self, video: Option<&str>, tried: &[usize]) -> Result<ReplicaSlot, EngineError> {
        let fits = |replica: &&Arc<Replica>| replica.is_usable() && !tried.contains(&replica.id);
        let loads: Vec<ReplicaLoad> = self
            .replicas
            .iter()
            .filter(fits)
            .map(|replica| ReplicaLoad {
                id: replica.id,
                in_flight: replica.in_flight(),
                turn: replica.turn(),
            })
            .collect();
        if loads.is_empty() {
            return Err(EngineError::Unavailable { retry_after_s: RETRY_AFTER_S });
        }
        let queued = loads.iter().map(|load| load.in_flight).sum();
        let now = Instant::now();
        let mut videos = self.videos.lock().unwrap_or_else(PoisonError::into_inner);
        let warm = video
            .and_then(|video| videos.find(video, now))
            .filter(|&(id, generation)| self.replicas[id].generation() == generation)
            .map(|(id, _)| id);
        for id in balancer::order(loads, warm) {
            let replica = &self.replicas[id];
            if let Some(slot) = replica.try_acquire(self.turns.fetch_add(1, Ordering::Relaxed)) {
                if let Some(video) = video {
                    videos.remember(video, id, replica.generation(), now);
                }
                return Ok(slot);
            }
        }
        Err(EngineError::Overloaded { queued, retry_after_s: RETRY_AFTER_S })
    }

    /// Counts a request, of which a share may be retried.
    pub(super) fn count_request(&self) {
        self.retries.deposit();
    }

    /// Takes one retry from the budget; returns whether there was one.
    pub(super) fn may_retry(&self) -> bool {
        self.retries.withdraw()
    }
}
