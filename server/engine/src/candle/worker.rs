//! The thread that owns a model: loads it, then takes tasks from the queue and runs them step by step. A panic marks the
//! engine as failed, with its message.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use super::queue::{PushError, Queue, Taken, Takes, Waiting};
use crate::panics::panicked;
use crate::{EngineError, Health};

/// A task for the thread.
pub(super) trait Task: Waiting + Send + 'static {
    /// Ends the task with an error.
    fn fail(&self, error: EngineError);
}

/// Runs tasks on the thread, several at a time.
pub(super) trait Runner<T> {
    /// Returns which further tasks it takes.
    fn takes(&self) -> Takes;
    /// Starts a task.
    fn start(&mut self, task: T);
    /// Does some work on the tasks in progress.
    fn step(&mut self) -> Progress;
    /// Ends all tasks in progress with an error.
    fn fail(&mut self, error: &EngineError);
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is more work.
    Busy,
    /// Work can go on later only: readers are behind.
    Stalled,
    /// There are no tasks in progress.
    Idle,
}

/// How long the thread waits for readers that are behind, unless a task arrives.
const STALL: Duration = Duration::from_millis(2);

/// A handle to the thread. Dropping it ends the thread after the current step.
pub(super) struct ModelThread<T: Task> {
    queue: Arc<Queue<T>>,
    health: watch::Receiver<Health>,
    failure: Arc<OnceLock<EngineError>>,
}

impl<T: Task> ModelThread<T> {
    /// Starts the thread. `load` runs on it, so that weights and device contexts stay on one thread. A panic there or in the
    /// runner ends the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn spawn<R: Runner<T>>(
        name: &str,
        depth: usize,
        load: impl FnOnce() -> Result<R, EngineError> + Send + 'static,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::new(depth));
        let failure = Arc::new(OnceLock::new());
        let (sender, health) = watch::channel(Health::Loading);
        let thread = Thread { queue: Arc::clone(&queue), failure: Arc::clone(&failure), health: sender };
        thread::Builder::new().name(name.to_owned()).spawn(move || thread.run(load))?;
        Ok(Self { queue, health, failure })
    }

    /// Returns the thread's state.
    #[must_use]
    pub(super) fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Watches the thread's state.
    #[must_use]
    pub(super) fn watch(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Checks that the thread accepts tasks.
    ///
    /// # Errors
    /// `NotReady` while loading; the cause after the thread has ended.
    pub(super) fn ready(&self) -> Result<(), EngineError> {
        match &*self.health.borrow() {
            Health::Loading => Err(EngineError::NotReady),
            Health::Ready => Ok(()),
            Health::Failed(_) => Err(self.failure.get().cloned().unwrap_or(EngineError::NotReady)),
        }
    }

    /// Returns the number of waiting tasks.
    #[must_use]
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Queues a task; never blocks.
    ///
    /// # Errors
    /// `Overloaded` when the queue is full (`retry_after_s` per waiting task), otherwise as [`ModelThread::ready`].
    pub(super) fn submit(&self, task: T, seconds_per_task: u64) -> Result<(), EngineError> {
        self.ready()?;
        self.queue.push(task).map_err(|refused| match refused {
            PushError::Full(queued) => {
                let retry_after_s = (seconds_per_task * queued as u64).clamp(1, 300);
                EngineError::Overloaded { queued, retry_after_s }
            }
            PushError::Closed => self.failure.get().cloned().unwrap_or(EngineError::NotReady),
        })
    }
}

impl<T: Task> Drop for ModelThread<T> {
    fn drop(&mut self) {
        fail_all(self.queue.close());
    }
}

/// The thread's part of the shared state.
struct Thread<T: Task> {
    queue: Arc<Queue<T>>,
    failure: Arc<OnceLock<EngineError>>,
    health: watch::Sender<Health>,
}

impl<T: Task> Thread<T> {
    fn run<R: Runner<T>>(self, load: impl FnOnce() -> Result<R, EngineError>) {
        let loaded = catch_unwind(AssertUnwindSafe(load))
            .unwrap_or_else(|panic| Err(panicked("the engine's", "while loading the model", &*panic)));
        let mut runner = match loaded {
            Ok(runner) => runner,
            Err(error) => return self.die(error),
        };
        self.health.send_replace(Health::Ready);
        // After a panic the model may be in an inconsistent state, so no other task runs on it.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.serve(&mut runner))) {
            let error = panicked("the engine's", "during a request", &*panic);
            runner.fail(&error);
            self.die(error);
        }
    }

    /// Runs tasks until the queue is closed.
    fn serve<R: Runner<T>>(&self, runner: &mut R) {
        let mut progress = Progress::Idle;
        loop {
            let patience = match progress {
                Progress::Idle => None,
                Progress::Stalled => Some(STALL),
                Progress::Busy => Some(Duration::ZERO),
            };
            match self.queue.take(runner.takes(), patience) {
                Taken::Item(task) => {
                    runner.start(task);
                    progress = Progress::Busy;
                }
                Taken::Nothing => progress = runner.step(),
                Taken::Closed => return,
            }
        }
    }

    fn die(self, error: EngineError) {
        tracing::error!(%error, "the engine thread stopped; the server exits, since it can answer no further request");
        let text = error.to_string();
        // The reason is set before the state, so that a reader that sees `Failed` finds it.
        let _ = self.failure.set(error);
        self.health.send_replace(Health::Failed(text));
        fail_all(self.queue.close());
    }
}

