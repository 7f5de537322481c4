//! Parsing of update objects: the key of the profile, and the change.

use super::envelope::{Envelope, bare};
use super::operand::{UpdateBuilder, leave_out};
use super::origin::Origin;
use super::parse::{Parse, ParseError, RecordParts, RecordWrite, WireRecord, from_slice, too_long};
use super::reject::{Outcome, Reject};
use super::rules::{Endpoint, Rules};
use super::scalar::{flag, id_text, missing, numeric, read_time, time_of};
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::model::{FIRST_EVENT, Kind, LAST_SEEN, ProfileKey, Timestamp, Value};
use crate::ops::{Change, Excess, Note, Op, Operator, Restored, Update, is_reserved};

/// An update object that was parsed and admitted.
///
/// ```
/// use profiledb::{Profile, ProfileKey, Change, ingest::{Record, Rules}};
///
/// let text = br#"{"$token":"t","$distinct_id":"alice","$add":{"logins":1},"$time":1700000000}"#;
/// let record = Record::from_slice(text, &Rules::new())?;
/// assert_eq!(record.key, ProfileKey::user("alice")?);
/// let Change::Update(update) = &record.change else { panic!("no $delete here") };
/// let profile = Profile::fold([update]).expect("$add creates");
/// assert_eq!(profile.get("logins"), Some(&1.into()));
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Record {
    /// The key of the profile.
    pub key: ProfileKey,
    /// The change of the profile.
    pub change: Change,
    /// What was tolerated. Empty under strict rules.
    pub notes: Vec<Note>,
    /// The line on which the record starts, counted from 1, if it was read by [`Records`](super::Records) or from a
    /// request body.
    pub line: Option<u64>,
    /// Where it comes from, if the rules say to read that.
    pub origin: Origin,
}

impl Record {
    /// A record that was made from another format, for [`Importer::records`](crate::Importer::records).
    #[must_use]
    pub fn new(key: ProfileKey, change: impl Into<Change>) -> Self {
        Self { key, change: change.into(), notes: Vec::new(), line: None, origin: Origin::default() }
    }

    /// Parses the JSON text of an update object.
    ///
    /// # Errors
    ///
    /// A [`Reject`] without a line, when the text is longer than
    /// [`update_bytes_max`](crate::Limits::update_bytes_max), is not a valid JSON object in UTF-8, or cannot be
    /// applied.
    pub fn from_slice(bytes: &[u8], rules: &Rules) -> Outcome<Self> {
        from_slice(bytes, rules)
    }

    /// Converts an update object that was decoded already.
    ///
    /// # Errors
    ///
    /// A [`Reject`] without a line, when it cannot be applied.
    pub fn from_value(value: Value, rules: &Rules) -> Outcome<Self> {
        Self::from_envelope(Envelope::from_value(value)?, rules)
    }

    fn from_envelope(envelope: Envelope, rules: &Rules) -> Outcome<Self> {
        let mut envelope = envelope.without_nulls();
        let has = |name| envelope.unknown.iter().any(|(unknown, _)| unknown == name);
        if envelope.distinct_id.is_none() && envelope.group_id.is_none() && has("event") && has("properties") {
            return Err(Reject::at("event", "the object is an event, not an update; \"track\" takes events"));
        }
        let key = identify(&mut envelope, rules)?;
        let origin = if rules.reads_origin() { origin(&mut envelope) } else { Origin::default() };
        match change(envelope, key.kind(), rules) {
            Ok((change, notes)) => Ok(Self { key, change, notes, line: None, origin }),
            Err(reject) => Err(reject.with_id(key.id())),
        }
    }
}

impl WireRecord for Record {}

impl Parse for Record {
    const PLURAL: &str = "updates";

    fn bytes_max(limits: &Limits) -> usize {
        limits.update_bytes_max
    }

