//! The arguments of all commands.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args as Flags, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use profiledb::{Kind, Limits};

use crate::destination::Destination;
use crate::failure::Failure;
use crate::measures::{self, Measures};
use crate::names;
use crate::print::Format;
use crate::scope::ScopeFlags;
use crate::serve_args::ServeArgs;
use crate::span::{BEFORE_HELP, ZoneFlag};

/// An embedded store of user and group profiles, and of events that are joined with them.
///
/// Exit status: 0 on success, 2 if records were rejected or a check found something wrong, 1 on any error.
#[derive(Debug, Parser)]
#[command(name = "profiledb", version, max_term_width = 100)]
#[command(after_help = "\"profiledb demo\" is a guided tour of ten seconds.")]
pub(crate) struct Args {
    /// The directory of the store.
    #[arg(long, global = true, env = "PROFILEDB_DIR", default_value = "./profiledb-data", value_name = "DIR")]
    #[arg(value_parser = OsStringValueParser::new().try_map(directory))]
    pub(crate) db: PathBuf,
    /// Wait up to this long for a store that another process has open for writing. Default: fail at once.
    #[arg(long, global = true, value_name = "SECONDS")]
    pub(crate) wait: Option<u32>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A directory, which cannot be a standard stream.
fn directory(name: OsString) -> Result<PathBuf, &'static str> {
    match name.to_str() {
        Some("") => Err("the name of the directory is empty; PROFILEDB_DIR may be set, but to nothing"),
        Some("-") => Err("\"-\" is the standard input or output, not a directory; \"./-\" is one"),
        _ => Ok(name.into()),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take a guided tour on real data, in a temporary store.
    Demo {
        /// Keep the store, and print its path.
        #[arg(long)]
        keep: bool,
    },
    Import(ImportArgs),
    ImportCsv(CsvArgs),
    Track(TrackArgs),
    Update(UpdateArgs),
    /// Delete profiles, but not events. Missing profiles are counted as well, because nothing is read.
    Delete {
        /// The ids of the profiles.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        of: Of,
    },
    /// Erase users, as data protection laws require: their events, their profiles, and the times of their first events.
    ///
    /// Stop tracking them first: events that are appended meanwhile may be kept. First event times of groups and
    /// backups are kept. Erased data cannot be read any more; "profiledb compact" removes it from the files as well.
    DeleteUser {
        /// The ids of the users.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Delete all events before a time.
    ///
    /// Profiles, times of first events, and backups are kept. Space is reclaimed by compaction.
    DeleteEvents {
        /// The time before which events are deleted.
        #[arg(long, value_name = "TIME", long_help = BEFORE_HELP)]
        before: String,
        #[command(flatten)]
        zone: ZoneFlag,
    },
    /// Drop a table: delete all its profiles at once, such as those under a misspelled group key. Events are kept.
    DropTable {
        /// The table as "profiledb tables" prints it: "users", or "group:" and a group key.
        table: String,
        /// Confirm. Without it, nothing is dropped and the number of profiles is printed.
        #[arg(long)]
        yes: bool,
    },
    /// Print one profile, as a line that can be imported.
    Get {
        /// The id of the profile.
        id: String,
        #[command(flatten)]
        of: Of,
        /// The output format. Default: one line of JSON.
        #[arg(long, value_parser = Format::text_parser())]
        format: Option<Format>,
    },
    List(ListArgs),
    Count(CountArgs),
    Export(ExportArgs),
    Events(EventsArgs),
    Join(JoinArgs),
    Serve(Box<ServeArgs>),
    /// Print the tables, with the number of profiles or events in each.
    Tables(Shape),
    /// Print the sizes of the tables on disk and in memory. Cheap: nothing is read, so counts are estimates.
    Stats(Shape),
    /// Read and verify every row, every pending operand and every event. Exit status 2 if something is wrong.
    ///
    /// Damage does not end it: what can be read is counted, and what cannot is listed, with the ids around it and the
    /// file.
    Check {
        /// First build the tables of first-event times that are damaged anew, from the events.
        #[arg(long)]
        rebuild: bool,
        #[command(flatten)]
        shape: Shape,
    },
    /// Repair a store that cannot be opened, or in which "check" finds damage: keep what is whole. Try --dry-run first.
    ///
    /// Logs are kept up to the first damage, and table files but for the blocks that cannot be read. What is dropped is
    /// listed, and the files as they were are kept in DIR/damaged-N. Exit status 2 if anything is dropped.
    Repair {
        /// Say what is damaged and what a repair would keep. Change nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        shape: Shape,
    },
    /// Move the events into column segments, which take two fifths of the space and are faster to join.
    ///
    /// What is read is the same. Printing sealed events in the order of the log is slower. Events that are appended
    /// afterwards are rows until the next time. "profiledb track" and "profiledb serve" seal by themselves. Versions
    /// that do not know segments refuse the store from then on.
    Seal,
    /// Fold every profile and rewrite every file, after which reads are fastest.
    Compact,
    /// Print a script of completions for a shell.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: Shell,
    },
    Backup(BackupArgs),
    /// Restore a backup to the directory of --db, which must not exist or be empty.
    ///
    /// If the newest backup is damaged it fails, and names those that are not. A restore that fails leaves nothing.
    Restore {
        /// The directory of backups.
        #[arg(value_parser = OsStringValueParser::new().try_map(directory))]
        dir: PathBuf,
        /// The backup with this id. Default: the newest.
        #[arg(long, value_name = "ID")]
        id: Option<u32>,
    },
    /// Print the backups in a directory. Exit status 2 if one is damaged, as far as that is seen without reading it.
    Backups {
        /// The directory of backups.
        #[arg(value_parser = OsStringValueParser::new().try_map(directory))]
        dir: PathBuf,
        #[command(flatten)]
        shape: Shape,
    },
}

/// Create a backup of the store in a directory of backups, or verify those that are there.
#[derive(Debug, Flags)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BackupArgs {
    /// The directory of backups. It is created if it does not exist.
    #[arg(required = true, value_parser = OsStringValueParser::new().try_map(directory))]
    pub(crate) dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<BackupCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Read every file of the backups in a directory and verify its checksum. Exit status 2 if one is damaged.
    Verify {
        /// The directory of backups.
        #[arg(value_parser = OsStringValueParser::new().try_map(directory))]
        dir: PathBuf,
        /// Only the backup with this id.
        #[arg(long, value_name = "ID")]
        id: Option<u32>,
        #[command(flatten)]
        shape: Shape,
    },
}

