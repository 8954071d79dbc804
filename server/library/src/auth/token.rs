//! Tokens: 32 random bytes, shown once and stored as SHA-256. Their length makes a fast hash sufficient.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRngCore as _, rngs::OsRng};
use sha2::{Digest as _, Sha256};

use super::error::AuthError;

/// Maximum bytes of a presented token.
const MAX_TOKEN: usize = 128;

/// Fills `bytes` from the system's random generator.
pub(super) fn random<const N: usize>() -> Result<[u8; N], AuthError> {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes).map_err(|error| AuthError::Hash(error.to_string()))?;
    Ok(bytes)
}

/// Creates a token and the hash to store.
pub(super) fn make(prefix: &str) -> Result<(String, String), AuthError> {
    let token = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random::<32>()?));
    let kept = kept(&token).unwrap_or_default();
    Ok((token, kept))
}

/// Returns the stored hash of a token; `None` for text that cannot be a token.
pub(super) fn kept(token: &str) -> Option<String> {
    (!token.is_empty() && token.len() <= MAX_TOKEN).then(|| format!("{:x}", Sha256::digest(token)))
}
