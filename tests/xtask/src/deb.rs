//! The Debian package: put together from the repository's own files by `dpkg-deb`.
//!
//! Not by `cargo-deb`: it would have to be built first (minutes on a Pi), and what is here beside a list of
//! files is what it has not: the package is tried out, and two versions of it can be made of one program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::shell::{cargo, command, need, output, root, run, scratch, target};

/// Largest package, as the Pi's users download it.
const MAX_PACKAGE_BYTES: u64 = 10_000_000;

/// `cargo xtask deb`.
#[derive(Args)]
pub struct DebArgs {
    /// For which machines
    #[arg(long, value_enum, default_value = "amd64")]
    target: Architecture,
    /// A program that is built already
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Debian's names.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Architecture {
    /// Most computers.
    Amd64,
    /// The Raspberry Pi 3 and later with a system of 64 bits.
    Arm64,
}

impl Architecture {
    pub const fn name(self) -> &'static str {
        match self {
            Architecture::Amd64 => "amd64",
            Architecture::Arm64 => "arm64",
        }
    }

    /// The machine's number in an ELF header (e_machine).
    const fn elf_machine(self) -> u16 {
        match self {
            Architecture::Amd64 => 62,
            Architecture::Arm64 => 183,
        }
    }

    const fn is_this_machine(self) -> bool {
        match self {
            Architecture::Amd64 => cfg!(target_arch = "x86_64"),
            Architecture::Arm64 => cfg!(target_arch = "aarch64"),
        }
    }

    /// Where its release builds are.
    pub fn release_folder(self) -> PathBuf {
        if self.is_this_machine() {
            target().join("release")
        } else {
            target().join(ARM64).join("release")
        }
    }
}

/// Rust's name of 64-bit Arm.
const ARM64: &str = "aarch64-unknown-linux-gnu";

/// A file of the package: where it comes from, where it goes, its mode.
const FILES: &[(&str, &str, u32)] = &[
    ("host/config/gazed.toml", "etc/gazed/gazed.toml", 0o644),
    (
        "host/config/gazed.service",
        "usr/lib/systemd/system/gazed.service",
        0o644,
    ),
    (
        "host/config/60-gazed.rules",
        "usr/lib/udev/rules.d/60-gazed.rules",
        0o644,
    ),
    (
        "host/package/gazed.sysusers",
        "usr/lib/sysusers.d/gazed.conf",
        0o644,
    ),
    ("host/package/gazed.1", "usr/share/man/man1/gazed.1", 0o644),
    (
        "host/package/copyright",
        "usr/share/doc/gazed/copyright",
        0o644,
    ),
    ("LICENSE-MIT", "usr/share/doc/gazed/LICENSE-MIT", 0o644),
    ("README.md", "usr/share/doc/gazed/README.md", 0o644),
    ("host/THREATS.md", "usr/share/doc/gazed/THREATS.md", 0o644),
    ("firmware/README.md", "usr/share/doc/gazed/board.md", 0o644),
    ("CHANGELOG.md", "usr/share/doc/gazed/changelog", 0o644),
    ("host/package/postinst", "DEBIAN/postinst", 0o755),
    ("host/package/prerm", "DEBIAN/prerm", 0o755),
    ("host/package/postrm", "DEBIAN/postrm", 0o755),
];

/// Files that `dpkg` must not overwrite when somebody has changed them.
const SETTINGS: &str = "/etc/gazed/gazed.toml\n";

/// What completes the command line in each shell.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/gazed"),
    ("fish", "usr/share/fish/vendor_completions.d/gazed.fish"),
    ("zsh", "usr/share/zsh/vendor-completions/_gazed"),
];

/// Pages that are read compressed.
const COMPRESSED: &[&str] = &[
    "usr/share/man/man1/gazed.1",
    "usr/share/doc/gazed/changelog",
];

/// Builds the package and tries it: unpacked, installed, removed and purged in a folder that stands
/// for a system.
pub fn build(arguments: &DebArgs) -> Result<()> {
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => program(arguments.target)?,
    };
    let package = pack(&binary, arguments.target, &version()?)?;
    let bytes = fs::metadata(&package)?.len();
    println!("{}: {:.1} MB", package.display(), bytes as f64 / 1e6);
    ensure!(
        bytes <= MAX_PACKAGE_BYTES,
        "the package is larger than {MAX_PACKAGE_BYTES} bytes"
    );
    try_out(&package)
}

