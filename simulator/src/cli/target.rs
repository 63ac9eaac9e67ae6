//! `ks-fleet run --target`: an external server, its admin token, and the timeout of its answers.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use ks_protocol::duration;

use crate::{drive::target::Target, failure::Failure, operator::AnswerTimeouts};

/// Range of the timeout for answers of a target.
const ADMIN_TIMEOUT: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);

/// Options of `run` for a target.
#[derive(Debug, Clone, Default, clap::Args)]
pub(in crate::cli) struct TargetOptions {
    /// Run against this server instead of starting one: http://HOST:PORT, or https://HOST[:PORT][/PATH]. Its admin token is read from the environment, as
    /// ADMIN_TOKEN, or from a file
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// File with the certificate of the authority that issued an https:// target's [default: the system's authorities]
    #[arg(long, value_name = "FILE", requires = "target")]
    ca: Option<PathBuf>,
    /// File with the target's admin token [env: ADMIN_TOKEN_FILE]
    #[arg(long, value_name = "FILE", requires = "target")]
    admin_token_file: Option<PathBuf>,
    /// Timeout of each answer of the target's admin API [default: 2m for orders, imports included, 10s for
    /// queries]
    #[arg(long, value_name = "D", value_parser = duration::within(ADMIN_TIMEOUT), requires = "target")]
    admin_timeout: Option<Duration>,
}

impl TargetOptions {
    /// The target, if there is one.
    ///
    /// # Errors
    /// There is no token for it, or its URL is invalid.
    pub(in crate::cli) fn target(self) -> Result<Option<Target>, Failure> {
        let Some(url) = self.target else { return Ok(None) };
        let mut target = Target::new(url, admin_token(self.admin_token_file)?, self.ca)?;
        if let Some(timeout) = self.admin_timeout {
            target.timeouts = AnswerTimeouts::all(timeout);
        }
        Ok(Some(target))
    }
}

/// The admin token, never from the command line, which every user of the machine can read.
fn admin_token(file: Option<PathBuf>) -> Result<String, Failure> {
    let set = |name| ks_server::edge::environment(name).filter(|value| !value.is_empty());
    let bad = |why: String| Err(Failure::BadRequest(why));
    let (token, named) = (set("ADMIN_TOKEN"), set("ADMIN_TOKEN_FILE").map(PathBuf::from));
    match (file.or(named), token) {
        (Some(file), None) => read_token(&file),
        (None, Some(token)) => Ok(token),
        (Some(file), Some(_)) => bad(format!(
            "the admin token is given twice, in ADMIN_TOKEN and in {}; expected one of them",
            file.display()
        )),
        (None, None) => bad(
            "--target needs that server's admin token, in ADMIN_TOKEN or in the file of --admin-token-file: the factory whitelists devices through its admin API"
                .to_owned(),
        ),
    }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let cannot = |cause| Failure::File { what: "read", path: path.to_owned(), cause };
    match ks_server::config::read_small(path).map_err(cannot)?.trim() {
        "" => Err(Failure::BadRequest(format!("the admin token file {} is empty", path.display()))),
        token => Ok(token.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_has_a_range() {
        let admin_timeout = duration::within(ADMIN_TIMEOUT);
        assert_eq!(admin_timeout("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(admin_timeout("60m"), Ok(Duration::from_hours(1)));
        for wrong in ["0s", "61m", "soon"] {
            assert!(admin_timeout(wrong).unwrap_err().contains("expected a duration from 1s to 1h"), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_read_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &[u8]| {
            let path = folder.path().join("token");
            std::fs::write(&path, text).unwrap();
            read_token(&path).map_err(|failure| failure.to_string())
        };
        assert_eq!(read(b"0123456789abcdef\n"), Ok("0123456789abcdef".to_owned()));
        for wrong in [&b" \n"[..], &[0xff], &vec![b'x'; 1 << 20]] {
            assert!(read(wrong).is_err());
        }
    }
}
