//! Who runs this process.

use std::{collections::BTreeMap, io::Read};

use super::environment;

/// Most bytes of /etc/passwd that are read.
const PASSWD_BYTES_MAX: u64 = 1024 * 1024;

/// Most characters of a user's name.
const USER_CHARS_MAX: usize = 64;

/// The user that runs this process, by user ID and not by the environment: `anna`, or `uid:1000` if /etc/passwd has no name for it.
/// Under `sudo` this is the target user. The calling user is only added in parentheses, because anyone can set SUDO_UID:
/// `ks (SUDO_UID=1000 anna)`.
pub fn process_user() -> String {
    let passwd = users();
    let named = |uid: u32| passwd.get(&uid).cloned();
    let uid = rustix::process::getuid().as_raw();
    let user = named(uid).unwrap_or_else(|| format!("uid:{uid}"));
    match environment("SUDO_UID").and_then(|text| text.parse().ok()) {
        Some(sudo) => {
            format!("{user} (SUDO_UID={sudo}{})", named(sudo).map_or(String::new(), |name| format!(" {name}")))
        }
        None => user,
    }
}

/// The names of this machine's users by their ids; the first where an id has several.
fn users() -> BTreeMap<u32, String> {
    let mut text = String::new();
    let read = std::fs::File::open("/etc/passwd").map(|file| file.take(PASSWD_BYTES_MAX).read_to_string(&mut text));
    let Ok(Ok(_)) = read else { return BTreeMap::new() }; // then the user ID is shown
    named_ids(&text)
}

/// The names in a file such as /etc/passwd.
fn named_ids(passwd: &str) -> BTreeMap<u32, String> {
    let mut users = BTreeMap::new();
    for line in passwd.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(_), Some(Ok(uid))) = (fields.next(), fields.next(), fields.next().map(str::parse)) {
            users.entry(uid).or_insert_with(|| name.chars().take(USER_CHARS_MAX).collect());
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_their_first_name() {
        let users =
            named_ids("root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\n\n# remark\nanna:x:1000:\nbad:x:-1:\n");
        assert_eq!(users, BTreeMap::from([(0, "root".to_owned()), (1000, "anna".to_owned())]));
    }
}
