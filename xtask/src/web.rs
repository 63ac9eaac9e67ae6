//! The admin web: building it, regenerating its client, its tests and its pictures. Node.js does the work, with what
//! `admin-web/package-lock.json` names.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::{
    shell::{self, Failed, exists, root, run_in, run_in_then_show},
    steps::Steps,
};

/// What the built files depend on, below `admin-web/`.
const SOURCES: [&str; 7] =
    ["index.html", "package.json", "package-lock.json", "scripts", "src", "tsconfig.json", "vite.config.ts"];

fn folder() -> PathBuf {
    root().join("admin-web")
}

/// Builds the web into `admin-web/dist/`, from where the server takes it when it is built; nothing is done that was done before.
pub(crate) fn build() -> Result<(), Failed> {
    install()?;
    let newest_source = SOURCES.iter().filter_map(|source| newest_in(&folder().join(source))).max();
    let is_current = changed_at(&folder().join("dist/index.html")) >= newest_source;
    if is_current { Ok(()) } else { run_in(&folder(), "npm", &["run", "--silent", "build"]) }
}

/// Installs the packages of the lock file, unless exactly these are installed.
pub(crate) fn install() -> Result<(), Failed> {
    if !exists("npm", &["--version"]) {
        return Err(Failed(
            "the admin web is built with Node.js 20 or newer and its npm: `apt-get install nodejs npm`".to_owned(),
        ));
    }
    let failed = |error: std::io::Error| Failed(format!("admin-web/package-lock.json: {error}"));
    let lock = std::fs::read_to_string(folder().join("package-lock.json")).map_err(failed)?;
    let installed = folder().join("node_modules/.installed-lock.json");
    if std::fs::read_to_string(&installed).is_ok_and(|known| known == lock) {
        return Ok(());
    }
    run_in_then_show(&folder(), "npm", &["ci", "--no-audit", "--no-fund"])?;
    std::fs::write(installed, lock).map_err(failed)
}

/// Types, texts and logic of the web, and the licences of its packages.
pub(crate) fn check() -> Result<(), Failed> {
    install()?;
    for script in ["check", "test", "licences"] {
        run_in_then_show(&folder(), "npm", &["run", "--silent", script])?;
    }
    Ok(())
}

/// The typed client against the API's document. Before the web is built: it writes the client again, and so makes it newer.
pub(crate) fn check_client() -> Result<(), Failed> {
    install()?;
    let before = client();
    run_in_then_show(&folder(), "npm", &["run", "--silent", "schema"])?;
    if client() == before {
        return Ok(());
    }
    Err(Failed("admin-web/src/api/schema.ts was not the client of openapi.json, and is now".to_owned()))
}

fn client() -> Option<String> {
    std::fs::read_to_string(folder().join("src/api/schema.ts")).ok()
}

/// Regenerates the API's document and the typed client of it.
pub(crate) fn schema() -> Result<(), Failed> {
    install()?;
    shell::documents()?;
    run_in(&folder(), "npm", &["run", "--silent", "schema"])
}

/// Every test of the web.
pub(crate) fn test() -> Result<(), Failed> {
    let mut steps = Steps::default();
    steps.run("admin web: types, texts, logic, licences", check)?;
    steps.run("admin web: client of the API", check_client)?;
    steps.run("admin web: build", build)?;
    steps.run("build", shell::build)?;
    steps.run("admin web: end to end", end_to_end)
}

/// The tests in a browser, against the built server and simulated devices.
pub(crate) fn end_to_end() -> Result<(), Failed> {
    in_browser("e2e")
}

/// Takes the pictures of the documentation again.
pub(crate) fn pictures() -> Result<(), Failed> {
    build()?;
    shell::build()?;
    in_browser("pictures")
}

fn in_browser(script: &str) -> Result<(), Failed> {
    shell::needs_chromium("the tests of the admin web need")?;
    run_in(&folder(), "npm", &["run", "--silent", script])
}

/// When the newest file below a path, or its folder, was changed.
fn newest_in(path: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    let below = entries.filter_map(|entry| newest_in(&entry.path())).max();
    below.max(changed_at(path))
}

/// None if there is no such file.
fn changed_at(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()
}
