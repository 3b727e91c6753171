//! Numbers for the README.
use anyhow::Result;
/// Runs the benches.
pub fn run(_long: bool) -> Result<()> {
    Ok(())
}
