//! `pare run-job --probe`: tries, before and after the confinement, what a job's process should not be able to do.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};
use serde::Serialize;

use super::confine;
use crate::engine::job::WORK;
use crate::worker::Sandbox;

/// What was found out.
#[derive(Debug, Serialize)]
struct Found {
    #[serde(flatten)]
    sandbox: Sandbox,
    /// What could be done without the confinement: what could not be done there either was not tried.
    open_before: Vec<&'static str>,
}

/// Something that should not be possible.
type Attempt = (&'static str, fn(&Probe) -> io::Result<()>);

const ATTEMPTS: &[Attempt] = &[
    ("read a file outside its folder", |probe| fs::read(&probe.canary).map(drop)),
    ("write to a file outside its folder", |probe| fs::File::options().append(true).open(&probe.canary).map(drop)),
    ("list a folder outside its own", |probe| fs::read_dir(&probe.outside).map(drop)),
    ("make a file outside its folder", |probe| fs::write(probe.outside.join("made"), "x")),
    ("change the mode of a file outside its folder", |probe| {
        let mode = fs::metadata(&probe.canary)?.permissions();
        fs::set_permissions(&probe.canary, mode)
    }),
    ("write to its input", |probe| fs::File::options().append(true).open(probe.folder.join("in/0")).map(drop)),
    ("make a link", |probe| {
        let link = probe.folder.join(WORK).join("link");
        std::os::unix::fs::symlink(&probe.canary, &link)?;
        fs::remove_file(link)
    }),
    ("read the worker's environment", |probe| fs::read(format!("/proc/{}/environ", probe.parent)).map(drop)),
    ("signal the worker", |probe| Ok(test_kill_process(probe.parent()?)?)),
    ("take hold of the worker", |probe| Ok(pidfd_open(probe.parent()?, PidfdFlags::empty()).map(drop)?)),
    ("reach a TCP port", |probe| {
        let port = SocketAddr::from((Ipv4Addr::LOCALHOST, probe.port));
        match TcpStream::connect_timeout(&port, Duration::from_secs(1)) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()), // it was asked
            asked => asked.map(drop),
        }
    }),
    ("open a UDP port", |_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map(drop)),
    ("reach a Unix socket", |probe| match UnixStream::connect(&probe.canary) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()), // it is no socket, but it was asked
        asked => asked.map(drop),
    }),
    ("make a pair of sockets", |_| UnixStream::pair().map(drop)),
    ("start a program", |_| {
        let mut program = Command::new("/proc/self/exe");
        program.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        program.status().map(drop)
    }),
];

/// Where it is tried.
struct Probe {
    folder: PathBuf,
    outside: PathBuf,
    canary: PathBuf,
    parent: i32,
    /// The one that the file `port` beside its folder names, for who listens there; else `discard`.
    port: u16,
}

/// Tries everything, and says on standard output, as JSON, what could be done.
pub(super) fn run(folder: &Path, parent: i32) -> anyhow::Result<()> {
    let outside = folder.parent().context("the folder lies nowhere")?.to_owned();
    let port = fs::read_to_string(outside.join("port")).ok().and_then(|port| port.trim().parse().ok()).unwrap_or(9);
    let probe = Probe { folder: folder.to_owned(), canary: outside.join("canary"), outside, parent, port };
    let open_before = probe.all();
    let work = folder.join(WORK);
    let mut sandbox = confine::lock(folder, &work)?;
    confine::limit(Some(1 << 30), Some(1 << 20))?;
    sandbox.reached = probe.all().into_iter().map(str::to_owned).collect();
    what_jobs_need(folder, &work)?;
    let text = serde_json::to_string(&Found { sandbox, open_before })?;
    writeln!(io::stdout(), "{text}")?;
    // Last, for where it succeeds nothing is left to tell of it.
    let error = Command::new("/proc/self/exe").arg("--version").exec();
    ensure!(error.kind() == ErrorKind::PermissionDenied, "a program could be run in place of this one");
    Ok(())
}

impl Probe {
    fn all(&self) -> Vec<&'static str> {
        ATTEMPTS.iter().filter(|(_, attempt)| attempt(self).is_ok()).map(|(name, _)| *name).collect()
    }

    fn parent(&self) -> io::Result<Pid> {
        Pid::from_raw(self.parent).ok_or_else(|| ErrorKind::InvalidInput.into())
    }
}

/// A confinement that no job can work in is none.
fn what_jobs_need(folder: &Path, work: &Path) -> anyhow::Result<()> {
    ensure!(fs::read(folder.join("in/0")).context("its input can't be read")? == b"given", "its input is another");
    let (new, done) = (work.join("out/new"), work.join("done"));
    fs::create_dir_all(work.join("out")).context("no folder can be made")?;
    fs::write(&new, "first").context("no file can be made")?;
    fs::write(&new, "second").context("no file can be written anew")?;
    fs::copy(&new, work.join("copy")).context("no file can be copied")?;
    fs::rename(&new, &done).context("no file can be moved")?;
    fs::remove_file(&done).context("no file can be removed")?;
    let thread = std::thread::Builder::new().spawn(|| ()).context("no thread can be started")?;
    ensure!(thread.join().is_ok(), "a thread broke down");
    Ok(())
}