    fn may_be_longer(text: &[u8]) -> bool {
        // Inside of a string, the quotes would be escaped.
        memchr::memmem::find(text, br#""$properties":"#).is_some()
    }

    fn parse(text: &[u8], rules: &Rules) -> Result<Self, ParseError> {
        let record = Self::from_envelope(Envelope::from_slice(text, rules.reads_origin())?, rules)?;
        let is_restored = matches!(&record.change, Change::Update(update) if update.restored().is_some());
        let bytes_max = rules.bounds().update_bytes_max;
        if text.len() > bytes_max && !is_restored {
            let reject = Reject::new(ErrorKind::LimitExceeded, None, too_long(bytes_max, text.len() as u64));
            return Err(reject.with_id(record.key.id()).into());
        }
        Ok(record)
    }

    fn set_line(&mut self, line: u64) {
        self.line = Some(line);
    }

    fn into_parts(self) -> RecordParts {
        let Self { key, change, notes, line, origin: _ } = self;
        let id = key.id().to_owned();
        RecordParts { line, id, insert_id: None, notes, write: RecordWrite::Change(key, change) }
    }
}

fn origin(envelope: &mut Envelope) -> Origin {
    let is_set = |operator: &Operator| matches!(operator, Operator::Set | Operator::SetOnce);
    let mut sets = envelope.operands.iter().filter(|(operator, _)| is_set(operator)).map(|(_, operand)| operand);
    // Several client libraries put the address among the properties.
    let inner = || sets.clone().find_map(|operand| operand.as_object()?.get("$ip").cloned());
    let ip = envelope.ip.take().or_else(inner);
    let coordinates = match (envelope.latitude.take(), envelope.longitude.take()) {
        (Some(Value::Number(latitude)), Some(Value::Number(longitude))) => Some((latitude, longitude)),
        _ => None,
    };
    let sets = sets.any(|operand| !operand.is_null());
    Origin { sets, coordinates, ..Origin::new(envelope.token.take(), ip) }
}

/// Determines the key of the profile.
fn identify(envelope: &mut Envelope, rules: &Rules) -> Result<ProfileKey, Reject> {
    let group = envelope.group_key.is_some() || envelope.group_id.is_some();
    if envelope.distinct_id.is_some() && group {
        let reject = Reject::at("$distinct_id", "an object is about a user or about a group, not both");
        return Err(match profile_id("$distinct_id", envelope.distinct_id.take()) {
            Ok(id) => reject.with_id(&id),
            Err(_) => reject,
        });
    }
    let group = match rules.where_sent() {
        Endpoint::Any | Endpoint::Import => group,
        Endpoint::Engage => false,
        Endpoint::Groups => true,
    };
    if !group {
        return Ok(ProfileKey::user(profile_id("$distinct_id", envelope.distinct_id.take())?)?);
    }
    let id = profile_id("$group_id", envelope.group_id.take());
    let key = match envelope.group_key.take() {
        Some(Value::String(key)) => Kind::group(key).map_err(Reject::from),
        None => Err(missing("$group_key")),
        Some(other) => Err(Reject::at("$group_key", format!("a group key is a string type={}", bare(&other)))),
    };
    match (key, id) {
        (Ok(kind), Ok(id)) => Ok(ProfileKey::new(kind, id)?),
        (Err(reject), Ok(id)) => Err(reject.with_id(&id)),
        (Err(reject), Err(_)) | (Ok(_), Err(reject)) => Err(reject),
    }
}

/// The id of a profile, which is required.
fn profile_id(field: &str, value: Option<Value>) -> Result<String, Reject> {
    id_text(field, value)?.filter(|id| !id.is_empty()).ok_or_else(|| missing(field))
}

/// Determines the change.
fn change(mut envelope: Envelope, kind: &Kind, rules: &Rules) -> Result<(Change, Vec<Note>), Reject> {
    let mut notes = Vec::new();
    rules.take_repairs(std::mem::take(&mut envelope.repairs), &mut notes)?;
    let operators = operators(&mut envelope, rules, &mut notes)?;
    if operators.is_empty() && envelope.properties.is_none() {
        return Err(no_operator(&envelope));
    }
    ignore_others(&envelope, !operators.is_empty(), rules, &mut notes)?;
    let ignore_time = flag("$ignore_time", envelope.ignore_time.as_ref(), rules, &mut notes)?;
    let time = envelope.time.take().map(|time| time_of("$time", &time, rules, &mut notes)).transpose()?;
    if operators.is_empty() {
        let properties = envelope.properties.take().unwrap_or_default();
        return exported(properties, rules, &mut notes).map(|update| (Change::Update(update), notes));
    }
    if operators.iter().any(|(operator, _)| *operator == Operator::Delete) {
        // The operand has no meaning: client libraries send null, "", false, {} and the id itself.
        return Ok((Change::Delete, notes));
    }
    let only = operators.iter().map(|(operator, _)| *operator).next().filter(|_| operators.len() == 1);
    let mut seen = None;
    let group = kind.group_key().is_some();
    let mut build = UpdateBuilder { rules, group, ignore_time, update: Update::new(), notes };
    for (operator, operand) in operators {
        if operator == Operator::Set && ignore_time {
            seen = explicit_time(operator.name(), LAST_SEEN, &operand, rules, &mut build.notes)?;
        }
        build.operator(operator, operand)?;
    }
    let UpdateBuilder { mut update, mut notes, .. } = build;
    update = match (ignore_time, seen, time) {
        // An exported profile is restored, with its time.
        (true, Some(seen), _) => update.at(seen),
        (true, None, _) => update.ignore_time(),
        (false, _, Some(time)) => update.at(time),
        (false, _, None) => update,
    };
    let excess = &mut rules.excess(&mut notes, None);
    Ok((Change::Update(admit(update, only.map(Operator::name), rules, excess)?), notes))
}

/// The operators and their operands. An operand that is null is absent, except for that of `$delete`.
fn operators(envelope: &mut Envelope, rules: &Rules, notes: &mut Vec<Note>) -> Result<Vec<(Operator, Value)>, Reject> {
    let mut operators = std::mem::take(&mut envelope.operands);
    let is_delete = |(operator, _): &(Operator, Value)| *operator == Operator::Delete;
    let deletes = operators.iter().any(is_delete);
    if !deletes {
        operators.retain(|(_, operand)| !operand.is_null());
    }
    if operators.len() > 1 {
        let names: Vec<_> = operators.iter().map(|(operator, _)| operator.name()).collect();
        let reject = Reject::invalid(format!("one operator at a time operators={}", names.join(",")));
        if deletes {
            return Err(reject);
        }
        rules.warn_or_reject(notes, reject, "applied in this order", None)?;
    }
    Ok(operators)
}

/// Notes the keys that have no meaning, or none next to others.
fn ignore_others(envelope: &Envelope, has_operator: bool, rules: &Rules, notes: &mut Vec<Note>) -> Result<(), Reject> {
    let export = (&envelope.properties, &envelope.time);
    let ignored = match (has_operator, export) {
        (true, (Some(value), _)) => Some(("$properties", "$properties restores an export, without an operator", value)),
        (false, (Some(_), Some(value))) => Some(("$time", "an export has its time in $last_seen", value)),
        _ => None,
    };
    if let Some((field, reason, value)) = ignored {
        rules.warn_or_reject(notes, Reject::at(field, reason), "ignored", Some(value))?;
    }
    for (name, value) in &envelope.unknown {
        let what = if name.starts_with('$') { "unknown operator operator" } else { "not a key of an update key" };
        rules.warn_or_reject(notes, Reject::at(name, format!("{what}={name:?}")), "ignored", Some(value))?;
    }
    Ok(())
}

/// The reject of an object that changes nothing.
fn no_operator(envelope: &Envelope) -> Reject {
    match envelope.unknown.iter().find(|(name, _)| name.starts_with('$')) {
        Some((name, _)) => Reject::at(name, format!("unknown operator operator={name:?}")),
        None => Reject::invalid("the object has no operator"),
    }
}

/// The update that restores an exported profile: sets all properties, `$last_seen` and `$mp_first_event_time`, whatever
/// the limits.
fn exported(properties: Value, rules: &Rules, notes: &mut Vec<Note>) -> Result<Update, Reject> {
    const FIELD: &str = "$properties";
    let seen = explicit_time(FIELD, LAST_SEEN, &properties, rules, notes)?;
    let first_event = explicit_time(FIELD, FIRST_EVENT, &properties, rules, notes)?;
    let Value::Object(properties) = properties else {
        return Err(Reject::at(FIELD, format!("$properties is an object type={}", bare(&properties))));
    };
    // The profile existed, so it is created even without properties, also that of a group.
    let mut update = Update::new().create();
    // A client is bound by the limits, whatever it sends.
    if rules.where_sent() == Endpoint::Any {
        update = update.restoring(Restored { first_event });
    }
    for (name, value) in properties {
        match &*name {
            // Both are read above.
            LAST_SEEN | FIRST_EVENT => {}
            _ if is_reserved(&name) => leave_out(FIELD, &name, Some(&value), rules, notes)?,
            _ => update.push(name, Op::Set(value)),
        }
    }
    update = match seen {
        Some(seen) => update.at(seen),
        None => update.ignore_time(),
    };
    admit(update, Some(FIELD), rules, &mut rules.excess(notes, Some(FIELD)))
}

/// Validates an update against the limits. `place` is the operator in the fields of errors.
pub(super) fn admit(
    update: Update,
    place: Option<&str>,
    rules: &Rules,
    excess: &mut Excess<'_>,
) -> Result<Update, Reject> {
    update.admit_as(rules.bounds(), rules.limits_id(), excess).map_err(|error| {
        let mut reject = Reject::from(error);
        // With several operators, the error does not tell which of them has the property.
        if let (Some(place), Some(name)) = (place, &reject.field) {
            reject.field = Some(format!("{place}.{name}").into());
        }
        reject
    })
}

/// The time of this name among the properties, if there is one. It is a text.
fn explicit_time(
    place: &'static str,
    name: &str,
    properties: &Value,
    rules: &Rules,
    notes: &mut Vec<Note>,
) -> Result<Option<Timestamp>, Reject> {
    let value = properties.as_object().and_then(|object| object.get(name));
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let field = format!("{place}.{name}");
    let time = read_time(&field, value)?;
    if value.as_str().is_none_or(|text| numeric(text).is_some()) {
        let reason = format!("{name} has the form YYYY-MM-DDTHH:MM:SS value={value}");
        rules.warn_or_reject(notes, Reject::at(field, reason), "converted", Some(value))?;
    }
    Ok(Some(time))
}
