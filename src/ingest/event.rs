//! Parsing of event objects.
//!
//! ```text
//! {"event":"purchase", "properties":{"time":1700000000, "distinct_id":"alice", "$insert_id":"a-1", "amount":12.5}}
//! ```

use super::envelope::{bare, is_on, object_of, value_of};
use super::origin::Origin;
use super::parse::{Parse, ParseError, RecordParts, RecordWrite, WireRecord, from_slice};
use super::reject::{Outcome, Reject};
use super::repair::Repair;
use super::rules::{Endpoint, Rules};
use super::scalar::{id_text, missing, time_of};
use crate::limits::{ID_BYTES_MAX, Limits};
use crate::model::{Event, Object, Timestamp, Value};
use crate::ops::{Note, excerpt, is_bad_id};

const TIME: &str = "properties.time";
const DISTINCT_ID: &str = "properties.distinct_id";
const INSERT_ID: &str = "properties.$insert_id";

/// The longest `$insert_id` of the documented form, in bytes. Source: Mixpanel, Import Events.
const INSERT_ID_BYTES_MAX: usize = 36;

/// An event object that was parsed and admitted.
///
/// ```
/// use profiledb::{Timestamp, ingest::{EventRecord, Rules}};
///
/// let text = br#"{"event":"visit","properties":{"time":4102444800,"distinct_id":"alice","$insert_id":""}}"#;
/// let now = Timestamp::from_seconds(1_700_000_000);
/// let record = EventRecord::from_slice(text, &Rules::new().now(now))?;
/// assert_eq!((record.event.time(), record.event.insert_id()), (now, None));
/// let fields: Vec<_> = record.notes.iter().map(|note| note.field.as_str()).collect();
/// assert_eq!(fields, ["properties.time", "properties.$insert_id"]);
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct EventRecord {
    /// The event.
    pub event: Event,
    /// What was tolerated. Empty under strict rules.
    pub notes: Vec<Note>,
    /// The line on which the record starts, counted from 1, if it was read by [`Records`](super::Records) or from a
    /// request body.
    pub line: Option<u64>,
    /// Where it comes from, if the rules say to read that.
    pub origin: Origin,
}

impl EventRecord {
    /// A record that was made from another format, for [`Importer::records`](crate::Importer::records).
    #[must_use]
    pub fn new(event: Event) -> Self {
        Self { event, notes: Vec::new(), line: None, origin: Origin::default() }
    }

    /// Parses the JSON text of an event object.
    ///
    /// # Errors
    ///
    /// A [`Reject`] without a line, when the text is longer than [`event_bytes_max`](Limits::event_bytes_max), is not
    /// a valid JSON object in UTF-8, or cannot be appended.
    pub fn from_slice(bytes: &[u8], rules: &Rules) -> Outcome<Self> {
        from_slice(bytes, rules)
    }

    /// Converts an event object that was decoded already.
    ///
    /// # Errors
    ///
    /// A [`Reject`] without a line, when it cannot be appended.
    pub fn from_value(value: Value, rules: &Rules) -> Outcome<Self> {
        Self::from_repaired(value, Vec::new(), rules)
    }

    fn from_repaired(value: Value, repairs: Vec<Repair>, rules: &Rules) -> Outcome<Self> {
        let mut object = object_of(value)?;
        if is_update(&object) {
            return Err(Reject::at("event", "the object is an update, not an event; \"import\" takes updates"));
        }
        let name = name_of(object.remove("event"));
        let properties = match object.remove("properties") {
            Some(Value::Object(properties)) => with_user(name.as_deref().unwrap_or_default(), properties),
            // Without properties and without a name, the missing name is reported.
            other => return Err(name.err().unwrap_or_else(|| no_properties(other.as_ref()))),
        };
        let mut record = Self::new(Event::new("", "", Timestamp::from_seconds(0)));
        let filled = record.fill(name, EventFields::of(properties), repairs, rules);
        match filled.and_then(|()| record.take_others(object, rules)) {
            Ok(()) => Ok(record),
            Err(reject) => Err(record.with_context(reject)),
        }
    }

