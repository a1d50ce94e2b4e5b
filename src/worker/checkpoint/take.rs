//! Takes files from a process that is not trusted and still runs.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open as open_path, openat};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::Skip;
use super::check::Wanted;
use crate::engine::checkpoint::FOLDER;
use crate::store::Digest;

/// Opens a file of the checkpoint that lies below `work`. `None` if there is none. Never follows a link, and never waits
/// for whoever should write to a pipe.
pub(super) fn open(work: &Path, name: &str) -> Result<Option<File>, Skip> {
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let plain = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = open_path(work, folder, Mode::empty())
        .and_then(|work| openat(work, FOLDER, folder, Mode::empty()))
        .and_then(|folder| openat(folder, name, plain, Mode::empty()));
    let file = match opened {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error @ (Errno::MFILE | Errno::NFILE | Errno::IO)) => return Err(missed(name, &error.into())),
        Err(_) => return Err(not_plain(name)),
    };
    let found = file.metadata().map_err(|error| missed(name, &error))?;
    if found.is_file() { Ok(Some(file)) } else { Err(not_plain(name)) }
}

/// Copies it to `to`, and sees that the copy is what is wanted.
pub(super) fn copy(file: File, wanted: &Wanted, to: &Path, stop: &CancellationToken) -> Result<(), Skip> {
    let failed = |error: io::Error| missed(&wanted.path, &error);
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    // It may grow while it is read.
    let from = file.take(wanted.size_bytes.saturating_add(1));
    let copy = Copying { from, to: File::create_new(to).map_err(failed)?, stop };
    let found = Digest::of_reader(copy).map_err(failed)?;
    if found == (wanted.digest, wanted.size_bytes) {
        Ok(())
    } else {
        Err(Skip::Refused(format!("the file '{}' is not what its process says", wanted.path)))
    }
}

fn missed(name: &str, error: &io::Error) -> Skip {
    Skip::Missed(format!("the file '{name}' could not be taken: {error}"))
}

fn not_plain(name: &str) -> Skip {
    Skip::Refused(format!("the file '{name}' is a link, or no plain file"))
}

/// Writes down what is read through it, until it is stopped.
struct Copying<'a, R> {
    from: R,
    to: File,
    stop: &'a CancellationToken,
}

impl<R: Read> Read for Copying<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("nobody waits for it any more"));
        }
        let count = self.from.read(buffer)?;
        self.to.write_all(buffer.get(..count).unwrap_or_default())?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_plain_files_in_the_folder_itself_are_opened() {
        let place = tempfile::tempdir().unwrap();
        let (work, folder) = (place.path().join("work"), place.path().join("work/checkpoint"));
        assert!(open(&work, "a").unwrap().is_none());
        fs::create_dir_all(&folder).unwrap();
        fs::write(place.path().join("secret"), "x").unwrap();
        fs::write(folder.join("a"), "x").unwrap();
        symlink(place.path().join("secret"), folder.join("link")).unwrap();
        symlink("a", folder.join("near")).unwrap();
        fs::create_dir(folder.join("folder")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.join("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(open(&work, "a").unwrap().is_some());
        assert!(open(&work, "none").unwrap().is_none());
        for name in ["link", "near", "folder", "pipe"] {
            assert!(matches!(open(&work, name), Err(Skip::Refused(_))), "{name}");
        }
        fs::rename(&folder, place.path().join("elsewhere")).unwrap();
        symlink(place.path().join("elsewhere"), &folder).unwrap();
        assert!(matches!(open(&work, "a"), Err(Skip::Refused(_))), "the folder is a link");
    }

    #[test]
    fn a_copy_is_what_was_promised_or_none() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        fs::write(&from, "block one").unwrap();
        let wanted = |text: &[u8], size_bytes| Wanted { path: "a".into(), digest: Digest::of(text), size_bytes };
        let stop = CancellationToken::new();
        let take = |wanted: &Wanted| copy(File::open(&from).unwrap(), wanted, &to, &stop);
        for _ in 0..2 {
            take(&wanted(b"block one", 9)).unwrap();
            assert_eq!(fs::read(&to).unwrap(), b"block one");
        }
        // The first bytes are right, but there are more.
        for bad in [wanted(b"block two", 9), wanted(b"block one", 10), wanted(b"block", 5)] {
            assert!(matches!(take(&bad), Err(Skip::Refused(_))), "{bad:?}");
        }
        assert!(fs::metadata(&to).unwrap().len() <= 6, "no more than one byte too many is read");
        stop.cancel();
        assert!(matches!(take(&wanted(b"block one", 9)), Err(Skip::Missed(_))));
    }
}
