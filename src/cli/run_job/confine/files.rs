//! Landlock: which files can be opened, and which ports and processes reached.

use std::path::Path;

use anyhow::Context;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};

use crate::worker::Sandbox;

/// The version that we were written for. Older kernels hold us to what they know; [`super::calls`] covers what then is
/// open.
const VERSION: ABI = ABI::V6;

/// Closes every file but those below `folder`, for reading, and below `work`, for writing too. Nothing is run, no port
/// is reached, no process outside is signalled.
pub(super) fn restrict(folder: &Path, work: &Path, sandbox: &mut Sandbox) -> anyhow::Result<()> {
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    let below = |path: &Path, access| -> anyhow::Result<_> {
        let open = PathFd::new(path).with_context(|| format!("{} can't be opened", path.display()))?;
        Ok(PathBeneath::new(open, access))
    };
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(VERSION))?
        .handle_access(AccessNet::from_all(VERSION))?
        .scope(Scope::from_all(VERSION))?
        .create()?
        .add_rule(below(folder, read)?)?
        .add_rule(below(work, write)?)?
        .restrict_self()?;
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => sandbox.landlock_version = effective_abi as u32,
        LandlockStatus::NotEnabled => sandbox.lacks("landlock is not among the kernel's security modules (lsm=…)"),
        LandlockStatus::NotImplemented => sandbox.lacks("the kernel has no landlock (Linux 5.13 has)"),
    }
    Ok(())
}
