//! The operator's account, and what is deployed there: how AWS is reached, what its refusals mean, which stack is
//! meant, Step Functions no faster than it answers, and the network around some interfaces.

pub mod aws;
pub mod collect;
pub mod deployment;
pub mod step_functions;
