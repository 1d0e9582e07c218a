//! What ran, what failed, and why: `audit` and `history`.

pub mod advice;
pub mod audit;
pub mod executions;
pub mod history;
