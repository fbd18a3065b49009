//! `stakeout image`: the images that stakeout ships.

use std::error::Error;

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, Subcommand, ValueEnum};
use installer_image::build::{self, Source};
use installer_image::load::{
    Containerd, LoadError, connect_docker, images_beside, load_containerd, load_docker,
};
use installer_image::registry::{Pushed, RegistryError, push};
use installer_image::{Layout, OwnImage, Platform, Program, Release};
use serde::Serialize;

use super::catalogue::read_login;
use crate::context::Context;
use crate::error::{CommandError, Exit};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pack static programs into an OCI layout.
    Build(Build),
    /// Bring the images into an engine on this machine.
    Load(Load),
    /// Bring the images into a registry.
    Push(Push),
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// `stakeout-agent` and `stakeout-vault`, static, for each platform.
    #[arg(required = true, value_name = "PROGRAM")]
    programs: Vec<Utf8PathBuf>,
    /// Folder of the layout; must be absent or empty.
    #[arg(long, value_name = "FOLDER")]
    to: Utf8PathBuf,
    /// The commit that the programs were built from.
    #[arg(long, default_value = "unknown")]
    revision: String,
    /// Time of the commit, in seconds since 1970.
    #[arg(
        long,
        env = "SOURCE_DATE_EPOCH",
        default_value_t = 0,
        value_name = "SECONDS"
    )]
    created: i64,
}

/// Where the images lie.
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// Folder of images; `images` beside this program when it is not given.
    #[arg(long, value_name = "FOLDER")]
    images: Option<Utf8PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Engine {
    Docker,
    Containerd,
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    from: Images,
    /// Which kind of engine.
    #[arg(long, value_enum, default_value = "docker")]
    into: Engine,
    /// Address of Docker Engine, such as `unix:///run/docker.sock`, or containerd's socket.
    #[arg(long)]
    host: Option<String>,
    /// Namespace of containerd; Kubernetes sees `k8s.io`.
    #[arg(long, default_value = "k8s.io")]
    namespace: String,
    /// Platform; this machine's when it is not given.
    #[arg(long)]
    platform: Option<Platform>,
}

#[derive(Debug, Args)]
pub(crate) struct Push {
    #[command(flatten)]
    from: Images,
    /// Registry and path that the images' names are put behind, such as `registry.example:5000`.
    #[arg(value_name = "REGISTRY")]
    to: String,
    /// File with user and password, a line each.
    #[arg(long, value_name = "FILE")]
    login_file: Option<Utf8PathBuf>,
}

pub(super) async fn run(command: Command, context: &Context) -> Result<Exit, CommandError> {
    match command {
        Command::Build(arguments) => arguments.run(context),
        Command::Load(arguments) => arguments.run(context).await,
        Command::Push(arguments) => arguments.run(context).await,
    }
}

fn usage(error: &dyn Error) -> CommandError {
    CommandError::from_error(Exit::Usage, error)
}

impl Build {
    fn run(&self, context: &Context) -> Result<Exit, CommandError> {
        let read = |path: &Utf8PathBuf| Program::read(path).map_err(|error| usage(&error));
        let programs = self
            .programs
            .iter()
            .map(read)
            .collect::<Result<Vec<_>, _>>()?;
        let created = jiff::Timestamp::from_second(self.created).map_err(|error| usage(&error))?;
        if self
            .to
            .read_dir_utf8()
            .is_ok_and(|mut entries| entries.next().is_some())
        {
            let what = format!("`{}` is not empty", self.to);
            return Err(CommandError::new(Exit::Usage, what));
        }
        let source = Source {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: self.revision.clone(),
            url: env!("CARGO_PKG_REPOSITORY").to_owned(),
            licenses: env!("CARGO_PKG_LICENSE").to_owned(),
            created,
        };
        let layout = Layout::create(&self.to).map_err(|error| internal(&error))?;
        let release = build::build(&layout, &programs, &source).map_err(|error| usage(&error))?;
        let lines = OwnImage::ALL.map(|image| {
            format!(
                "{}@{}\n",
                release.reference(image),
                release.image(image).index
            )
        });
        context.printer.result(&lines.concat(), &release);
        Ok(Exit::Done)
    }
}

