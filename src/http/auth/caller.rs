//! Who asks.

use std::ops::Deref;

use axum::extract::FromRequestParts;
use http::request::Parts;
use uuid::Uuid;

use crate::db;
use crate::http::State as Server;
use crate::http::error::{Error, Result};
use crate::http::origin::Origin;
use crate::id::KeyId;

/// Whoever a request comes from. [`super::check`] puts it there before any handler runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct Caller {
    /// Whose rows are seen.
    pub(in crate::http) tenant: Uuid,
    /// The key; none where none is asked for.
    pub(in crate::http) key: Option<KeyId>,
}

impl Caller {
    /// On a server that asks for no key.
    pub(super) const ANYBODY: Self = Self { tenant: db::DEFAULT_TENANT, key: None };
}

/// The server as one caller may use it. A handler takes this instead of the server's state, which has no tenant: so
/// none can show one tenant's rows to another.
#[derive(Clone)]
pub(in crate::http) struct App {
    server: Server,
    /// Whose rows are seen.
    pub(in crate::http) tenant: Uuid,
    /// The key; none where none is asked for.
    pub(in crate::http) key: Option<KeyId>,
    /// What names the request in the logs.
    pub(in crate::http) origin: Origin,
}

impl Deref for App {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl FromRequestParts<Server> for App {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self> {
        let caller = parts.extensions.get::<Caller>();
        let Caller { tenant, key } = *caller.ok_or_else(|| Error::internal("a route that nobody guards has rows"))?;
        let origin = parts.extensions.get().cloned().unwrap_or_else(|| Origin::of(&parts.headers));
        Ok(Self { server: server.clone(), tenant, key, origin })
    }
}
