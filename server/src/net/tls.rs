//! TLS: a certificate and its key from files, loaded again when they change.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
    server::TlsStream,
};

/// Interval between looks at the files.
const EVERY: Duration = Duration::from_secs(30);

/// First byte of a TLS connection: a handshake record.
const HANDSHAKE_RECORD: u8 = 0x16;

/// A certificate chain and its private key. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Tls {
    files: Arc<Files>,
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// Modification time and size of both files.
type FileStamps = [Option<(SystemTime, u64)>; 2];

/// An accepted connection.
pub(super) enum Accepted {
    /// With TLS.
    Encrypted(Box<TlsStream<TcpStream>>),
    /// The client did not start TLS.
    Plain(TcpStream),
}

impl Tls {
    /// Loads PEM files: the certificate chain, and the private key.
    ///
    /// # Errors
    /// When a file cannot be read, or the key does not belong to the certificate.
    pub fn load(certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let files = Files { certificate: certificate.to_owned(), key: key.to_owned() };
        let current = Arc::new(RwLock::new(Arc::new(files.read()?)));
        Ok(Self { files: Arc::new(files), current })
    }

    /// Loads the files again whenever they change. Files that do not fit are reported, and the certificate in use stays.
    pub async fn watch(self) {
        let mut known = self.files.stamp();
        loop {
            tokio::time::sleep(EVERY).await;
            let stamp = self.files.stamp();
            if stamp != known {
                known = stamp;
                self.reload();
            }
        }
    }

    /// Loads the files again.
    pub fn reload(&self) {
        match self.files.read() {
            Ok(config) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                tracing::info!(path = %self.files.certificate.display(), "the TLS certificate or its key changed; loaded the new certificate");
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(
                    error,
                    path = %self.files.certificate.display(),
                    "the TLS certificate or its key changed, but could not be loaded; the previous certificate stays in use, and the next change of either file is tried again"
                );
            }
        }
    }

    /// Accepts TLS on a connection, unless its first byte shows that the client does not use TLS.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<Accepted> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE_RECORD {
            return Ok(Accepted::Plain(stream));
        }
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        Ok(Accepted::Encrypted(Box::new(TlsAcceptor::from(config).accept(stream).await?)))
    }
}

impl Files {
    fn read(&self) -> anyhow::Result<ServerConfig> {
        let named = |path: &Path| path.display().to_string();
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("failed to read the TLS certificate {}", named(&self.certificate)))?;
        anyhow::ensure!(!chain.is_empty(), "{} contains no PEM certificate", named(&self.certificate));
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .with_context(|| format!("failed to read the TLS key {}", named(&self.key)))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .with_context(|| {
                format!("{} and {} do not fit together", named(&self.certificate), named(&self.key))
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn stamp(&self) -> FileStamps {
        [&self.certificate, &self.key].map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.files).finish()
    }
}
