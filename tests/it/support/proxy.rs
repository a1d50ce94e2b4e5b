//! Stands between a client and a server, and can be cut.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A way to a server over TCP.
pub(crate) struct Proxy {
    /// `127.0.0.1:port`
    pub(crate) address: String,
    open: Arc<watch::Sender<bool>>,
}

impl Proxy {
    /// Opens a way to `to`.
    pub(crate) async fn to(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (open, is_open) = watch::channel(true);
        let to = to.to_owned();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (mut is_open, to) = (is_open.clone(), to.clone());
                tokio::spawn(async move {
                    if !*is_open.borrow() {
                        return; // closed at once
                    }
                    let Ok(mut far) = TcpStream::connect(to).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = is_open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { address, open: Arc::new(open) }
    }

    /// Cuts what is connected, and refuses what comes.
    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets everyone through again.
    pub(crate) fn mend(&self) {
        self.open.send_replace(true);
    }
}
