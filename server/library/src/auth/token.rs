//! Tokens: 32 random bytes, shown once, kept as SHA-256. They are long enough that a fast hash does.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRngCore as _, rngs::OsRng};
use sha2::{Digest as _, Sha256};

use super::error::AuthError;

/// Bytes that a shown token may have; longer ones are nobody's.
const MAX_TOKEN: usize = 128;

/// Fills `bytes` from the system's generator.
pub(super) fn random<const N: usize>() -> Result<[u8; N], AuthError> {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes).map_err(|error| AuthError::Hash(error.to_string()))?;
    Ok(bytes)
}

/// Makes a token and the hash to keep.
pub(super) fn make(prefix: &str) -> Result<(String, String), AuthError> {
    let token = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random::<32>()?));
    let kept = kept(&token).unwrap_or_default();
    Ok((token, kept))
}

/// Returns the hash under which a token is kept, or `None` for what can be no token.
pub(super) fn kept(token: &str) -> Option<String> {
    (!token.is_empty() && token.len() <= MAX_TOKEN).then(|| format!("{:x}", Sha256::digest(token)))
}
