//! `stakeout-agent pipe`: standard input and output joined to a TCP connection.
//!
//! The installer runs it inside a container: its way to an API that no port is published for.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::Context;

/// Loopback answers or refuses at once.
const CONNECT: Duration = Duration::from_secs(3);

/// What may still be sent to a server that says nothing more. An engine tells the client of the
/// end only when this process has ended (Docker 20.10 at least), so it does not wait for input that
/// may never end.
const LINGER: Duration = Duration::from_secs(1);

/// Returns when both directions have ended, or [`LINGER`] after the server's. The end of one is
/// passed on and leaves the other open.
pub(crate) fn join(address: SocketAddr) -> anyhow::Result<()> {
    anyhow::ensure!(
        address.ip().is_loopback(),
        "`{address}` is not a loopback address; this joins to nothing else"
    );
    let stream = TcpStream::connect_timeout(&address, CONNECT)
        .with_context(|| format!("cannot connect to {address}"))?;
    // Requests and answers are small, and somebody waits for each.
    stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
    let sending = stream.try_clone().context("cannot share the connection")?;
    // Not waited for when nobody reads any more: it may be waiting for input.
    let (ended, to_server) = mpsc::channel();
    std::thread::spawn(move || ended.send(send(&sending)));
    let mut output = standard_output()?;
    pass_on(&mut &stream, &mut output).context("cannot pass on what came")?;
    drop(output);
    close_standard_output()?;
    match to_server.recv_timeout(LINGER) {
        Ok(sent) => sent,
        Err(RecvTimeoutError::Timeout) => Ok(()),
        Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the sending thread failed"),
    }
}

fn send(mut stream: &TcpStream) -> anyhow::Result<()> {
    match pass_on(&mut io::stdin().lock(), &mut stream) {
        Ok(()) => {}
        // The server wants no more; what it still says is passed on all the same.
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error).context("cannot pass on standard input"),
    }
    match stream.shutdown(Shutdown::Write) {
        Err(error) if !is_gone(&error) => Err(error).context("cannot end what is sent"),
        _ => Ok(()),
    }
}

/// Not `io::copy`: between a pipe and a socket it splices, and a piece may then be held back for the
/// next one, which comes only after its answer (seen with Linux 6.18).
fn pass_on(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(buffer.get(..n).unwrap_or_default())?;
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}

/// Without the line buffer of `std::io::stdout`: bytes go on as they come.
fn standard_output() -> anyhow::Result<File> {
    let copy = rustix::stdio::stdout().try_clone_to_owned();
    Ok(copy.context("cannot use standard output")?.into())
}

/// The reader sees the end although this process may live on.
fn close_standard_output() -> anyhow::Result<()> {
    let nothing = File::options()
        .write(true)
        .open("/dev/null")
        .context("cannot open `/dev/null`")?;
    rustix::stdio::dup2_stdout(&nothing).context("cannot close standard output")
}
