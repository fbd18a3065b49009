//! Serves a file or the scene until interrupted: `serve [FILE] [USER:PASSWORD]`, for trying by hand.

use std::error::Error;
use std::io::Write as _;

use agent_camera::{Login, Options, Server, SourceChoice};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let source = arguments.next().filter(|name| name != "scene");
    let source = source.map_or(SourceChoice::Scene, |path| SourceChoice::File(path.into()));
    let login = arguments.next();
    let login = login.as_deref().and_then(|login| login.split_once(':'));
    let login = login.map(|(user, password)| Login {
        user: user.into(),
        password: password.into(),
    });
    let server = Server::bind(Options {
        login,
        ..Options::new(source)
    })
    .await?;
    writeln!(std::io::stdout(), "rtsp://{}/", server.local_addr())?;
    Ok(server.run(std::future::pending()).await?)
}
