//! What lies where: the cluster, its log and its socket.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::account::Account;
use super::error::{Error, Result};

/// The socket's name in its folder: Postgres makes it from the port, which names nothing else here.
const SOCKET_NAME: &str = "/.s.PGSQL.5432";
/// The file beside it that says whose it is.
pub(super) const SOCKET_LOCK: &str = ".s.PGSQL.5432.lock";
/// What the kernel takes as a socket's path, less the closing NUL.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// How the folder of a cluster in the making begins.
const UNFINISHED: &str = "data.new";

/// The folders of one state folder.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    /// The cluster; there once it is whole.
    pub(super) data: PathBuf,
    /// What the server says.
    pub(super) log: PathBuf,
    /// The state folder, without symlinks.
    state_dir: PathBuf,
}

impl Folders {
    /// Makes what is not there. `state_dir` must be.
    pub(super) fn open(state_dir: &Path) -> Result<Self> {
        let state_dir = state_dir.canonicalize().map_err(Error::io(state_dir, "found"))?;
        let root = state_dir.join("postgres");
        if !root.is_dir() {
            // Open for passing through: the server's account may be another one. What it holds is closed.
            DirBuilder::new().mode(0o711).create(&root).map_err(Error::io(&root, "made"))?;
        }
        Ok(Self { data: root.join("data"), log: root.join("server.log"), state_dir })
    }

    /// The folder of a cluster in the making.
    pub(super) fn unfinished(&self, key: &str) -> PathBuf {
        self.data.with_file_name(format!("{UNFINISHED}.{key}"))
    }

    /// Every folder of a cluster in the making.
    pub(super) fn all_unfinished(&self) -> Result<Vec<PathBuf>> {
        let root = self.data.parent().unwrap_or(&self.state_dir);
        let entries = fs::read_dir(root).map_err(Error::io(root, "read"))?;
        let is_one =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED));
        Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_one).collect())
    }

    /// The folder of the socket, for the server's account alone: in the state folder, or under `/tmp` where that is too
    /// long or closed to the account.
    pub(super) fn socket_dir(&self, account: Option<&Account>) -> Result<PathBuf> {
        let near = self.state_dir.join("postgres/run");
        let fits = near.as_os_str().len() + SOCKET_NAME.len() <= MAX_SOCKET_PATH_BYTES;
        let dir = if fits && account.is_none_or(|account| account.can_reach(&near)) {
            near
        } else {
            let hash = Sha256::digest(self.state_dir.as_os_str().as_encoded_bytes());
            let key = hash.iter().take(8).fold(String::new(), |key, byte| format!("{key}{byte:02x}"));
            PathBuf::from(format!("/tmp/pare-{key}"))
        };
        make_private(&dir, account)?;
        Ok(dir)
    }
}

/// Makes a folder for one account alone; one that is there must be such a folder, and no link to one.
pub(super) fn make_private(dir: &Path, account: Option<&Account>) -> Result<()> {
    let owner = account.map_or_else(|| rustix::process::geteuid().as_raw(), |account| account.uid);
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => {
            if let Some(account) = account {
                chown(dir, Some(account.uid), Some(account.gid)).map_err(Error::io(dir, "given to its account"))?;
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let there = fs::symlink_metadata(dir).map_err(Error::io(dir, "read"))?;
            let ours = there.is_dir() && (there.uid() == owner || there.uid() == rustix::process::geteuid().as_raw());
            if !ours {
                return Err(Error::NotOurs { path: dir.to_owned() });
            }
            chown(dir, Some(owner), account.map(|account| account.gid))
                .map_err(Error::io(dir, "given to its account"))?;
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(Error::io(dir, "closed to others"))?;
        }
        Err(error) => return Err(Error::io(dir, "made")(error)),
    }
    Ok(())
}

/// Makes a change of names in a folder durable.
pub(super) fn sync(dir: &Path) -> Result<()> {
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io(dir, "written to disk"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_folder_with_a_long_path_gets_a_short_socket() {
        let state = tempfile::tempdir().unwrap();
        let near = Folders::open(state.path()).unwrap().socket_dir(None).unwrap();
        assert!(near.starts_with(state.path().canonicalize().unwrap()));
        let long = state.path().join("x".repeat(100));
        fs::create_dir(&long).unwrap();
        let far = Folders::open(&long).unwrap().socket_dir(None).unwrap();
        assert!(far.as_os_str().len() + SOCKET_NAME.len() <= MAX_SOCKET_PATH_BYTES);
        assert_eq!(fs::metadata(&far).unwrap().mode() & 0o777, 0o700);
        fs::remove_dir(far).unwrap();
    }

    #[test]
    fn a_link_in_place_of_a_private_folder_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let link = state.path().join("link");
        std::os::unix::fs::symlink(state.path(), &link).unwrap();
        assert!(matches!(make_private(&link, None), Err(Error::NotOurs { .. })));
    }
}
