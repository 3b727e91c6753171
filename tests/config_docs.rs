//! Every settings block in the documentation can be used as it stands.

use std::path::Path;

use gaze_host::config::Config;

#[test]
fn every_toml_block_of_the_documentation_parses() {
    for file in ["README.md", "host/CAMERAS.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let blocks: Vec<&str> = text
            .split("```toml\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap())
            .collect();
        assert!(!blocks.is_empty(), "{file} shows no settings");
        for block in blocks {
            Config::parse(block, &path).unwrap();
        }
    }
}