/// The release build of `gazed`.
pub fn program(target: Architecture) -> Result<PathBuf> {
    run(&mut release(target, &["--bin", "gazed"])?)?;
    Ok(target.release_folder().join("gazed"))
}

/// The release build of `gazed-gpio`, which has a lockfile and a target folder of its own.
pub fn gpio_program(target: Architecture) -> Result<PathBuf> {
    let folder = root().join("firmware/boards/linux");
    run(cargo_for(target, &["build", "--release"])?
        .current_dir(&folder)
        .env_remove("CARGO_TARGET_DIR"))?;
    let built = folder.join("target");
    let built = match target.is_this_machine() {
        true => built,
        false => built.join(ARM64),
    };
    Ok(built.join("release/gazed-gpio"))
}

/// `cargo build --release` for a machine, of these parts of the host.
pub fn release(target: Architecture, parts: &[&str]) -> Result<Command> {
    let arguments = [&["build", "--release", "-p", "gaze-host"], parts].concat();
    cargo_for(target, &arguments)
}

/// `cargo` with the compiler for a machine.
fn cargo_for(target: Architecture, arguments: &[&str]) -> Result<Command> {
    if target.is_this_machine() {
        return Ok(cargo(arguments));
    }
    ensure!(
        target == Architecture::Arm64,
        "only this machine can build for {}",
        target.name()
    );
    let folder = scratch("bare-metal")?;
    run(command("bash", &[])
        .arg(root().join("tests/pi/toolchain.sh"))
        .arg(&folder))?;
    let line = format!(
        ". \"$ENVIRONMENT\" && exec cargo {} --target {ARM64}",
        arguments.join(" ")
    );
    let mut build = command("bash", &["-c", &line]);
    build
        .env("ENVIRONMENT", folder.join("env-arm64"))
        // The environment may name another compiler than the one that built this.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO");
    Ok(build)
}

/// Runs a program that was built for a machine, here, and gives what it printed.
pub fn said_by(binary: &Path, target: Architecture, arguments: &[&str]) -> Result<String> {
    if target.is_this_machine() {
        return output(Command::new(binary).args(arguments));
    }
    need(&[("qemu-aarch64-static", "qemu-user-static")])?;
    output(
        command("qemu-aarch64-static", &["-L", "/usr/aarch64-linux-gnu"])
            .arg(binary)
            .args(arguments),
    )
}

/// Makes the package of a version.
pub fn pack(binary: &Path, target: Architecture, version: &str) -> Result<PathBuf> {
    need(&[("dpkg-deb", "dpkg"), ("gzip", "gzip")])?;
    let program = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let machine = program.get(18..20).context("the program is cut off")?;
    ensure!(
        program.starts_with(b"\x7fELF") && machine == target.elf_machine().to_le_bytes(),
        "{} is not a program for {}",
        binary.display(),
        target.name()
    );
    let folder = scratch("deb")?;
    let tree = folder.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    for (from, to, mode) in FILES {
        put(
            &tree,
            to,
            &fs::read(root().join(from)).with_context(|| (*from).to_owned())?,
            *mode,
        )?;
    }
    put(&tree, "usr/bin/gazed", &program, 0o755)?;
    put(&tree, "DEBIAN/conffiles", SETTINGS.as_bytes(), 0o644)?;
    for path in COMPRESSED {
        run(command("gzip", &["-9n"]).arg(tree.join(path)))?;
    }
    for (shell, path) in COMPLETIONS {
        let words = said_by(binary, target, &["completions", shell])?;
        put(&tree, path, words.as_bytes(), 0o644)?;
    }
    let size_kib = program.len() / 1024 + 256;
    let control = format!(
        "Package: gazed\nVersion: {version}\nArchitecture: {}\nMaintainer: the authors of gazed <gazed@localhost>\n\
         Installed-Size: {size_kib}\nDepends: libc6 (>= 2.34), libgcc-s1, systemd\nRecommends: v4l-utils\n\
         Suggests: ffmpeg\nSection: science\nPriority: optional\n\
         Description: gaze events from an ordinary camera, for other programs\n \
         A daemon that reads camera pictures, finds the face and eyes, estimates where the person\n \
         looks, and streams fixations, saccades, blinks and looked-at objects to every program that\n \
         connects. The networks are inside the program; nothing leaves the machine.\n",
        target.name()
    );
    put(&tree, "DEBIAN/control", control.as_bytes(), 0o644)?;
    let package = folder.join(format!("gazed_{version}_{}.deb", target.name()));
    run(
        command("dpkg-deb", &["--root-owner-group", "-Zxz", "--build"])
            .arg(&tree)
            .arg(&package),
    )?;
    Ok(package)
}

