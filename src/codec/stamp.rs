//! Stub.
use crate::error::{Error, Result};
use crate::model::Timestamp;
pub(crate) fn decode_stamp(_: &[u8]) -> Result<Timestamp> {
    Err(Error::corrupt("no stamps yet"))
}
