//! Projects: which store a token names, and whose credentials give access to it.

use std::path::PathBuf;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::params::Params;
use super::place::{GeoLookup, GeoStats, PlaceSource};
use super::refusal::Refusal;
use crate::{Db, Durability, Error, Result};

/// A store and who may use it.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use profiledb::Db;
/// use profiledb::server::Project;
///
/// let db = Db::open(dir.path().join("store"))?;
/// let project = Project::new(db).token("a-token").id(12_345).secret("s3cret").account("importer", "pa55");
/// # let _ = project;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Project {
    pub(super) db: Db,
    pub(super) durability: Durability,
    lookup: Option<Arc<dyn GeoLookup>>,
    access: ProjectAccess,
}

/// Who may use a project.
#[derive(Clone, Default)]
struct ProjectAccess {
    token: Option<String>,
    id: Option<u64>,
    secrets: Vec<String>,
    accounts: Vec<(String, String)>,
}

impl Project {
    /// A project that any token names, and that anyone may query, until something else is said.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db, durability: Durability::default(), lookup: None, access: ProjectAccess::default() }
    }

    /// The token that names the project in records. It does not give access to queries.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.access.token = Some(token.into());
        self
    }

    /// The number that names the project together with a service account.
    #[must_use]
    pub fn id(mut self, id: u64) -> Self {
        self.access.id = Some(id);
        self
    }

    /// Adds a secret, which gives access to imports and queries.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.access.secrets.push(secret.into());
        self
    }

    /// Adds a service account, which gives access to imports and queries.
    #[must_use]
    pub fn account(mut self, user: impl Into<String>, secret: impl Into<String>) -> Self {
        self.access.accounts.push((user.into(), secret.into()));
        self
    }

    /// The durability of commits before they are answered. Default: synced.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The lookup of the places of addresses. Default: none, and no profile gets a place.
    #[must_use]
    pub fn lookup(mut self, lookup: Arc<dyn GeoLookup>) -> Self {
        self.lookup = Some(lookup);
        self
    }

    /// The places of its users, if it has any.
    pub(super) fn places(&self) -> Option<PlaceSource<'_>> {
        self.lookup.as_deref().map(|lookup| PlaceSource { lookup, db: &self.db })
    }

    pub(super) fn number(&self) -> Option<u64> {
        self.access.id
    }
}

impl ProjectAccess {
    /// Whether nothing was said of who may use it.
    fn is_open(&self) -> bool {
        self.token.is_none() && self.secrets.is_empty() && self.accounts.is_empty()
    }

    /// Whether these credentials give access. All comparisons are made, each in constant time.
    fn admits(&self, credentials: &Credentials, takes_token: bool) -> bool {
        let secrets = self.secrets.iter().chain(self.token.iter().filter(|_| takes_token));
        let by_secret = secrets.fold(false, |found, secret| found | is_same(secret, &credentials.user));
        let by_account = self.accounts.iter().fold(false, |found, (user, secret)| {
            found | (is_same(user, &credentials.user) & is_same(secret, &credentials.password))
        });
        (by_secret && credentials.password.is_empty()) | by_account
    }
}

fn is_same(a: &str, b: &str) -> bool {
    !a.is_empty() && bool::from(a.as_bytes().ct_eq(b.as_bytes()))
}

/// What a client says of itself.
#[derive(Default)]
struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// Basic or Bearer of the header, or `api_key` or `api_secret` of the parameters.
    fn of(headers: &HeaderMap, params: &Params) -> Option<Self> {
        if let Some(value) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) {
            let (scheme, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
            if scheme.eq_ignore_ascii_case("bearer") {
                return Some(Self { user: rest.trim().to_owned(), password: String::new() });
            }
            if scheme.eq_ignore_ascii_case("basic") {
                let text = STANDARD.decode(rest.trim()).ok().and_then(|text| String::from_utf8(text).ok())?;
                // One client sends its secret without a colon.
                let (user, password) = text.split_once(':').unwrap_or((&text, ""));
                // Some clients send an empty header.
                if !text.is_empty() {
                    return Some(Self { user: user.to_owned(), password: password.to_owned() });
                }
            }
        }
        let user = params.get("api_secret").or_else(|| params.get("api_key"))?.into_owned();
        Some(Self { user, password: String::new() })
    }
}

