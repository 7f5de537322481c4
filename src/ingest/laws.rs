//! Properties of the parsers that hold for every input, as callable code.

use std::fmt;

use super::event::EventRecord;
use super::parse::WireRecord;
use super::reader::Records;
use super::record::Record;
use super::reject::Outcome;
use super::rules::Rules;
use crate::limits::Limits;
use crate::model::Timestamp;

/// A time with milliseconds, for rules with a clock.
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

/// Strict rules accept what lenient rules accept without a note, and with the same result; only that an `$insert_id`
/// is missing needs no note. Whatever was accepted, under any rules, is parsed from its own serialization as the same
/// event.
///
/// # Errors
///
/// What differed.
pub fn check_event_wire(input: &[u8]) -> Result<(), String> {
    for rules in [Rules::new(), Rules::new().now(NOW), Rules::new().limits(Limits::unbounded())] {
        for (lenient, strict) in read_both::<EventRecord>(input, &rules)? {
            if let Ok(record) = &lenient {
                check_round_trip(record, &rules)?;
            }
            if let Ok(record) = &strict {
                check_round_trip(record, &rules.clone().strict(true))?;
            }
            let is_complete = lenient.as_ref().is_ok_and(|record| record.event.insert_id().is_some());
            check_strictness(lenient, strict, is_complete, |record| {
                (format!("{:?}", record.event), record.notes.len())
            })?;
        }
    }
    Ok(())
}

/// Strict rules accept exactly what lenient rules accept without a note, and with the same result.
///
/// # Errors
///
/// What differed.
pub fn check_update_wire(input: &[u8]) -> Result<(), String> {
    for rules in [Rules::new(), Rules::new().now(NOW).add_on_groups(true), Rules::new().limits(Limits::unbounded())] {
        for (lenient, strict) in read_both::<Record>(input, &rules)? {
            check_strictness(lenient, strict, true, |record| {
                (format!("{:?} {:?}", record.key, record.change), record.notes.len())
            })?;
        }
    }
    Ok(())
}

type Both<T> = (Outcome<T>, Outcome<T>);

/// All outcomes up to the end, or to a failure of the reader, under lenient rules and under strict ones.
fn read_both<T: WireRecord>(input: &[u8], rules: &Rules) -> Result<Vec<Both<T>>, String> {
    let read = |rules: Rules| Records::<_, T>::of(input, rules).map_while(Result::ok).collect::<Vec<_>>();
    let (lenient, strict) = (read(rules.clone()), read(rules.clone().strict(true)));
    if lenient.len() != strict.len() {
        return Err(format!("lenient {} records, strict {}", lenient.len(), strict.len()));
    }
    Ok(lenient.into_iter().zip(strict).collect())
}

/// `shown` is the result and the number of notes. A record that is not complete may be refused without a note.
fn check_strictness<T: fmt::Debug>(
    lenient: Outcome<T>,
    strict: Outcome<T>,
    is_complete: bool,
    shown: impl Fn(&T) -> (String, usize),
) -> Result<(), String> {
    let holds = match (lenient.as_ref().map(&shown), strict.as_ref().map(&shown)) {
        (Ok((record, 0)), Ok((other, 0))) => record == other,
        (Ok((_, notes)), Err(_)) => notes > 0 || !is_complete,
        (Err(_), Err(_)) => true,
        (_, Ok(_)) => false,
    };
    if holds { Ok(()) } else { Err(format!("strict {strict:?} lenient {lenient:?}")) }
}

fn check_round_trip(record: &EventRecord, rules: &Rules) -> Result<(), String> {
    let event = &record.event;
    // `1e9` is longer when it is serialized, and only the length of the text may depend on that.
    let mut limits = rules.bounds().clone();
    limits.event_bytes_max = usize::MAX;
    let rules = rules.clone().limits(limits);
    let text = serde_json::to_string(event).map_err(|error| format!("{error} from {event:?}"))?;
    let back = EventRecord::from_slice(text.as_bytes(), &rules).map_err(|reject| format!("{reject} in {text}"))?;
    let again = serde_json::to_string(&back.event).map_err(|error| format!("{error} from {back:?}"))?;
    // The texts tell `1` from `1.0`, which are equal.
    if back.event == *event && again == text { Ok(()) } else { Err(format!("{event:?} came back as {back:?}")) }
}
