//! What can be typed.

use std::path::PathBuf;

use clap::{Args as Flags, Parser, Subcommand};
use profiledb::ingest::Rules;
use profiledb::{Kind, Limits};

use crate::failure::Failure;
use crate::print::Format;

/// An embedded store of user and group profiles.
///
/// Exit status: 0 when all went well, 2 when records were refused or a check found something wrong, 1 on any error.
#[derive(Debug, Parser)]
#[command(name = "profiledb", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "New here? \"profiledb demo\" is a tour of ten seconds.")]
pub(crate) struct Args {
    /// The directory of the store.
    #[arg(long, global = true, env = "PROFILEDB_DIR", default_value = "./profiledb-data", value_name = "DIR")]
    pub(crate) db: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take a guided tour on real data, in a temporary store.
    Demo {
        /// Keep the store, and say where it is.
        #[arg(long)]
        keep: bool,
    },
    Import(Import),
    Update(Update),
    /// Remove profiles. Those that are not there count too: nothing is read.
    Delete {
        /// The ids of the profiles.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        of: Of,
    },
    /// Print one profile, as a line that `import` takes back.
    Get {
        /// The id of the profile.
        id: String,
        #[command(flatten)]
        of: Of,
        /// How to print it. Default: one line of JSON.
        #[arg(long, value_enum)]
        format: Option<Format>,
    },
    List(List),
    Export(Export),
    /// Print which tables there are, and how many profiles each holds.
    Tables(Shape),
    /// Print what the tables take on disk and in memory. Cheap: nothing is read, so counts are estimates.
    Stats(Shape),
    /// Read every row and every pending operand, and report what is there. Exit status 2 when something is wrong.
    Check(Shape),
    /// Fold every profile and rewrite every file, after which reads are fastest.
    Compact,
    /// Add a backup of the store to a directory of backups.
    Backup {
        /// The directory of backups. It is made if there is none.
        dir: PathBuf,
    },
    /// Make a store from the latest backup: --db says where, and nothing may be there yet.
    Restore {
        /// The directory of backups.
        dir: PathBuf,
    },
    /// Print the backups in a directory.
    Backups {
        /// The directory of backups.
        dir: PathBuf,
        #[command(flatten)]
        shape: Shape,
    },
}

/// Apply updates from files: objects, arrays or lines of them, plain or gzipped, and exports.
///
/// Records are applied in order, each alone: a refused one costs itself only. What was applied survives a crash of
/// the process at once, and power loss once the last line is printed, because all of it is synced then (with --sync,
/// from the moment it is counted). The last line is one JSON object with the figures.
#[derive(Debug, Flags)]
pub(crate) struct Import {
    /// The files, in order. "-" is the standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Where refused records go, one a line with the reason. Default: the standard error.
    #[arg(long, value_name = "FILE")]
    pub(crate) rejects: Option<PathBuf>,
    /// Sync every commit, not only the end.
    #[arg(long)]
    pub(crate) sync: bool,
}

/// Apply one update object, given here or on the standard input.
#[derive(Debug, Flags)]
pub(crate) struct Update {
    /// The object, as in '{"$distinct_id":"alice","$set":{"plan":"pro"}}'. "-" is the standard input.
    #[arg(value_name = "JSON")]
    pub(crate) json: String,
    #[command(flatten)]
    pub(crate) reading: Reading,
}

/// How updates are read.
#[derive(Debug, Flags)]
pub(crate) struct Reading {
    /// Refuse what is doubtful instead of forgiving it.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Allow $add on groups.
    #[arg(long)]
    pub(crate) add_on_groups: bool,
    /// Lift all limits on sizes and numbers of properties, to restore an export.
    #[arg(long)]
    pub(crate) unbounded: bool,
}

impl Reading {
    pub(crate) fn limits(&self) -> Limits {
        if self.unbounded { Limits::unbounded() } else { Limits::mixpanel() }
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules::new().strict(self.strict).add_on_groups(self.add_on_groups).limits(self.limits())
    }
}

/// Print profiles in the order of their ids, one a row.
#[derive(Debug, Flags)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) of: Of,
    /// The properties to print, beside the id. Default: all.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    pub(crate) columns: Option<Vec<String>>,
    /// At most so many rows. Default: all, and 100 in a table.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Only ids that begin with this.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) prefix: String,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

/// Print every profile as a line that `import` takes back, `$last_seen` included.
///
/// Restore with "profiledb import --unbounded", for a profile can be larger than what one update may be.
#[derive(Debug, Flags)]
pub(crate) struct Export {
    /// Only the groups under this key. Default: users, then all groups.
    #[arg(long, value_name = "KEY", conflicts_with = "users")]
    pub(crate) group: Option<String>,
    /// Only users.
    #[arg(long)]
    pub(crate) users: bool,
    /// The file to write, gzipped if its name ends in .gz. It appears when it is complete. Default: standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Whose profile.
#[derive(Debug, Flags)]
pub(crate) struct Of {
    /// The group key, for a group. Default: a user.
    #[arg(long, value_name = "KEY")]
    group: Option<String>,
}

impl Of {
    pub(crate) fn kind(&self) -> Result<Kind, Failure> {
        Ok(self.group.as_ref().map_or(Ok(Kind::User), Kind::group)?)
    }
}

/// How rows are printed.
#[derive(Debug, Flags)]
pub(crate) struct Shape {
    /// How to print. Default: table on a terminal, ndjson elsewhere.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

impl Shape {
    pub(crate) fn format(&self) -> Format {
        self.format.unwrap_or_else(Format::fitting)
    }
}
