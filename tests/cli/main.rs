//! The command line, from outside: what it prints, how it ends, and what is in the store afterwards.
#![cfg(feature = "cli")]

mod batches;
mod csv;
mod events;
mod files;
mod join;
mod profiles;
mod repair;
mod store;
mod tour;
