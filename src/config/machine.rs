//! What this machine, or the container that we are in, has to give.

use std::fs;
use std::path::Path;

/// Memory that may still be taken: what the kernel calls available, or what is left below the limit of our cgroup, if
/// that is less. 2 GiB where neither can be read.
pub fn free_memory_bytes() -> u64 {
    let available = fs::read_to_string("/proc/meminfo").ok().and_then(|text| kernel_bytes(&text, "MemAvailable:"));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let free = [available, cgroup_free_bytes(Path::new("/sys/fs/cgroup"), &groups)];
    free.into_iter().flatten().min().unwrap_or(2 << 30)
}

/// The size of the disk that a folder lies on; 0 where that can't be said.
pub(super) fn disk_bytes(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize))
}

/// A line of `/proc/meminfo` or `/proc/<pid>/status` that is given in kB, in bytes.
pub(crate) fn kernel_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What is left below the tightest limit between our cgroup and the root, of either version.
fn cgroup_free_bytes(root: &Path, groups: &str) -> Option<u64> {
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            match (fields.next()?, fields.next()?) {
                ("", path) => tightest(root, path, "memory.max", "memory.current"),
                (controllers, path) if controllers.split(',').any(|one| one == "memory") => {
                    tightest(&root.join("memory"), path, "memory.limit_in_bytes", "memory.usage_in_bytes")
                }
                _ => None,
            }
        })
        .min()
}

fn tightest(root: &Path, path: &str, limit: &str, usage: &str) -> Option<u64> {
    let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let own = root.join(path.trim_start_matches('/'));
    own.ancestors()
        .take_while(|folder| folder.starts_with(root))
        .filter_map(|folder| {
            let limit = number(&folder.join(limit))?;
            Some(limit.saturating_sub(number(&folder.join(usage)).unwrap_or(0)))
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read() {
        let meminfo = "MemTotal: 9 kB\nMemAvailable:   24000 kB\nX: 1\n";
        assert_eq!(kernel_bytes(meminfo, "MemAvailable:"), Some(24_576_000));
        assert_eq!(kernel_bytes(meminfo, "SwapFree:"), None);
        assert_eq!(kernel_bytes(meminfo, "X:"), None);
        assert!(free_memory_bytes() > 0);
    }

    #[test]
    fn the_tightest_limit_above_us_counts() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("a/b");
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("memory.max"), "max\n").unwrap();
        fs::write(root.path().join("a/memory.max"), "1000\n").unwrap();
        fs::write(root.path().join("a/memory.current"), "400\n").unwrap();
        assert_eq!(cgroup_free_bytes(root.path(), "0::/a/b\n"), Some(600));
        assert_eq!(cgroup_free_bytes(root.path(), "0::/\n"), None);
        assert_eq!(cgroup_free_bytes(root.path(), "3:cpu,memory:/a\n"), None);
    }
}
