//! Tests of the sentence model's thread, with models that compute nothing.

use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, mpsc};

use super::*;
use crate::embed::Embedded;

/// Returns the number of texts so far as the only number of each vector; calls `step` before it.
struct Fake<F> {
    identity: Identity,
    done: Mutex<f32>,
    step: F,
}

impl<F: Fn(&[String])> Fake<F> {
    fn new(id: &str, step: F) -> Self {
        let identity = Identity { name: "fake".into(), model_id: id.into(), dimension: 1 };
        Self { identity, done: Mutex::new(0.0), step }
    }
}

impl<F: Fn(&[String])> TextModel for Fake<F> {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn embed(
        &self,
        texts: &[String],
        _: Purpose,
        between: &mut dyn FnMut() -> Result<(), EngineError>,
    ) -> Vectors {
        (self.step)(texts);
        between()?;
        let mut done = self.done.lock().unwrap();
        *done += 1.0;
        Ok(Embedded { vectors: vec![vec![*done]; texts.len()], tokens: texts.len() })
    }
}

const LONG: Duration = Duration::from_secs(600);

fn texts(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

#[tokio::test]
async fn a_query_overtakes_passages_in_progress() {
    let (started, starts) = mpsc::sync_channel::<()>(1);
    let release = Arc::new(AtomicBool::new(false));
    let released = Arc::clone(&release);
    let worker = Worker::spawn("fake".into(), LONG, move || {
        let (started, released) = (started.clone(), Arc::clone(&released));
        Ok(Fake::new("a", move |texts: &[String]| {
            if texts[0] == "slow" {
                started.send(()).unwrap();
                while !released.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
            }
        }))
    })
    .unwrap();
    let cancel = CancellationToken::new();
    let slow = worker.embed(texts("slow"), Purpose::Passage, &cancel);
    let others = async {
        while starts.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        // Polled in this order: both are queued before the slow one goes on.
        let queued = worker.embed(texts("queued"), Purpose::Passage, &cancel);
        let query = worker.embed(texts("query"), Purpose::Query, &cancel);
        let go = async { release.store(true, Ordering::Relaxed) };
        tokio::join!(biased; queued, query, go)
    };
    let (slow, (queued, query, ())) = tokio::join!(slow, others);
    assert_eq!(query.unwrap().vectors, [[1.0]], "between the steps of the slow one");
    assert_eq!((slow.unwrap().vectors, queued.unwrap().vectors), (vec![vec![2.0]], vec![vec![3.0]]));
}

#[tokio::test]
async fn a_panic_costs_one_call_and_the_model_is_loaded_anew() {
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&loads);
    let worker = Worker::spawn("fake".into(), LONG, move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(Fake::new("a", |texts: &[String]| assert_ne!(texts[0], "bad", "boom")))
    })
    .unwrap();
    let cancel = CancellationToken::new();
    let error = worker.embed(texts("bad"), Purpose::Query, &cancel).await.unwrap_err();
    assert!(matches!(&error, EngineError::Failed(why) if why.contains("boom")), "{error}");
    assert_eq!(worker.embed(texts("good"), Purpose::Query, &cancel).await.unwrap().vectors, [[1.0]]);
    assert_eq!(loads.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_failure_to_load_is_remembered_for_a_while() {
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&loads);
    type Never = Fake<fn(&[String])>;
    let worker = Worker::spawn("fake".into(), LONG, move || -> Result<Never, _> {
        counted.fetch_add(1, Ordering::Relaxed);
        Err(EngineError::Model { model: "fake".into(), message: "no weights".into() })
    })
    .unwrap();
    let cancel = CancellationToken::new();
    for _ in 0..3 {
        let error = worker.embed(texts("x"), Purpose::Query, &cancel).await.unwrap_err();
        assert_eq!(error.to_string(), "model fake: no weights");
    }
    assert_eq!(loads.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_model_that_changed_while_it_was_unloaded_is_refused() {
    let loads = AtomicUsize::new(0);
    let worker = Worker::spawn("fake".into(), Duration::ZERO, move || {
        let id = format!("id {}", loads.fetch_add(1, Ordering::Relaxed));
        Ok(Fake::new(&id, |_: &[String]| {}))
    })
    .unwrap();
    let cancel = CancellationToken::new();
    worker.embed(texts("x"), Purpose::Query, &cancel).await.unwrap();
    while worker.is_loaded() {
        tokio::task::yield_now().await;
    }
    let error = worker.embed(texts("x"), Purpose::Query, &cancel).await.unwrap_err();
    assert!(error.to_string().contains("from id 0 to id 1"), "{error}");
    assert_eq!(worker.identity().unwrap().model_id, "id 0");
}

#[tokio::test]
async fn a_reader_that_leaves_ends_its_work_and_a_closed_queue_answers() {
    let worker = Worker::spawn("fake".into(), LONG, || Ok(Fake::new("a", |_: &[String]| {}))).unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = worker.embed(texts("x"), Purpose::Query, &cancel).await.unwrap_err();
    assert!(matches!(error, EngineError::Cancelled), "{error}");
    worker.queue.close();
    let error = worker.embed(texts("x"), Purpose::Query, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, EngineError::Incomplete), "{error}");
}

#[test]
fn a_full_queue_is_overloaded_until_readers_leave() {
    let queue = Queue::default();
    let push = |cancel: &CancellationToken| {
        let (reply, answer) = oneshot::channel();
        let task = Task { texts: texts("x"), purpose: Purpose::Query, cancel: cancel.clone(), reply };
        queue.push(task).map(|()| answer)
    };
    let cancel = CancellationToken::new();
    let mut answers: Vec<_> = (0..64).map(|_| push(&cancel).unwrap()).collect();
    assert!(matches!(push(&cancel).unwrap_err(), EngineError::Overloaded { queued: 64, retry_after_s: 64 }));
    answers.pop();
    let _answer = push(&cancel).unwrap();
    cancel.cancel();
    let _other = push(&CancellationToken::new()).unwrap();
}
