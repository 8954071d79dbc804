//! All upstreams together: which model they serve, which of them gets the next request, and whether any does. Knows
//! nothing of a request but its video's key.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tower::retry::budget::{Budget as _, TpsBudget};

use super::choose::{self, Load, Videos};
use super::engine::UpstreamOptions;
use super::failure::RETRY_AFTER_S;
use super::front::Front;
use super::replica::{Place, Replica, State};
use crate::{EngineError, Health};

/// Requests that may be taken elsewhere in this time: so many a second, and a share of all.
const RETRY_WINDOW: Duration = Duration::from_secs(10);
const RETRIES_PER_S: u32 = 10;
const RETRY_SHARE: f32 = 0.2;

/// The upstreams.
pub(super) struct Pool {
    pub(super) options: UpstreamOptions,
    pub(super) replicas: Vec<Arc<Replica>>,
    health: watch::Sender<Health>,
    /// What all of them serve; of the last that served where none does.
    front: RwLock<Option<Arc<Front>>>,
    videos: Mutex<Videos>,
    turns: AtomicU64,
    /// Keeps a failing fleet from being asked everything twice.
    retries: TpsBudget,
}

impl Pool {
    pub(super) fn new(options: UpstreamOptions) -> Result<Self, EngineError> {
        let replicas = options.urls.iter().enumerate();
        let replicas = replicas.map(|(id, url)| Replica::new(id, url, options.max_requests).map(Arc::new));
        Ok(Self {
            replicas: replicas.collect::<Result<_, _>>()?,
            health: watch::Sender::new(Health::Loading),
            front: RwLock::default(),
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

    /// Returns what is served, while it is.
    pub(super) fn ready(&self) -> Result<Arc<Front>, EngineError> {
        match (&*self.health.borrow(), self.front()) {
            (Health::Ready, Some(front)) => Ok(front),
            (Health::Failed(why), _) => Err(EngineError::Failed(why.clone())),
            // It served already: it is gone rather than loading.
            (Health::Loading, Some(_)) => Err(EngineError::Unavailable { retry_after_s: RETRY_AFTER_S }),
            (Health::Loading | Health::Ready, None) => Err(EngineError::NotReady),
        }
    }

    pub(super) fn front(&self) -> Option<Arc<Front>> {
        self.front.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells whether all replicas that get requests take settings of media in them.
    pub(super) fn all_trusting(&self) -> bool {
        self.replicas.iter().filter(|replica| replica.is_usable()).all(|replica| replica.is_trusting())
    }

    /// Lets a replica serve `front`'s model, unless the others serve another.
    ///
    /// # Errors
    /// Says what would fit.
    pub(super) fn admit(&self, replica: &Replica, front: Arc<Front>) -> Result<(), String> {
        let mut own = self.front.write().unwrap_or_else(PoisonError::into_inner);
        let others =
            self.replicas.iter().any(|other| other.id != replica.id && other.state() == State::Ready);
        match own.as_ref().filter(|_| others) {
            Some(known) if known.info.id != front.info.id => {
                return Err(format!(
                    "it serves the model {} where the others serve {}",
                    front.info.id, known.info.id
                ));
            }
            Some(known) if known.info.max_model_len > front.info.max_model_len => {
                return Err(format!(
                    "its context holds {} tokens where those of the others hold {}",
                    front.info.max_model_len, known.info.max_model_len
                ));
            }
            Some(_) => {}
            None => *own = Some(front),
        }
        // First what is needed, then the state: whoever sees `Ready` finds it.
        replica.set_state(State::Ready);
        drop(own);
        self.settle();
        Ok(())
    }

    /// Tells the world what the replicas' states mean for all of it.
    pub(super) fn settle(&self) {
        let unfit = || {
            self.replicas.iter().map(|replica| match replica.state() {
                State::Unfit(why) => Some(why),
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

    /// Takes a place with a replica for a request about `video`, at none of `tried`.
    ///
    /// # Errors
    /// `Unavailable` where no other serves, `Overloaded` where all that do have enough to do.
    pub(super) fn choose(&self, video: Option<&str>, tried: &[usize]) -> Result<Place, EngineError> {
        let fits = |replica: &&Arc<Replica>| replica.is_usable() && !tried.contains(&replica.id);
        let loads: Vec<Load> = self
            .replicas
            .iter()
            .filter(fits)
            .map(|replica| Load { id: replica.id, in_flight: replica.in_flight(), turn: replica.turn() })
            .collect();
        if loads.is_empty() {
            return Err(EngineError::Unavailable { retry_after_s: RETRY_AFTER_S });
        }
        let queued = loads.iter().map(|load| load.in_flight).sum();
        let now = Instant::now();
        let mut videos = self.videos.lock().unwrap_or_else(PoisonError::into_inner);
        let warm = video
            .and_then(|video| videos.find(video, now))
            .filter(|&(id, life)| self.replicas[id].life() == life)
            .map(|(id, _)| id);
        for id in choose::order(loads, warm) {
            let replica = &self.replicas[id];
            if let Some(place) = replica.take_place(self.turns.fetch_add(1, Ordering::Relaxed)) {
                if let Some(video) = video {
                    videos.remember(video, id, replica.life(), now);
                }
                return Ok(place);
            }
        }
        Err(EngineError::Overloaded { queued, retry_after_s: RETRY_AFTER_S })
    }

    /// Counts a request, of which some share may be taken elsewhere.
    pub(super) fn count_request(&self) {
        self.retries.deposit();
    }

    /// Tells whether one more request may be taken elsewhere now.
    pub(super) fn may_retry(&self) -> bool {
        self.retries.withdraw()
    }
}
