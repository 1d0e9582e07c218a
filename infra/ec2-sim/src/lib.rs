//! A stand-in for the EC2 API: one account in one Region, for tests, simulations and scenarios without AWS.
//!
//! It serves the EC2 query protocol for the actions that mirrorstep calls and those that build a scenario, in
//! process underneath a real SDK client ([`Ec2Sim::http_client`]) and over HTTP ([`serve`]). It holds to what AWS
//! documents: quotas, unique session numbers, client tokens, pagination, filters, throttling, eventual
//! consistency; and it makes calls fail on demand ([`Ec2Sim::on_call`]). It simulates what the API tells, not what
//! the network does.
//!
//! It is independent of the rest of the project: a mistake about EC2 made there is not made again here.

mod actions;
mod connector;
mod context;
mod describe;
mod error;
mod faults;
mod history;
mod model;
mod options;
mod publisher;
mod query;
mod refusals;
mod server;
mod sim;
mod snapshot;
mod throttle;
mod world;
mod xml;

pub use actions::actions;
pub use faults::{Fault, FaultRule};
pub use options::{Options, Throttle};
pub use publisher::publish;
pub use server::serve;
pub use sim::{Call, Calls, Ec2Sim, Response};
pub use snapshot::SnapshotError;
pub use world::StateChange;
