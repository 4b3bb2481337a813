// SPDX-License-Identifier: Apache-2.0
// An echo server on tokio: a task per connection on the current-thread runtime.
//
//     build/release/perf/peer_tokio_echo PORT
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn echo(mut peer: TcpStream) -> std::io::Result<()> {
    peer.set_nodelay(true)?;
    let mut bytes = vec![0u8; 65536];
    loop {
        let size = peer.read(&mut bytes).await?;
        if size == 0 {
            return Ok(());
        }
        peer.write_all(&bytes[..size]).await?;
    }
}

async fn serve(port: u16) -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening");
    loop {
        let (peer, _) = listener.accept().await?;
        tokio::spawn(echo(peer)); // an error is a peer that is gone
    }
}

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| {
        eprintln!("usage: peer_tokio_echo PORT");
        std::process::exit(1)
    });
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(serve(port))
}
