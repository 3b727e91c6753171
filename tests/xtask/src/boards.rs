//! The microcontroller's programs: built for bare metal, measured, and run on emulated boards.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::shell::{cargo, command, need, output, root, run, scratch, target};

/// Where the RP2040's flash begins.
const RP2040_FLASH: u32 = 0x1000_0000;

/// Builds the boards' programs and puts them through their tests:
///
/// - the trace of `gaze-signal`, played on an emulated Cortex-M;
/// - the micro:bit's program in QEMU, at the other end of a terminal from the real `gazed`;
/// - the Pico's flashable image in rp2040js, its pins read from outside;
/// - the program for a Pi's own pins, which prints what they would do.
///
/// A build of the whole workspace proves nothing here: the host turns `std` features on for all.
pub fn all() -> Result<()> {
    run(&mut bare_metal("emulated", "run", "core,alloc")?)?;
    // What it takes of the flash: text and read-only data, the whole program with its test data.
    let program = "target/thumbv6m-none-eabi/release/gaze-emulated";
    run(command("size", &[program]).current_dir(root().join("firmware/boards/emulated")))?;
    let microbit = Image::build("microbit")?;
    let rp2040 = Image::build("rp2040")?;
    println!("\n| board | flash | static RAM |\n|---|---|---|");
    for image in [&microbit, &rp2040] {
        println!(
            "| {} | {} bytes | {} bytes |",
            image.board, image.flash_bytes, image.ram_bytes
        );
    }
    on_terminal(&microbit)?;
    in_rp2040js(&rp2040)?;
    on_linux()
}

/// `cargo` for the instruction set of the Cortex-M0, in a board's folder.
fn bare_metal(board: &str, what: &str, std: &str) -> Result<Command> {
    let boards = root().join("firmware/boards");
    let folder = scratch("bare-metal")?;
    let environment = folder.join("env");
    if !environment.exists() {
        run(command("bash", &[])
            .arg(boards.join("emulated/toolchain.sh"))
            .arg(&folder))?;
    }
    let line = format!(
        ". \"$ENVIRONMENT\" && exec cargo {what} --release -Zbuild-std={std} --target thumbv6m-none-eabi"
    );
    let mut cargo = command("bash", &["-c", &line]);
    cargo
        .env("ENVIRONMENT", &environment)
        .current_dir(boards.join(board))
        // The board has a lockfile and a target folder of its own, and its own compiler.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO");
    Ok(cargo)
}

/// Bytes that are loaded, and the address where.
type Segment = (u32, Vec<u8>);

/// A program for a board.
struct Image {
    board: &'static str,
    elf: PathBuf,
    /// What is loaded into flash.
    segments: Vec<Segment>,
    flash_bytes: usize,
    ram_bytes: usize,
}

impl Image {
    /// Builds a board's program against `core` alone, so that there is no allocator to call, and
    /// makes sure that it holds no words of a panic.
    fn build(board: &'static str) -> Result<Image> {
        run(&mut bare_metal(board, "build", "core")?)?;
        let elf = root().join(format!(
            "firmware/boards/{board}/target/thumbv6m-none-eabi/release/gaze-{board}"
        ));
        let file = std::fs::read(&elf)?;
        let (segments, ram_bytes) = segments(&file)?;
        for word in ["panicked", ".rs", "unwrap", "overflow"] {
            ensure!(
                !segments.iter().any(|(_, bytes)| holds(bytes, word)),
                "{}: the image holds {word:?}: a message of a panic has crept in",
                elf.display()
            );
        }
        let flash_bytes = segments.iter().map(|(_, bytes)| bytes.len()).sum();
        Ok(Image {
            board,
            elf,
            segments,
            flash_bytes,
            ram_bytes,
        })
    }

    /// The flash from its beginning.
    fn flat(&self, base: u32) -> Result<Vec<u8>> {
        let mut flat = Vec::new();
        for (address, bytes) in &self.segments {
            let at = address
                .checked_sub(base)
                .context("a segment lies below the flash")? as usize;
            if flat.len() < at + bytes.len() {
                flat.resize(at + bytes.len(), 0xff);
            }
            flat[at..at + bytes.len()].copy_from_slice(bytes);
        }
        Ok(flat)
    }
}

