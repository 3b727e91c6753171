//! Running other programs, loudly.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The workspace's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this package is two folders below the root")
        .to_owned()
}

/// The target folder.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Where steps put what they fetch or build: inside the target folder, so that a clean clone has
/// nothing of it.
pub fn scratch(name: &str) -> Result<PathBuf> {
    let folder = target().join("xtask").join(name);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// A command that runs in the workspace's root.
pub fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// `cargo` as it was called.
pub fn cargo(arguments: &[&str]) -> Command {
    command(
        &std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()),
        arguments,
    )
}

/// Runs to the end and fails with the command line if it fails.
pub fn run(command: &mut Command) -> Result<()> {
    eprintln!("\n$ {}", line(command));
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", line(command));
    }
    Ok(())
}

/// Runs to the end and gives what it printed to standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}: {}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} printed no text", line(command)))
}

/// Whether a program can be started.
pub fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|paths| {
        std::env::split_paths(&paths).any(|folder| folder.join(program).is_file())
    })
}

/// Installs Debian packages whose programs are missing; elsewhere says what to install.
pub fn need(programs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> = programs
        .iter()
        .filter(|(program, _)| !is_installed(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_installed("apt-get") {
        bail!("install these first: {}", missing.join(" "));
    }
    run(&mut command("apt-get", &["update", "-q"]))?;
    let mut install = command(
        "apt-get",
        &["install", "-y", "-q", "--no-install-recommends"],
    );
    install
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut install)
}

/// A Python environment with these packages, made anew when they change.
pub fn python(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = scratch(name)?;
    let python = folder.join("bin/python");
    if !holds(&folder, packages) {
        need(&[("python3", "python3")])?;
        run(&mut command(
            "python3",
            &["-m", "venv", "--clear", &folder.to_string_lossy()],
        ))?;
        let mut install = command(
            &python.to_string_lossy(),
            &["-m", "pip", "install", "--quiet"],
        );
        install.args(packages);
        run(&mut install)?;
        std::fs::write(folder.join(READY), packages.join("\n"))?;
    }
    Ok(python)
}

/// Written last into an environment: the packages that it has been made with.
const READY: &str = "ready";

/// Whether an environment was made with these packages.
fn holds(folder: &Path, packages: &[&str]) -> bool {
    std::fs::read_to_string(folder.join(READY))
        .is_ok_and(|made_with| made_with == packages.join("\n"))
}

fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
