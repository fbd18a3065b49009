//! `stakeout-agent test-camera`.

use std::net::{IpAddr, SocketAddr};

use agent_camera::{Login, Options, Server, SourceChoice};
use anyhow::Context;
use camino::Utf8PathBuf;

use crate::signals;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// An MP4 file, or `scene` for the built-in one.
    #[arg(long)]
    source: String,
    /// 0 takes a free one.
    #[arg(long)]
    port: u16,
    #[arg(long, default_value = "127.0.0.1")]
    listen: IpAddr,
    /// Clients must log in, by Digest, with the user on its first line and the password on its
    /// second.
    #[arg(long, value_name = "FILE")]
    login_file: Option<Utf8PathBuf>,
    /// The same with the user here.
    #[arg(long, requires = "password_file", conflicts_with = "login_file")]
    user: Option<String>,
    /// Its first line is the password.
    #[arg(long, requires = "user", value_name = "FILE")]
    password_file: Option<Utf8PathBuf>,
    /// The only path that is served; any, if absent.
    #[arg(long)]
    path: Option<String>,
}

pub(crate) async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let source = match arguments.source.as_str() {
        "scene" => SourceChoice::Scene,
        file => SourceChoice::File(file.into()),
    };
    let mut options = Options::new(source);
    options.listen = SocketAddr::new(arguments.listen, arguments.port);
    if let Some(path) = arguments.path {
        options.path = path;
    }
    if let Some(file) = arguments.login_file {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read login file `{file}`"))?;
        let (user, password) = text.trim_end().split_once('\n').unwrap_or_default();
        anyhow::ensure!(
            !user.is_empty() && !password.is_empty(),
            "login file `{file}` does not hold a user and a password, a line each"
        );
        options.login = Some(Login {
            user: user.to_owned(),
            password: password.to_owned(),
        });
    }
    if let (Some(user), Some(file)) = (arguments.user, arguments.password_file) {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read password file `{file}`"))?;
        let password = text.lines().next().unwrap_or_default().to_owned();
        anyhow::ensure!(!password.is_empty(), "password file `{file}` is empty");
        options.login = Some(Login { user, password });
    }
    let server = Server::bind(options).await?;
    tracing::info!("test camera at rtsp://{}/", server.local_addr());
    let ended = async {
        if let Err(error) = signals::ended().await {
            tracing::error!("{error:#}");
        }
    };
    Ok(server.run(ended).await?)
}
