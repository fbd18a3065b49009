//! A local address that leads into a container: each connection is a `pipe` that runs there.
//!
//! It works wherever the engine is, needs no published port, and ends with the installer.

use std::net::{Ipv4Addr, SocketAddr};

use bollard::Docker;
use bollard::exec::{CreateExecOptions, StartExecResults};
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::connect::Connection;

/// Held for as long as connections may be made.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Forward {
    /// Leads to `port` on the loopback address of `container`, through `program pipe` there.
    pub async fn open(
        connection: &Connection,
        container: &str,
        program: &str,
        port: u16,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let docker = connection.docker.clone();
        let (container, program) = (container.to_owned(), program.to_owned());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (docker, container) = (docker.clone(), container.clone());
                let command = vec![
                    program.clone(),
                    "pipe".to_owned(),
                    format!("127.0.0.1:{port}"),
                ];
                tokio::spawn(async move {
                    // The peer sees a connection that ends; its own error says what it wanted.
                    if let Err(error) = carry(&docker, &container, command, stream).await {
                        tracing::debug!("pipe into {container}: {error}");
                    }
                });
            }
        });
        Ok(Self { address, task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn carry(
    docker: &Docker,
    container: &str,
    command: Vec<String>,
    stream: TcpStream,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let options = CreateExecOptions {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        cmd: Some(command),
        ..CreateExecOptions::default()
    };
    let exec = docker.create_exec(container, options).await?;
    let StartExecResults::Attached {
        mut output,
        mut input,
    } = docker.start_exec(&exec.id, None).await?
    else {
        return Ok(());
    };
    let (mut reader, mut writer) = stream.into_split();
    let asked = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let n = reader.read(&mut buffer).await?;
            if n == 0 {
                return input.shutdown().await;
            }
            input.write_all(buffer.get(..n).unwrap_or_default()).await?;
            input.flush().await?;
        }
    };
    let out = async {
        while let Some(piece) = output.next().await {
            let piece = piece.map_err(std::io::Error::other)?;
            writer.write_all(&piece.into_bytes()).await?;
        }
        writer.shutdown().await
    };
    let into = async {
        match asked.await {
            // Nothing more is asked; the answer may still come.
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    };
    tokio::select! {
        done = out => done?,
        error = into => return Err(error.into()),
    }
    Ok(())
}
