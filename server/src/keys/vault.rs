//! The server's private keys: the one in the settings, and those created later, each in a file that only its owner may read (or, in
//! a rehearsal, in memory). The store has public keys only.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ks_protocol::{id::KeyId, key::PrivateKey};

use crate::{config::read_small, failure::StartError};

/// Where private keys are stored.
#[derive(Debug, Clone)]
pub struct Vault {
    given: PrivateKey,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Folder(PathBuf),
    Memory(Arc<Mutex<BTreeMap<KeyId, PrivateKey>>>),
}

impl Vault {
    /// The key in the settings, and a folder for keys created later; the first of them creates the folder.
    pub fn in_folder(given: PrivateKey, folder: &Path) -> Self {
        Self { given, place: Place::Folder(folder.to_owned()) }
    }

    /// The same in memory; clones share it.
    pub fn in_memory(given: PrivateKey) -> Self {
        Self { given, place: Place::Memory(Arc::default()) }
    }

    /// The key in the settings: the first one that signs.
    pub fn given(&self) -> &PrivateKey {
        &self.given
    }

    /// Stores a key. Once this returns, it is on disk.
    ///
    /// # Errors
    /// The folder can't be written.
    pub fn keep(&self, key: &PrivateKey) -> Result<(), StartError> {
        let key_id = key.public_key().key_id();
        match &self.place {
            Place::Memory(keys) => {
                keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key_id, key.clone());
                Ok(())
            }
            Place::Folder(folder) if path_of(folder, &key_id).exists() => self.find(&key_id).map(|_| ()),
            Place::Folder(folder) => write_key(&path_of(folder, &key_id), key),
        }
    }

    /// The private key of this name, if it is here.
    ///
    /// # Errors
    /// Its file can't be read, or holds another key.
    pub fn find(&self, key_id: &KeyId) -> Result<Option<PrivateKey>, StartError> {
        if self.given.public_key().key_id() == *key_id {
            return Ok(Some(self.given.clone()));
        }
        let folder = match &self.place {
            Place::Memory(keys) => {
                return Ok(keys.lock().unwrap_or_else(PoisonError::into_inner).get(key_id).cloned());
            }
            Place::Folder(folder) => folder,
        };
        let path = path_of(folder, key_id);
        if !path.exists() {
            return Ok(None);
        }
        let key = read_key(&path)?;
        if key.public_key().key_id() == *key_id {
            return Ok(Some(key));
        }
        Err(StartError::InvalidKey {
            place: path.display().to_string(),
            why: format!("it holds another key than {key_id}"),
        })
    }

    /// Deletes the private key of a removed key. The key in the settings stays: the server would not start without it.
    ///
    /// # Errors
    /// It could not be deleted.
    pub fn forget(&self, key_id: &KeyId) -> Result<(), StartError> {
        if self.given.public_key().key_id() == *key_id {
            return Ok(());
        }
        match &self.place {
            Place::Memory(keys) => {
                keys.lock().unwrap_or_else(PoisonError::into_inner).remove(key_id);
                Ok(())
            }
            Place::Folder(folder) => {
                let path = path_of(folder, key_id);
                match std::fs::remove_file(&path) {
                    Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                        Err(StartError::File { what: "delete", path, cause })
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Where keys created later are stored, for display.
    pub fn place(&self) -> String {
        match &self.place {
            Place::Folder(folder) => folder.display().to_string(),
            Place::Memory(_) => "memory".to_owned(),
        }
    }
}

fn path_of(folder: &Path, key_id: &KeyId) -> PathBuf {
    folder.join(format!("{key_id}.pem"))
}

/// Reads a private key from a PEM file; anything but a regular file, or a file larger than any key, is refused unread.
///
/// # Errors
/// The file can't be read, or holds no Ed25519 key.
pub fn read_key(path: &Path) -> Result<PrivateKey, StartError> {
    let unusable = |why: String| StartError::InvalidKey { place: path.display().to_string(), why };
    let pem = read_small(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::InvalidData => unusable(cause.to_string()),
        _ => StartError::File { what: "read", path: path.to_owned(), cause },
    })?;
    PrivateKey::from_pem(&pem).map_err(|error| unusable(error.to_string()))
}

/// Writes a private key that only its owner may read; atomically, and never over an existing file.
///
/// # Errors
/// The file exists, or the folder can't be written.
pub fn write_key(path: &Path, key: &PrivateKey) -> Result<(), StartError> {
    let pem = key
        .to_pem()
        .map_err(|error| StartError::InvalidKey { place: path.display().to_string(), why: error.to_string() })?;
    let file = |cause| StartError::File { what: "write", path: path.to_owned(), cause };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let not_made = |cause| StartError::File { what: "create", path: folder.to_owned(), cause };
        std::fs::create_dir_all(folder).map_err(not_made)?;
    }
    // Under another name first, then linked to its own, which fails if the file exists.
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}", std::process::id()));
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        let mut opened = options.write(true).create_new(true).mode(0o600).open(&unfinished)?;
        opened.write_all(pem.as_bytes())?;
        opened.sync_all()?;
        std::fs::hard_link(&unfinished, path)
    };
    let written = write();
    let _ = std::fs::remove_file(&unfinished); // it may never have been created
    written.map_err(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_stored_for_its_owner_only_and_found_again() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (given, made) = (PrivateKey::from_seed(&[1; 32]), PrivateKey::from_seed(&[2; 32]));
        let key_id = made.public_key().key_id();
        for vault in [Vault::in_folder(given.clone(), &folder.path().join("keys")), Vault::in_memory(given.clone())] {
            assert!(vault.find(&given.public_key().key_id()).unwrap().is_some());
            assert!(vault.find(&key_id).unwrap().is_none());
            vault.keep(&made).unwrap();
            vault.keep(&made).unwrap();
            assert_eq!(vault.find(&key_id).unwrap().unwrap().public_key(), made.public_key());
        }
        let path = folder.path().join(format!("keys/{key_id}.pem"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, given.to_pem().unwrap()).unwrap();
        let vault = Vault::in_folder(given, &folder.path().join("keys"));
        assert!(vault.find(&key_id).unwrap_err().to_string().contains("another key"));
    }
}
