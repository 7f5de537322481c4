//! Full and partial merge on bytes. (stub: signatures are final)

/// Folds a row (or none) and the operands after it, oldest first, into a row. Total: never fails, never panics.
pub(crate) fn full(_base: Option<&[u8]>, _operands: &[&[u8]]) -> Vec<u8> {
    Vec::new()
}

/// Composes operands, oldest first, into one operand. Total: never fails, never panics.
pub(crate) fn partial(_operands: &[&[u8]]) -> Vec<u8> {
    Vec::new()
}

/// The row that keeps everything when a fold panicked: the base as it is, every operand in quarantine.
pub(crate) fn quarantine_all(_base: Option<&[u8]>, _operands: &[&[u8]]) -> Vec<u8> {
    Vec::new()
}
