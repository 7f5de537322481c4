//! The command `serve`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use profiledb::server::{GeoLookup, Project, ProjectConfig, Server, ServerLimits};
use profiledb::{Builder, Db, Durability};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;

use crate::failure::Failure;
use crate::open;
use crate::serve_args::{DurabilityName, LimitFlags, LogLevel, ServeArgs};

/// The exit status after the second signal, as shells have it for Ctrl-C.
const AT_ONCE: i32 = 130;

/// Of the files that the process may open, those that connections leave to the stores, or half of them if that is less.
const STORE_FILES: usize = 4_096;

/// The least that `Builder::open_files_max` takes.
const OPEN_FILES_MIN: usize = 20;

/// Serves until a signal.
pub(crate) fn run(dir: &Path, args: &ServeArgs) -> Result<(), Failure> {
    log_from(args.log);
    let durability = match args.durability {
        DurabilityName::Synced => Durability::Synced,
        DurabilityName::Buffered => Durability::Buffered,
    };
    let mut server = Server::builder().limits(with_files(limits(&args.limits)));
    if let (Some(certificates), Some(key)) = (&args.tls_cert, &args.tls_key) {
        server = server.tls(&read(certificates)?, &read(key)?)?;
    }
    for network in &args.trusted_proxy {
        server = server.trusted_proxy(network.parse()?);
    }
    let mut stores = Vec::new();
    for (project, db) in projects(dir, args)? {
        server = server.project(project.durability(durability));
        stores.push(db);
    }
    let (server, is_tls) = (server.build()?, args.tls_cert.is_some());
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(server, args, is_tls));
    // Tasks whose clients have left still hold requests that are being committed.
    runtime.shutdown_timeout(Duration::from_secs(1));
    stores.into_iter().try_for_each(Db::close)?;
    served
}

async fn serve(server: Server, args: &ServeArgs, is_tls: bool) -> Result<(), Failure> {
    let listen = |error: io::Error| Failure::from(error).during(format!("cannot listen on {}", args.listen));
    let listener = TcpListener::bind(args.listen).await.map_err(listen)?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let scheme = if is_tls { "https" } else { "http" };
    // Programs that start it read this line.
    writeln!(io::stdout(), "listening on {scheme}://{}", listener.local_addr()?)?;
    io::stdout().flush()?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(AT_ONCE);
        });
    };
    server.serve(listener, stop).await;
    Ok(())
}

/// The projects, with their stores open.
fn projects(dir: &Path, args: &ServeArgs) -> Result<Vec<(Project, Db)>, Failure> {
    let mut configs = Vec::new();
    if let Some(file) = &args.projects {
        let text = String::from_utf8(read(file)?)?;
        let beside = file.parent().unwrap_or_else(|| Path::new(""));
        for mut config in ProjectConfig::parse_file(&text)? {
            config.dir = beside.join(&config.dir);
            config.geoip = config.geoip.map(|file| beside.join(file));
            configs.push(config);
        }
    }
    for parts in &args.project {
        configs.push(ProjectConfig::parse_flag(parts)?);
    }
    let mut lookups = Lookups::default();
    let files_each = store_files().map(|files| files / configs.len().max(1));
    let builder = || {
        let settings = args.seal_after.into_iter().fold(Db::builder(), Builder::seal_after);
        // Half of them for table files that are kept open, and half for logs, scans and compactions.
        files_each
            .into_iter()
            .fold(settings, |settings, files| settings.open_files_max((files / 2).max(OPEN_FILES_MIN)))
    };
    if configs.is_empty() && args.projects.is_none() {
        let lookup = lookups.of(args.geoip.as_deref())?;
        let db = open::or_create(builder(), dir)?;
        return Ok(vec![(with_places(Project::new(db.clone()), lookup), db)]);
    }
    let opened = configs.into_iter().map(|config| {
        let lookup = lookups.of(config.geoip.as_deref().or(args.geoip.as_deref()))?;
        let db = open::or_create(builder(), &config.dir)?;
        Ok((with_places(config.project(db.clone()), lookup), db))
    });
    opened.collect()
}