fn holds(bytes: &[u8], word: &str) -> bool {
    bytes
        .windows(word.len())
        .any(|window| window == word.as_bytes())
}

/// What an ELF file of 32 bits loads, by physical address, and how much RAM it uses. The program
/// headers are those of the System V ABI.
fn segments(file: &[u8]) -> Result<(Vec<Segment>, usize)> {
    const LOAD: u32 = 1;
    const WRITABLE: u32 = 2;
    ensure!(
        file.starts_with(b"\x7fELF\x01\x01"),
        "not an ELF file of 32 bits"
    );
    let number = |at: usize, n: usize| -> Result<u32> {
        let bytes = file.get(at..at + n).context("the ELF file is cut off")?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |sum, &byte| sum << 8 | u32::from(byte)))
    };
    let (headers_at, size, n) = (number(28, 4)?, number(42, 2)?, number(44, 2)?);
    let (mut segments, mut ram_bytes) = (Vec::new(), 0);
    for header in 0..n {
        let at = (headers_at + header * size) as usize;
        let field = |n: usize| number(at + 4 * n, 4);
        if field(0)? != LOAD {
            continue;
        }
        let (offset, address) = (field(1)? as usize, field(3)?);
        let (in_file, in_memory) = (field(4)? as usize, field(5)? as usize);
        if field(6)? & WRITABLE != 0 {
            ram_bytes += in_memory;
        }
        if in_file > 0 {
            let bytes = file.get(offset..offset + in_file);
            segments.push((address, bytes.context("the ELF file is cut off")?.to_vec()));
        }
    }
    Ok((segments, ram_bytes))
}

/// The micro:bit's program in QEMU: `gazed board test` talks to it through a terminal, and what it
/// prints is compared with the transcript that is kept.
fn on_terminal(image: &Image) -> Result<()> {
    let program = gazed()?;
    let emulator = Emulator::start(&image.elf)?;
    let said = output(&mut command(
        &program,
        &["board", "test", "--port", &emulator.terminal],
    ))?;
    drop(emulator);
    compare("microbit", &said)
}

/// The real `gazed`.
fn gazed() -> Result<String> {
    // As the tests build it: another selection of packages would build every dependency again.
    run(&mut cargo(&["test", "--workspace", "--no-run", "--quiet"]))?;
    let program = target().join("debug/gazed");
    Ok(program.to_string_lossy().into_owned())
}

/// `gazed-gpio` with pins that print, at the other end of its terminal the real `gazed`.
fn on_linux() -> Result<()> {
    let folder = root().join("firmware/boards/linux");
    run(cargo(&["build", "--quiet"])
        .current_dir(&folder)
        .env_remove("CARGO_TARGET_DIR"))?;
    let program = gazed()?;
    let port = scratch("boards")?.join("linux");
    let mut child = Command::new(folder.join("target/debug/gazed-gpio"))
        .args(["--simulate", "--port"])
        .arg(&port)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start gazed-gpio")?;
    let pins = child.stdout.take().context("it is piped")?;
    // Its first step turns the pins off; by then the terminal is there.
    let mut pins = BufReader::new(pins).lines();
    let first = pins.next().context("gazed-gpio printed nothing")??;
    let said = output(&mut command(
        &program,
        &["board", "test", "--port", &port.to_string_lossy()],
    ));
    let _ = child.kill();
    let _ = child.wait();
    let said = said?;
    let changes: Vec<String> = pins.collect::<Result<_, _>>()?;
    compare(
        "linux",
        &format!("{said}\npins:\n{first}\n{}\n", changes.join("\n")),
    )
}

/// A running QEMU and the terminal that its serial line leads to.
struct Emulator {
    child: Child,
    terminal: String,
}

