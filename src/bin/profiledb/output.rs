//! Outputs that are named on the command line: atomic replacement of regular files, writes to everything else.
//!
//! An output is resolved, and compared with the inputs, before anything is opened or created. Two names are the same
//! file if they have the same device and inode, so the spelling, links and `/dev/stdin` make no difference. A regular
//! file is written to a temporary file next to it, which replaces it when it is complete; of a symbolic link, its
//! target is. FIFOs and devices are written to. `-` is the standard output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::failure::Failure;
use crate::input::Input;

/// As many symbolic links as Linux follows.
const LINKS_MAX: usize = 40;

/// An output that is not opened yet.
#[derive(Debug)]
pub(crate) struct OutputPath {
    /// The option, for messages.
    flag: &'static str,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Stdout,
    /// A regular file, or a new one: the path without links.
    Regular(PathBuf),
    /// A FIFO or a device, which cannot be replaced.
    Special(PathBuf),
}

/// What identifies a file, whatever it is called.
#[derive(Debug, PartialEq, Eq)]
enum FileId {
    #[cfg(unix)]
    Inode(u64, u64),
    /// One that does not exist yet. Where there are no inodes, any.
    Path(PathBuf),
}

impl OutputPath {
    /// The output of an option. Nothing is opened.
    pub(crate) fn named(flag: &'static str, path: &Path) -> Result<Self, Failure> {
        let unusable = |error: io::Error| Failure::from(error).during(format!("{flag}: cannot write {path:?}"));
        let target = if path == Path::new("-") { Target::Stdout } else { Target::of(path).map_err(unusable)? };
        Ok(Self { flag, target })
    }

    /// The standard output.
    pub(crate) fn stdout() -> Self {
        Self { flag: "the standard output", target: Target::Stdout }
    }

    /// The path, without links, if it is a file of any kind.
    fn path(&self) -> Option<&Path> {
        match &self.target {
            Target::Stdout => None,
            Target::Regular(path) | Target::Special(path) => Some(path),
        }
    }

    fn id(&self) -> Option<FileId> {
        match &self.target {
            Target::Stdout => stream_id(&io::stdout()),
            Target::Regular(path) | Target::Special(path) => path_id(path),
        }
    }

    /// The error of a write. That the reader has closed the standard output is left as it is, because it is not
    /// reported; that of a FIFO may expect all of it.
    fn with_path(&self, error: io::Error) -> io::Error {
        match self.path() {
            Some(path) if error.kind() != io::ErrorKind::Interrupted => {
                io::Error::other(format!("{}: cannot write {path:?}: {error}", self.flag))
            }
            _ => error,
        }
    }

    /// Opens it to be written as one piece. A regular file is replaced by [`OutputFile::finish`] only.
    pub(crate) fn create(self) -> Result<OutputFile, Failure> {
        let open = || -> io::Result<Sink> {
            Ok(match &self.target {
                Target::Stdout => Sink::Stream(Box::new(io::stdout())),
                Target::Special(path) => Sink::Stream(Box::new(OpenOptions::new().write(true).open(path)?)),
                Target::Regular(path) => Sink::Temporary(temporary(path)?),
            })
        };
        let sink = open().map_err(|error| self.with_path(error))?;
        Ok(OutputFile { sink: BufWriter::with_capacity(64 << 10, sink), output: self })
    }

    /// Opens it to be written piece by piece: what is written is there when it is flushed. A regular file is emptied.
    pub(crate) fn stream(self) -> Result<OutputFile, Failure> {
        let open = || -> io::Result<Sink> {
            Ok(Sink::Stream(match &self.target {
                Target::Stdout => Box::new(io::stdout()),
                Target::Special(path) => Box::new(OpenOptions::new().write(true).open(path)?),
                Target::Regular(path) => Box::new(File::create(path)?),
            }))
        };
        let sink = open().map_err(|error| self.with_path(error))?;
        Ok(OutputFile { sink: BufWriter::new(sink), output: self })
    }

    /// Whether it is the standard output.
    pub(crate) fn is_stdout(&self) -> bool {
        matches!(self.target, Target::Stdout)
    }

    /// Whether the name ends so.
    pub(crate) fn has_extension(&self, extension: &str) -> bool {
        self.path().and_then(Path::extension).is_some_and(|found| found == extension)
    }
}

impl Target {
    fn of(path: &Path) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(io::Error::other("it is a directory")),
            Ok(found) if found.is_file() => Ok(Self::Regular(fs::canonicalize(path)?)),
            // The path of a pipe under /dev/fd has no canonical form.
            Ok(_) => Ok(Self::Special(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Regular(new_file(path)?)),
            Err(error) => Err(error),
        }
    }
}