    /// Notes the entries that are not part of an event.
    fn take_others(&mut self, others: Object, rules: &Rules) -> Result<(), Reject> {
        let others = others.into_iter().filter(|(name, value)| !value.is_null() && name != "$mp_metadata");
        for (name, value) in others {
            let reject = Reject::at(&name, format!("an event has its name and its properties key={name:?}"));
            rules.warn_or_reject(&mut self.notes, reject, "ignored", Some(&value))?;
        }
        Ok(())
    }

    fn fill(
        &mut self,
        name: Result<String, Reject>,
        parts: EventFields,
        repairs: Vec<Repair>,
        rules: &Rules,
    ) -> Result<(), Reject> {
        // The ids come first, so that all other errors can name the event.
        let user = id_text(DISTINCT_ID, parts.distinct_id).map(|id| {
            let found = id.is_some();
            self.event.distinct_id = id.unwrap_or_default();
            found
        });
        let insert_id = id_text(INSERT_ID, parts.insert_id).map(|id| self.event.insert_id = id);
        if rules.reads_origin() {
            self.origin = Origin::new(parts.token, parts.ip);
        }
        self.event.name = name?;
        rules.take_repairs(repairs, &mut self.notes)?;
        if parts.ignore {
            return Err(Reject::at("properties.$ignore", "the event asks to be dropped"));
        }
        if !user? {
            return Err(missing(DISTINCT_ID));
        }
        self.event.time = self.time(parts.time, rules)?;
        insert_id?;
        self.check_insert_id(rules)?;
        self.event.properties = parts.properties;
        self.admit(rules)
    }

    /// The time of the event. Without one, or with one in the future, it is set to now.
    fn time(&mut self, value: Option<Value>, rules: &Rules) -> Result<Timestamp, Reject> {
        if let Some(value) = value {
            return time_of(TIME, &value, rules, &mut self.notes);
        }
        match rules.current_time() {
            Some(now) if rules.where_sent() != Endpoint::Import => {
                rules.warn_or_reject(&mut self.notes, missing(TIME), "set to now", None)?;
                Ok(now)
            }
            _ => Err(missing(TIME)),
        }
    }

