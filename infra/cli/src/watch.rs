//! How things stand: `status`, `report`, `ledger verify`.

pub mod ledger;
pub mod overview;
pub mod report;
pub mod senseless;
pub mod status;
pub mod unreadable;
pub mod verify;
