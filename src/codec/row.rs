//! Decoding of rows: whole profiles, single properties, and the summary that an integrity check needs.

use std::cmp::Ordering;

use super::bytes::{Malformed, Read, str};
use super::chain::ChainBytes;
use super::operand::Operand;
use super::value::read_whole;
use crate::error::{Error, Result};
use crate::limits::is_counted;
use crate::model::{Object, Profile, Timestamp, Value};
use crate::ops::Presence;

/// Decodes a row. The row of an absent profile is `None`, unless its quarantine is not empty.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when the bytes are not a row, or one of an unknown version.
pub(crate) fn decode_profile(bytes: &[u8]) -> Result<Option<Profile>> {
    read_profile(bytes, |_| true).map_err(corrupt)
}

/// As [`decode_profile`], with only the properties that have one of these names, which ascend.
///
/// # Errors
///
/// As [`decode_profile`].
pub(crate) fn decode_properties(bytes: &[u8], names: &[Box<str>]) -> Result<Option<Profile>> {
    read_profile(bytes, |name| names.binary_search_by(|known| (**known).cmp(name)).is_ok()).map_err(corrupt)
}

/// Decodes one property of a row and skips the others.
///
/// # Errors
///
/// As [`decode_profile`].
pub(crate) fn decode_property(bytes: &[u8], name: &str) -> Result<Option<Value>> {
    find(bytes, name).map_err(corrupt)
}

pub(super) fn corrupt(Malformed(what): Malformed) -> Error {
    Error::corrupt(format!("the row cannot be read: {what}"))
}

fn read_profile(bytes: &[u8], selects: impl Fn(&str) -> bool) -> Read<Option<Profile>> {
    let row = Operand::head(bytes)?;
    let Presence::Known(life) = row.presence else {
        return Err(Malformed("an operand in place of a row"));
    };
    if life.is_none() && row.quarantine.len() == 0 {
        return Ok(None);
    }
    let mut properties: Vec<(String, Value)> = Vec::new();
    for entry in row.entries().ascending() {
        let (name, value) = set_value(entry?)?;
        let name = str(name)?;
        if selects(name) {
            properties.push((name.to_owned(), read_whole(value)?));
        }
    }
    Ok(Some(Profile {
        properties: Object::from_sorted(properties),
        last_seen: life.and_then(|life| life.last_seen).map(Timestamp::from_seconds),
        first_event: None,
        quarantine: row.quarantine.map(<[u8]>::to_vec).collect(),
        first_event_damaged: false,
    }))
}

/// The `$last_seen` time of the profile of a row.
///
/// # Errors
///
/// As [`decode_profile`].
pub(crate) fn decode_last_seen(bytes: &[u8]) -> Result<Option<Timestamp>> {
    match Operand::head(bytes).map_err(corrupt)?.presence {
        Presence::Known(life) => Ok(life.and_then(|life| life.last_seen).map(Timestamp::from_seconds)),
        Presence::Open { .. } => Err(corrupt(Malformed("an operand in place of a row"))),
    }
}

/// The name and the value of an entry of a row, which is a chain that sets a value.
#[inline]
pub(super) fn set_value<'a>((name, chain): (&'a [u8], &'a [u8])) -> Read<(&'a [u8], &'a [u8])> {
    match chain.split_first() {
        Some((&ChainBytes::SET, value)) => Ok((name, value)),
        _ => Err(Malformed("an operand in place of a row")),
    }
}

fn find(bytes: &[u8], requested: &str) -> Read<Option<Value>> {
    for entry in Operand::head(bytes)?.entries() {
        let (name, value) = set_value(entry?)?;
        match str(name)?.cmp(requested) {
            Ordering::Less => {}
            Ordering::Equal => return read_whole(value).map(Some),
            Ordering::Greater => break,
        }
    }
    Ok(None)
}

/// The summary of a row for an integrity check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowInfo {
    /// The version of its format.
    pub(crate) version: u8,
    /// Whether the profile exists.
    pub(crate) exists: bool,
    /// The number of its properties.
    pub(crate) properties: usize,
    /// The number of those that a limit on properties counts.
    pub(crate) counted: usize,
    /// The number of operands in its quarantine.
    pub(crate) quarantined: usize,
}

/// Checks every byte of a row.
///
/// # Errors
///
/// As [`decode_profile`].
pub(crate) fn inspect(bytes: &[u8]) -> Result<RowInfo> {
    let mut entries = Vec::new();
    let row = Operand::check(bytes, &mut entries).map_err(corrupt)?;
    let Presence::Known(life) = row.presence else {
        return Err(corrupt(Malformed("an operand in place of a row")));
    };
    Ok(RowInfo {
        version: bytes.first().map_or(0, |tag| tag & 0x0f),
        exists: life.is_some(),
        properties: entries.len(),
        counted: entries.iter().filter(|entry| is_counted(entry.name)).count(),
        quarantined: row.quarantine.len(),
    })
}

/// Whether the profile of a row exists, or its quarantine is not empty.
///
/// # Errors
///
/// As [`decode_profile`].
pub(crate) fn row_exists(bytes: &[u8]) -> Result<bool> {
    let row = Operand::head(bytes).map_err(corrupt)?;
    Ok(row.presence != Presence::Known(None) || row.quarantine.len() > 0)
}
