//! Trying it without AWS: `demo` and `local`.

pub mod demo;
pub mod local;