/// Apply updates from files: objects, arrays or lines of them, plain or gzipped, and exports.
///
/// Records are applied in order, each on its own: a rejected one does not affect the others. What is applied survives a
/// crash of the process immediately, and power loss once the last line is printed, before which everything is synced
/// (with --sync, every commit is). The last line is a JSON object with the figures.
///
/// Ctrl-C ends an import after the records that were read, and says how to continue it with --resume, so that no record
/// is applied twice. A second Ctrl-C ends it at once.
#[derive(Debug, Flags)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    pub(crate) feed: ImportOptions,
    /// Allow $add on groups.
    #[arg(long)]
    pub(crate) add_on_groups: bool,
}

/// Set properties of profiles from the rows of CSV files, plain or gzipped
///
/// Each row sets the properties of one profile, which is created if it does not exist. An empty cell leaves its
/// property unchanged, and no row touches $last_seen. The first row is data, unless --header is given.
///
/// A COLUMN is its number, counted from 1, or its name in the header. Each column is mapped to a property, skipped, or
/// the id; nothing is stored if one is not. Rows are applied in order, each on its own: a rejected one does not affect
/// the others. Durability, interruption and the last line are as with "import".
///
/// A cell is a number, a boolean, null, a list or an object if it is one in JSON, and text otherwise, such as 007.
#[derive(Debug, Flags)]
#[command(verbatim_doc_comment)]
pub(crate) struct CsvArgs {
    #[command(flatten)]
    pub(crate) feed: ImportOptions,
    /// The first row has the names of the columns, which are their properties, unless they are mapped to others.
    #[arg(long)]
    pub(crate) header: bool,
    /// The column with the ids. Default: the one mapped to $distinct_id (of groups, $group_id), or else to $email, or
    /// else each row gets a random UUID, and is a profile of its own.
    #[arg(long, value_name = "COLUMN")]
    pub(crate) id: Option<String>,
    /// The property of a column: --map 2='$email'. Can be repeated.
    #[arg(long, value_name = "COLUMN=PROPERTY")]
    pub(crate) map: Vec<String>,
    /// A column that is not stored. Can be repeated.
    #[arg(long, value_name = "COLUMN")]
    pub(crate) skip: Vec<String>,
    /// The type of a column: text, number, boolean, date or json, or auto, which is the default. A row with another
    /// value is rejected. Can be repeated.
    #[arg(long, value_name = "COLUMN=TYPE")]
    pub(crate) types: Vec<String>,
    /// The group key, if the rows are groups. Default: they are users.
    #[arg(long, value_name = "KEY")]
    pub(crate) group: Option<String>,
    /// What separates fields: one character, or "tab". Default: a comma.
    #[arg(long, value_name = "CHAR")]
    pub(crate) delimiter: Option<String>,
    /// The encoding: utf-8, utf-16le, utf-16be, latin-1 or windows-1252. Default: that of the byte order mark, or else
    /// UTF-8.
    #[arg(long, value_name = "NAME")]
    pub(crate) encoding: Option<String>,
    /// Read all rows and store none: print the first 10 as they would be stored in an empty store, and all rejects.
    #[arg(long, conflicts_with_all = ["resume", "sync", "notes"])]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

/// Append events from files: objects in the form of Mixpanel's /track, arrays or lines of them, plain or gzipped.
///
/// Each event is stored on its own: a rejected one does not affect the others. One without a time gets the time of its
/// arrival, with a note, or is rejected with --strict. An event with the same name, user, time and $insert_id as a
/// stored one replaces it. Durability, and the last line, are as with `import`.
#[derive(Debug, Flags)]
pub(crate) struct TrackArgs {
    #[command(flatten)]
    pub(crate) feed: ImportOptions,
    /// With how many events that are rows the store is sealed, at the end at the latest, so that joins are fast. 0:
    /// never. Default: 65536.
    #[arg(long, value_name = "EVENTS")]
    pub(crate) seal_after: Option<u64>,
}

/// Input files, and options of the import.
#[derive(Debug, Flags)]
pub(crate) struct ImportOptions {
    /// The files, in order. "-" is the standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// The file for rejected records, one per line with the reason and the text of the record, to be corrected and sent
    /// again. "-" is the standard output. Default: the standard error. It cannot be an input as well.
    #[arg(long, value_name = "FILE")]
    pub(crate) rejects: Option<PathBuf>,
    /// The file for notes, one per line: what was changed in a record, where, and the value before. "-" is the standard
    /// output. Without it, notes are only counted.
    #[arg(long, value_name = "FILE")]
    pub(crate) notes: Option<PathBuf>,
    /// Skip the first N records of the first file: continue an import that Ctrl-C interrupted, as its message says.
    #[arg(long, value_name = "N")]
    pub(crate) resume: Option<u64>,
    /// Sync every commit, not only the last one.
    #[arg(long)]
    pub(crate) sync: bool,
}

/// Apply one update object, from the command line or the standard input.
#[derive(Debug, Flags)]
pub(crate) struct UpdateArgs {
    /// The object, for example '{"$distinct_id":"alice","$set":{"plan":"pro"}}'. "-" is the standard input.
    #[arg(value_name = "JSON")]
    pub(crate) json: String,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Allow $add on groups.
    #[arg(long)]
    pub(crate) add_on_groups: bool,
}

/// Parser options.
#[derive(Debug, Flags)]
pub(crate) struct Reading {
    /// Reject records with mistakes that are tolerated otherwise.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Lift all limits on sizes, numbers of properties and of rows, and times of events. Not needed for what `export`
    /// wrote.
    #[arg(long)]
    pub(crate) unbounded: bool,
}

impl Reading {
    pub(crate) fn limits(&self) -> Limits {
        if self.unbounded { Limits::unbounded() } else { Limits::mixpanel() }
    }
}

/// Print profiles in the order of their ids, one per row.
///
/// Profiles without properties are skipped, and counted on the standard error, unless --all is given.
#[derive(Debug, Flags)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) of: Of,
    /// The properties to print, in addition to the id. Default: all. A name with a comma is written as in JSON:
    /// --columns 'plan,"a,b"'.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    pub(crate) columns: Option<Vec<String>>,
    /// At most N rows. Default: all, and 100 in a table.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Only ids with this prefix.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) prefix: String,
    /// Only profiles for which this expression is true, for example 'properties["plan"] == "pro" and
    /// defined(user["$email"])'. properties and user both refer to the profile, with its id and its times.
    #[arg(long = "where", value_name = "EXPR")]
    pub(crate) filter: Option<String>,
    /// Also profiles without properties, and ids that have events only.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) shape: RowOutput,
}