/// The path, without links, of a file that does not exist, in a directory that does.
fn new_file(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let parent = fs::canonicalize(parent)?;
        let name = path.file_name().ok_or_else(|| io::Error::other("it is no name of a file"))?;
        path = parent.join(name);
        match fs::read_link(&path) {
            Ok(target) => path = parent.join(target),
            // It does not exist, or it is no link: it appeared meanwhile.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// A temporary file that can replace `path`, with the permissions of what is there.
fn temporary(path: &Path) -> io::Result<NamedTempFile> {
    let found = match OpenOptions::new().write(true).open(path) {
        Ok(found) => Some(found.metadata()?.permissions()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!(".{name}.");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".part");
    #[cfg(unix)]
    // The process' umask applies, as to any new file.
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.tempfile_in(path.parent().unwrap_or_else(|| Path::new(".")))?;
    if let Some(found) = found {
        file.as_file().set_permissions(found)?;
    }
    Ok(file)
}

/// An open output.
pub(crate) struct OutputFile {
    sink: BufWriter<Sink>,
    output: OutputPath,
}

enum Sink {
    Stream(Box<dyn Write + Send>),
    Temporary(NamedTempFile),
}

impl OutputFile {
    /// Ends a successful output: flushed, and in its place. Without it, a regular file stays as it was.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let Self { sink, output } = self;
        let finish = || -> io::Result<()> {
            match sink.into_inner().map_err(io::IntoInnerError::into_error)? {
                Sink::Stream(mut stream) => stream.flush(),
                Sink::Temporary(file) => {
                    file.as_file().sync_all()?;
                    let Target::Regular(path) = &output.target else { return Ok(()) };
                    file.persist(path).map(drop).map_err(|error| error.error)
                }
            }
        };
        Ok(finish().map_err(|error| output.with_path(error))?)
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write(bytes).map_err(|error| self.output.with_path(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush().map_err(|error| self.output.with_path(error))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stream(stream) => stream.write(bytes),
            Self::Temporary(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.flush(),
            Self::Temporary(file) => file.flush(),
        }
    }
}

/// Refuses outputs that are inputs, that are one another, or that lie in the store. The standard output and the
/// standard error are outputs as well. Nothing is opened.
pub(crate) fn check(store: &Path, inputs: &[Input], outputs: &[OutputPath]) -> Result<(), Failure> {
    let named = outputs.iter().map(|output| (output.flag, output.id()));
    let streams = [("the standard output", stream_id(&io::stdout())), ("the standard error", stream_id(&io::stderr()))];
    let written: Vec<(&str, Option<FileId>)> = named.chain(streams).collect();
    for input in inputs {
        let id = match input {
            Input::Stdin => stream_id(&io::stdin()),
            Input::File(path) => path_id(path),
            Input::Bytes(..) => None,
        };
        if let Some((flag, _)) = written.iter().find(|(_, output)| id.is_some() && *output == id) {
            return Err(Failure::new(format!("{flag} is also an input file={:?}", input.name())));
        }
    }
    // A store that does not exist contains nothing.
    let store = fs::canonicalize(store).ok();
    for (at, output) in outputs.iter().enumerate() {
        let Some(path) = output.path() else { continue };
        let id = output.id();
        if store.as_ref().is_some_and(|store| path.starts_with(store)) {
            return Err(Failure::new(format!("{} lies inside the store file={path:?}", output.flag)));
        }
        if let Some(same) = outputs.iter().skip(at + 1).find(|other| id.is_some() && other.id() == id) {
            return Err(Failure::new(format!("{} and {} are the same file={path:?}", output.flag, same.flag)));
        }
    }
    Ok(())
}

/// The identity of the file at a path. None for a device: what is written to it is not read from it.
fn path_id(path: &Path) -> Option<FileId> {
    match fs::metadata(path) {
        Ok(found) => metadata_id(path, &found),
        Err(_) => Some(FileId::Path(path.to_owned())),
    }
}

#[cfg(unix)]
fn metadata_id(_: &Path, found: &fs::Metadata) -> Option<FileId> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    let kind = found.file_type();
    (kind.is_file() || kind.is_fifo()).then(|| FileId::Inode(found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn metadata_id(path: &Path, _: &fs::Metadata) -> Option<FileId> {
    fs::canonicalize(path).ok().map(FileId::Path)
}

/// The identity of what a standard stream is redirected to.
#[cfg(unix)]
fn stream_id(stream: &impl std::os::fd::AsFd) -> Option<FileId> {
    // A stream that is closed is no file.
    let file = File::from(stream.as_fd().try_clone_to_owned().ok()?);
    metadata_id(Path::new("-"), &file.metadata().ok()?)
}

#[cfg(not(unix))]
fn stream_id<S>(_: &S) -> Option<FileId> {
    None
}
