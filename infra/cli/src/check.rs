//! What would be decided, and whether an account is ready: `doctor`, `explain`, `snapshot`.

pub mod around;
pub mod doctor;
pub mod explain;
pub mod snapshot;
