//! The HTTP server against plain requests. Test names with a number hold that case of docs/CONTRACT.md.

mod bench;
mod connections;
mod encodings;
#[cfg(feature = "geoip")]
mod geo;
mod history;
mod ingestion;
#[cfg(feature = "cli")]
mod process;
mod queries;
mod refusals;
mod segment;
mod tls;
mod upload;
