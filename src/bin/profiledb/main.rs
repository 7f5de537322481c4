//! The command line of profiledb. It uses the public API only.

// A cast that may change a number does so silently: `try_from` where it can happen, `expect` with the proof where not.
#![cfg_attr(not(test), deny(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss))]

mod args;
mod backup;
mod bar;
mod columns;
mod count;
mod csv;
mod demo;
mod destination;
mod erase;
mod escape;
mod events;
mod export;
mod failure;
mod format;
mod get;
mod import;
mod input;
mod interrupt;
mod join;
mod known;
mod list;
mod measures;
mod names;
mod open;
mod output;
mod print;
mod repair;
mod report;
mod row_format;
mod scope;
#[cfg(feature = "server")]
mod serve;
mod serve_args;
mod span;
mod update;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use profiledb::ingest::{EventRecord, Record};

use crate::args::{Args, BackupArgs, BackupCommand, Command, ImportArgs, TrackArgs};
use crate::failure::Failure;
use crate::format::Json;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(shown) => {
            // Help and version arrive here as well. If the output is closed, there is no way to report that.
            let _ = shown.print();
            return if shown.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match run(args) {
        Ok(code) => code,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "profiledb: error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(Args { db, wait, command }: Args) -> Result<ExitCode, Failure> {
    open::wait_at_most(Duration::from_secs(wait.unwrap_or_default().into()));
    let done = |outcome: Result<(), Failure>| outcome.map(|()| ExitCode::SUCCESS);
    match command {
        Command::Demo { keep } => done(demo::run(keep)),
        Command::Import(ImportArgs { feed, add_on_groups }) => {
            import::run(&db, &feed, None, &Json::<Record>::new(), |rules| rules.add_on_groups(add_on_groups))
        }
        Command::ImportCsv(args) => csv::run(&db, &args),
        Command::Track(TrackArgs { feed, seal_after }) => {
            import::run(&db, &feed, seal_after, &Json::<EventRecord>::new(), |rules| rules)
        }
        Command::Update(update) => update::update(&db, &update),
        Command::Delete { ids, of } => done(update::delete(&db, &of.kind()?, &ids)),
        Command::DeleteUser { ids } => done(erase::users(&db, &ids)),
        Command::DeleteEvents { before, zone } => done(erase::events(&db, &before, &zone)),
        Command::DropTable { table, yes } => done(erase::table(&db, &table, yes)),
        Command::Get { id, of, format } => done(get::run(&db, of.kind()?, &id, format)),
        Command::List(list) => done(list.unquoted().and_then(|list| list::run(&db, &list))),
        Command::Count(count) => done(count::run(&db, &count)),
        Command::Export(export) => export::run(&db, &export),
        Command::Events(events) => events::run(&db, &events),
        Command::Join(join) => done(join::run(&db, &join)),
        #[cfg(feature = "server")]
        Command::Serve(serve) => done(serve::run(&db, &serve)),
        #[cfg(not(feature = "server"))]
        Command::Serve(_) => Err(Failure::new(
            "this profiledb was built without the feature \"server\"; \"cargo install --features cli,server\" has it",
        )),
        Command::Tables(shape) => done(report::tables(&db, shape.format())),
        Command::Stats(shape) => done(report::stats(&db, shape.format())),
        Command::Check { rebuild, shape } => report::check(&db, rebuild, shape.format()),
        Command::Repair { dry_run, shape } => repair::run(&db, dry_run, shape.format()),
        Command::Seal => done(update::seal(&db)),
        Command::Compact => done(update::compact(&db)),
        Command::Completions { shell } => done(print::completions(Args::command(), shell)),
        Command::Backup(BackupArgs { command: Some(BackupCommand::Verify { dir, id, shape }), .. }) => {
            backup::verify(&dir, id, shape.format())
        }
        // The directory is required without a subcommand.
        Command::Backup(BackupArgs { dir, command: None }) => done(backup::backup(&db, &dir.unwrap_or_default())),
        Command::Restore { dir, id } => done(backup::restore(&db, &dir, id)),
        Command::Backups { dir, shape } => backup::backups(&dir, shape.format()),
    }
}
