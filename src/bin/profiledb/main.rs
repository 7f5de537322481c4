//! The command line of profiledb.

fn main() {}
