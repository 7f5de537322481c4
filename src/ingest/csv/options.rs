//! The schema mapping of a CSV file: what its columns are.

use super::cell::CellType;
use super::encoding::Encoding;
use crate::error::{Error, Result};
use crate::model::Kind;

/// How a CSV file is read: its form, and which profile and property each column is.
///
/// The default is what Mixpanel's import takes: no header, commas, UTF-8 or UTF-16 with a byte order mark, users, at
/// most a million rows. All options are texts, as a command line and an upload have them: see [`option`](Self::option).
///
/// ```
/// use profiledb::ingest::{Csv, CsvRecords, Rules};
///
/// let csv = Csv::new().option("id", "1")?.option("map", "2=$email")?.option("map", "3=age")?.option("skip", "4")?;
/// let file = "u1,ann@example.com,31,x\nu2,,,\n";
/// let records: Vec<_> = CsvRecords::new(file.as_bytes(), &csv, Rules::new()).collect::<Result<_, _>>()?;
/// let ann = records[0].as_ref().expect("a row with an id");
/// assert_eq!((ann.key.id(), ann.line), ("u1", Some(1)));
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csv {
    pub(super) header: bool,
    pub(super) delimiter: u8,
    pub(super) encoding: Option<Encoding>,
    pub(super) kind: Kind,
    /// Columns are named by their numbers, or by their names in the header.
    pub(super) id: Option<String>,
    pub(super) map: Vec<(String, String)>,
    pub(super) skip: Vec<String>,
    pub(super) types: Vec<(String, CellType)>,
    pub(super) rows_max: u64,
}

/// As documented for Mixpanel's import.
const ROWS_MAX: u64 = 1_000_000;

impl Default for Csv {
    fn default() -> Self {
        Self {
            header: false,
            delimiter: b',',
            encoding: None,
            kind: Kind::User,
            id: None,
            map: Vec::new(),
            skip: Vec::new(),
            types: Vec::new(),
            rows_max: ROWS_MAX,
        }
    }
}

impl Csv {
    /// The default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one option. A COLUMN is its number, counted from 1, or its name in the header; a name that is the
    /// number of another column is an error.
    ///
    /// | name        | text            | meaning                                                    |
    /// |-------------|-----------------|------------------------------------------------------------|
    /// | `header`    | `true`, `false` | whether the first row has the names of the columns         |
    /// | `delimiter` | one character   | what separates fields; also `tab`                          |
    /// | `encoding`  | an [`Encoding`] | default: that of the byte order mark, or else UTF-8        |
    /// | `group`     | a group key     | the rows are groups; default: users                        |
    /// | `id`        | COLUMN          | the ids; see below                                         |
    /// | `map`       | COLUMN=PROPERTY | the property; default: the name in the header              |
    /// | `skip`      | COLUMN          | the column is not stored                                   |
    /// | `types`     | COLUMN=TYPE     | a [`CellType`]; default: `auto`                            |
    /// | `unbounded` | `true`, `false` | whether there may be more than a million rows              |
    ///
    /// Without `id`, the ids are in the column mapped to `$distinct_id` (of groups, `$group_id`), or else to `$email`,
    /// or else each row gets a random UUID.
    ///
    /// `map`, `skip` and `types` may occur more than once.
    ///
    /// ```
    /// use profiledb::ingest::Csv;
    ///
    /// let csv = Csv::new().option("header", "true")?.option("delimiter", "tab")?.option("types", "zip=text")?;
    /// let error = csv.option("types", "zip=string").unwrap_err();
    /// assert_eq!(error.field(), Some("types"));
    /// assert_eq!(error.message(), r#"a type is auto, text, number, boolean, date or json value="string""#);
    /// # Ok::<(), profiledb::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid), with the option as its field, for an unknown name and a text that is
    /// not one of those above. Whether there is such a column is known only when the file is read.
    pub fn option(mut self, name: &str, text: &str) -> Result<Self> {
        let set = || {
            match name {
                "header" => self.header = flag(text)?,
                "delimiter" => self.delimiter = delimiter(text)?,
                "encoding" => self.encoding = Some(text.parse()?),
                "group" => self.kind = Kind::group(text)?,
                "id" if self.id.is_some() => return Err(Error::invalid("there is one id column")),
                "id" => self.id = Some(column(text)?),
                "map" => self.map.push(pair(text, "PROPERTY")?),
                "skip" => self.skip.push(column(text)?),
                "types" => {
                    let (column, name) = pair(text, "TYPE")?;
                    self.types.push((column, name.parse()?));
                }
                "unbounded" => self.rows_max = if flag(text)? { u64::MAX } else { ROWS_MAX },
                _ => {
                    let names = "header, delimiter, encoding, group, id, map, skip, types, unbounded";
                    return Err(Error::invalid(format!("an option of csv is one of {names}")));
                }
            }
            Ok(self)
        };
        set().map_err(|error| error.at(name))
    }

    /// The property that has the id.
    pub(super) fn id_field(&self) -> &'static str {
        self.kind.id_field()
    }
}

fn flag(text: &str) -> Result<bool> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::invalid(format!("a flag is true or false value={text:?}"))),
    }
}

fn delimiter(text: &str) -> Result<u8> {
    let byte = match text.as_bytes() {
        b"tab" | b"\\t" => Some(b'\t'),
        [byte] => Some(*byte),
        _ => None,
    };
    let byte = byte.filter(|byte| byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n' | b'\0'));
    let reason = "a delimiter is \"tab\", or one ascii character other than a quote and a line break";
    byte.ok_or_else(|| Error::invalid(format!("{reason} value={text:?}")))
}

fn column(text: &str) -> Result<String> {
    if text.is_empty() { Err(Error::invalid("a column has a number or a name")) } else { Ok(text.into()) }
}

fn pair(text: &str, what: &str) -> Result<(String, String)> {
    let Some((first, second)) = text.split_once('=').filter(|(_, second)| !second.is_empty()) else {
        return Err(Error::invalid(format!("the form is COLUMN={what} value={text:?}")));
    };
    Ok((column(first)?, second.into()))
}
