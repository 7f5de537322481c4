//! Joins without a store.

mod leaps;
mod limits_of_reading;
mod nested_loop;
mod rules;
