//! Backups, which commands read in place.

use std::os::unix::fs::PermissionsExt;

use crate::support::start_server;

/// Everything in a folder, with its content.
fn content(folder: &std::path::Path) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

/// Goal: reading commands can read a backup that is write-protected, and change none that is not.
/// Method: backups as SQLite makes them (a file alone, and one with its log), read-only in a folder that is read-only; each
/// reading command; not a byte differs after. (A tester who is root may write there all the same: then the comparison of the bytes
/// shows it.)
#[tokio::test]
async fn a_backup_is_read_in_place() {
    let mut server = start_server(&[]);
    server.registered("KS-1").await;
    let backup = server.path("back up");
    std::fs::create_dir(&backup).unwrap();
    server.sqlite().execute("VACUUM INTO ?1", [backup.join("ks 100%.sqlite").to_str().unwrap()]).unwrap();
    let whole = server.path("whole");
    std::fs::create_dir(&whole).unwrap();
    server.terminate();
    server.ended().await;
    std::fs::copy(server.database(), whole.join("ks.sqlite")).unwrap();
    let set_mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let world = &server;
    for file in [backup.join("ks 100%.sqlite"), whole.join("ks.sqlite")] {
        let folder = file.parent().unwrap();
        set_mode(&file, 0o444);
        set_mode(folder, 0o555);
        let before = content(folder);
        let url = format!("file:{}", file.display());
        let reading: [&[&str]; 6] = [
            &["audit", "verify"],
            &["audit", "export"],
            &["device", "investigate", "KS-1"],
            &["factory", "export"],
            &["admin", "token", "list"],
            &["rollout", "list"],
        ];
        for command in reading {
            let ran = world.run(&[command, &["--database-url", &url]].concat());
            assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{command:?} of {url}");
        }
        assert!(content(folder) == before, "{url}");
        set_mode(folder, 0o755);
    }
}

/// Goal: reading commands also read what a crash left in the log.
/// Method: a server that is killed; its files copied; the line of the audit that only the log has is there.
#[tokio::test]
async fn a_backup_is_read_with_its_log() {
    let mut server = start_server(&[]);
    server.registered("KS-1").await;
    server.kill_9();
    let lines = |ran: crate::support::CommandOutput| (ran.code, ran.stdout.lines().count());
    let copy = server.path("copy.sqlite");
    std::fs::copy(server.database(), &copy).unwrap();
    let url = format!("file:{}", copy.display());
    std::fs::copy(server.path("ks.sqlite-wal"), server.path("copy.sqlite-wal")).unwrap();
    let with_log = lines(server.run(&["audit", "export", "--database-url", &url]));
    assert_eq!(with_log, (Some(0), 3), "the first keyset, the import, the registration");
}
