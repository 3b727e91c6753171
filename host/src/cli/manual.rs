//! The manual page: made from the command line, so that neither lacks what the other has.
//!
//! `GAZED_WRITE_MANUAL=1 cargo test --workspace --lib -- manual` writes it after a change of the
//! commands. What is not on the command line (files, exit status) stands in `package/manual.roff`.

use std::io::Write;

use clap::{Arg, Command, CommandFactory};
use clap_mangen::Man;

use super::Cli;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/package/gazed.1");

/// The sections that are written by hand.
const TAIL: &str = include_str!("../../package/manual.roff");

fn page() -> String {
    let mut cli = Cli::command();
    // Fills in the names of subcommands (`gazed users list`) and the options that all have.
    cli.build();
    let man = Man::new(cli.clone())
        .source("gazed")
        .manual("User Commands");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    writeln!(page, ".SH COMMANDS").unwrap();
    describe_commands(&cli, &mut page);
    man.render_extra_section(&mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    // Each part begins with the same definition of the apostrophe; one is enough. Blanks at a line's
    // end mean nothing, and the repository has none.
    let (apostrophe, rest): (Vec<&str>, Vec<&str>) = page
        .lines()
        .map(str::trim_end)
        .partition(|line| line.starts_with(".ie ") || line.starts_with(".el "));
    let lines = [&apostrophe[..2], &rest].concat();
    format!("{}\n{TAIL}", lines.join("\n"))
}

/// Every command that does something, with its options but those that all have.
fn describe_commands(parent: &Command, page: &mut Vec<u8>) {
    for command in parent.get_subcommands() {
        if command.get_name() == "help" {
            continue;
        }
        if !command.is_subcommand_required_set() {
            let is_of_all =
                |arg: &Arg| matches!(arg.get_id().as_str(), "config" | "help" | "version");
            let has_options = !command.get_arguments().all(is_of_all);
            let own = command.clone().mut_args(|arg| {
                let is_hidden = is_of_all(&arg);
                arg.hide(is_hidden)
            });
            let man = Man::new(own);
            let mut part = Vec::new();
            man.render_description_section(&mut part).unwrap();
            if has_options {
                man.render_options_section(&mut part).unwrap();
            }
            let part = String::from_utf8(part).unwrap();
            writeln!(page, ".SS \"{}\"", command.get_bin_name().unwrap()).unwrap();
            for line in part.lines() {
                match line {
                    ".SH DESCRIPTION" => {}
                    // These are parts of this command's own part.
                    ".SH OPTIONS" => writeln!(page, ".PP").unwrap(),
                    line => writeln!(page, "{line}").unwrap(),
                }
            }
        }
        describe_commands(command, page);
    }
}

#[test]
fn the_manual_page_is_that_of_the_command_line() {
    let page = page();
    if std::env::var_os("GAZED_WRITE_MANUAL").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    for command in [
        "gazed calibrate fit",
        "gazed scanpath predict",
        "gazed users undo",
    ] {
        assert!(page.contains(command), "{command}");
    }
    let committed = std::fs::read_to_string(PAGE).unwrap();
    assert!(
        committed == page,
        "{PAGE} is not that of the command line any more; write it with: GAZED_WRITE_MANUAL=1 cargo test --workspace --lib -- manual"
    );
}
