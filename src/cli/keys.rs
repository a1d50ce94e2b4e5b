//! `pare keys`: makes, lists, revokes and rotates API keys, straight in the database.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};

use super::database::with_database;
use crate::config::{DatabaseSettings, StateSettings};
use crate::db::keys::{First, Key, NewKey, Scope};
use crate::db::{self, DEFAULT_TENANT, ListFilter, Pool};
use crate::id::KeyId;
use crate::key::Secret;

/// Keys of a page of the list.
const PAGE_ROWS: u32 = 500;
const DAY_SECONDS: u32 = 24 * 60 * 60;

/// What to do, and where.
#[derive(Debug, Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    state: StateSettings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key and print it, once.
    Create {
        /// Who or what uses it.
        #[arg(long, value_name = "NAME", value_parser = name)]
        name: String,
        /// What it may do: read to look, write to change, admin for keys, workers and usage.
        #[arg(long, value_name = "SCOPES", value_delimiter = ',', default_value = "read,write")]
        scopes: Vec<Scope>,
        /// Days after which it is not taken any more. Without it, never.
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3660))]
        expires: Option<u32>,
        /// Make it only where there is no key yet that is taken; else say so, print nothing, and exit with 0.
        ///
        /// For scripts that start a service: run as often as you like, also at once, there is one key after it. One that
        /// was revoked or has expired does not count.
        #[arg(long)]
        if_none: bool,
    },
    /// List the keys, newest first, without what they are recognized by.
    List,
    /// Take a key back. Servers take note within a second.
    Revoke {
        /// The key's id, `key_…`.
        id: KeyId,
    },
    /// Print another text for a key, once; the old one is not taken any more within a second.
    Rotate {
        /// The key's id, `key_…`.
        id: KeyId,
    },
}

impl Keys {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let (words, hint) = with_database(&self.database, &self.state, async |pool| self.command.run(&pool).await)?;
        let mut out = std::io::stdout();
        out.write_all(words.as_bytes()).and_then(|()| out.flush())?;
        // on the other stream, so that KEY=$(pare keys create …) works
        tell(&hint);
        Ok(())
    }
}

#[allow(clippy::print_stderr)] // for the person who typed the command, beside what it answers
fn tell(hint: &str) {
    if !hint.is_empty() {
        eprintln!("{hint}");
    }
}

impl Command {
    /// What goes to standard output, and what a person should know beside it.
    async fn run(&self, pool: &Pool) -> anyhow::Result<(String, String)> {
        match self {
            Self::Create { name, scopes, expires, if_none } => {
                let secret = Secret::new(KeyId::new())?;
                let mut scopes = scopes.clone();
                scopes.sort_unstable();
                scopes.dedup();
                let new = NewKey {
                    id: secret.id(),
                    name: name.clone(),
                    sha256: secret.sha256(),
                    scopes,
                    expires_in_seconds: expires.map(|days| days.saturating_mul(DAY_SECONDS)),
                };
                Ok(match keep(pool, &new, *if_none).await.context("the key can't be kept")? {
                    First::Made(key) => (format!("{}\n", secret.reveal()), shown_once(&key)),
                    First::There(key) => (String::new(), there(&key)),
                })
            }
            Self::List => Ok((table(&all(pool).await?, Utc::now()), String::new())),
            Self::Revoke { id } => match db::keys::revoke(pool, DEFAULT_TENANT, *id).await? {
                Some(key) => Ok((String::new(), format!("{} '{}' is revoked", key.id, key.name))),
                None => bail!("there is no key {id}: 'pare keys list' shows them"),
            },
            Self::Rotate { id } => {
                let secret = Secret::new(*id)?;
                match db::keys::rotate(pool, DEFAULT_TENANT, *id, &secret.sha256()).await? {
                    Some(key) => Ok((format!("{}\n", secret.reveal()), shown_once(&key))),
                    None => bail!("there is no key {id} that is still taken: 'pare keys list' shows them"),
                }
            }
        }
    }
}

async fn keep(pool: &Pool, new: &NewKey, if_none: bool) -> db::Result<First> {
    if if_none {
        return db::keys::insert_if_none(pool, DEFAULT_TENANT, new).await;
    }
    Ok(First::Made(db::keys::insert(pool, DEFAULT_TENANT, new).await?))
}

fn there(key: &Key) -> String {
    format!(
        "no key was made, for there is one: {} '{}'. Its text was shown when it was made; 'pare keys rotate {}' prints \
         another, and without --if-none this makes one more",
        key.id, key.name, key.id
    )
}

fn shown_once(key: &Key) -> String {
    format!(
        "{} '{}': it is shown this once, and only its hash is kept. Send it as 'Authorization: Bearer …'",
        key.id, key.name
    )
}

fn name(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=200 if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err("1 to 200 characters without control characters are allowed".to_owned()),
    }
}

async fn all(pool: &Pool) -> db::Result<Vec<Key>> {
    let mut keys: Vec<Key> = Vec::new();
    loop {
        let filter = ListFilter { limit: PAGE_ROWS, before: keys.last().map(|key| key.id.0) };
        let page = db::keys::list(pool, DEFAULT_TENANT, &filter).await?;
        let is_last = page.len() < PAGE_ROWS as usize;
        keys.extend(page);
        if is_last {
            return Ok(keys);
        }
    }
}

/// One line a key.
fn table(keys: &[Key], now: DateTime<Utc>) -> String {
    let mut text =
        format!("{:<40}  {:<16}  {:<10}  {:<16}  {:<24}  name\n", "id", "scopes", "made", "last used", "state");
    for key in keys {
        let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        let state = match (key.revoked_at, key.expires_at) {
            (Some(at), _) => format!("revoked {}", at.format("%Y-%m-%d")),
            (None, Some(at)) if at <= now => format!("expired {}", at.format("%Y-%m-%d")),
            (None, Some(at)) => format!("until {}", at.format("%Y-%m-%d")),
            (None, None) => "for good".to_owned(),
        };
        let used = key.last_used_at.map_or_else(|| "never".to_owned(), |at| at.format("%Y-%m-%d %H:%M").to_string());
        // writing to a String can't fail
        let _ = writeln!(
            text,
            "{:<40}  {:<16}  {:<10}  {used:<16}  {state:<24}  {}",
            key.id.to_string(),
            scopes.join(","),
            key.created_at.format("%Y-%m-%d").to_string(),
            key.name
        );
    }
    text
}
