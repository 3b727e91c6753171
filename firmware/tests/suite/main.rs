//! The whole device against a host, over a line in memory.

mod bench;
mod mocks;
mod noise;
mod pins;
mod sessions;
