//! What an operator has done: `trigger`, `reconcile`, `replay`, `drain`, `rebalance`.

pub mod moves;
pub mod reconcile;
pub mod replay;
pub mod trigger;
