//! Properties of the event parser that hold for every input, as callable code.

use super::event::EventRecord;
use super::reader::EventRecords;
use super::reject::Outcome;
use super::rules::Rules;
use crate::limits::Limits;
use crate::model::Timestamp;

/// A time with milliseconds, for rules with a clock.
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

/// What strict rules accept, lenient rules accept with the same result and without a note. Whatever was accepted,
/// under any rules, is parsed from its own serialization as the same event.
///
/// # Errors
///
/// What differed.
pub fn check_event_wire(input: &[u8]) -> Result<(), String> {
    for rules in [Rules::new(), Rules::new().now(NOW), Rules::new().limits(Limits::unbounded())] {
        let (lenient, strict) = (read(input, &rules), read(input, &rules.clone().strict(true)));
        if lenient.len() != strict.len() {
            return Err(format!("lenient {} records, strict {}", lenient.len(), strict.len()));
        }
        for (lenient, strict) in lenient.iter().zip(&strict) {
            if let Ok(record) = lenient {
                check_round_trip(record, &rules)?;
            }
            let Ok(record) = strict else { continue };
            check_round_trip(record, &rules.clone().strict(true))?;
            if !lenient.as_ref().is_ok_and(|other| other.event == record.event && other.notes.is_empty()) {
                return Err(format!("strict {record:?} lenient {lenient:?}"));
            }
        }
    }
    Ok(())
}

/// All outcomes up to the end, or to a failure of the reader.
fn read(input: &[u8], rules: &Rules) -> Vec<Outcome<EventRecord>> {
    EventRecords::of(input, rules.clone()).map_while(Result::ok).collect()
}

fn check_round_trip(record: &EventRecord, rules: &Rules) -> Result<(), String> {
    let event = &record.event;
    if rules.is_strict() && !record.notes.is_empty() {
        return Err(format!("strict rules forgave {record:?}"));
    }
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
