//! A new cluster, or none: never half of one.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use super::account::Account;
use super::binaries::Binaries;
use super::error::{Error, Result};
use super::exec::OnFolder;
use super::folders::{Folders, make_private, sync};

/// Bytewise order and UTF-8 everywhere; a socket in a closed folder needs no password.
const OPTIONS: [&str; 6] =
    ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--data-checksums", "--no-instructions"];

/// Makes the cluster if it is not there: beside its place, then renamed into it, so that a kill at any moment leaves
/// either none or a whole one.
pub(super) fn ensure_cluster(
    folders: &Folders,
    binaries: &Binaries,
    helper: &Path,
    account: Option<&Account>,
) -> Result<()> {
    if folders.data.join("PG_VERSION").is_file() {
        return Ok(());
    }
    remove_unfinished(folders)?;
    // A name of its own: an `initdb` whose parent was killed removes what it made, by name, on its way out.
    let unfinished = folders.unfinished(&uuid::Uuid::now_v7().to_string());
    make_private(&unfinished, account)?;
    tracing::info!(path = %folders.data.display(), version = binaries.major, "making a private Postgres cluster");
    let on_folder = OnFolder { helper, account, folder: &unfinished };
    let options: Vec<&OsStr> = OPTIONS.iter().map(OsStr::new).collect();
    let program = binaries.program("initdb");
    let (mut command, _helper) = on_folder.command(&program, &options)?;
    let output = command.stdout(Stdio::null()).output().map_err(Error::io(helper, "started"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Initdb { output: if said.is_empty() { output.status.to_string() } else { said } });
    }
    fs::rename(&unfinished, &folders.data).map_err(Error::io(&folders.data, "put in its place"))?;
    folders.data.parent().map_or(Ok(()), sync)
}

/// Removes what interrupted runs left.
fn remove_unfinished(folders: &Folders) -> Result<()> {
    for path in folders.all_unfinished()? {
        remove(&path)?;
    }
    Ok(())
}

/// Removes a folder. Its `initdb` may still be on its way out and write, so it is tried again.
fn remove(unfinished: &Path) -> Result<()> {
    let mut last = Ok(());
    for _ in 0..5 {
        last = fs::remove_dir_all(unfinished);
        match &last {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(200)),
            Ok(()) => return Ok(()),
        }
    }
    last.map_err(Error::io(unfinished, "removed"))
}
