//! A CycloneDX 1.5 SBOM of each program: its libraries with licences and the checksums from Cargo.lock. Reproducible: it contains
//! no time and no serial number.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    process::{Command, Stdio},
};

use crate::shell::{Failed, root, say};

/// The programs that are deployed.
const PROGRAMS: [&str; 2] = ["ks-server", "ks-fleet"];

/// Writes one document for each program.
pub(crate) fn run() -> Result<(), Failed> {
    let failed = |what: &str, error: &dyn std::fmt::Display| Failed(format!("{what}: {error}"));
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).map_err(|error| failed("Cargo.lock", &error))?;
    let checksums = checksums(&lock);
    let folder = root().join("target/sbom");
    std::fs::create_dir_all(&folder).map_err(|error| failed("target/sbom", &error))?;
    for program in PROGRAMS {
        let arguments =
            ["tree", "--locked", "--edges", "normal", "--package", program, "--prefix", "none", "--format", "{p}|{l}"];
        let cargo = option_env!("CARGO").unwrap_or("cargo");
        let listed = Command::new(cargo).current_dir(root()).args(arguments).stderr(Stdio::inherit()).output();
        let listed = listed.map_err(|error| failed("cargo tree", &error))?;
        if !listed.status.success() {
            return Err(Failed(format!("cargo tree of {program} ended with {}", listed.status)));
        }
        let document = document(program, &String::from_utf8_lossy(&listed.stdout), &checksums)?;
        let path = folder.join(format!("{program}.cdx.json"));
        std::fs::write(&path, document).map_err(|error| failed("target/sbom", &error))?;
        say(&format!("target/sbom/{program}.cdx.json"));
    }
    Ok(())
}

/// SHA-256 of each package, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
        line.and_then(|rest| rest.strip_suffix('"')).map(str::to_owned)
    };
    let of = |block: &str| Some(((value(block, "name")?, value(block, "version")?), value(block, "checksum")?));
    lock.split("[[package]]").filter_map(of).collect()
}

/// The document, from the lines of `cargo tree`: `NAME vVERSION [(where)] [(*)]|LICENCE`, the program first.
fn document(program: &str, tree: &str, checksums: &BTreeMap<(String, String), String>) -> Result<String, Failed> {
    let mut packages: BTreeMap<(String, String), String> = BTreeMap::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let (package, licence) = line.split_once('|').unwrap_or((line, ""));
        let mut words = package.split(' ');
        let (Some(name), Some(version)) = (words.next(), words.next().and_then(|version| version.strip_prefix('v')))
        else {
            return Err(Failed(format!("cargo tree said `{line}`, expected NAME vVERSION|LICENCE")));
        };
        packages.insert((name.to_owned(), version.to_owned()), licence.trim_end_matches(" (*)").to_owned());
    }
    let own = packages.iter().find(|((name, _), _)| name == program);
    let Some(((_, version), _)) = own else { return Err(Failed(format!("{program} is not in its own tree"))) };
    let component = |kind: &str, name: &str, version: &str, licence: &str| {
        let mut text = format!(
            r#"{{"type":"{kind}","bom-ref":"pkg:cargo/{name}@{version}","name":"{name}","version":"{version}","purl":"pkg:cargo/{name}@{version}""#
        );
        if !licence.is_empty() {
            let _ = write!(text, r#","licenses":[{{"expression":"{}"}}]"#, licence.replace('/', " OR "));
        }
        if let Some(sha256) = checksums.get(&(name.to_owned(), version.to_owned())) {
            let _ = write!(text, r#","hashes":[{{"alg":"SHA-256","content":"{sha256}"}}]"#);
        }
        text + "}"
    };
    let libraries: Vec<String> = packages
        .iter()
        .filter(|((name, _), _)| name != program)
        .map(|((name, version), licence)| component("library", name, version, licence))
        .collect();
    let this = component("application", program, version, "");
    Ok(format!(
        "{{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.5\",\"version\":1,\"metadata\":{{\"component\":{this}}},\"components\":[\n{}\n]}}\n",
        libraries.join(",\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_library_is_listed_once_with_licence_and_checksum() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"aa\"\n\n[[package]]\nname = \"ks-server\"\nversion = \"0.1.0\"\n";
        let tree = "ks-server v0.1.0 (/some/where)|\na v1.0.0|MIT/Apache-2.0\nb v2.0.0 (proc-macro)|MIT\na v1.0.0|MIT/Apache-2.0 (*)\n";
        let document = document("ks-server", tree, &checksums(lock)).unwrap();
        assert_eq!(document.matches("pkg:cargo/a@1.0.0").count(), 2, "{document}");
        assert!(document.contains(
            r#""licenses":[{"expression":"MIT OR Apache-2.0"}],"hashes":[{"alg":"SHA-256","content":"aa"}]"#
        ));
        assert!(
            document.contains(r#""metadata":{"component":{"type":"application","bom-ref":"pkg:cargo/ks-server@0.1.0""#)
        );
        assert!(!document.contains("/some/where"));
    }

    #[test]
    fn an_invalid_tree_is_an_error() {
        assert!(document("ks-server", "error: no such thing", &BTreeMap::new()).is_err());
        assert!(document("ks-server", "a v1.0.0|MIT", &BTreeMap::new()).is_err());
    }
}
