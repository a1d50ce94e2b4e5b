//! Which upload a file went to, so that the next run goes on with it: a small file each.

use std::fs;
use std::path::PathBuf;

use super::files::File;
use crate::id::UploadId;
use crate::store::Digest;

/// What earlier runs noted for one server. Where nothing can be noted, nothing is remembered.
pub(super) struct Memory {
    folder: Option<PathBuf>,
    server: String,
}

impl Memory {
    /// In that folder, which is made when it is needed.
    pub(super) fn open(folder: Option<PathBuf>, server: &str) -> Self {
        Self { folder: folder.map(|folder| folder.join("uploads")), server: server.trim_end_matches('/').to_owned() }
    }

    /// A file that was changed is another file.
    fn place(&self, file: &File) -> Option<PathBuf> {
        let key = format!("{}\0{}\0{}\0{}", self.server, file.location.display(), file.size_bytes, file.modified_ns);
        Some(self.folder.as_ref()?.join(Digest::of(key.as_bytes()).to_string()))
    }

    /// The upload that the file went to.
    pub(super) fn recall(&self, file: &File) -> Option<UploadId> {
        fs::read_to_string(self.place(file)?).ok()?.trim().parse().ok()
    }

    /// Notes where the file goes.
    pub(super) fn note(&self, file: &File, id: UploadId) {
        let (Some(folder), Some(place)) = (&self.folder, self.place(file)) else { return };
        let new = place.with_extension("new");
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(&new, format!("{id}\n")))
            .and_then(|()| fs::rename(&new, &place));
        if let Err(error) = written {
            tracing::warn!(%error, "{} can't be written: this upload starts anew if it is cut off", place.display());
        }
    }

    /// The file is there for good.
    pub(super) fn forget(&self, file: &File) {
        if let Some(place) = self.place(file) {
            // What stays names an upload that has ended, which the next run finds out.
            let _ = fs::remove_file(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_or_another_server_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::open(Some(folder.path().to_owned()), "http://a/");
        let file = File { path: "x".into(), location: "/x".into(), size_bytes: 1, modified_ns: 2 };
        let id = UploadId::new();
        assert_eq!(memory.recall(&file), None);
        memory.note(&file, id);
        assert_eq!(memory.recall(&file), Some(id));
        assert_eq!(Memory::open(Some(folder.path().to_owned()), "http://a").recall(&file), Some(id));
        assert_eq!(Memory::open(Some(folder.path().to_owned()), "http://b").recall(&file), None);
        assert_eq!(memory.recall(&File { modified_ns: 3, ..file.clone() }), None);
        memory.forget(&file);
        assert_eq!(memory.recall(&file), None);
    }
}