fn with_places(project: Project, lookup: Option<Arc<dyn GeoLookup>>) -> Project {
    match lookup {
        Some(lookup) => project.lookup(lookup),
        None => project,
    }
}

/// The databases of places that are open, each once.
#[derive(Default)]
struct Lookups(BTreeMap<PathBuf, Arc<dyn GeoLookup>>);

impl Lookups {
    fn of(&mut self, file: Option<&Path>) -> Result<Option<Arc<dyn GeoLookup>>, Failure> {
        let Some(file) = file else { return Ok(None) };
        if let Some(open) = self.0.get(file) {
            return Ok(Some(Arc::clone(open)));
        }
        let lookup = open_places(file)?;
        self.0.insert(file.to_owned(), Arc::clone(&lookup));
        Ok(Some(lookup))
    }
}

#[cfg(feature = "geoip")]
fn open_places(file: &Path) -> Result<Arc<dyn GeoLookup>, Failure> {
    Ok(Arc::new(profiledb::server::GeoIp::open(file)?))
}

#[cfg(not(feature = "geoip"))]
fn open_places(_: &Path) -> Result<Arc<dyn GeoLookup>, Failure> {
    Err(Failure::new(
        "this profiledb was built without the feature \"geoip\"; \"cargo install --features cli,geoip\" has it",
    ))
}

fn limits(flags: &LimitFlags) -> ServerLimits {
    fn set<T: Copy>(limit: &mut T, flag: Option<T>) {
        *limit = flag.unwrap_or(*limit);
    }
    let seconds = |flag: Option<u64>| flag.map(Duration::from_secs);
    let mut limits = ServerLimits::default();
    set(&mut limits.body_bytes_max, flags.body_bytes_max);
    set(&mut limits.inflated_bytes_max, flags.inflated_bytes_max);
    set(&mut limits.csv_bytes_max, flags.csv_bytes_max);
    set(&mut limits.csv_deadline, seconds(flags.csv_deadline));
    set(&mut limits.csv_uploads_max, flags.csv_uploads_max);
    set(&mut limits.buffered_bytes_max, flags.buffered_bytes_max);
    set(&mut limits.uncommitted_bytes_max, flags.uncommitted_bytes_max);
    set(&mut limits.head_bytes_max, flags.head_bytes_max);
    set(&mut limits.connections_max, flags.connections_max);
    set(&mut limits.head_deadline, seconds(flags.head_deadline));
    set(&mut limits.body_deadline, seconds(flags.body_deadline));
    set(&mut limits.write_deadline, seconds(flags.write_deadline));
    set(&mut limits.work_deadline, seconds(flags.work_deadline));
    set(&mut limits.shutdown_deadline, seconds(flags.shutdown_deadline));
    set(&mut limits.queries_max, flags.queries_max);
    set(&mut limits.sessions_max, flags.sessions_max);
    set(&mut limits.session_lifetime, seconds(flags.session_lifetime));
    limits
}

/// Raises the limit of open files as far as it goes, and leaves some of them to the stores: one that cannot open a file
/// takes no more writes.
fn with_files(mut limits: ServerLimits) -> ServerLimits {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let files = process_files();
    if let (Some(files), Some(stores)) = (files, store_files()) {
        limits.connections_max = limits.connections_max.min(files - stores);
    }
    tracing::debug!(?files, connections = limits.connections_max, "open files");
    limits
}

/// How many files the process may open, if there is a limit. One beyond the address space is none.
fn process_files() -> Option<usize> {
    getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok())
}

/// How many of them connections leave to the stores.
fn store_files() -> Option<usize> {
    process_files().map(|files| STORE_FILES.min(files / 2))
}

fn log_from(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).with_ansi(false).init();
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(file).map_err(|error| Failure::from(error).during(format!("cannot read {}", file.display())))
}
