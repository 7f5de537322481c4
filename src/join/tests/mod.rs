//! Joins without a store.

mod bounds;
mod columns;
mod limits_of_reading;
mod memory;
mod nested_loop;
mod planner;
mod profiles;
mod rules;
mod skip_scan;
