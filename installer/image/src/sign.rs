//! Signatures with Ed25519 (RFC 8032); keys as PEM, as OpenSSL and cosign write and read them.

use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::pem;

/// DER before the 32 bytes of a public key: SubjectPublicKeyInfo with id-Ed25519 (RFC 8410).
const PUBLIC_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The private half; never printed.
pub struct SigningKey(Ed25519KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// A key that cannot be used, or content that it did not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error(
        "it is no Ed25519 key in PKCS#8 PEM, as `openssl genpkey -algorithm ed25519` writes it"
    )]
    PrivateKey,
    #[error("it is no Ed25519 public key in PEM, as `openssl pkey -pubout` writes it")]
    PublicKey,
    #[error("the signature is not of this content by this key")]
    Mismatch,
}

impl SigningKey {
    /// A key as `openssl genpkey -algorithm ed25519` writes it.
    pub fn from_pem(text: &str) -> Result<Self, SignatureError> {
        let der = pem::decode("PRIVATE KEY", text).ok_or(SignatureError::PrivateKey)?;
        // "Maybe unchecked": OpenSSL leaves the public half out, so there is nothing to check.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der);
        pair.map(Self).map_err(|_| SignatureError::PrivateKey)
    }

    /// The same content and key give the same 64 bytes.
    pub fn sign(&self, content: &[u8]) -> Vec<u8> {
        self.0.sign(content).as_ref().to_vec()
    }

    /// The public half as PEM.
    pub fn public_pem(&self) -> String {
        let der = [&PUBLIC_PREFIX, self.0.public_key().as_ref()].concat();
        pem::encode("PUBLIC KEY", &der)
    }
}

/// Checks a signature by the public key in `pem`.
pub fn verify_signature(pem: &str, content: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    let der = pem::decode("PUBLIC KEY", pem).ok_or(SignatureError::PublicKey)?;
    let key = der
        .strip_prefix(&PUBLIC_PREFIX)
        .ok_or(SignatureError::PublicKey)?;
    UnparsedPublicKey::new(&ED25519, key)
        .verify(content, signature)
        .map_err(|_| SignatureError::Mismatch)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A key for tests: RFC 8032, section 7.1, test 1.
    pub(crate) fn key() -> SigningKey {
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let mut der = hex::decode("302e020100300506032b657004220420").unwrap();
        der.extend(hex::decode(seed).unwrap());
        SigningKey::from_pem(&pem::encode("PRIVATE KEY", &der)).unwrap()
    }

    #[test]
    fn signatures_are_those_of_the_rfc() {
        let wanted = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
                      5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
        assert_eq!(hex::encode(key().sign(b"")), wanted);
    }

    #[test]
    fn a_signature_is_of_one_content_by_one_key() {
        let signature = key().sign(b"content");
        let public = key().public_pem();
        assert_eq!(verify_signature(&public, b"content", &signature), Ok(()));
        let mismatch = Err(SignatureError::Mismatch);
        assert_eq!(verify_signature(&public, b"Content", &signature), mismatch);
        assert_eq!(
            verify_signature(&public, b"content", &signature[1..]),
            mismatch
        );
        let none = Err(SignatureError::PublicKey);
        assert_eq!(verify_signature("", b"content", &signature), none);
    }

    #[test]
    fn another_kind_of_key_is_refused() {
        let error = SigningKey::from_pem(&key().public_pem()).unwrap_err();
        assert_eq!(error, SignatureError::PrivateKey);
    }
}
