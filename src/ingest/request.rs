//! Request bodies: the records of one HTTP request, as `/engage`, `/groups` and `/import` take them.

use super::event::EventRecord;
use super::frame::{Frame, Framer};
use super::parse::{ParseError, WireRecord};
use super::record::Record;
use super::reject::{Outcome, Reject};
use super::rules::Rules;
use crate::error::{Error, Result};

/// Parses a request body: one update object, or an array of them. Newline-delimited objects are accepted as well.
///
/// A bad record is rejected and does not affect the others. A body that is not valid JSON is rejected as a whole,
/// because it was damaged on the way and the client will send it again.
///
/// ```
/// use profiledb::ingest::{Rules, parse_request};
///
/// let body = br#"[{"$distinct_id":"alice","$set":{"plan":"pro"}},{"$set":{"plan":"pro"}}]"#;
/// let outcomes = parse_request(body, &Rules::new())?;
/// assert_eq!(outcomes.len(), 2);
/// assert_eq!(outcomes[1].as_ref().unwrap_err().reason, "$distinct_id, missing or empty");
/// # Ok::<(), profiledb::Error>(())
/// ```
///
/// # Errors
///
/// [`Invalid`](crate::ErrorKind::Invalid) when the body is empty or no valid JSON, and
/// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) when it holds more than
/// [`updates_per_request_max`](crate::Limits::updates_per_request_max) records. Nothing of the body must be applied
/// then.
pub fn parse_request(body: &[u8], rules: &Rules) -> Result<Vec<Outcome<Record>>> {
    parse_body(body, rules)
}

/// Parses a request body of events: one event object, an array of them, or newline-delimited objects. Damage is handled
/// as by [`parse_request`].
///
/// ```
/// use profiledb::ingest::{Rules, parse_events};
///
/// let body = br#"[{"event":"visit","properties":{"time":1700000000,"distinct_id":"alice"}},{"event":""}]"#;
/// let outcomes = parse_events(body, &Rules::new())?;
/// assert_eq!(outcomes[0].as_ref().expect("an event").event.name(), "visit");
/// assert_eq!(outcomes[1].as_ref().expect_err("no name").reason, "event, missing or empty");
/// # Ok::<(), profiledb::Error>(())
/// ```
///
/// # Errors
///
/// As those of [`parse_request`].
pub fn parse_events(body: &[u8], rules: &Rules) -> Result<Vec<Outcome<EventRecord>>> {
    parse_body(body, rules)
}

fn parse_body<T: WireRecord>(body: &[u8], rules: &Rules) -> Result<Vec<Outcome<T>>> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::invalid("data, missing or empty").at("data"));
    }
    let records_max = rules.bounds().updates_per_request_max;
    let mut framer = Framer::new(body, T::bytes_max(rules.bounds()));
    let mut outcomes = Vec::new();
    while let Some(frame) = framer.next()? {
        if outcomes.len() >= records_max {
            return Err(Error::limit(format!("a request has at most {records_max} {}", T::PLURAL)));
        }
        let index = outcomes.len() as u64;
        outcomes.push(match frame {
            Frame::Record { line, bytes } => match T::parse(bytes, rules) {
                Ok(mut record) => {
                    record.set_line(line);
                    Ok(record)
                }
                Err(ParseError::Invalid(reject)) => Err(reject.with_position(line, index).with_text(bytes)),
                Err(ParseError::NotJson(reject)) => return Err(reject.with_position(line, index).into()),
            },
            Frame::Broken { line, bytes, cut_from, error } if error.is_limit_exceeded() => {
                Err(Reject::from(error).with_position(line, index).with_kept(bytes, cut_from))
            }
            Frame::Broken { line, error, .. } => return Err(Reject::from(error).with_position(line, index).into()),
        });
    }
    Ok(outcomes)
}