impl Emulator {
    fn start(elf: &Path) -> Result<Emulator> {
        need(&[("qemu-system-arm", "qemu-system-arm")])?;
        let mut child = Command::new("qemu-system-arm")
            .args([
                "-machine", "microbit", "-display", "none", "-monitor", "none",
            ])
            .args(["-serial", "pty", "-kernel"])
            .arg(elf)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start qemu-system-arm")?;
        let lines = BufReader::new(child.stdout.take().context("it is piped")?).lines();
        // "char device redirected to /dev/pts/3 (label serial0)"
        for line in lines.map_while(Result::ok) {
            let terminal = line.split(' ').find(|word| word.starts_with("/dev/"));
            if let Some(terminal) = terminal {
                let terminal = terminal.to_owned();
                return Ok(Emulator { child, terminal });
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        bail!("QEMU named no terminal")
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It runs for ever; errors mean that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Pico's image in the emulator rp2040js.
fn in_rp2040js(image: &Image) -> Result<()> {
    need(&[("node", "nodejs"), ("npm", "npm")])?;
    let folder = root().join("firmware/boards/rp2040/emulator");
    run(command(
        "npm",
        &["ci", "--no-audit", "--no-fund", "--ignore-scripts"],
    )
    .current_dir(&folder))?;
    let flash = image.flat(RP2040_FLASH)?;
    let built = scratch("boards")?;
    let raw = built.join("gaze-rp2040.bin");
    std::fs::write(&raw, &flash)?;
    let uf2_path = built.join("gaze-rp2040.uf2");
    std::fs::write(&uf2_path, uf2(&flash))?;
    println!("to flash: {}", uf2_path.display());
    let said = output(command("node", &["run.mjs"]).arg(&raw).current_dir(&folder))?;
    compare("rp2040", &said)
}

/// The transcript that is kept in a board's folder.
fn compare(board: &str, said: &str) -> Result<()> {
    let path = root().join(format!("firmware/boards/{board}/transcript.txt"));
    let expected = std::fs::read_to_string(&path)?;
    println!("{said}");
    ensure!(said == expected, "this is not what {} says", path.display());
    Ok(())
}

/// The form in which the Pico's boot loader takes a program: blocks of 256 bytes, each with its
/// address (github.com/microsoft/uf2).
fn uf2(flash: &[u8]) -> Vec<u8> {
    const PAYLOAD: usize = 256;
    const FAMILY_IS_THERE: u32 = 0x2000;
    const RP2040: u32 = 0xe48b_ff56;
    let n = flash.len().div_ceil(PAYLOAD);
    let mut file = Vec::with_capacity(n * 512);
    for (block, bytes) in flash.chunks(PAYLOAD).enumerate() {
        let address = RP2040_FLASH + (block * PAYLOAD) as u32;
        let head = [
            0x0a32_4655,
            0x9e5d_5157,
            FAMILY_IS_THERE,
            address,
            PAYLOAD as u32,
            block as u32,
            n as u32,
            RP2040,
        ];
        let began = file.len();
        head.iter()
            .for_each(|word: &u32| file.extend_from_slice(&word.to_le_bytes()));
        file.extend_from_slice(bytes);
        file.resize(began + 508, 0);
        file.extend_from_slice(&0x0ab1_6f30_u32.to_le_bytes());
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uf2_file_has_a_block_for_each_256_bytes() {
        let file = uf2(&[7; 300]);
        assert_eq!(file.len(), 1024);
        // Second block: address, payload, number, total.
        assert_eq!(file[512 + 12..512 + 16], 0x1000_0100_u32.to_le_bytes());
        assert_eq!(file[512 + 20..512 + 28], [1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(
            (file[32], file[512 + 32 + 43], file[512 + 32 + 44]),
            (7, 7, 0)
        );
        assert_eq!(file[1020..], 0x0ab1_6f30_u32.to_le_bytes());
    }

    #[test]
    fn a_file_that_is_no_elf_is_refused() {
        assert!(segments(b"\x7fELF\x02\x01").is_err());
        assert!(segments(b"\x7fELF\x01\x01").is_err());
    }
}
