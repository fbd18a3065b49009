//! The way into a container, wherever its engine is: each connection is a `pipe` that runs there.

use bollard::Docker;
use bollard::exec::{CreateExecOptions, StartExecResults};
use futures::StreamExt;
use installer_engine::Forward;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::connect::Connection;

/// Leads to `port` on the loopback address of `container`, through `program pipe` there.
pub async fn forward(
    connection: &Connection,
    container: &str,
    program: &str,
    port: u16,
) -> std::io::Result<Forward> {
    let (docker, container) = (connection.docker.clone(), container.to_owned());
    let command = vec![
        program.to_owned(),
        "pipe".to_owned(),
        format!("127.0.0.1:{port}"),
    ];
    Forward::open(format!("port {port} of {container}"), move |stream| {
        let (docker, container, command) = (docker.clone(), container.clone(), command.clone());
        async move { carry(&docker, &container, command, stream).await }
    })
    .await
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