fn put(tree: &Path, to: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let path = tree.join(to);
    fs::create_dir_all(path.parent().context("every file is in a folder")?)?;
    fs::write(&path, bytes)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// The workspace's version.
pub fn version() -> Result<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml"))?;
    let line = manifest
        .lines()
        .find_map(|line| line.strip_prefix("version = \""));
    let version = line.and_then(|rest| rest.split('"').next());
    Ok(version.context("Cargo.toml names no version")?.to_owned())
}

/// Installs, removes and purges the package in a folder that stands for a system, and looks at what
/// is there after each.
fn try_out(package: &Path) -> Result<()> {
    need(&[("systemd-sysusers", "systemd"), ("systemctl", "systemd")])?;
    let system = scratch("deb")?.join("system");
    if system.exists() {
        fs::remove_dir_all(&system)?;
    }
    for folder in [
        "var/lib/dpkg/updates",
        "var/lib/dpkg/info",
        "etc",
        "usr",
        "var/lib/private",
    ] {
        fs::create_dir_all(system.join(folder))?;
    }
    for file in ["var/lib/dpkg/status", "var/lib/dpkg/available"] {
        fs::write(system.join(file), "")?;
    }
    let dpkg = |arguments: &[&str]| {
        let mut dpkg = command("dpkg", &[]);
        dpkg.arg(format!("--root={}", system.display()))
            .args([
                "--force-script-chrootless",
                "--force-depends",
                "--force-architecture",
            ])
            .args(["--log=/dev/null", "--no-triggers"])
            .args(arguments);
        dpkg
    };
    let is_there = |path: &str| system.join(path).symlink_metadata().is_ok();
    let enabled = "etc/systemd/system/multi-user.target.wants/gazed.service";
    let profile = "var/lib/private/gazed/profiles/anna.toml";

    run(&mut dpkg(&["-i", &package.to_string_lossy()]))?;
    ensure!(is_there("usr/bin/gazed"), "the program is not installed");
    ensure!(is_there(enabled), "the service is not enabled");
    let groups = fs::read_to_string(system.join("etc/group"))?;
    ensure!(groups.contains("gaze:"), "there is no group gaze");
    put(&system, profile, b"", 0o600)?;
    // Somebody's settings outlive an upgrade and a removal.
    fs::write(system.join("etc/gazed/gazed.toml"), "# mine\n")?;
    run(&mut dpkg(&[
        "-i",
        "--force-confold",
        &package.to_string_lossy(),
    ]))?;
    run(&mut dpkg(&["-r", "gazed"]))?;
    ensure!(!is_there("usr/bin/gazed"), "the program is still there");
    ensure!(!is_there(enabled), "the service is still enabled");
    let settings = fs::read_to_string(system.join("etc/gazed/gazed.toml"))?;
    ensure!(settings == "# mine\n", "the settings were changed");

    let said = output(&mut dpkg(&["-P", "gazed"]))?;
    ensure!(!is_there("etc/gazed"), "purge leaves settings behind");
    ensure!(
        is_there(profile),
        "purge takes profiles without being asked"
    );
    ensure!(
        said.contains("profiles are kept"),
        "purge does not say that it keeps profiles"
    );
    run(&mut dpkg(&["-i", &package.to_string_lossy()]))?;
    run(dpkg(&["-P", "gazed"]).env("GAZED_PURGE_STATE", "yes"))?;
    ensure!(
        !is_there("var/lib/private/gazed"),
        "purge leaves profiles behind"
    );
    println!(
        "installed, upgraded, removed and purged in {}",
        system.display()
    );
    Ok(())
}
