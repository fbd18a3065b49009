//! The receipt as a Secret holds it: gzipped, since one of ten thousand cameras names as many
//! objects, and a Secret holds one mebibyte.

use std::io::{Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use installer_plan::Receipt;
use installer_plan::kubernetes::{RECEIPT, RECEIPT_KEY};
use installer_render::kubernetes::{Kind, ObjectId};
use serde_json::Value;

type Unreadable = Box<dyn std::error::Error + Send + Sync>;

pub(crate) fn id() -> ObjectId {
    ObjectId::new(Kind::Secret, RECEIPT)
}

/// Reads the receipt out of its Secret.
pub(crate) fn unpack(secret: &Value) -> Result<Receipt, Unreadable> {
    let packed = secret.get("data").and_then(|data| data.get(RECEIPT_KEY));
    let packed = packed.and_then(Value::as_str).ok_or("it is empty")?;
    let packed = STANDARD.decode(packed)?;
    let mut text = Vec::new();
    GzDecoder::new(packed.as_slice()).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// The value under [`RECEIPT_KEY`].
pub(crate) fn pack(receipt: &Receipt) -> std::io::Result<String> {
    Ok(STANDARD.encode(packed(receipt)?))
}

/// How much of a Secret a receipt takes.
pub fn receipt_bytes(receipt: &Receipt) -> std::io::Result<usize> {
    Ok(packed(receipt)?.len())
}

fn packed(receipt: &Receipt) -> std::io::Result<Vec<u8>> {
    let text = serde_json::to_vec(receipt)?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&text)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use installer_plan::kubernetes::RECEIPT_MAX;
    use installer_plan::{Operation, Owned, Pending, StepState};
    use serde_json::json;

    use super::*;

    #[test]
    fn ten_thousand_cameras_fit_into_a_secret_and_come_back() {
        let names = |kind, prefix: &str| {
            (0..10_000_u32)
                .map(move |n| {
                    let n = n.wrapping_mul(2_654_435_761);
                    ObjectId::new(kind, format!("{prefix}-{n:08x}-north"))
                })
                .collect::<Vec<_>>()
        };
        let objects: BTreeSet<_> = [Kind::Deployment, Kind::Secret, Kind::ConfigMap]
            .into_iter()
            .flat_map(|kind| names(kind, "agent-camera"))
            .collect();
        let steps = objects
            .iter()
            .map(|id| (format!("object {id}"), StepState::Todo))
            .collect();
        let owned = Owned {
            objects,
            ..Owned::default()
        };
        let receipt = Receipt {
            format: 1,
            site: "s".to_owned(),
            target: "kubernetes".to_owned(),
            revision: 1,
            installer: "0".to_owned(),
            owned: owned.clone(),
            pending: Some(Pending {
                operation: Operation::Install,
                revision: 2,
                plan: String::new(),
                owned,
                steps,
            }),
            previous_images: BTreeMap::new(),
            rates: BTreeMap::new(),
            verified: None,
        };
        let packed = pack(&receipt).unwrap();
        let bytes = receipt_bytes(&receipt).unwrap();
        assert!(bytes < RECEIPT_MAX, "{bytes}");
        let secret = json!({ "data": { RECEIPT_KEY: packed } });
        assert_eq!(unpack(&secret).unwrap(), receipt);
        assert!(unpack(&json!({})).is_err());
    }
}