    /// Removes an `$insert_id` that is not unique: events with it would replace each other.
    fn check_insert_id(&mut self, rules: &Rules) -> Result<(), Reject> {
        let warn = |notes: &mut Vec<Note>, id: &str, reason: String, consequence: &str| {
            rules.warn_or_reject(notes, Reject::at(INSERT_ID, reason), consequence, Some(&id.into()))
        };
        match self.event.insert_id.as_deref() {
            // The store makes one.
            None if !rules.is_strict() => {}
            None => return Err(missing(INSERT_ID)),
            Some("") => {
                rules.warn_or_reject(&mut self.notes, missing(INSERT_ID), "left out", Some(&"".into()))?;
                self.event.insert_id = None;
            }
            Some(id) if is_bad_id(id) => {
                warn(
                    &mut self.notes,
                    id,
                    format!("an id that broken clients send for all users value={id:?}"),
                    "left out",
                )?;
                self.event.insert_id = None;
            }
            Some(id) if !has_documented_form(id) => {
                let form = format!("$insert_id has at most {INSERT_ID_BYTES_MAX} letters, digits and dashes");
                warn(&mut self.notes, id, format!("{form} value={:?}", excerpt(id)), "kept")?;
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn admit(&mut self, rules: &Rules) -> Result<(), Reject> {
        let limits = rules.bounds();
        let crowded = self.event.properties.len() > limits.event_properties_max;
        // Without a clock, the future limit is not checked.
        let now = rules.current_time().unwrap_or(Timestamp::from_millis(i64::MAX));
        let mut excess = rules.excess(&mut self.notes, None);
        self.event.admit_in_place(limits, rules.limits_id(), now, &mut excess).map_err(|error| {
            let mut reject = Reject::from(error);
            // The name was checked, so only an excess of properties is reported on the event itself.
            reject.field = reject.field.map(|field| match &*field {
                "properties" if crowded => field,
                "event" if rules.is_strict() && self.event.name.len() > limits.string_chars_max => field,
                name => format!("properties.{name}").into(),
            });
            reject
        })
    }

    /// Adds the ids of the event to a reject.
    fn with_context(self, mut reject: Reject) -> Reject {
        let is_shown = |id: &String| (1..=ID_BYTES_MAX).contains(&id.len());
        reject.id = Some(self.event.distinct_id).filter(is_shown).map(String::into_boxed_str);
        reject.insert_id = self.event.insert_id.filter(is_shown).map(String::into_boxed_str);
        reject
    }
}

impl WireRecord for EventRecord {}

impl Parse for EventRecord {
    const PLURAL: &str = "events";

    fn bytes_max(limits: &Limits) -> usize {
        limits.event_bytes_max
    }

    fn parse(text: &[u8], rules: &Rules) -> Result<Self, ParseError> {
        let (value, repairs) = value_of(text)?;
        Ok(Self::from_repaired(value, repairs, rules)?)
    }

    fn set_line(&mut self, line: u64) {
        self.line = Some(line);
    }

    fn into_parts(self) -> RecordParts {
        let Self { event, notes, line, origin: _ } = self;
        let (id, insert_id) = (event.distinct_id.clone(), event.insert_id.clone());
        RecordParts { line, id, insert_id, notes, write: RecordWrite::Event(event) }
    }
}

/// The entries of the properties, by their meaning.
#[derive(Default)]
struct EventFields {
    time: Option<Value>,
    distinct_id: Option<Value>,
    insert_id: Option<Value>,
    token: Option<Value>,
    ip: Option<Value>,
    ignore: bool,
    properties: Object,
}

impl EventFields {
    fn of(properties: Object) -> Self {
        let mut parts = Self::default();
        for (name, value) in properties {
            match name.as_str() {
                // Null is absent.
                "time" | "distinct_id" | "$insert_id" if value.is_null() => {}
                "time" => parts.time = Some(value),
                "distinct_id" => parts.distinct_id = Some(value),
                "$insert_id" => parts.insert_id = Some(value),
                "token" => parts.token = Some(value),
                "ip" => parts.ip = Some(value),
                "$ignore" if is_on(&value) => parts.ignore = true,
                _ => drop(parts.properties.insert(name, value)),
            }
        }
        parts
    }
}

/// The events of identity may come without a user: theirs is the one that they identify.
fn with_user(name: &str, mut properties: Object) -> Object {
    const USER: &str = "distinct_id";
    if properties.get(USER).is_some_and(|id| !id.is_null()) {
        return properties;
    }
    let user = match name {
        "$identify" => properties.get("$identified_id"),
        "$merge" => properties.get("$distinct_ids").and_then(|ids| ids.as_list()?.first()),
        _ => None,
    };
    if let Some(user) = user.cloned() {
        properties.insert(USER, user);
    }
    properties
}

fn name_of(value: Option<Value>) -> Result<String, Reject> {
    const FIELD: &str = "event";
    match value {
        Some(Value::String(name)) if !name.is_empty() => Ok(name),
        None | Some(Value::Null | Value::String(_)) => Err(missing(FIELD)),
        Some(other) => Err(Reject::at(FIELD, format!("event is a string type={}", bare(&other)))),
    }
}

/// Whether an object without the parts of an event has the id of a profile.
fn is_update(object: &Object) -> bool {
    let has = |name| object.get(name).is_some();
    !has("event") && !has("properties") && (has("$distinct_id") || has("$group_id"))
}

fn no_properties(value: Option<&Value>) -> Reject {
    const FIELD: &str = "properties";
    match value {
        None | Some(Value::Null) => missing(FIELD),
        Some(other) => Reject::at(FIELD, format!("properties is an object type={}", bare(other))),
    }
}

fn has_documented_form(id: &str) -> bool {
    id.len() <= INSERT_ID_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
