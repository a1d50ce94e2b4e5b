//! A jobs' process that does what a test has written down for each of its lives, and then becomes `pare`.

use std::fs;
use std::path::PathBuf;

use pare::engine::checkpoint::{self, KeptFile};
use pare::engine::context::Event;
use pare::engine::job::Input;
use pare::store::Digest;
use pare::worker::Config;

use super::cluster::PARE;
use super::worker::{Bench, until, write_program};

/// What a life may use: it has no PATH.
const WORDS: &str = r#"
await() { while [ ! -e "$BOX/$1" ]; do /bin/sleep 0.02; done; }
say() { await "$1"; /bin/cat "$BOX/$1"; }
keep() { /bin/mkdir -p work/checkpoint; printf '%s' "$2" > "work/checkpoint/$1"; }
die() { kill -KILL $$; }
life=1
while [ -e "$BOX/$life.began" ]; do life=$((life + 1)); done
/bin/cp input.json "$BOX/$life.input"
: > "$BOX/$life.began"
if [ -e "$BOX/$life.sh" ]; then . "$BOX/$life.sh"; fi
"#;

/// The program, and the folder through which it is told what to do.
pub(crate) struct Puppet {
    pub(crate) program: PathBuf,
    folder: PathBuf,
}

impl Puppet {
    pub(crate) fn new(bench: &Bench) -> Self {
        let (program, folder) = (bench.folder.path().join("puppet.sh"), bench.folder.path().join("puppet"));
        fs::create_dir(&folder).unwrap();
        let text = format!("#!/bin/sh\nBOX='{}'\n{WORDS}exec '{PARE}' \"$@\"\n", folder.display());
        write_program(&program, &text);
        Self { program, folder }
    }

    pub(crate) fn on(&self, config: Config) -> Config {
        Config { program: self.program.clone(), ..config }
    }

    /// What it does in one of its lives, from 1: shell, with `keep NAME TEXT`, `say FILE`, `await FILE` and `die`.
    pub(crate) fn life(&self, number: u32, script: &str) {
        fs::write(self.folder.join(format!("{number}.sh")), script).unwrap();
    }

    /// Writes what a `say` waits for.
    pub(crate) fn tell(&self, file: &str, text: &str) {
        let new = self.folder.join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder.join(file)).unwrap();
    }

    /// What it left there.
    pub(crate) fn left(&self, file: &str) -> Vec<u8> {
        fs::read(self.folder.join(file)).unwrap()
    }

    /// What it was given in one of its lives, once that has begun.
    pub(crate) async fn input(&self, life: u32) -> Input {
        let began = self.folder.join(format!("{life}.began"));
        until("a life of the process", async || began.exists().then_some(())).await;
        serde_json::from_slice(&self.left(&format!("{life}.input"))).unwrap()
    }

    /// The key that `pare` itself comes to in its place.
    pub(crate) fn key(&self, input: &Input) -> String {
        let (program, _) = Digest::of_file(&self.program).unwrap();
        checkpoint::key(input, &pare::cli::host(Some(program.to_string()))).unwrap()
    }
}

/// A file as a process tells of it.
pub(crate) fn file(name: &str, text: &str) -> KeptFile {
    let sha256 = Digest::of(text.as_bytes()).to_string();
    KeptFile { name: name.to_owned(), size_bytes: text.len() as u64, sha256 }
}

/// A line that tells of a checkpoint.
pub(crate) fn line(step: u64, key: &str, files: &[KeptFile]) -> String {
    let event = Event::Checkpoint { step, key: key.to_owned(), files: files.to_vec() };
    serde_json::to_string(&event).unwrap() + "\n"
}
