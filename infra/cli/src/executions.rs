//! Executions of the state machines: listed, described, and their histories read.
