//! Resolves the name of a host once, and checks every address before any is connected to. The connection uses the addresses
//! that were checked, so a name that resolves to something else a moment later changes nothing.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Looks up the addresses of a host.
pub(super) trait LookUp: fmt::Debug + Send + Sync + 'static {
    /// Returns the addresses of `name`.
    fn look_up(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The resolver of the operating system.
#[derive(Debug)]
pub(super) struct SystemResolver;

impl LookUp for SystemResolver {
    fn look_up(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((name, 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect())
        })
    }
}

/// A host has an address that may not be connected to.
#[derive(Debug, thiserror::Error)]
#[error("the host has an address that is not of the internet")]
pub(super) struct LocalAddress;

/// Refuses hosts of which any address is not permitted.
#[derive(Debug)]
pub(super) struct CheckedResolver {
    pub(super) inner: Arc<dyn LookUp>,
    pub(super) permitted: fn(IpAddr) -> bool,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let addresses = self.inner.look_up(name.as_str().to_owned());
        let permitted = self.permitted;
        Box::pin(async move {
            let addresses = addresses.await?;
            // One of several could be chosen by whoever answers for the name.
            if !addresses.iter().all(|address| permitted(*address)) {
                return Err(LocalAddress.into());
            }
            // Port 0 stands for the URL's.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}
