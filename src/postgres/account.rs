//! Whom the server runs as. Postgres refuses to run as root, so root lends it another account.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// An unprivileged account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The account to switch to: the owner of the cluster, else `postgres`, else `nobody`. `None` where we are not root
/// and the server runs as we do.
pub(super) fn to_switch_to(data_dir: &Path) -> Option<Account> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    if let Ok(data) = fs::metadata(data_dir)
        && data.uid() != 0
    {
        return Some(Account { name: format!("user {}", data.uid()), uid: data.uid(), gid: data.gid() });
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let account = look_up(&passwd, "postgres").or_else(|| {
        tracing::warn!("there is no account 'postgres': the private cluster runs as 'nobody'");
        look_up(&passwd, "nobody")
    });
    Some(account.unwrap_or_else(|| Account { name: "nobody".to_owned(), uid: 65534, gid: 65534 }))
}

/// An account of `/etc/passwd`: `name:password:uid:gid:…`.
fn look_up(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (uid != 0).then(|| Account { name: name.to_owned(), uid, gid })
    })
}

impl Account {
    /// Whether this account can pass through every folder above `path`.
    pub(super) fn can_reach(&self, path: &Path) -> bool {
        path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()).all(|folder| {
            fs::metadata(folder).is_ok_and(|data| {
                let needed = match (data.uid() == self.uid, data.gid() == self.gid) {
                    (true, _) => 0o100,
                    (false, true) => 0o010,
                    (false, false) => 0o001,
                };
                data.mode() & needed != 0
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn accounts_are_found_by_whole_name_and_never_root() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostgresql:x:7:7::/:/bin/sh\npostgres:x:101:104:,,,:/var:/bin/bash\n";
        let found = look_up(passwd, "postgres");
        assert_eq!(found, Some(Account { name: "postgres".to_owned(), uid: 101, gid: 104 }));
        assert_eq!(look_up(passwd, "root"), None);
        assert_eq!(look_up(passwd, "nobody"), None);
    }

    #[test]
    fn a_closed_folder_anywhere_above_stands_in_the_way() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let stranger = Account { name: "stranger".to_owned(), uid: 54321, gid: 54321 };
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o711)).unwrap();
        fs::set_permissions(outer.path().join("a"), fs::Permissions::from_mode(0o711)).unwrap();
        assert!(stranger.can_reach(&inner));
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!stranger.can_reach(&inner));
    }
}