impl Images {
    fn read(&self) -> Result<(Layout, Release), CommandError> {
        let folder = match &self.images {
            Some(folder) => folder.clone(),
            None => beside()?,
        };
        let failed = |error: &dyn Error| {
            usage(error).hint("name a folder that `stakeout image build` made with --images FOLDER")
        };
        let layout = Layout::open(&folder).map_err(|error| failed(&error))?;
        let release = Release::read(&folder).map_err(|error| failed(&error))?;
        Ok((layout, release))
    }
}

fn beside() -> Result<Utf8PathBuf, CommandError> {
    let folder = installer_host::programs_folder().map_err(|error| internal(&error))?;
    Ok(images_beside(&folder.join(Utf8Path::new("stakeout"))))
}

fn internal(error: &dyn Error) -> CommandError {
    CommandError::from_error(Exit::Internal, error)
}

#[derive(Serialize)]
struct Loaded {
    name: String,
    platform: Platform,
    /// What Docker Engine calls it; containerd has no such ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

impl Load {
    async fn run(&self, context: &Context) -> Result<Exit, CommandError> {
        let (layout, release) = self.from.read()?;
        let platform = self.platform.or_else(Platform::here).ok_or_else(|| {
            let what = "there is no image for this machine's architecture";
            CommandError::new(Exit::WrongTarget, what)
        })?;
        let docker = match self.into {
            Engine::Docker => {
                let docker = connect_docker(self.host.as_deref()).map_err(|error| {
                    CommandError::from_error(Exit::WrongTarget, &error)
                        .hint("start Docker Engine, or name its address with --host")
                })?;
                Some(docker)
            }
            Engine::Containerd => None,
        };
        let containerd = Containerd::at(self.host.as_deref(), &self.namespace);
        let mut loaded = Vec::new();
        for image in OwnImage::ALL {
            let id = match &docker {
                Some(docker) => load_docker(docker, &layout, &release, image, platform)
                    .await
                    .map(Some),
                None => load_containerd(&containerd, &layout, &release, image, platform)
                    .await
                    .map(|()| None),
            };
            loaded.push(Loaded {
                name: release.reference(image),
                platform,
                id: id.map_err(|error| load_error(&error))?,
            });
        }
        let line = |image: &Loaded| {
            let id = image.id.as_ref().map(|id| format!(" as {id}"));
            format!(
                "{} for {}{}\n",
                image.name,
                image.platform,
                id.unwrap_or_default()
            )
        };
        let text: String = loaded.iter().map(line).collect();
        context.printer.result(&text, &loaded);
        Ok(Exit::Done)
    }
}

fn load_error(error: &LoadError) -> CommandError {
    let exit = match error {
        LoadError::Archive(_) => Exit::Usage,
        LoadError::Other { .. } => Exit::CheckFailed,
        LoadError::Engine { .. }
        | LoadError::Start { .. }
        | LoadError::Unreadable { .. }
        | LoadError::Containerd { .. } => Exit::Internal,
    };
    CommandError::from_error(exit, error)
}

impl Push {
    async fn run(&self, context: &Context) -> Result<Exit, CommandError> {
        let (layout, release) = self.from.read()?;
        let login = self.login_file.as_deref().map(read_login).transpose()?;
        let registry = self.to.trim_end_matches('/');
        let mut pushed = Vec::new();
        for image in OwnImage::ALL {
            let name = format!("{registry}/{}", release.image(image).repository);
            let done = push(&layout, &release, image, &name, login.clone()).await;
            pushed.push(done.map_err(|error| push_error(&error))?);
        }
        let line = |done: &Pushed| {
            let Pushed {
                tagged,
                digest,
                attached,
            } = done;
            format!("{tagged}@{digest} with {attached} attached\n")
        };
        let text: String = pushed.iter().map(line).collect();
        context.printer.result(&text, &pushed);
        Ok(Exit::Done)
    }
}

fn push_error(error: &RegistryError) -> CommandError {
    let exit = match error {
        RegistryError::Name(_) | RegistryError::Layout(_) => Exit::Usage,
        RegistryError::Denied { .. } => Exit::Forbidden,
        RegistryError::Busy { .. } => Exit::TimedOut,
        _ => Exit::Internal,
    };
    let failed = CommandError::from_error(exit, error);
    match error {
        RegistryError::Denied { .. } => {
            failed.hint("give --login-file FILE, with user and password, a line each")
        }
        _ => failed,
    }
}