fn fail_all<T: Task>(tasks: Vec<T>) {
    for task in tasks {
        task.fail(EngineError::Incomplete);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    struct Plain(mpsc::SyncSender<Result<u32, EngineError>>, u32);

    impl Waiting for Plain {
        fn is_gone(&self) -> bool {
            false
        }
        fn is_background(&self) -> bool {
            false
        }
        fn moved_to(&self, _: usize) {}
    }

    impl Task for Plain {
        fn fail(&self, error: EngineError) {
            // A test that is over does not listen.
            let _ = self.0.send(Err(error));
        }
    }

    /// Runs one task at a time, in one step.
    struct OneByOne<F>(F, Option<Plain>);

    impl<F: FnMut(&Plain)> OneByOne<F> {
        fn new(run: F) -> Self {
            Self(run, None)
        }
    }

    impl<F: FnMut(&Plain)> Runner<Plain> for OneByOne<F> {
        fn takes(&self) -> Takes {
            if self.1.is_none() { Takes::All } else { Takes::Nothing }
        }
        fn start(&mut self, task: Plain) {
            self.1 = Some(task);
        }
        fn step(&mut self) -> Progress {
            if let Some(task) = &self.1 {
                (self.0)(task);
            }
            self.1 = None;
            Progress::Idle
        }
        fn fail(&mut self, error: &EngineError) {
            if let Some(task) = &self.1 {
                task.fail(error.clone());
            }
        }
    }

    async fn until(worker: &ModelThread<Plain>, want: fn(&Health) -> bool) {
        worker.watch().wait_for(want).await.unwrap();
    }

    #[tokio::test]
    async fn tasks_run_in_turn_once_loaded() {
        let (go, gate) = mpsc::sync_channel::<()>(4);
        let worker = ModelThread::spawn("test", 4, move || {
            gate.recv().unwrap();
            Ok(OneByOne::new(|task: &Plain| task.0.send(Ok(task.1)).unwrap()))
        })
        .unwrap();
        let (sender, receiver) = mpsc::sync_channel(4);
        let error = worker.submit(Plain(sender.clone(), 0), 1).unwrap_err();
        assert!(matches!(error, EngineError::NotReady));
        go.send(()).unwrap();
        until(&worker, |health| *health == Health::Ready).await;
        for i in 0..3 {
            worker.submit(Plain(sender.clone(), i), 1).unwrap();
        }
        let got: Vec<u32> = (0..3).map(|_| receiver.recv().unwrap().unwrap()).collect();
        assert_eq!(got, [0, 1, 2]);
    }

    #[tokio::test]
    async fn a_panic_ends_the_task_the_queue_and_the_health() {
        let (go, gate) = mpsc::sync_channel::<()>(4);
        let worker = ModelThread::spawn("test", 4, move || {
            Ok(OneByOne::new(move |_: &Plain| {
                gate.recv().unwrap();
                panic!("boom");
            }))
        })
        .unwrap();
        until(&worker, |health| *health == Health::Ready).await;
        let (sender, receiver) = mpsc::sync_channel(4);
        worker.submit(Plain(sender.clone(), 0), 1).unwrap();
        worker.submit(Plain(sender.clone(), 1), 1).unwrap();
        go.send(()).unwrap();
        until(&worker, |health| matches!(health, Health::Failed(why) if why.contains("boom"))).await;
        let wait = Duration::from_secs(10);
        let first = receiver.recv_timeout(wait).unwrap().unwrap_err();
        assert!(first.to_string().contains("boom"), "{first}");
        let second = receiver.recv_timeout(wait).unwrap().unwrap_err();
        assert!(matches!(second, EngineError::Incomplete));
        assert!(worker.submit(Plain(sender, 2), 1).unwrap_err().to_string().contains("boom"));
    }

    #[tokio::test]
    async fn a_model_that_does_not_load_says_why() {
        let error = || EngineError::Model { model: "m".into(), message: "no weights".into() };
        let load = move || Err::<OneByOne<fn(&Plain)>, _>(error());
        let worker = ModelThread::spawn("test", 4, load).unwrap();
        until(&worker, |health| matches!(health, Health::Failed(_))).await;
        let (sender, _receiver) = mpsc::sync_channel(4);
        let error = worker.submit(Plain(sender, 0), 1).unwrap_err();
        assert!(error.to_string().contains("no weights"), "{error}");
    }

    #[tokio::test]
    async fn a_full_queue_is_overloaded_with_a_time_to_wait() {
        let (_go, gate) = mpsc::sync_channel::<()>(4);
        let worker = ModelThread::spawn("test", 1, move || {
            Ok(OneByOne::new(move |_: &Plain| {
                let _ = gate.recv();
            }))
        })
        .unwrap();
        until(&worker, |health| *health == Health::Ready).await;
        let (sender, _receiver) = mpsc::sync_channel(4);
        let mut refused = None;
        for i in 0..3 {
            refused = refused.or(worker.submit(Plain(sender.clone(), i), 7).err());
        }
        let Some(EngineError::Overloaded { queued: 1, retry_after_s: 7 }) = refused else {
            panic!("not overloaded: {refused:?}");
        };
    }
}
