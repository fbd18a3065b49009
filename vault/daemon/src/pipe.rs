//! `stakeout-vault pipe`: standard input and output joined to the API, for whoever can start a
//! program where the API listens and cannot reach its port.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy};
use tokio::net::TcpStream;

/// Ends when the other side has said everything, whatever standard input still holds.
pub(crate) fn pipe(address: SocketAddr) -> anyhow::Result<()> {
    if !address.ip().is_loopback() {
        bail!("{address} is not an address of this machine itself");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot make an event loop")?;
    let result = runtime.block_on(async {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        stream
            .set_nodelay(true)
            .with_context(|| format!("cannot connect to {address}"))?;
        join(tokio::io::stdin(), tokio::io::stdout(), stream)
            .await
            .with_context(|| format!("the connection to {address} broke"))
    });
    // A read of standard input cannot be called back; the process ends without it.
    runtime.shutdown_background();
    result
}

/// The end of `input` closes our half of the connection; the end of the other half ends it all.
async fn join(
    mut input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    mut stream: TcpStream,
) -> std::io::Result<()> {
    let (mut from, mut to) = stream.split();
    let up = async {
        // A peer that takes no more may still have something to say.
        if copy(&mut input, &mut to).await.is_ok() {
            drop(to.shutdown().await);
        }
        std::future::pending::<()>().await;
    };
    let down = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = from.read(&mut buffer).await?;
            let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else {
                return Ok(());
            };
            output.write_all(piece).await?;
            // An answer that waits in a buffer is one that the caller waits for.
            output.flush().await?;
        }
    };
    tokio::select! {
        () = up => Ok(()),
        ended = down => ended,
    }
}
