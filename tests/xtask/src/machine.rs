//! An emulated arm64 machine with a serial console, on which commands are run one after the other.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::shell::{command, need, root, run, scratch};

/// From power to a login, on a busy machine.
const BOOT: Duration = Duration::from_secs(600);

/// A command that is silent for longer hangs.
const SILENCE: Duration = Duration::from_secs(600);

/// What the machine says when a command has ended, before its exit code.
const END: &str = "@end:";

/// How the machine's clock runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// As everybody's.
    Real,
    /// One emulated instruction takes one nanosecond, so that times are counts.
    Instructions,
}

/// A running machine. Killed when dropped.
pub struct Machine {
    qemu: Child,
    keyboard: ChildStdin,
    screen: Receiver<Vec<u8>>,
    /// What came and was not looked at yet.
    unread: String,
    transcript: String,
    /// The archive that was its second disk.
    payload: PathBuf,
}

impl Machine {
    /// Where the machine's kernel and disk are; built at the first call (minutes, root).
    pub fn folder() -> Result<PathBuf> {
        let folder = scratch("pi")?;
        if !folder.join("disk.img").exists() {
            run(command("bash", &[])
                .arg(root().join("tests/pi/machine.sh"))
                .arg(&folder))?;
        }
        Ok(folder)
    }

