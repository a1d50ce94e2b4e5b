//! Where the server's programs are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::{Error, Result};

/// Major versions that are known to work.
const MAJORS: std::ops::RangeInclusive<u32> = 14..=18;

/// Folders that hold one folder a version, and what comes after the version.
const VERSIONED: [(&str, &str, &str); 5] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/Library/PostgreSQL", "", "bin"),
];

/// What backups are made and read with.
const CLIENT: [&str; 2] = ["pg_dump", "pg_restore"];

/// The command that installs a server here.
fn install_command() -> String {
    if cfg!(target_os = "macos") {
        return "brew install postgresql@18".to_owned();
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    install_command_of(&release).map_or_else(|| ALL_COMMANDS.map(|(_, command)| command).join(", or "), str::to_owned)
}

/// By the names that a distribution goes by in `/etc/os-release`.
const ALL_COMMANDS: [(&[&str], &str); 5] = [
    (&["debian", "ubuntu"], "apt install postgresql"),
    (&["fedora", "rhel", "centos"], "dnf install postgresql-server"),
    (&["alpine"], "apk add postgresql"),
    (&["arch"], "pacman -S postgresql"),
    (&["suse", "opensuse"], "zypper install postgresql-server"),
];

/// Its own name first, then those of what it is made from.
fn install_command_of(release: &str) -> Option<&'static str> {
    let value = |name: &str| release.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let names = [value("ID="), value("ID_LIKE=")].map(|text| text.trim_matches('"').to_owned()).join(" ");
    let known = |name: &str| ALL_COMMANDS.iter().find(|(names, _)| names.contains(&name)).map(|(_, command)| *command);
    names.split_whitespace().find_map(known)
}

/// `initdb` and `postgres` of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) dir: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// The programs that fit the cluster in `data_dir`, or the newest ones where there is no cluster yet.
pub(super) fn find(given: Option<&Path>, data_dir: &Path) -> Result<Binaries> {
    let looked = match given {
        Some(dir) => vec![dir.to_owned(), dir.join("bin")],
        None => usual_places(),
    };
    let mut found = BTreeMap::new();
    for dir in &looked {
        if !dir.join("postgres").is_file() {
            continue;
        }
        if let Some(major) = major_of(dir).filter(|major| MAJORS.contains(major)) {
            found.entry(major).or_insert_with(|| dir.clone());
        }
    }
    let choice = match cluster_major(data_dir)? {
        None => found.into_iter().next_back(),
        Some(cluster) => match found.remove_entry(&cluster) {
            None if !found.is_empty() => {
                let found: Vec<String> = found.keys().map(u32::to_string).collect();
                return Err(Error::OtherMajor { data_dir: data_dir.to_owned(), cluster, found: found.join(", ") });
            }
            choice => choice,
        },
    };
    choice.map(|(major, dir)| Binaries { dir, major }).ok_or_else(|| {
        let looked: Vec<String> = looked.iter().map(|dir| dir.display().to_string()).collect();
        Error::NotFound { looked: looked.join(", "), install: install_command() }
    })
}

/// The folder of `pg_dump` and `pg_restore` for a server of that major version: of the same one where it is installed,
/// else of the next one, since they read what is older than themselves.
pub fn client_programs(given: Option<&Path>, server_major: u32) -> Result<PathBuf> {
    let mut places = match given {
        Some(dir) => vec![dir.to_owned(), dir.join("bin")],
        None => usual_places(),
    };
    places.retain(|dir| CLIENT.iter().all(|program| dir.join(program).is_file()));
    let fit = places.iter().filter_map(|dir| {
        let output = Command::new(dir.join("pg_dump")).arg("--version").output().ok()?;
        let major = parse_major(&String::from_utf8_lossy(&output.stdout))?;
        (major >= server_major).then_some((major, dir))
    });
    match fit.min_by_key(|(major, _)| *major) {
        Some((_, dir)) => Ok(dir.clone()),
        None => {
            let found: Vec<String> = places.iter().map(|dir| dir.display().to_string()).collect();
            Err(Error::NoClient { server_major, found: found.join(", "), install: install_command() })
        }
    }
}

/// The major version that made a cluster; `None` where there is none.
fn cluster_major(data_dir: &Path) -> Result<Option<u32>> {
    let path = data_dir.join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path, "read")(error)),
    }
}

fn usual_places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        places.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    for (parent, prefix, suffix) in VERSIONED {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                places.push(entry.path().join(suffix));
            }
        }
    }
    places.push("/usr/local/pgsql/bin".into());
    // Not a setting: where the platform itself looks for programs.
    places.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    places
}

/// The version of the programs in a folder, if they are there and run.
fn major_of(dir: &Path) -> Option<u32> {
    if !dir.join("initdb").is_file() {
        return None;
    }
    let output = Command::new(dir.join("postgres")).arg("--version").output().ok()?;
    parse_major(&String::from_utf8_lossy(&output.stdout))
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` → 15. Betas read `19beta1`.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_program_says() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 19beta1\n"), Some(19));
        assert_eq!(parse_major("something else"), None);
    }

    #[test]
    fn a_folder_without_programs_is_answered_with_how_to_install_them() {
        let empty = tempfile::tempdir().unwrap();
        let error = find(Some(empty.path()), empty.path()).unwrap_err().to_string();
        assert!(error.contains("Install one") && error.contains("DATABASE_URL"), "{error}");
    }

    #[test]
    fn the_platforms_own_command_is_named() {
        let ubuntu = "NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\n";
        assert_eq!(install_command_of(ubuntu), Some("apt install postgresql"));
        assert_eq!(
            install_command_of("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n").unwrap(),
            "dnf install postgresql-server"
        );
        assert_eq!(install_command_of("ID=nixos\n"), None);
        assert!(!install_command().is_empty());
    }

    #[test]
    fn client_programs_are_of_the_servers_version_or_a_newer_one() {
        let empty = tempfile::tempdir().unwrap();
        let error = client_programs(Some(empty.path()), 15).unwrap_err().to_string();
        assert!(error.contains("pg_dump") && error.contains("15"), "{error}");
        assert!(client_programs(None, 99).is_err(), "an older pg_dump refuses a newer server");
    }

    #[test]
    fn a_cluster_of_a_major_that_is_not_installed_is_refused_by_name() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join("PG_VERSION"), "13\n").unwrap();
        match find(None, state.path()) {
            Err(error @ Error::OtherMajor { cluster: 13, .. }) => assert!(error.to_string().contains("pare backup")),
            Err(Error::NotFound { .. }) => eprintln!("skipped: no PostgreSQL here"),
            other => panic!("{other:?}"),
        }
    }
}