impl ListArgs {
    /// With the names of columns as they are, without quotes.
    pub(crate) fn unquoted(self) -> Result<Self, Failure> {
        let columns = self.columns.as_deref().map(|pieces| names::properties("--columns", pieces)).transpose()?;
        Ok(Self { columns, ..self })
    }
}

/// Count profiles, grouped by their properties, or measure those
///
/// Without --by there is one bucket. With it, buckets are ordered by the first measure, descending. Profiles without
/// properties count as well. The properties include the id, $last_seen and $mp_first_event_time. A NAME with a comma is
/// written as in JSON: --by 'plan,"a,b"'.
#[derive(Debug, Flags)]
pub(crate) struct CountArgs {
    #[command(flatten)]
    pub(crate) of: Of,
    /// The properties to group by. A list counts once for each of its elements. bucket(NAME, WIDTH) groups numbers into
    /// intervals, as in 'bucket(age, 10)': from a multiple of the width, which is printed, up to the next.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    pub(crate) by: Vec<String>,
    #[command(flatten)]
    pub(crate) measures: Measures<true>,
    /// Only profiles for which this expression is true, for example 'user["plan"] == "pro"'. properties and user both
    /// refer to the profile, with its id and its times.
    #[arg(long = "where", value_name = "EXPR")]
    pub(crate) filter: Option<String>,
    /// At most N buckets, ordered by the first measure, descending.
    #[arg(long, value_name = "N", requires = "by")]
    pub(crate) top: Option<usize>,
    /// Fail rather than compute more buckets than this, which bounds memory. Default: 2,000,000.
    #[arg(long, value_name = "N")]
    pub(crate) buckets_max: Option<usize>,
    /// Memory for the buckets. Default: 512.
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u16).range(1..=4095))]
    pub(crate) memory: Option<u16>,
    /// Print the plan instead of running it.
    #[arg(long)]
    pub(crate) explain: bool,
    #[command(flatten)]
    pub(crate) shape: RowOutput,
}

