//! The reachability rules: their edges one by one, the known defects of other tools one by one, and random
//! networks against a second implementation that shares no code with the first.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod defects;
mod edges;
mod gather;
mod naive;
mod network_acls;
mod properties;
mod references;
mod routes;
mod security_groups;
mod source;
mod support;
mod worlds;
