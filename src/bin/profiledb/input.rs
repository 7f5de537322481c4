//! Where updates and events come from.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A source of them.
#[derive(Debug)]
pub(crate) enum Input {
    Stdin,
    File(PathBuf),
    /// Bytes at hand, and what they are.
    Bytes(&'static str, Cow<'static, [u8]>),
}

impl Input {
    /// The file of this name, of which it is known by now that it can be read.
    pub(crate) fn named(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Stdin);
        }
        let name = path.display();
        let refused = |error: io::Error| Failure::from(error).during(format!("cannot read {name}"));
        if fs::metadata(path).map_err(refused)?.is_dir() {
            return Err(Failure::new(format!("cannot read {name}: it is a directory")));
        }
        // A pipe with a name must be opened once only: whoever writes to it would take the first time for all.
        if fs::metadata(path).map_err(refused)?.is_file() {
            File::open(path).map_err(refused)?;
        }
        Ok(Self::File(path.to_owned()))
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stdin => "-".into(),
            Self::File(path) => path.display().to_string(),
            Self::Bytes(name, _) => (*name).into(),
        }
    }

    /// Its size, where that is known beforehand.
    pub(crate) fn bytes(&self) -> Option<u64> {
        match self {
            Self::Stdin => None,
            Self::File(path) => fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|found| found.len()),
            Self::Bytes(_, bytes) => Some(bytes.len() as u64),
        }
    }

    pub(crate) fn open(self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Stdin => Box::new(io::stdin()),
            Self::File(path) => Box::new(File::open(path)?),
            Self::Bytes(_, bytes) => Box::new(io::Cursor::new(bytes)),
        })
    }
}
