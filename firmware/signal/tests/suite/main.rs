//! What the crate promises as a whole: events, laws, and an observer whose script is known.

#![cfg(test)]

mod events;
mod golden;
mod laws;
mod objects;
mod observer;
mod simulated;
mod trace;
