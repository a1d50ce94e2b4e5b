//! `pg_dump` and `pg_restore`.

use std::path::Path;
use std::process::Stdio;

use percent_encoding::percent_decode_str;
use tokio::process::Command;
use url::Url;

use super::error::{Error, Result};

/// Settings in an address that only our own client knows.
const NOT_LIBPQ: [&str; 2] = ["statement-cache-capacity", "options[search_path]"];

/// An address as an argument, and the password that must not stand in one: others see the arguments of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    without_password: String,
    password: Option<String>,
}

impl Address {
    fn parse(url: &str) -> Result<Self> {
        let mut url = Url::parse(url)?;
        let mut password = url.password().map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned());
        let mut kept = Vec::new();
        for (name, value) in url.query_pairs() {
            match &*name {
                "password" => password = Some(value.into_owned()),
                name if NOT_LIBPQ.contains(&name) => {}
                // Our client takes both spellings.
                "ssl-mode" => kept.push(("sslmode".to_owned(), value.into_owned())),
                "ssl-root-cert" | "ssl-ca" => kept.push(("sslrootcert".to_owned(), value.into_owned())),
                name => kept.push((name.to_owned(), value.into_owned())),
            }
        }
        // An address that has no host takes no password either.
        let _ = url.set_password(None);
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
        // The form's + for a space is not known there.
        Ok(Self { without_password: url.to_string().replace('+', "%20"), password })
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some(password) = &self.password {
            command.env("PGPASSWORD", password);
        }
        command.env("LC_ALL", "C").arg("--no-password").arg("--dbname").arg(&self.without_password);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

/// Dumps a database as a snapshot of it shows it.
pub(super) async fn dump(programs: &Path, url: &str, snapshot: &str, to: &Path) -> Result<()> {
    let mut command = Address::parse(url)?.command(&programs.join("pg_dump"));
    command.args(["--format=custom", "--no-owner", "--no-privileges", "--lock-wait-timeout=60s"]);
    command.arg(format!("--snapshot={snapshot}")).arg("--file").arg(to);
    run("pg_dump", command).await
}

/// Fills an empty database, wholly or not at all.
pub(super) async fn restore(programs: &Path, url: &str, from: &Path) -> Result<()> {
    let mut command = Address::parse(url)?.command(&programs.join("pg_restore"));
    command.args(["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]).arg(from);
    run("pg_restore", command).await
}

async fn run(program: &'static str, mut command: Command) -> Result<()> {
    let output = command.output().await.map_err(Error::io(program, "started"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.trim().lines().rev().take(5).collect();
    let said = last.into_iter().rev().collect::<Vec<_>>().join("\n");
    Err(Error::Program { program, status: output.status.to_string(), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_stand_in_arguments() {
        let address = Address::parse("postgres://me:can%20ary@db:5433/pare?ssl-mode=require").unwrap();
        assert_eq!(address.without_password, "postgres://me@db:5433/pare?sslmode=require");
        assert_eq!(address.password.as_deref(), Some("can ary"));
        let address = Address::parse("postgres://db/pare?password=canary&statement-cache-capacity=0").unwrap();
        assert_eq!(
            (address.without_password.as_str(), address.password.as_deref()),
            ("postgres://db/pare", Some("canary"))
        );
    }

    #[test]
    fn the_socket_of_a_private_cluster_survives() {
        let address = Address::parse("postgres://postgres@localhost/pare?host=/a%20b/run").unwrap();
        assert_eq!(address.without_password, "postgres://postgres@localhost/pare?host=%2Fa%20b%2Frun");
        assert_eq!(address.password, None);
    }
}