/// Print events in the order of the log: by day in UTC, within a day by user, then by time.
///
/// Lines of JSON can be appended again by `track`.
#[derive(Debug, Flags)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    pub(crate) scope: ScopeFlags,
    /// Only events of this user, with a skip scan. "" selects anonymous events.
    #[arg(long, value_name = "ID")]
    pub(crate) user: Option<String>,
    /// Print all events that can be read of a damaged store, as lines of JSON. As with `export`.
    #[arg(long, conflicts_with_all = ["user", "days", "limit", "event", "filter", "from", "to", "format"])]
    pub(crate) salvage: bool,
    /// Print the number of events of each day instead.
    #[arg(long, conflicts_with = "limit")]
    pub(crate) days: bool,
    /// At most N events. Default: all, and 100 in a table.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    #[command(flatten)]
    pub(crate) shape: RowOutput,
}

/// Join events with the latest state of their users and groups
///
/// However old an event is, it is joined with the latest state of its profiles. A field is one of
///
/// event.NAME      a property of the event, also $event_name, $distinct_id, $time, $hour, $day,
///                 $week (from Monday) or $month, in the time zone of --tz;
/// user.NAME       a property of its user's profile, also $last_seen or $mp_first_event_time;
/// group:KEY.NAME  a property of the groups that the event lists under its property KEY;
/// user:KEY.NAME   a property of the groups that the user's profile lists there.
///
/// A NAME with a comma and a KEY with a dot or a comma are written as in JSON: --by 'user."a,b",group:"x.y".tier'.
/// Dots in a NAME are part of it.
///
/// With --by or a measure, events are grouped into buckets, ordered by the first measure, descending. Without, each
/// event is printed, with the fields of --select.
#[derive(Debug, Flags)]
#[command(verbatim_doc_comment)]
pub(crate) struct JoinArgs {
    #[command(flatten)]
    pub(crate) scope: ScopeFlags,
    /// The fields to print of each event, besides its name, time and user.
    #[arg(long, value_delimiter = ',', value_name = "FIELD,...", conflicts_with_all = ["by", measures::GROUP])]
    pub(crate) select: Vec<String>,
    /// The fields to group by. A list counts once for each of its elements. bucket(FIELD, WIDTH) groups numbers into
    /// intervals, as in 'bucket(user.age, 10)': from a multiple of the width, which is printed, up to the next.
    #[arg(long, value_delimiter = ',', value_name = "FIELD,...")]
    pub(crate) by: Vec<String>,
    #[command(flatten)]
    pub(crate) measures: Measures<false>,
    /// At most N buckets, ordered by the first measure, descending.
    #[arg(long, value_name = "N", requires = "by")]
    pub(crate) top: Option<usize>,
    /// Fail rather than compute more buckets than this, which bounds memory. Default: 2,000,000.
    #[arg(long, value_name = "N")]
    pub(crate) buckets_max: Option<usize>,
    /// A table to join even if no field uses it: "users", a group key, or "user:KEY" for the groups of users.
    #[arg(long, value_name = "TABLE")]
    pub(crate) on: Vec<String>,
    /// Drop events without a profile in one of the joined tables (inner join).
    #[arg(long)]
    pub(crate) inner: bool,
    /// Print events in the order of the log. By default the order is unspecified.
    #[arg(long, conflicts_with_all = ["by", measures::GROUP])]
    pub(crate) ordered: bool,
    /// At most N events. Default: all, and 100 in a table.
    #[arg(long, value_name = "N", conflicts_with_all = ["by", measures::GROUP])]
    pub(crate) limit: Option<usize>,
    /// Number of threads. Default: the number of cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,
    /// Memory for the build sides of hash joins, and for buckets if it is more than the 512 MB that they may take.
    /// Default: 32.
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) memory: Option<u16>,
    /// Force this strategy wherever it is possible.
    #[arg(long, value_enum)]
    pub(crate) strategy: Option<Way>,
    /// Print the plan instead of running it.
    #[arg(long)]
    pub(crate) explain: bool,
    #[command(flatten)]
    pub(crate) shape: RowOutput,
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

