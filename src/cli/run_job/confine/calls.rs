//! Seccomp: calls that a job never makes, denied for every thread.
//!
//! A list of what is denied, and not of what is allowed: the C library's and the allocator's calls change with their
//! versions. What is denied answers EPERM, so that code which can do without goes on.

use std::collections::BTreeMap;

use anyhow::Context;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads,
};

use crate::worker::Sandbox;

/// Denied whatever the arguments are.
const DENIED: &[libc::c_long] = &[
    // the network, and sockets of any kind
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    // other processes
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // other programs
    libc::SYS_execve,
    libc::SYS_execveat,
    // memory and queues that are shared by name: Postgres has some
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semctl,
    libc::SYS_semtimedop,
    libc::SYS_msgget,
    libc::SYS_msgctl,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // namespaces, mounts, roots
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    // what landlock does not see: files by handle, and changes to files by path that open none
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_utimensat,
    libc::SYS_truncate,
    libc::SYS_mknodat,
    libc::SYS_fanotify_init,
    // wide and young parts of the kernel
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // the machine
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_personality,
];

/// Denied too, where they exist: older names of the above, and the machine's own.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[libc::c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_semop,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_mknod,
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[libc::c_long] = &[libc::SYS_semop];

/// The second set of numbers that x86 kernels may have: the same numbers with this bit, and some of its own.
#[cfg(target_arch = "x86_64")]
const X32_BIT: libc::c_long = 0x4000_0000;
#[cfg(target_arch = "x86_64")]
const X32_OWN: std::ops::RangeInclusive<libc::c_long> = 512..=547;

/// Installs the filters.
pub(super) fn restrict(sandbox: &mut Sandbox) -> anyhow::Result<()> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else {
        sandbox.lacks("no filter of calls is written for this processor");
        return Ok(());
    };
    // Its arguments lie in memory, where a filter can't look. The C library then asks for a thread by the older call.
    let young = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    for (rules, errno) in [(young, libc::ENOSYS), (denied()?, libc::EPERM)] {
        let deny = SeccompAction::Errno(errno.unsigned_abs());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, deny, arch).context("the filter is wrong")?;
        let program: BpfProgram = filter.try_into().context("the filter is wrong")?;
        match apply_filter_all_threads(&program) {
            Ok(()) => {}
            Err(seccompiler::Error::Seccomp(error)) if lacks(&error) => {
                sandbox.lacks("the kernel has no seccomp filters");
                return Ok(());
            }
            Err(error) => return Err(error).context("the kernel does not take the filter"),
        }
    }
    sandbox.seccomp = true;
    Ok(())
}

fn lacks(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
}

fn denied() -> anyhow::Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let always = DENIED.iter().chain(DENIED_HERE).copied();
    #[cfg(target_arch = "x86_64")]
    let always = always.clone().chain(always.map(|number| number | X32_BIT)).chain(X32_OWN.map(|own| own | X32_BIT));
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = always.map(|number| (number, Vec::new())).collect();
    let when = |argument, width, compare, value| -> anyhow::Result<Vec<SeccompRule>> {
        let condition = SeccompCondition::new(argument, width, compare, value).context("a condition is wrong")?;
        Ok(vec![SeccompRule::new(vec![condition]).context("a rule is wrong")?])
    };
    // Threads are made by the same call as processes.
    let thread = SeccompCmpOp::MaskedEq(libc::CLONE_THREAD.unsigned_abs().into());
    rules.insert(libc::SYS_clone, when(0, SeccompCmpArgLen::Qword, thread, 0)?);
    // Limits and signals, for ourselves alone: an abort is a signal.
    rules.insert(libc::SYS_prlimit64, when(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, 0)?);
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, when(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, own)?);
    #[cfg(target_arch = "x86_64")]
    for number in [libc::SYS_clone, libc::SYS_clone3, libc::SYS_prlimit64, libc::SYS_tgkill] {
        rules.insert(number | X32_BIT, Vec::new());
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_and_denies_by_number() {
        let rules = denied().unwrap();
        for number in [libc::SYS_socket, libc::SYS_execve, libc::SYS_ptrace, libc::SYS_io_uring_setup, libc::SYS_bpf] {
            assert_eq!(rules.get(&number), Some(&Vec::new()), "{number}");
        }
        assert!(!rules.contains_key(&libc::SYS_openat) && !rules.contains_key(&libc::SYS_mmap));
        let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let deny = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, deny, arch).unwrap();
        let program: BpfProgram = filter.try_into().unwrap();
        // The kernel takes 4096 instructions.
        assert!(program.len() < 4096, "{}", program.len());
    }
}
