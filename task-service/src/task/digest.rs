//! What binds several things together.

use aws_lc_rs::digest::{Context, SHA256};

/// SHA-256 of some parts. Each comes with its length, so that two lists of them can't be read as one.
pub(super) fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let digest = context.finish();
    std::array::from_fn(|at| digest.as_ref()[at])
}
