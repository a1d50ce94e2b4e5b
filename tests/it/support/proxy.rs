//! Stands between a client and a server, and can be cut, or fall silent.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pare::db::Pool;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Connections are closed, and new ones at once.
    Cut,
    /// Connections stay, and nothing comes through: as when a cable is pulled out.
    Silent,
}

/// Where it leads.
#[derive(Debug, Clone)]
enum To {
    Tcp(String),
    Unix(PathBuf),
}

/// A way to a server over TCP.
pub(crate) struct Proxy {
    /// `127.0.0.1:port`
    pub(crate) address: String,
    way: Arc<watch::Sender<Way>>,
}

impl Proxy {
    /// Opens a way to `to`, an address over TCP.
    pub(crate) async fn to(to: &str) -> Self {
        Self::open(To::Tcp(to.to_owned())).await
    }

    async fn to_socket(to: &Path) -> Self {
        Self::open(To::Unix(to.to_owned())).await
    }

    /// Opens a way to a test's database, and says what its address is over it.
    pub(crate) async fn to_database(pool: &Pool) -> (Self, String) {
        let query =
            "select current_setting('unix_socket_directories'), current_setting('port'), current_database()::text";
        let (folder, port, name): (String, String, String) = sqlx::query_as(query).fetch_one(pool).await.unwrap();
        let proxy = Self::to_socket(&PathBuf::from(folder).join(format!(".s.PGSQL.{port}"))).await;
        let url = format!("postgres://postgres@{}/{name}", proxy.address);
        (proxy, url)
    }

    async fn open(to: To) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (way, seen) = watch::channel(Way::Open);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, to.clone(), seen.clone()));
            }
        });
        Self { address, way: Arc::new(way) }
    }

    /// Cuts what is connected, and refuses what comes.
    pub(crate) fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    /// Lets nothing through, and says so to nobody.
    pub(crate) fn silence(&self) {
        self.way.send_replace(Way::Silent);
    }

    /// Lets everyone through again.
    pub(crate) fn mend(&self) {
        self.way.send_replace(Way::Open);
    }
}

async fn carry(near: TcpStream, to: To, mut way: watch::Receiver<Way>) {
    if wait(&mut way, |way| way != Way::Silent).await.is_none_or(|way| way == Way::Cut) {
        return; // closed at once
    }
    match to {
        To::Tcp(to) => {
            let Ok(far) = TcpStream::connect(to).await else { return };
            both(near, far, way).await;
        }
        To::Unix(to) => {
            let Ok(far) = UnixStream::connect(to).await else { return };
            both(near, far, way).await;
        }
    }
}

async fn both(near: TcpStream, far: impl AsyncRead + AsyncWrite, way: watch::Receiver<Way>) {
    let ((near_in, near_out), (far_in, far_out)) = (split(near), split(far));
    tokio::join!(pass(near_in, far_out, way.clone()), pass(far_in, near_out, way));
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut way: watch::Receiver<Way>) {
    let mut bytes = vec![0; 16 << 10];
    let mut cut = way.clone();
    loop {
        let length = tokio::select! {
            read = from.read(&mut bytes) => read.unwrap_or(0),
            _ = wait(&mut cut, |way| way == Way::Cut) => return,
        };
        let open = wait(&mut way, |way| way != Way::Silent).await;
        if open != Some(Way::Open) {
            return;
        }
        if length == 0 {
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

/// Waits for a way that is so; `None` when nobody decides any more.
async fn wait(way: &mut watch::Receiver<Way>, so: impl Fn(Way) -> bool) -> Option<Way> {
    way.wait_for(|way| so(*way)).await.ok().map(|way| *way)
}
