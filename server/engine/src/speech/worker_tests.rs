//! Tests of [`super`] with a model that returns what it got.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use super::*;

/// Returns the first sample of each window as the seconds that it consumed, and notes the sizes of batches.
struct Echo(Arc<Mutex<Vec<usize>>>);

impl Transcribes for Echo {
    fn batch(
        &self,
        windows: &[WindowInput<'_>],
        is_gone: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Option<WindowText>>, EngineError> {
        self.0.lock().unwrap().push(windows.len());
        assert!(windows.iter().all(|window| window.samples[0] >= 0.0), "boom");
        let text = |(index, window): (usize, &WindowInput<'_>)| {
            let consumed_s = f64::from(window.samples[0]);
            (!is_gone(index)).then_some(WindowText { segments: Vec::new(), consumed_s, language: None })
        };
        Ok(windows.iter().enumerate().map(text).collect())
    }

    fn check(&self, window: &WindowRequest) -> Result<(), EngineError> {
        match window.language.as_deref() {
            None | Some("en") => Ok(()),
            Some(_) => Err(EngineError::invalid("language", "unknown")),
        }
    }
}

struct Bench {
    worker: Worker,
    sizes: Arc<Mutex<Vec<usize>>>,
    loads: Arc<AtomicUsize>,
    /// Each loading waits for one.
    gate: mpsc::SyncSender<()>,
}

fn bench(idle: Duration) -> Bench {
    let (gate, gates) = mpsc::sync_channel(8);
    let (sizes, loads) = (Arc::default(), Arc::<AtomicUsize>::default());
    let (own_sizes, own_loads) = (Arc::clone(&sizes), Arc::clone(&loads));
    let worker = Worker::spawn_with(idle, move || {
        own_loads.fetch_add(1, Ordering::SeqCst);
        gates.recv().unwrap();
        Ok(Echo(Arc::clone(&own_sizes)))
    });
    Bench { worker: worker.unwrap(), sizes, loads, gate }
}

fn window(number: f32) -> WindowRequest {
    WindowRequest { samples: vec![number], language: None }
}

const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn windows_that_wait_share_a_batch_and_a_model_is_loaded_once() {
    let bench = bench(LONG);
    assert_eq!(bench.loads.load(Ordering::SeqCst), 0, "loaded before it is needed");
    let texts = (0..9).map(|number| bench.worker.transcribe(window(number as f32)));
    let texts = futures_util::future::join_all(texts);
    // All but one wait before the model is there.
    let (texts, sent) = tokio::join!(texts, async { bench.gate.send(()) });
    sent.unwrap();
    let got: Vec<f64> = texts.into_iter().map(|text| text.unwrap().consumed_s).collect();
    assert_eq!(got, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let sizes = bench.sizes.lock().unwrap();
    assert_eq!(sizes.iter().sum::<usize>(), 9);
    assert!(sizes.iter().all(|&size| size <= BATCH) && sizes.len() < 9, "{sizes:?}");
    assert_eq!(bench.loads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_unknown_language_fails_alone() {
    let bench = bench(LONG);
    bench.gate.send(()).unwrap();
    let unknown = WindowRequest { language: Some("tlh".into()), ..window(1.0) };
    let (bad, good) = tokio::join!(bench.worker.transcribe(unknown), bench.worker.transcribe(window(2.0)));
    assert!(matches!(bad, Err(EngineError::Invalid { param: Some("language"), .. })));
    assert_eq!(good.unwrap().consumed_s, 2.0);
}

#[tokio::test]
async fn who_has_left_is_not_transcribed() {
    let bench = bench(LONG);
    let (mut left, mut stays) = (bench.worker.transcribe(window(1.0)), bench.worker.transcribe(window(2.0)));
    // Both are queued, or with the thread, which waits for its model.
    assert!((&mut left).now_or_never().is_none() && (&mut stays).now_or_never().is_none());
    drop(left);
    bench.gate.send(()).unwrap();
    assert_eq!(stays.await.unwrap().consumed_s, 2.0);
}

#[tokio::test]
async fn a_model_without_work_is_unloaded_and_loaded_again() {
    let bench = bench(Duration::ZERO);
    for loads in 1..=3 {
        bench.gate.send(()).unwrap();
        bench.worker.transcribe(window(1.0)).await.unwrap();
        assert_eq!(bench.loads.load(Ordering::SeqCst), loads);
        // However busy the machine is, the thread unloads it next: no task arrives before.
        while Arc::strong_count(&bench.sizes) > 2 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_panic_is_an_error_and_the_next_window_loads_anew() {
    let bench = bench(LONG);
    (0..2).for_each(|_| bench.gate.send(()).unwrap());
    let error = bench.worker.transcribe(window(-1.0)).await.unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
    assert_eq!(bench.worker.transcribe(window(3.0)).await.unwrap().consumed_s, 3.0);
    assert_eq!(bench.loads.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_model_that_does_not_load_says_why_each_time() {
    let missing = ModelSource::Dir("/nowhere/whisper".into());
    let worker = Worker::spawn(missing, DeviceKind::Cpu, LONG).unwrap();
    for _ in 0..2 {
        let error = worker.transcribe(window(0.0)).await.unwrap_err();
        assert!(matches!(&error, EngineError::Model { model, .. } if model == "whisper"), "{error}");
        assert!(!error.to_string().contains("/nowhere"), "{error}");
    }
}
