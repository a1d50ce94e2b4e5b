//! The machine that jobs run on, as reports and keys name it.

use std::fs;

use crate::engine::context::Host;

/// The machine that a report names.
pub fn host(binary_sha256: Option<String>) -> Host {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()));
    let system = rustix::system::uname();
    let part = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let os = [part(system.sysname()), part(system.release()), part(system.machine())].join(" ");
    Host { cpu: cpu.unwrap_or("unknown").to_owned(), os, instruction_set: instruction_set(), binary_sha256 }
}

/// The instructions that the matrix product and our own loops choose among: sums are taken in another order with each.
fn instruction_set() -> String {
    let mut found = vec![std::env::consts::ARCH];
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let avx512 = has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
        let named = [("avx2", has!("avx2")), ("fma", has!("fma")), ("f16c", has!("f16c")), ("avx512", avx512)];
        found.extend(named.into_iter().filter(|(_, there)| *there).map(|(name, _)| name));
    }
    #[cfg(target_arch = "aarch64")]
    {
        use std::arch::is_aarch64_feature_detected as has;
        let named = [("neon", has!("neon")), ("fp16", has!("fp16"))];
        found.extend(named.into_iter().filter(|(_, there)| *there).map(|(name, _)| name));
    }
    found.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_named() {
        let host = host(None);
        assert!(!host.os.is_empty() && host.instruction_set.starts_with(std::env::consts::ARCH), "{host:?}");
    }
}
