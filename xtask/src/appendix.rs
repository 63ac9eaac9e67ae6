//! Runs the Python client in the appendix of docs/protocol.md against the test vectors, so that copies of it work.

use crate::{
    python,
    shell::{self, Failed, root},
};

/// The package that signs and verifies, pinned.
const CRYPTOGRAPHY: &str = "cryptography==46.0.3";
/// The script that checks the code against the vectors.
const CHECKS: &str = include_str!("appendix.py");

/// Runs the code exactly as printed.
pub(crate) fn run() -> Result<(), Failed> {
    let python = python::installed("appendix", CRYPTOGRAPHY, "python")?;
    let failed = |error: std::io::Error| Failed(format!("the appendix can't be run: {error}"));
    let document = std::fs::read_to_string(root().join("docs/protocol.md")).map_err(failed)?;
    let script = root().join("target/appendix/client.py");
    std::fs::write(&script, format!("{}\n{CHECKS}", code(&document)?)).map_err(failed)?;
    let vectors = root().join("protocol/vectors");
    shell::run(&python.to_string_lossy(), &[&script.to_string_lossy(), &vectors.to_string_lossy()])
}

/// All Python of the appendix.
fn code(document: &str) -> Result<String, Failed> {
    let (_, appendix) = document
        .split_once("\n## Appendix A.")
        .ok_or_else(|| Failed("docs/protocol.md has no appendix A".to_owned()))?;
    let blocks = appendix.split("```python\n").skip(1).filter_map(|block| block.split("```").next());
    Ok(blocks.collect::<Vec<_>>().join("\n"))
}
