//! The whole device against a host, over a line in memory.

mod bench;
mod noise;
mod pins;
mod sessions;