    /// Starts it with these files unpacked in `/payload`. What it changes on its disk is forgotten
    /// at the end.
    pub fn start(files: &[(&Path, &str)], clock: Clock) -> Result<Machine> {
        need(&[("qemu-system-aarch64", "qemu-system-arm")])?;
        let folder = Machine::folder()?;
        let payload = pack(&folder, files)?;
        let mut qemu = Command::new("qemu-system-aarch64");
        qemu.args(["-M", "virt,gic-version=2", "-cpu", "cortex-a72"])
            .args(["-m", "1024", "-nographic", "-nic", "none", "-snapshot"])
            .arg("-kernel")
            .arg(folder.join("kernel"))
            .arg("-initrd")
            .arg(folder.join("initrd"));
        let mut kernel = "console=ttyAMA0 quiet loglevel=3 systemd.show_status=0".to_owned();
        match clock {
            Clock::Real => qemu.args(["-smp", "2", "-accel", "tcg,thread=multi,tb-size=512"]),
            Clock::Instructions => {
                // A shell and nothing beside it: other processes' instructions would be counted too.
                kernel.push_str(" instead=/bin/bash");
                qemu.args(["-smp", "1", "-accel", "tcg,thread=single,tb-size=512"])
                    .args(["-icount", "shift=0,sleep=off"])
            }
        };
        for (name, image) in [
            ("disk", folder.join("disk.img")),
            ("payload", payload.clone()),
        ] {
            qemu.arg("-drive")
                .arg(format!(
                    "file={},format=raw,if=none,id={name}",
                    image.display()
                ))
                .args(["-device", &format!("virtio-blk-pci,drive={name}")]);
        }
        let mut qemu = qemu
            .args(["-append", &kernel])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("cannot start qemu-system-aarch64")?;
        let keyboard = qemu.stdin.take().context("it is piped")?;
        let mut output = qemu.stdout.take().context("it is piped")?;
        let (sender, screen) = channel();
        // Ends with the emulator.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut bytes) {
                if sender.send(bytes[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut machine = Machine {
            qemu,
            keyboard,
            screen,
            unread: String::new(),
            transcript: String::new(),
            payload,
        };
        match clock {
            Clock::Real => machine.log_in()?,
            Clock::Instructions => machine.take_shell()?,
        }
        // Raw: the whole device is one archive.
        machine.ok("mkdir -p /payload && tar -x -C /payload -f /dev/vdb && sync")?;
        Ok(machine)
    }

    /// Waits for the login prompt and becomes root.
    fn log_in(&mut self) -> Result<()> {
        let began = Instant::now();
        self.wait_for("login: ", BOOT)?;
        self.note(&format!(
            "login after {:.0} s",
            began.elapsed().as_secs_f64()
        ));
        self.type_line("root")?;
        self.wait_for("# ", BOOT)?;
        self.prepare_shell()
    }

    /// The shell that runs instead of an init. Its prompt ends in `# `, as that of a login does.
    fn take_shell(&mut self) -> Result<()> {
        self.wait_for("# ", BOOT)?;
        self.prepare_shell()?;
        self.ok("mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs run /run; mount -t tmpfs tmp /tmp")?;
        Ok(())
    }

    /// No echo, no prompt, no colours: what comes is what commands print. No history either, which a reboot
    /// would leave on the disk.
    fn prepare_shell(&mut self) -> Result<()> {
        self.type_line(&format!(
            "stty -echo; PS1= PS2=; bind 'set enable-bracketed-paste off'; unset HISTFILE; export SYSTEMD_PAGER= SYSTEMD_COLORS=0 TERM=dumb; echo rea''dy{END}"
        ))?;
        self.wait_for(&format!("ready{END}"), SILENCE)?;
        Ok(())
    }

    /// Runs a line and gives its exit code and what it printed on both outputs. All of it goes to
    /// the transcript.
    pub fn run(&mut self, line: &str) -> Result<(i32, String)> {
        self.note(&format!("$ {line}"));
        self.type_line(&format!("{{ {line}; }} 2>&1 < /dev/null; echo {END}$?."))?;
        let said = self.wait_for(END, SILENCE)?;
        let code = self.wait_for(".", SILENCE)?;
        let code: i32 = code
            .parse()
            .with_context(|| format!("exit code {code:?}"))?;
        if code != 0 {
            self.note(&format!("(exit code {code})"));
        }
        Ok((code, said))
    }

    /// The same for a line that must succeed.
    pub fn ok(&mut self, line: &str) -> Result<String> {
        let (code, said) = self.run(line)?;
        ensure!(
            code == 0,
            "{line}: exit code {code}:\n{said}\n(see the transcript)"
        );
        Ok(said)
    }

    /// Restarts it the orderly way and logs in again; it keeps its disk.
    pub fn reboot(&mut self) -> Result<()> {
        self.note("$ reboot");
        self.type_line("systemctl reboot")?;
        self.log_in()
    }

    /// As if the power had gone and come back.
    pub fn cut_power(&mut self) -> Result<()> {
        self.note("(the power goes and comes back)");
        self.type_line("echo 1 > /proc/sys/kernel/sysrq; echo b > /proc/sysrq-trigger")?;
        self.log_in()
    }

    /// Everything that was typed and said.
    pub fn transcript(&self) -> &str {
        &self.transcript
    }

    fn type_line(&mut self, line: &str) -> Result<()> {
        // A terminal takes no longer lines.
        ensure!(line.len() < 4000, "the line is too long for a terminal");
        writeln!(self.keyboard, "{line}").context("the emulator ended")
    }

    /// Waits until these words come and gives what came before them.
    fn wait_for(&mut self, words: &str, silence: Duration) -> Result<String> {
        loop {
            if let Some(at) = self.unread.find(words) {
                let before = self.unread[..at].to_owned();
                self.unread.drain(..at + words.len());
                return Ok(before);
            }
            match self.screen.recv_timeout(silence) {
                Ok(bytes) => {
                    let text = String::from_utf8_lossy(&bytes).replace('\r', "");
                    self.note_raw(&text);
                    self.unread.push_str(&text);
                }
                Err(RecvTimeoutError::Timeout) => bail!(
                    "the machine was silent for {} s; waited for {words:?} after {:?}",
                    silence.as_secs(),
                    self.unread
                ),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the emulator ended: {}", self.unread)
                }
            }
        }
    }

    /// Into the transcript and onto the screen.
    fn note(&mut self, line: &str) {
        self.note_raw(&format!("{line}\n"));
    }

    fn note_raw(&mut self, text: &str) {
        print!("{text}");
        let _ = self.transcript.write_str(text);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Ended here and nowhere else; an error means that it is gone already.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = std::fs::remove_file(&self.payload);
    }
}

/// Packs files into an archive that is given to the machine as a disk.
fn pack(folder: &Path, files: &[(&Path, &str)]) -> Result<PathBuf> {
    let tree = folder.join(format!("payload-{}", std::process::id()));
    if tree.exists() {
        std::fs::remove_dir_all(&tree)?;
    }
    std::fs::create_dir_all(&tree)?;
    for (from, name) in files {
        std::fs::copy(from, tree.join(name)).with_context(|| from.display().to_string())?;
    }
    // Two machines may run at once.
    let archive = folder.join(format!("payload-{}.tar", std::process::id()));
    run(command("tar", &["-c", "--owner=0", "--group=0", "-f"])
        .arg(&archive)
        .arg("-C")
        .arg(&tree)
        .arg("."))?;
    std::fs::remove_dir_all(&tree)?;
    Ok(archive)
}