/// The user that a client names, without what proves it.
pub(super) fn user_of(headers: &HeaderMap, params: &Params) -> Option<String> {
    Credentials::of(headers, params).map(|credentials| credentials.user)
}

/// All projects of a server, at least one.
pub(super) struct Projects(Vec<Project>);

impl Projects {
    pub(super) fn new(projects: Vec<Project>) -> Result<Self> {
        let tokens: Vec<_> = projects.iter().map(|project| &project.access.token).collect();
        if projects.is_empty() {
            return Err(Error::invalid("a server has at least one project"));
        }
        for (at, project) in projects.iter().enumerate() {
            let ProjectAccess { token, id, .. } = &project.access;
            let others = || projects.iter().take(at).map(|other| &other.access);
            if projects.len() > 1 && token.as_deref().is_none_or(str::is_empty) {
                return Err(Error::invalid("each of several projects has a token"));
            }
            if tokens.iter().take(at).any(|other| *other == token) {
                return Err(Error::invalid(format!("two projects have one token token={token:?}")));
            }
            if id.is_some() && others().any(|other| other.id == *id) {
                return Err(Error::invalid(format!("two projects have one id id={id:?}")));
            }
        }
        Ok(Self(projects))
    }

    /// The project whose rules apply before it is known which one a record is for.
    pub(super) fn first(&self) -> Option<&Project> {
        self.0.first()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Project> {
        self.0.iter()
    }

    /// What happened to the databases of places, each counted once: the sums, and when the oldest was built.
    pub(super) fn places(&self) -> GeoStats {
        let mut lookups: Vec<&Arc<dyn GeoLookup>> = Vec::new();
        for lookup in self.0.iter().filter_map(|project| project.lookup.as_ref()) {
            if !lookups.iter().any(|known| Arc::ptr_eq(known, lookup)) {
                lookups.push(lookup);
            }
        }
        lookups.into_iter().map(|lookup| lookup.stats()).reduce(GeoStats::and).unwrap_or_default()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Project> {
        self.0.get(index)
    }

    /// The index of the project that a token names, or why there is none.
    pub(super) fn named(&self, token: Option<&str>) -> std::result::Result<usize, &'static str> {
        // Tokens are no secrets: every page that sends has one in its source.
        let is = |project: &Project| match (&project.access.token, token) {
            (None, _) => true,
            (Some(own), Some(token)) => own == token,
            (Some(_), None) => false,
        };
        let missing = "$token, missing or empty";
        let unknown = if token.is_none_or(str::is_empty) { missing } else { "$token, unknown" };
        self.0.iter().position(is).ok_or(unknown)
    }

    /// The project that a request has access to. `takes_token`: also by its token alone, as for imports.
    pub(super) fn authorized(&self, headers: &HeaderMap, params: &Params, takes_token: bool) -> Result<usize, Refusal> {
        if let [only] = &*self.0
            && only.access.is_open()
        {
            return Ok(0);
        }
        let credentials = Credentials::of(headers, params).unwrap_or_default();
        let id = params.get("project_id");
        let found = self.0.iter().enumerate().filter(|(_, project)| {
            let is_named = id.as_deref().is_none_or(|id| project.access.id.is_none_or(|own| own.to_string() == id));
            project.access.admits(&credentials, takes_token) & is_named
        });
        let found: Vec<usize> = found.map(|(index, _)| index).collect();
        match *found {
            [index] => Ok(index),
            [] => Err(Refusal::unauthorized()),
            _ => Err(Refusal::bad_request("project_id, missing: the account has several projects")),
        }
    }
}

/// A project as in a file of projects, before its store is opened.
///
/// ```
/// use profiledb::server::ProjectConfig;
///
/// let projects = ProjectConfig::parse_file(
///     r#"
///     [[project]]
///     token = "a-token"
///     id = 12345
///     secrets = ["s3cret"]
///     accounts = [{ user = "importer", secret = "pa55" }]
///     dir = "data/main"
///     "#,
/// )?;
/// assert_eq!(projects[0].dir.to_str(), Some("data/main"));
/// let other = ProjectConfig::parse_flag("token=b-token,id=12346,secret=s3cret,dir=data/other")?;
/// assert_eq!(other.id, Some(12_346));
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ProjectConfig {
    /// The token.
    pub token: String,
    /// The number.
    #[serde(default)]
    pub id: Option<u64>,
    /// The secrets.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// The service accounts.
    #[serde(default)]
    pub accounts: Vec<ServiceAccount>,
    /// The directory of the store.
    pub dir: PathBuf,
    /// The file of a database of places, for `GeoIp`.
    #[serde(default)]
    pub geoip: Option<PathBuf>,
}

/// A service account of a project.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ServiceAccount {
    /// Its name.
    pub user: String,
    /// Its secret.
    pub secret: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectsFile {
    #[serde(rename = "project")]
    projects: Vec<ProjectConfig>,
}

impl ProjectConfig {
    /// Parses the TOML text of a file of projects.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when it is no TOML, or has keys that are not known.
    pub fn parse_file(text: &str) -> Result<Vec<Self>> {
        // Without the line of the file, which may have a secret in it.
        let file: ProjectsFile = toml::from_str(text).map_err(|error| {
            let line =
                error.span().map_or(0, |span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
            Error::invalid(format!("not a file of projects: {} line={line}", error.message()))
        })?;
        Ok(file.projects)
    }

    /// Parses `token=..,id=..,secret=..,account=USER:SECRET,dir=..,geoip=FILE`; secrets and accounts can be repeated.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when a part is not known, or there is no token or no directory.
    pub fn parse_flag(text: &str) -> Result<Self> {
        let missing = |what: &str| Error::invalid(format!("a project has a {what}: token=..,dir=.."));
        let (mut token, mut dir, mut id, mut geoip) = (None, None, None, None);
        let (mut secrets, mut accounts) = (Vec::new(), Vec::new());
        for part in text.split(',') {
            match part.split_once('=').map(|(name, value)| (name.trim(), value.to_owned())) {
                Some(("token", value)) => token = Some(value),
                Some(("dir", value)) => dir = Some(PathBuf::from(value)),
                Some(("geoip", value)) => geoip = Some(PathBuf::from(value)),
                Some(("secret", value)) => secrets.push(value),
                Some(("id", value)) => {
                    let number =
                        value.parse().map_err(|_| Error::invalid(format!("the id is a number id={value:?}")))?;
                    id = Some(number);
                }
                Some(("account", value)) => {
                    let (user, secret) =
                        value.split_once(':').ok_or_else(|| Error::invalid("an account is USER:SECRET"))?;
                    accounts.push(ServiceAccount { user: user.to_owned(), secret: secret.to_owned() });
                }
                // Its value may be a secret.
                Some((name, _)) => return Err(Error::invalid(format!("not a part of a project name={name:?}"))),
                None => return Err(Error::invalid("a project is token=..,id=..,secret=..,account=USER:SECRET,dir=..")),
            }
        }
        let token = token.ok_or_else(|| missing("token"))?;
        Ok(Self { token, id, secrets, accounts, dir: dir.ok_or_else(|| missing("dir"))?, geoip })
    }

    /// The project, of a store that was opened in [`dir`](Self::dir).
    #[must_use]
    pub fn project(&self, db: Db) -> Project {
        let mut project = Project::new(db).token(&self.token);
        project.access.id = self.id;
        project.access.secrets.clone_from(&self.secrets);
        let accounts = self.accounts.iter().map(|account| (account.user.clone(), account.secret.clone()));
        project.access.accounts = accounts.collect();
        project
    }
}
