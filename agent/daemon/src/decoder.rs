//! The decoder's child process. What goes through its pipes is `agent-decode`'s matter.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use agent_decode::{Client, ClientError};
use agent_media::{Frame, Grid, StreamParameters};
use anyhow::Context;
use tokio::task::JoinError;
use tokio::time::timeout;

/// A 4K key frame takes a quarter of a second on a Raspberry Pi; a hundred times that is a hang.
const LONGEST: Duration = Duration::from_secs(25);

/// What runs here, even after an upgrade has put another file in its place.
const PROGRAM: &str = "/proc/self/exe";

/// Why a picture could not be had. After anything but a refusal the decoder is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecoderError {
    #[error("the decoder cannot be started")]
    Start(#[source] io::Error),
    #[error("the decoder took more than {} s for a key frame", LONGEST.as_secs())]
    Hangs,
    #[error("the call of the decoder ended early")]
    Call(#[source] JoinError),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl DecoderError {
    pub(crate) fn is_fatal(&self) -> bool {
        !matches!(self, Self::Client(error) if !error.is_fatal())
    }
}

/// Dropping it ends the child.
#[derive(Debug)]
pub(crate) struct Decoder {
    child: Child,
    /// Away while a picture is decoded.
    client: Option<Client<ChildStdout, ChildStdin>>,
}

impl Decoder {
    pub(crate) fn start() -> Result<Self, DecoderError> {
        let spawned = Command::new(PROGRAM)
            .arg0("stakeout-agent")
            .arg("decode")
            // It needs nothing of ours, and no secret in the environment either.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = spawned.map_err(DecoderError::Start)?;
        let pipes = child.stdout.take().zip(child.stdin.take());
        let client = pipes.map(|(from_child, to_child)| Client::new(from_child, to_child));
        Ok(Self { child, client })
    }

    /// The grid of a key frame.
    pub(crate) async fn grid(
        &mut self,
        parameters: Arc<StreamParameters>,
        frame: Frame,
    ) -> Result<Grid, DecoderError> {
        let Some(mut client) = self.client.take() else {
            return Err(DecoderError::Hangs);
        };
        // The pipes block, which the network thread must not. When this is cancelled, dropping the
        // decoder kills the child, and that ends the call.
        let call = tokio::task::spawn_blocking(move || {
            let grid = client.decode(&parameters.video, &frame);
            (client, grid)
        });
        match timeout(LONGEST, call).await {
            Err(_) => Err(DecoderError::Hangs),
            Ok(Err(error)) => Err(DecoderError::Call(error)),
            Ok(Ok((client, grid))) => {
                self.client = Some(client);
                Ok(grid?)
            }
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // Fails for one that is gone already, and then it is only to be collected.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            tracing::debug!(%error, "the decoder was gone already");
        }
    }
}

/// The child: answers until its input ends.
pub(crate) fn serve() -> anyhow::Result<()> {
    // A decoder that hangs does not see its input end.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("cannot ask to end with the agent")?;
    agent_decode::serve(io::stdin().lock(), io::stdout().lock()).context("the decoder ends")
}
