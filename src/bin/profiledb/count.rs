//! The command `count`: questions about profiles alone.

use std::collections::BTreeSet;
use std::path::Path;

use profiledb::join::{Answer, Breakdown, Field, GroupBy, Measure};
use profiledb::{Kind, Number, Value};

use crate::args::CountArgs;
use crate::bar::Spinner;
use crate::failure::Failure;
use crate::get;
use crate::join;
use crate::known;
use crate::names;
use crate::open;
use crate::scope;

/// Counts profiles and prints the buckets.
pub(crate) fn run(dir: &Path, count: &CountArgs) -> Result<(), Failure> {
    let kind = count.of.kind()?;
    let filter = scope::read_filter(count.filter.as_deref())?;
    let field = |name: String| {
        Ok::<_, Failure>(match kind.group_key() {
            Some(key) => Field::group(key, name)?,
            None => Field::user(name),
        })
    };
    let by = join::breakdowns("--by", names::grouped(&count.by), |text| {
        let Some((name, width)) =
            text.strip_prefix("bucket(").and_then(|text| text.strip_suffix(')')?.rsplit_once(','))
        else {
            return Ok(Breakdown::new(field(names::property(text)?)?));
        };
        let width: Number = width.trim().parse()?;
        Ok(Breakdown::new(field(names::property(name.trim())?)?).intervals(width)?)
    })?;
    let measures = count.measures.read(|text| field(names::property(text)?))?;
    let explained = join::explained(count.explain, &count.shape)?;
    let destination = count.shape.destination(dir)?;
    let db = open::to_read(dir)?;
    known::table(&db, &kind)?;
    let snapshot = db.snapshot();
    let query = snapshot.profiles(&kind);
    let query = filter.into_iter().fold(query, |query, expr| query.filter(expr));
    let query = measures.iter().cloned().fold(query.group_by(by.clone()), GroupBy::measure);
    if let Some(format) = explained {
        return join::explain(&query.explain()?, format);
    }
    let query = count.top.into_iter().fold(query, GroupBy::top);
    let query = count.buckets_max.into_iter().fold(query, GroupBy::buckets_max);
    let memory = count.memory.map(|memory| usize::from(memory) << 20);
    let query = memory.into_iter().fold(query, GroupBy::memory_bytes);
    let answer = Spinner::new("counting").during(|| query.answer())?;
    join::buckets(&answer, destination)?;
    let unseen = unseen(&kind, &by, &measures, &answer);
    if unseen.is_empty() { Ok(()) } else { known::columns(&snapshot.table(&kind), &unseen) }
}

/// The properties that the answer has nothing of, which may be because of their names.
fn unseen<'f>(kind: &Kind, by: &'f [Breakdown], measures: &'f [Measure], answer: &Answer) -> BTreeSet<&'f str> {
    let by = by
        .iter()
        .enumerate()
        .filter(|(at, _)| answer.buckets().iter().all(|bucket| bucket.by.get(*at).is_none_or(Option::is_none)));
    let is_nothing = |value: &Value| value.is_null() || value.as_number().is_some_and(Number::is_zero);
    let measures = measures
        .iter()
        .enumerate()
        .filter(|(at, _)| answer.buckets().iter().all(|bucket| bucket.measures.get(*at).is_none_or(is_nothing)));
    let fields = by.map(|(_, breakdown)| breakdown.field()).chain(measures.filter_map(|(_, measure)| measure.field()));
    // Those that every id has, or may have.
    let always = ["$distinct_id", kind.id_field(), get::LAST_SEEN, get::FIRST_EVENT];
    fields.map(Field::name).filter(|name| !always.contains(name)).collect()
}
