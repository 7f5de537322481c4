//! Names of what can be selected, grouped by and measured.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::expr::quoted;
use crate::model::{Kind, Value};

/// A property of an event, or of a profile that is joined onto it.
///
/// | text | what |
/// |---|---|
/// | `event.NAME` | the event's own property; see below for computed ones |
/// | `user.NAME` | a property of the profile of the event's user |
/// | `group:KEY.NAME` | a property of the groups that the event itself lists under its property `KEY` |
/// | `user:KEY.NAME` | a property of the groups that the *user's profile* lists under its property `KEY` |
///
/// The last two are not the same: that a user belongs to a company does not make an event one of that company.
/// A key ends at the first dot in the text, and a name at the end of the text. A key or a name in double quotes is read
/// as a string of JSON: `group:"my.key".tier`.
///
/// Computed properties of events: `$event_name`, `$distinct_id`, `$insert_id`, `$time` (text of the shape
/// `YYYY-MM-DDTHH:MM:SS`), and of its time `$hour` (`YYYY-MM-DDTHH:00:00`), `$day` (`YYYY-MM-DD`), `$week` (its Monday)
/// and `$month` (`YYYY-MM`), in UTC or the [time zone](super::Join::time_zone) of the query. `distinct_id`, `time` and
/// `event` are accepted as well. Computed properties of profiles: `$last_seen` and `$mp_first_event_time`; of users,
/// `$distinct_id` as well.
///
/// ```
/// use profiledb::join::Field;
///
/// let field: Field = "group:company.tier".parse()?;
/// assert_eq!(field, Field::group("company", "tier")?);
/// assert!("tier".parse::<Field>().is_err());
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Field {
    /// A property of the event.
    Event(String),
    /// A property of the user's profile.
    User(String),
    /// A property of the groups that the event belongs to.
    #[non_exhaustive]
    Group {
        /// The group key.
        key: String,
        /// The property.
        name: String,
    },
    /// A property of the groups that the user belongs to.
    #[non_exhaustive]
    UserGroup {
        /// The group key.
        key: String,
        /// The property.
        name: String,
    },
}

impl Field {
    /// `event.NAME`.
    #[must_use]
    pub fn event(name: impl Into<String>) -> Self {
        Self::Event(name.into())
    }

    /// `user.NAME`.
    #[must_use]
    pub fn user(name: impl Into<String>) -> Self {
        Self::User(name.into())
    }

    /// `group:KEY.NAME`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when the key can be no group key.
    pub fn group(key: impl Into<String>, name: impl Into<String>) -> Result<Self> {
        let key = key.into();
        Kind::group(key.as_str())?;
        Ok(Self::Group { key, name: name.into() })
    }

    /// `user:KEY.NAME`.
    ///
    /// # Errors
    ///
    /// As [`group`](Self::group).
    pub fn user_group(key: impl Into<String>, name: impl Into<String>) -> Result<Self> {
        let key = key.into();
        Kind::group(key.as_str())?;
        Ok(Self::UserGroup { key, name: name.into() })
    }

    /// The name of the property.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Event(name) | Self::User(name) | Self::Group { name, .. } | Self::UserGroup { name, .. } => name,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(name) => write!(f, "event.{}", Quoted(name, "")),
            Self::User(name) => write!(f, "user.{}", Quoted(name, "")),
            Self::Group { key, name } => write!(f, "group:{}.{}", Quoted(key, "."), Quoted(name, "")),
            Self::UserGroup { key, name } => write!(f, "user:{}.{}", Quoted(key, "."), Quoted(name, "")),
        }
    }
}

/// A key or a name, in quotes if it would not be read as itself otherwise: if it is empty, begins with a quote, or
/// contains the text that ends it.
struct Quoted<'t>(&'t str, &'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text, end) = self;
        if text.is_empty() || text.starts_with('"') || (!end.is_empty() && text.contains(end)) {
            return write!(f, "{}", Value::from(*text));
        }
        f.write_str(text)
    }
}

