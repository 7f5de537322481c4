//! The parameters of a query of profiles. One that is not understood is an error: to ignore a filter is to answer with
//! everyone, and clients delete what they were answered.

use serde_json::Value as Json;

use super::params::Params;
use super::refusal::Refusal;
use crate::expr::Place;
use crate::{Db, Expr, Kind};

/// Parameters that select a project, or have a meaning only next to others that are refused.
const NO_FILTERS: [&str; 11] = [
    "project_id",
    "workspace_id",
    "api_key",
    "api_secret",
    "expire",
    "sig",
    "format",
    "verbose",
    "as_of_timestamp",
    "include_all_users",
    "_",
];

/// The parameters of a request, of the query and of a body that is a form or a JSON object.
pub(super) fn named_params(params: &Params, data: &[u8]) -> Result<Vec<(String, String)>, Refusal> {
    let mut named = Vec::new();
    for param in params.texts() {
        let (name, value) =
            param.map_err(|name| Refusal::bad_request(format!("not valid utf-8 parameter={name:?}")))?;
        named.push((name.to_owned(), value.to_owned()));
    }
    if !data.trim_ascii().is_empty() {
        let object: serde_json::Map<String, Json> = serde_json::from_slice(data)
            .map_err(|error| Refusal::bad_request(format!("the body is neither a form nor a json object: {error}")))?;
        let others = object.into_iter().filter(|(_, value)| !value.is_null());
        named.extend(others.map(|(name, value)| match value {
            Json::String(text) => (name, text),
            other => (name, other.to_string()),
        }));
    }
    named.sort();
    let twice = named.windows(2).find_map(|two| match two {
        [(first, _), (second, _)] if first == second => Some(first),
        _ => None,
    });
    match twice {
        Some(name) => Err(Refusal::bad_request(format!("the parameter is given twice parameter={name:?}"))),
        None => Ok(named),
    }
}

/// Which profiles a query is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filters {
    pub(super) kind: Kind,
    pub(super) expr: Option<Expr>,
    /// Ascending, each once.
    pub(super) ids: Option<Vec<String>>,
}

/// A query, and which part of its answer is requested.
#[derive(Debug)]
pub(super) struct ProfileQuery {
    pub(super) filters: Filters,
    /// Whether any filter was given.
    pub(super) is_filtered: bool,
    /// The only properties of the answer.
    pub(super) output: Option<Vec<String>>,
    pub(super) session: Option<String>,
    pub(super) page: usize,
    pub(super) page_size: Option<usize>,
    /// At most this many names, of the endpoint that returns names.
    pub(super) limit: Option<usize>,
}

impl ProfileQuery {
    /// Reads the parameters of a request.
    pub(super) fn of(db: &Db, named: Vec<(String, String)>) -> Result<Self, Refusal> {
        let filters = Filters { kind: Kind::User, expr: None, ids: None };
        let (output, session, page_size, limit) = (None, None, None, None);
        let mut query = Self { filters, is_filtered: false, output, session, page: 0, page_size, limit };
        for (name, value) in named {
            query.take(db, &name, value)?;
        }
        Ok(query)
    }

    fn take(&mut self, db: &Db, name: &str, value: String) -> Result<(), Refusal> {
        match name {
            "where" | "selector" => {
                let expr = expr_of(name, &value)?;
                if self.filters.expr.as_ref().is_some_and(|other| *other != expr) {
                    return Err(Refusal::bad_request("where and selector are one filter and differ"));
                }
                self.filters.expr = Some(expr);
            }
            "distinct_id" => self.narrow(vec![value]),
            "distinct_ids" => {
                let ids = texts_of(name, &value)?;
                if ids.len() > IDS_MAX {
                    return Err(Refusal::bad_request(format!("at most {IDS_MAX} distinct_ids ids={}", ids.len())));
                }
                self.narrow(ids);
            }
            "data_group_id" => self.filters.kind = kind_of(db, &value)?,
            "output_properties" => self.output = Some(texts_of(name, &value)?),
            "session_id" => self.session = Some(value),
            "page" => self.page = number_of(name, &value, 0, usize::MAX)?,
            "page_size" => self.page_size = Some(number_of(name, &value, 1, PAGE_SIZE_MAX)?),
            "limit" => self.limit = Some(number_of(name, &value, 1, usize::MAX)?),
            "filter_by_cohort" | "behaviors" => {
                let message =
                    format!("the filter is not supported, and without it the answer would be everyone: {name}");
                return Err(Refusal::bad_request(message));
            }
            _ if NO_FILTERS.contains(&name) => return Ok(()),
            _ => return Err(Refusal::bad_request(format!("the parameter is not known parameter={name:?}"))),
        }
        self.is_filtered |= !matches!(name, "output_properties" | "session_id" | "page" | "page_size" | "limit");
        Ok(())
    }

