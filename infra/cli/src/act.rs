//! What an operator has done: `trigger`, `reconcile`, `replay`, `drain`, `rebalance`, `unmirror`.

pub mod change;
pub mod reconcile;
pub mod replay;
pub mod trigger;
mod watched;