/// Print every profile as a line that can be imported, `$last_seen` included.
///
/// `import` takes every line back as it was, whatever its size: no limits apply to it. Events are printed by `events`.
#[derive(Debug, Flags)]
pub(crate) struct ExportArgs {
    /// Only the groups under this key. Default: users, then all groups.
    #[arg(long, value_name = "KEY", conflicts_with = "users")]
    pub(crate) group: Option<String>,
    /// Only users.
    #[arg(long)]
    pub(crate) users: bool,
    /// Export all that can be read of a damaged store. What cannot is listed on the standard error: lines of JSON with
    /// the table, the ids around it, and the file. Exit status 2 if there is any.
    #[arg(long)]
    pub(crate) salvage: bool,
    /// The output file, gzipped if its name ends in .gz. "-" is the standard output, which is the default.
    ///
    /// A regular file, or the target of a link to one, is replaced when the output is complete; without that, it stays
    /// as it was. A FIFO or a device is written to.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// The kind of profile.
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

/// The output format.
#[derive(Debug, Flags)]
pub(crate) struct Shape {
    /// The output format. Default: table on a terminal, ndjson otherwise.
    #[arg(long, value_parser = Format::text_parser())]
    format: Option<Format>,
}

/// The output format, and the file.
#[derive(Debug, Flags)]
pub(crate) struct RowOutput {
    /// The output format. Default: table on a terminal, ndjson otherwise.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The output file. "-" is the standard output, which is the default.
    ///
    /// A regular file, or the target of a link to one, is replaced when the output is complete; without that, it stays
    /// as it was. A FIFO or a device is written to.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl RowOutput {
    /// Where rows are written. Nothing is opened.
    pub(crate) fn destination(&self, store: &Path) -> Result<Destination, Failure> {
        Destination::read(store, self.format, self.output.as_deref())
    }

    /// The requested format.
    pub(crate) fn given(&self) -> Option<Format> {
        self.format
    }

    /// Whether a file is requested.
    pub(crate) fn has_file(&self) -> bool {
        self.output.is_some()
    }
}

impl Shape {
    pub(crate) fn format(&self) -> Format {
        self.format.unwrap_or_else(Format::fitting)
    }
}
