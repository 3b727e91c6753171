//! Every settings block in the documentation can be used as it stands.

use std::path::Path;

use gaze_host::config::Config;

/// The documents that show settings.
const DOCUMENTS: [&str; 5] = [
    "README.md",
    "firmware/boards/linux/README.md",
    "firmware/boards/rp2040/README.md",
    "host/CAMERAS.md",
    "host/package/README.md",
];

#[test]
fn every_toml_block_of_the_documents_parses() {
    for document in DOCUMENTS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(document);
        let text = std::fs::read_to_string(&path).unwrap();
        // Within a list, a block is indented.
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        let mut n_blocks = 0;
        for (line, _) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| **line == "```toml")
        {
            let block: Vec<&str> = lines[line + 1..]
                .iter()
                .copied()
                .take_while(|line| *line != "```")
                .collect();
            if let Err(error) = Config::parse(&block.join("\n"), &path) {
                panic!("{document}, line {}: {error}", line + 1);
            }
            n_blocks += 1;
        }
        assert!(n_blocks > 0, "{document} shows no settings");
    }
}
