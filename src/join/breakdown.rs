//! What rows are grouped by: a field, of which not all values need to make buckets, or intervals of its numbers.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::field::Field;
use crate::error::{Error, Result};
use crate::model::{Number, Value};

/// A predicate on values: which of them make buckets.
pub(super) type Keep = Arc<dyn Fn(&Value) -> bool + Send + Sync>;

/// A field to group by.
///
/// Its text is that of the field, or `bucket(FIELD, WIDTH)`: numbers in intervals of a width, see
/// [`intervals`](Self::intervals).
///
/// ```
/// use profiledb::join::{Breakdown, Field};
///
/// let age: Breakdown = "bucket(user.age, 10)".try_into()?;
/// assert_eq!(age.to_string(), "bucket(user.age, 10)");
/// assert!(Breakdown::try_from("bucket(user.age, 0)").is_err());
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Clone)]
pub struct Breakdown {
    pub(super) field: Field,
    pub(super) keep: Option<Keep>,
    /// The width of intervals of numbers, greater than zero.
    pub(super) width: Option<Number>,
}

impl Breakdown {
    /// Groups by a field. A list counts once for each of its distinct elements, an empty one as not set.
    #[must_use]
    pub fn new(field: Field) -> Self {
        Self { field, keep: None, width: None }
    }

    /// The field.
    #[must_use]
    pub fn field(&self) -> &Field {
        &self.field
    }

    /// Only these values make buckets; an event that has none of them is in no bucket. Together with a filter on a
    /// list, this shows only the elements that matched.
    #[must_use]
    pub fn keep(mut self, keep: impl Fn(&Value) -> bool + Send + Sync + 'static) -> Self {
        self.keep = Some(Arc::new(keep));
        self
    }

    /// Groups numbers into intervals of a width: from a multiple of it, inclusive, to the next, exclusive. The value of
    /// the bucket is that multiple, the least number of the interval; -1 is in that of -10 if the width is 10. Numbers
    /// are the decimals that they are written as: 0.3 is in the interval of 0.3 if the width is 0.1. Everything that is
    /// not a number is *(not set)*. A list counts once for each interval of its elements.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for a width that is not greater than zero.
    pub fn intervals(mut self, width: impl Into<Number>) -> Result<Self> {
        let width = width.into();
        if width <= Number::from(0) {
            return Err(Error::invalid(format!("the width of a bucket is greater than zero width={width}")));
        }
        self.width = Some(width);
        Ok(self)
    }
}

/// As it is parsed.
impl fmt::Display for Breakdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.width {
            Some(width) => write!(f, "bucket({}, {width})", self.field),
            None => write!(f, "{}", self.field),
        }
    }
}

impl fmt::Debug for Breakdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breakdown").field("field", &self.field).finish_non_exhaustive()
    }
}

impl From<Field> for Breakdown {
    fn from(field: Field) -> Self {
        Self::new(field)
    }
}

/// Parses the field, or `bucket(FIELD, WIDTH)`.
impl FromStr for Breakdown {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some(inner) = text.strip_prefix("bucket(") else { return text.parse().map(Self::new) };
        let refused =
            || Error::invalid(format!("not a bucket(FIELD, WIDTH) with a number as the width value={text:?}"));
        // A name may contain commas.
        let (field, width) = inner.strip_suffix(')').and_then(|inner| inner.rsplit_once(',')).ok_or_else(refused)?;
        let width = width.trim().parse::<Number>().map_err(|_| refused())?;
        Self::new(field.trim().parse()?).intervals(width)
    }
}

/// Parses the text.
impl TryFrom<&str> for Breakdown {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        text.parse()
    }
}

/// Parses the text.
impl TryFrom<&String> for Breakdown {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self> {
        text.parse()
    }
}
