//! Parsing of update objects: the key of the profile, and the change.

use super::envelope::{Envelope, bare};
use super::operand::{UpdateBuilder, storable};
use super::parse::{Parse, ParseError, RecordParts, RecordWrite, WireRecord, from_slice};
use super::reject::{Outcome, Reject};
use super::rules::{Endpoint, Rules};
use super::scalar::{id_text, missing, time_of};
use crate::limits::Limits;
use crate::model::{Kind, ProfileKey, Timestamp, Value};
use crate::ops::{Change, Note, Op, Operator, Update, excerpt};

const LAST_SEEN: &str = "$last_seen";

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
}

impl Record {
    /// A record that was made from another format, for [`Importer::records`](crate::Importer::records).
    #[must_use]
    pub fn new(key: ProfileKey, change: impl Into<Change>) -> Self {
        Self { key, change: change.into(), notes: Vec::new(), line: None }
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

    fn from_envelope(mut envelope: Envelope, rules: &Rules) -> Outcome<Self> {
        let key = identify(&mut envelope, rules)?;
        match change(envelope, key.kind(), rules) {
            Ok((change, notes)) => Ok(Self { key, change, notes, line: None }),
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

    fn parse(text: &[u8], rules: &Rules) -> Result<Self, ParseError> {
        Self::from_envelope(Envelope::from_slice(text)?, rules).map_err(ParseError::Invalid)
    }

    fn set_line(&mut self, line: u64) {
        self.line = Some(line);
    }

    fn into_parts(self) -> RecordParts {
        let Self { key, change, notes, line } = self;
        let id = key.id().to_owned();
        RecordParts { line, id, insert_id: None, notes, write: RecordWrite::Change(key, change) }
    }
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
        Endpoint::Any => group,
        Endpoint::Engage => false,
        Endpoint::Groups => true,
    };
    if !group {
        return Ok(ProfileKey::user(profile_id("$distinct_id", envelope.distinct_id.take())?)?);
    }
    let id = profile_id("$group_id", envelope.group_id.take());
    let key = match envelope.group_key.take() {
        Some(Value::String(key)) => Kind::group(key).map_err(Reject::from),
        None | Some(Value::Null) => Err(missing("$group_key")),
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
    let time = envelope.time.take().map(|time| time_of("$time", &time, rules)).transpose()?;
    let operands = std::mem::take(&mut envelope.operands);
    if operands.is_empty() {
        return match (envelope.properties.take(), envelope.unknown.take()) {
            (Some(properties), _) => exported(properties, rules).map(|update| (Change::Update(update), Vec::new())),
            (None, Some(name)) => Err(Reject::at(name.as_str(), format!("unknown operator operator={name:?}"))),
            (None, None) => Err(Reject::invalid("the object has no operator")),
        };
    }
    let several = operands.len() > 1;
    let deletes = operands.iter().any(|(operator, _)| *operator == Operator::Delete);
    if several && (deletes || rules.is_strict()) {
        let names: Vec<_> = operands.iter().map(|(operator, _)| operator.name()).collect();
        return Err(Reject::invalid(format!("one operator at a time operators={}", names.join(","))));
    }
    if deletes {
        // The operand has no meaning: client libraries send null, "", false, {} and the id itself.
        return Ok((Change::Delete, Vec::new()));
    }
    let only = operands.iter().map(|(operator, _)| *operator).next().filter(|_| !several);
    let mut seen = None;
    let group = kind.group_key().is_some();
    let mut build = UpdateBuilder { rules, group, update: Update::new(), notes: Vec::new() };
    for (operator, operand) in operands {
        if operator == Operator::Set && envelope.ignore_time {
            seen = explicit_last_seen(operator.name(), &operand)?;
        }
        build.operator(operator, operand)?;
    }
    let UpdateBuilder { mut update, notes, .. } = build;
    update = match (envelope.ignore_time, seen, time) {
        // An exported profile is restored, with its time.
        (true, Some(seen), _) => update.at(seen),
        (true, None, _) => update.ignore_time(),
        (false, _, Some(time)) => update.at(time),
        (false, _, None) => update,
    };
    Ok((Change::Update(admit(update, only.map(Operator::name), rules)?), notes))
}

/// The update that restores an exported profile: sets all properties, and `$last_seen`.
fn exported(properties: Value, rules: &Rules) -> Result<Update, Reject> {
    const FIELD: &str = "$properties";
    let seen = explicit_last_seen(FIELD, &properties)?;
    let Value::Object(properties) = properties else {
        return Err(Reject::at(FIELD, format!("$properties is an object type={}", bare(&properties))));
    };
    // The profile existed, so it is created even without properties, also that of a group.
    let mut update = Update::new().create();
    for (name, value) in storable(properties) {
        update.push(name, Op::Set(value));
    }
    update = match seen {
        Some(seen) => update.at(seen),
        None => update.ignore_time(),
    };
    admit(update, Some(FIELD), rules)
}

fn admit(update: Update, place: Option<&str>, rules: &Rules) -> Result<Update, Reject> {
    update.admit_as(rules.bounds(), rules.limits_id()).map_err(|error| {
        let mut reject = Reject::from(error);
        // With several operators, the error does not tell which of them has the property.
        if let (Some(place), Some(name)) = (place, &reject.field) {
            reject.field = Some(format!("{place}.{name}").into());
        }
        reject
    })
}

/// The `$last_seen` among the properties, if there is one.
fn explicit_last_seen(place: &str, properties: &Value) -> Result<Option<Timestamp>, Reject> {
    let Some(value) = properties.as_object().and_then(|object| object.get(LAST_SEEN)) else {
        return Ok(None);
    };
    let field = || format!("{place}.{LAST_SEEN}");
    match value {
        Value::String(text) => match Timestamp::parse(text) {
            Ok(time) => Ok(Some(time)),
            Err(_) => {
                let reason = format!("$last_seen has the shape YYYY-MM-DDTHH:MM:SS value={:?}", excerpt(text));
                Err(Reject::at(field(), reason))
            }
        },
        other => Err(Reject::at(field(), format!("$last_seen is a string type={}", bare(other)))),
    }
}
