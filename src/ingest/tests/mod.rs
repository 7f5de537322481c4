//! Wire formats against their documentation, and framing against every layout and damage.

mod contract;
mod event_contract;
mod layouts;
