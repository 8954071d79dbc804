//! A proxy between browser and server whose connections a test can slow down and cut. The throttling of browsers does
//! not apply to uploads.

use std::net::SocketAddr;
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The line. Its address stays, whatever happens behind it.
#[derive(Debug)]
pub(crate) struct CuttableProxy {
    address: SocketAddr,
    target: Arc<Mutex<String>>,
    whole: watch::Sender<bool>,
    listener: JoinHandle<()>,
    rate: Arc<AtomicU64>,
}

impl CuttableProxy {
    /// Lays a line to the server at `url` that carries `rate` bytes a second towards it.
    pub(crate) async fn to(url: &str, rate: u64) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let target = Arc::new(Mutex::new(authority(url)));
        let rate = Arc::new(AtomicU64::new(rate));
        let carried = Arc::clone(&rate);
        let (whole, state) = watch::channel(true);
        let goal = Arc::clone(&target);
        let listener = tokio::spawn(async move {
            while let Ok((browser, _)) = listener.accept().await {
                // A cut line takes nobody.
                if *state.borrow() {
                    let goal = goal.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    tokio::spawn(carry(browser, goal, Arc::clone(&carried), state.clone()));
                }
            }
        });
        Ok(Self { address, target, whole, listener, rate })
    }

    /// The URL of `path` by way of the line.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Lets `rate` bytes a second pass from now on.
    pub(crate) fn carry_at(&self, rate: u64) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// Cuts the line, with all that is on its way.
    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Mends the line; it now leads to the server at `url`.
    pub(crate) fn mend(&self, url: &str) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = authority(url);
        self.whole.send_replace(true);
    }
}

impl Drop for CuttableProxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

fn authority(url: &str) -> String {
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

/// Carries one connection until an end closes it or the line is cut.
async fn carry(
    mut browser: TcpStream,
    target: String,
    rate: Arc<AtomicU64>,
    mut whole: watch::Receiver<bool>,
) {
    let both = async {
        let mut server = TcpStream::connect(target).await.context("no server")?;
        let (mut from_browser, mut to_browser) = browser.split();
        let (mut from_server, mut to_server) = server.split();
        let up = async {
            let mut buffer = vec![0; 64 << 10];
            loop {
                let read = from_browser.read(&mut buffer).await?;
                if read == 0 {
                    return to_server.shutdown().await;
                }
                to_server.write_all(&buffer[..read]).await?;
                tokio::time::sleep(Duration::from_secs_f64(
                    read as f64 / rate.load(Ordering::Relaxed) as f64,
                ))
                .await;
            }
        };
        let down = tokio::io::copy(&mut from_server, &mut to_browser);
        // When the server closes its end, so does the proxy: the browser would otherwise wait for events for ever.
        tokio::select! {
            done = down => { done?; }
            Err(error) = up => return Err(error.into()),
        }
        Ok::<_, anyhow::Error>(())
    };
    tokio::select! {
        // Either way the connection is over, which is what the other end sees.
        _ = both => {}
        _ = whole.wait_for(|whole| !whole) => {}
    }
}
