//! What can be typed.

use std::path::PathBuf;

use clap::{Args as Flags, Parser, Subcommand, ValueEnum};
use profiledb::{Kind, Limits};

use crate::failure::Failure;
use crate::measures::Measures;
use crate::print::Format;
use crate::scope::Scope;
use crate::span::BEFORE_HELP;

/// An embedded store of user and group profiles, and of the events that they are joined onto.
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
    Import(ImportArgs),
    Track(TrackArgs),
    Update(UpdateArgs),
    /// Remove profiles, but not events. Those that are not there count too: nothing is read.
    Delete {
        /// The ids of the profiles.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        of: Of,
    },
    /// Remove all that there is of users, as data protection laws ask for: their events, their profiles, and the times
    /// of their first events.
    ///
    /// Stop sending first: what arrives meanwhile may stay. What groups know from events of the user stays, as do
    /// backups. What was removed cannot be read any more; "profiledb compact" takes it out of the files as well.
    DeleteUser {
        /// The ids of the users.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Remove all events before a time.
    ///
    /// Profiles stay as they are, and so do the times of first events, which are of the first event ever seen. So do
    /// backups. The space comes back as files are compacted.
    DeleteEvents {
        /// The first moment of which events stay.
        #[arg(long, value_name = "TIME", long_help = BEFORE_HELP)]
        before: String,
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
    List(ListArgs),
    Export(ExportArgs),
    Events(EventsArgs),
    Join(JoinArgs),
    /// Print which tables there are, and how many profiles or events each holds.
    Tables(Shape),
    /// Print what the tables take on disk and in memory. Cheap: nothing is read, so counts are estimates.
    Stats(Shape),
    /// Read every row, every pending operand and every event, and report what is there. Exit status 2 when something is
    /// wrong.
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
pub(crate) struct ImportArgs {
    #[command(flatten)]
    pub(crate) feed: Feed,
    /// Allow $add on groups.
    #[arg(long)]
    pub(crate) add_on_groups: bool,
}

/// Append events from files: objects in the form of Mixpanel's /import, arrays or lines of them, plain or gzipped.
///
/// Events are kept as they came, each alone: a refused one costs itself only. One that is sent again, with the same
/// name, user, time and $insert_id, replaces the one that is there. Crashes, and the last line, are as with `import`.
#[derive(Debug, Flags)]
pub(crate) struct TrackArgs {
    #[command(flatten)]
    pub(crate) feed: Feed,
}

/// What is read, and how it is stored.
#[derive(Debug, Flags)]
pub(crate) struct Feed {
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
pub(crate) struct UpdateArgs {
    /// The object, as in '{"$distinct_id":"alice","$set":{"plan":"pro"}}'. "-" is the standard input.
    #[arg(value_name = "JSON")]
    pub(crate) json: String,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Allow $add on groups.
    #[arg(long)]
    pub(crate) add_on_groups: bool,
}

/// How records are read.
#[derive(Debug, Flags)]
pub(crate) struct Reading {
    /// Refuse what is doubtful instead of forgiving it.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Lift all limits on sizes, numbers of properties and times of events, to restore what was printed.
    #[arg(long)]
    pub(crate) unbounded: bool,
}

impl Reading {
    pub(crate) fn limits(&self) -> Limits {
        if self.unbounded { Limits::unbounded() } else { Limits::mixpanel() }
    }
}

/// Print profiles in the order of their ids, one a row.
///
/// Profiles without any property are left out, and counted on the standard error, unless --all is given.
#[derive(Debug, Flags)]
pub(crate) struct ListArgs {
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
    /// Only profiles of which this is true, as in 'properties["plan"] == "pro" and defined(user["$email"])'. Either
    /// word names the profile; its id and its times are properties here.
    #[arg(long = "where", value_name = "EXPR")]
    pub(crate) filter: Option<String>,
    /// Also profiles without any property, and ids that are known from events only.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

/// Print events in the order of the log: by day in UTC, within a day by user, then by time.
///
/// Lines of JSON are what `track` takes back.
#[derive(Debug, Flags)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    pub(crate) scope: Scope,
    /// Only events of this user, who is looked up. "" is nobody.
    #[arg(long, value_name = "ID")]
    pub(crate) user: Option<String>,
    /// Print how many events there are on each day instead.
    #[arg(long, conflicts_with = "limit")]
    pub(crate) days: bool,
    /// At most N events. Default: all, and 100 in a table.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

/// Join events with the latest state of their users and groups
///
/// However old an event is, it is joined with the latest state of its profiles. A field is one of
///
/// event.NAME      a property of the event, also $event_name, $distinct_id, $time or $day;
/// user.NAME       a property of its user's profile, also $last_seen or $mp_first_event_time;
/// group:KEY.NAME  a property of the groups that the event lists under its property KEY;
/// user:KEY.NAME   a property of the groups that the user's profile lists there.
///
/// With --by or a measure, events are grouped into buckets, ordered by the first measure, descending. Without, each
/// event is printed, with the fields of --select.
#[derive(Debug, Flags)]
#[command(verbatim_doc_comment)]
pub(crate) struct JoinArgs {
    #[command(flatten)]
    pub(crate) scope: Scope,
    /// The fields to print of each event, besides its name, time and user.
    #[arg(long, value_delimiter = ',', value_name = "FIELD,...", conflicts_with_all = ["by", Measures::GROUP])]
    pub(crate) select: Vec<String>,
    /// The fields to group by. A list counts once for each of its elements.
    #[arg(long, value_delimiter = ',', value_name = "FIELD,...")]
    pub(crate) by: Vec<String>,
    #[command(flatten)]
    pub(crate) measures: Measures,
    /// At most N buckets, ordered by the first measure, descending.
    #[arg(long, value_name = "N", requires = "by")]
    pub(crate) top: Option<usize>,
    /// A table to join even if no field uses it: "users", a group key, or "user:KEY" for the groups of users.
    #[arg(long, value_name = "TABLE")]
    pub(crate) on: Vec<String>,
    /// Drop events without a profile in one of the joined tables (inner join).
    #[arg(long)]
    pub(crate) inner: bool,
    /// Print events in the order of the log. By default the order is unspecified.
    #[arg(long, conflicts_with_all = ["by", Measures::GROUP])]
    pub(crate) ordered: bool,
    /// At most N events. Default: all, and 100 in a table.
    #[arg(long, value_name = "N", conflicts_with_all = ["by", Measures::GROUP])]
    pub(crate) limit: Option<usize>,
    /// Number of threads. Default: the number of cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,
    /// Memory for the build sides of hash joins. Default: 32.
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) memory: Option<u16>,
    /// Force this strategy wherever it is possible.
    #[arg(long, value_enum)]
    pub(crate) strategy: Option<Way>,
    /// Print the plan instead of running it.
    #[arg(long)]
    pub(crate) explain: bool,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

/// Join strategies.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Way {
    /// Read the rows of a block of events by key.
    Lookup,
    /// Read the sorted table along with the events of each day. For users only.
    Merge,
    /// Read the table, or one partition after another, into memory.
    Hash,
}

/// Print every profile as a line that `import` takes back, `$last_seen` included.
///
/// Restore with "profiledb import --unbounded", for a profile can be larger than what one update may be. Events are
/// printed by `events`.
#[derive(Debug, Flags)]
pub(crate) struct ExportArgs {
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

    /// The format that was asked for.
    pub(crate) fn given(&self) -> Option<Format> {
        self.format
    }
}