impl FromStr for Field {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = |why: String| {
            let shapes = "event.NAME, user.NAME, group:KEY.NAME or user:KEY.NAME";
            Error::invalid(format!("not a field: {shapes}{why} value={text:?}"))
        };
        if let Some(rest) = text.strip_prefix("event.") {
            return name(rest).map(Self::Event).map_err(refused);
        }
        if let Some(rest) = text.strip_prefix("user.") {
            return name(rest).map(Self::User).map_err(refused);
        }
        if let Some(rest) = text.strip_prefix("group:") {
            let (key, name) = key_and_name(rest).map_err(refused)?;
            return Self::group(key, name);
        }
        let rest = text.strip_prefix("user:").ok_or_else(|| refused(String::new()))?;
        let (key, name) = key_and_name(rest).map_err(refused)?;
        Self::user_group(key, name)
    }
}

/// What a text begins with in quotes, and the rest; or what is wrong.
fn in_quotes(text: &str) -> Result<(String, &str), String> {
    quoted(text).map_err(|error| format!(": {}", error.message()))
}

fn name(text: &str) -> Result<String, String> {
    match text.chars().next() {
        None => Err(String::new()),
        Some('"') => match in_quotes(text)? {
            (name, "") => Ok(name),
            _ => Err(": text after a name in quotes".to_owned()),
        },
        Some(_) => Ok(text.to_owned()),
    }
}

fn key_and_name(text: &str) -> Result<(String, String), String> {
    if text.starts_with('"') {
        let (key, rest) = in_quotes(text)?;
        let rest = rest.strip_prefix('.').ok_or(": no dot after a key in quotes")?;
        return Ok((key, name(rest)?));
    }
    let (key, rest) = text.split_once('.').ok_or_else(String::new)?;
    Ok((key.to_owned(), name(rest)?))
}

/// Parses the text.
impl TryFrom<&str> for Field {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        text.parse()
    }
}

/// Parses the text.
impl TryFrom<&String> for Field {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<&Field> for Field {
    type Error = Error;

    fn try_from(field: &Field) -> Result<Self> {
        Ok(field.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive() {
        for text in ["event.amount", "user.$email", "user.a.b", "group:company.tier", "user:company.a.b", "event.$day"]
        {
            assert_eq!(text.parse::<Field>().unwrap().to_string(), text);
        }
        let fields = [
            (r#"event."a,b""#, Field::event("a,b"), "event.a,b"),
            (r#"user."a.b""#, Field::user("a.b"), "user.a.b"),
            (r#"user."""#, Field::user(""), r#"user."""#),
            (r#"user."\"x\"""#, Field::user("\"x\""), r#"user."\"x\"""#),
            ("user.5\" disk", Field::user("5\" disk"), "user.5\" disk"),
            (r#"group:"my.key".tier"#, Field::group("my.key", "tier").unwrap(), r#"group:"my.key".tier"#),
            (r#"user:"k:"."a.b""#, Field::user_group("k:", "a.b").unwrap(), "user:k:.a.b"),
            (r#"group:"\u006b\n".t"#, Field::group("k\n", "t").unwrap(), "group:k\n.t"),
        ];
        for (text, field, printed) in fields {
            assert_eq!(text.parse::<Field>().unwrap(), field);
            assert_eq!(field.to_string(), printed);
            assert_eq!(printed.parse::<Field>().unwrap(), field);
        }
        for (bad, why) in [
            (r#"user."a"#, "unterminated"),
            (r#"user."a"b"#, "text after a name in quotes"),
            (r#"group:"k""#, "no dot after a key in quotes"),
            (r#"group:"k"x.y"#, "no dot after a key in quotes"),
            (r#"group:"".y"#, "missing or empty"),
        ] {
            let error = bad.parse::<Field>().unwrap_err();
            assert!(error.message().contains(why), "{error}");
        }
        for bad in ["", "plan", "user", "user.", "group:.tier", "group.tier", "profile.x", "group:company", "event:x.y"]
        {
            let error = bad.parse::<Field>().unwrap_err();
            assert!(error.is_invalid(), "{bad}");
        }
    }
}
