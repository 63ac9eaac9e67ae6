//! Settings that are more than a number or a word: the database, keys, artifacts, networks, origins.

use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::{
    ArtifactPlace, Bucket, FirmwareKeySource, Secret, ServerKeySource, missing_database::DEVELOPMENT_KEY,
    reader::SettingReader,
};
use crate::{error_report::Dsn, failure::StartError, limit, tls::TlsFiles};

impl<V: Fn(&str) -> Option<String>> SettingReader<V> {
    pub(super) fn database(&mut self) -> PathBuf {
        let given = self.text("DATABASE_URL").unwrap_or_default();
        let path = given.strip_prefix("file:").or_else(|| given.strip_prefix("sqlite:")).unwrap_or(&given);
        let path = path.strip_prefix("//").unwrap_or(path);
        let is_other_scheme = path.contains("://") || has_scheme(path);
        let is_special = path == ":memory:" || path.contains('?') || path.ends_with('/');
        if path.is_empty() || is_other_scheme || is_special {
            self.refuse("DATABASE_URL", &given);
        }
        PathBuf::from(path)
    }

    pub(super) fn server_key(&mut self, database: &Path) -> ServerKeySource {
        let given = self.text("SERVER_PRIVATE_KEY");
        let file = self.text("SERVER_PRIVATE_KEY_FILE");
        match (given, file) {
            (Some(_), Some(file)) => {
                self.wrong.push(StartError::BothSet { one: "SERVER_PRIVATE_KEY", other: "SERVER_PRIVATE_KEY_FILE" });
                ServerKeySource::File(file.into())
            }
            (Some(pem), None) => {
                let key = self.private_key("SERVER_PRIVATE_KEY", &pem);
                key.map_or_else(|| ServerKeySource::Development(PathBuf::new()), ServerKeySource::Given)
            }
            (None, Some(file)) => ServerKeySource::File(file.into()),
            (None, None) => ServerKeySource::Development(database.with_file_name(DEVELOPMENT_KEY)),
        }
    }

    pub(super) fn tls(&mut self) -> Option<TlsFiles> {
        let (one, other) = ("TLS_CERT_FILE", "TLS_KEY_FILE");
        match (self.text(one), self.text(other)) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate: certificate.into(), key: key.into() }),
            (None, None) => None,
            (certificate, _) => {
                let (set, unset) = if certificate.is_some() { (one, other) } else { (other, one) };
                let what = format!("{set} is set, but {unset} is not");
                self.wrong.push(StartError::refused(what, format!("set both for TLS, or unset {set} for plain HTTP")));
                None
            }
        }
    }

    pub(super) fn artifacts(&mut self, database: &Path) -> ArtifactPlace {
        let folder = self.text("ARTIFACTS_DIR");
        let Some(name) = self.text("ARTIFACTS_S3_BUCKET") else {
            let folder = folder.map_or_else(|| database.with_file_name("artifacts"), Into::into);
            return ArtifactPlace::Folder(folder);
        };
        if folder.is_some() {
            let (one, other) = ("ARTIFACTS_DIR", "ARTIFACTS_S3_BUCKET");
            self.wrong.push(StartError::BothSet { one, other });
        }
        let wrong_before = self.wrong.len();
        let secret = self.secret("S3_SECRET_ACCESS_KEY", "S3_SECRET_ACCESS_KEY_FILE", |secret| !secret.is_empty());
        let access_key = match (self.text("S3_ACCESS_KEY_ID"), secret) {
            (Some(id), Some(secret)) => Some((id, secret)),
            (None, None) => None,
            _ if self.wrong.len() > wrong_before => None, // the secret's error has been reported
            (id, _) => {
                self.refuse(if id.is_none() { "S3_ACCESS_KEY_ID" } else { "S3_SECRET_ACCESS_KEY" }, "");
                None
            }
        };
        ArtifactPlace::S3(Bucket {
            name,
            endpoint: self.origin("S3_ENDPOINT"),
            region: self.text("S3_REGION").unwrap_or_default(),
            access_key,
        })
    }

    pub(super) fn firmware_key(&mut self) -> Option<FirmwareKeySource> {
        match (self.text("FIRMWARE_PRIVATE_KEY"), self.text("FIRMWARE_PRIVATE_KEY_FILE")) {
            (Some(_), Some(file)) => {
                let (one, other) = ("FIRMWARE_PRIVATE_KEY", "FIRMWARE_PRIVATE_KEY_FILE");
                self.wrong.push(StartError::BothSet { one, other });
                Some(FirmwareKeySource::File(file.into()))
            }
            (Some(pem), None) => self.private_key("FIRMWARE_PRIVATE_KEY", &pem).map(FirmwareKeySource::Given),
            (None, file) => file.map(|file| FirmwareKeySource::File(file.into())),
        }
    }

    pub(super) fn networks(&mut self, name: &str) -> Vec<IpNet> {
        let Some(given) = self.text(name) else { return Vec::new() };
        let parsed: Result<Vec<_>, _> = given.split(',').map(|network| limit::network(network.trim())).collect();
        parsed.unwrap_or_else(|_| {
            self.refuse(name, &given);
            Vec::new()
        })
    }

    pub(super) fn admin_token(&mut self) -> Option<Secret> {
        self.secret("ADMIN_TOKEN", "ADMIN_TOKEN_FILE", |token| {
            token.len() >= 16 && token.bytes().all(|byte| byte.is_ascii_graphic())
        })
    }

    /// Scheme, host and port, as a browser writes them.
    pub(super) fn origin(&mut self, name: &str) -> Option<String> {
        let given = self.text(name)?;
        let host = given.strip_prefix("https://").or_else(|| given.strip_prefix("http://"));
        let is_host_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte);
        if !host.is_some_and(|host| !host.is_empty() && host.bytes().all(is_host_byte)) {
            self.refuse(name, &given);
        } else if let Some(sent) = sent_instead(&given) {
            let expected =
                "an origin as browsers send it: with a port from 1 to 65535, or none if it is the scheme's default";
            self.wrong.push(StartError::InvalidSetting {
                name: name.to_owned(),
                given: given.chars().take(80).collect(),
                expected: expected.to_owned(),
                example: sent,
            });
        }
        Some(given)
    }

    pub(super) fn sentry(&mut self) -> Option<Dsn> {
        let given = self.text("SENTRY_DSN")?;
        let parsed = given.parse().ok();
        if parsed.is_none() {
            self.refuse("SENTRY_DSN", &given);
        }
        parsed
    }
}

/// Whether it starts like a URL, `scheme:`. Such a path is written with `./` before it.
fn has_scheme(text: &str) -> bool {
    let scheme = text.trim_start().split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-'))
}

/// The origin that browsers send instead of one whose port they never send: 80 of http, 443 of https, 0, with leading zeros, or an
/// invalid one. None if they send this one.
fn sent_instead(origin: &str) -> Option<String> {
    let (before, port) = origin.rsplit_once(':')?;
    if port.starts_with("//") || port.contains(']') {
        return None; // the colon of the scheme, or one within an IPv6 address
    }
    let own = if origin.starts_with("https:") { 443 } else { 80 };
    match ks_protocol::number::digits::<u16>(port).filter(|port| *port > 0) {
        Some(number) if number != own && !port.starts_with('0') => None,
        Some(number) if number != own => Some(format!("{before}:{number}")),
        _ => Some(before.to_owned()),
    }
}