    /// Only these ids, of those that were requested before.
    fn narrow(&mut self, mut ids: Vec<String>) {
        ids.sort();
        ids.dedup();
        match &mut self.filters.ids {
            Some(known) => known.retain(|id| ids.binary_search(id).is_ok()),
            None => self.filters.ids = Some(ids),
        }
    }
}

/// The largest page, and the default.
pub(super) const PAGE_SIZE_MAX: usize = 1_000;

/// Ids in one query, which are held with it.
const IDS_MAX: usize = 100_000;

/// An expression over the properties of the row itself.
pub(super) fn expr_of(name: &str, text: &str) -> Result<Expr, Refusal> {
    let expr = Expr::parse(text).map_err(|error| Refusal::bad_request(format!("{name}: {}", error.message())))?;
    match expr.references().iter().find(|reference| reference.place == Place::Event) {
        Some(reference) => Err(Refusal::bad_request(format!("{name}: a profile has no event reference={reference}"))),
        None => Ok(expr),
    }
}

fn number_of(name: &str, text: &str, least: usize, most: usize) -> Result<usize, Refusal> {
    let number = text.trim().parse().ok().filter(|number| (least..=most).contains(number));
    let range = if most == usize::MAX { format!("{least} or more") } else { format!("{least} to {most}") };
    number.ok_or_else(|| Refusal::bad_request(format!("{name} is a number, {range} value={text:?}")))
}

/// A JSON list of texts. Ids may be numbers.
pub(super) fn texts_of(name: &str, text: &str) -> Result<Vec<String>, Refusal> {
    let invalid = || Refusal::bad_request(format!("{name} is a json list of texts"));
    let list: Vec<Json> = serde_json::from_str(text).map_err(|_| invalid())?;
    let texts = list.into_iter().map(|value| match value {
        Json::String(text) => Ok(text),
        Json::Number(number) => Ok(number.to_string()),
        _ => Err(invalid()),
    });
    texts.collect()
}

/// The kind with a group key, or with the number of one.
fn kind_of(db: &Db, text: &str) -> Result<Kind, Refusal> {
    let kinds: Vec<Kind> = db.kinds().into_iter().filter(|kind| kind.group_key().is_some()).collect();
    let named = |kind: &&Kind| kind.group_key().is_some_and(|key| key == text || group_number(key).to_string() == text);
    let mut found = kinds.iter().filter(named);
    match (found.next(), found.next()) {
        (Some(kind), None) => Ok(kind.clone()),
        (Some(_), Some(_)) => {
            Err(Refusal::bad_request(format!("two group keys have this number; give the key id={text:?}")))
        }
        (None, _) => Err(Refusal::bad_request(format!("there are no groups with this key or number id={text:?}"))),
    }
}

/// The number of a group key: FNV-1a of its bytes, of which 53 bits, so that it is exact in every client.
pub(super) fn group_number(key: &str) -> u64 {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    key.bytes().fold(0xcbf2_9ce4_8422_2325, hash) >> 11
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients keep the numbers.
    #[test]
    fn numbers_of_groups_never_change() {
        assert_eq!(
            ["company", "a", ""].map(group_number),
            [group_number("company"), 0xaf63_dc4c_8601_ec8c >> 11, 0xcbf2_9ce4_8422_2325 >> 11]
        );
    }
}
