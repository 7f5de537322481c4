//! Inputs of updates and events.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// An input.
#[derive(Debug)]
pub(crate) enum Input {
    Stdin,
    File(PathBuf),
    /// Bytes in memory, with a name.
    Bytes(&'static str, Cow<'static, [u8]>),
}

impl Input {
    /// The file at this path, if it can be read.
    pub(crate) fn named(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Stdin);
        }
        let name = path.display();
        let unreadable = |error: io::Error| Failure::from(error).during(format!("cannot read {name}"));
        if fs::metadata(path).map_err(unreadable)?.is_dir() {
            return Err(Failure::new(format!("cannot read {name}: it is a directory")));
        }
        // A named pipe must be opened only once: its writer sees the end of the first reader.
        if fs::metadata(path).map_err(unreadable)?.is_file() {
            File::open(path).map_err(unreadable)?;
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

    /// Its size in bytes, if it is known.
    pub(crate) fn bytes(&self) -> Option<u64> {
        match self {
            Self::Stdin => None,
            Self::File(path) => fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|found| found.len()),
            Self::Bytes(_, bytes) => Some(bytes.len() as u64),
        }
    }

    /// A reader of it, if it can be read more than once.
    pub(crate) fn regular(&self) -> io::Result<Option<Box<dyn Read>>> {
        Ok(match self {
            Self::File(path) if fs::metadata(path)?.is_file() => Some(Box::new(File::open(path)?)),
            Self::Bytes(_, bytes) => Some(Box::new(io::Cursor::new(bytes.clone()))),
            Self::Stdin | Self::File(_) => None,
        })
    }

    pub(crate) fn open(self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Stdin => Box::new(io::stdin()),
            Self::File(path) => Box::new(File::open(path)?),
            Self::Bytes(_, bytes) => Box::new(io::Cursor::new(bytes)),
        })
    }
}
