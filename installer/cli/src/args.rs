//! What was typed.

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand};

use crate::output::Output;

/// Installs a camera site from one file, proves that it records, and takes it away again.
#[derive(Debug, Parser)]
#[command(name = "stakeout", version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own on the command line"
)]
pub(crate) struct Options {
    /// The site's file.
    #[arg(
        long,
        global = true,
        env = "STAKEOUT_PROFILE",
        default_value = "stakeout.yaml"
    )]
    pub(crate) profile: Utf8PathBuf,
    /// Folder of all of the site's data, instead of the profile's `storage.path`.
    #[arg(long, global = true, env = "STAKEOUT_DATA_DIR", value_name = "FOLDER")]
    pub(crate) data_dir: Option<Utf8PathBuf>,
    /// Where to install, instead of the profile's `target`.
    #[arg(long, global = true, env = "STAKEOUT_TARGET", value_enum)]
    pub(crate) target: Option<crate::target::Target>,
    /// File that tells how to reach clusters, instead of KUBECONFIG or ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<Utf8PathBuf>,
    /// Which cluster of that file, instead of its current one.
    #[arg(long, global = true, env = "STAKEOUT_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Folder with the images of this release, instead of `images` beside this program.
    #[arg(long, global = true, env = "STAKEOUT_IMAGES", value_name = "FOLDER")]
    pub(crate) images: Option<Utf8PathBuf>,
    /// Registry that has all images, instead of the folder and of other makers' own: what
    /// `stakeout image push` filled, or a mirror. Such as `registry.example:5000`.
    #[arg(long, global = true, env = "STAKEOUT_REGISTRY", value_name = "HOST")]
    pub(crate) registry: Option<String>,
    /// Who reads the output.
    #[arg(long, global = true, value_enum, default_value = "human")]
    pub(crate) output: Output,
    /// Let the disk hold less footage than the profile's `retention` promises.
    #[arg(long, global = true)]
    pub(crate) accept_short_retention: bool,
    /// Run images of other makers whose digest nobody has looked up.
    #[arg(long, global = true)]
    pub(crate) allow_unverified_images: bool,
    /// Say yes to what the command would ask.
    #[arg(long, short, global = true)]
    pub(crate) yes: bool,
    /// Let warnings stop the command (exit 5).
    #[arg(long, global = true)]
    pub(crate) strict: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask what has to be known, look at each camera, and write the site's file.
    Init(Init),
    /// Tell what this machine is and what could be installed on it.
    Detect,
    /// Check the site's file.
    Validate,
    /// Print the files that an installation would write.
    Render(Render),
    /// Show what an installation would change; exit 3 when something would.
    Plan(Plan),
    /// Do what a saved plan says, if the machine is still as it was.
    Apply(Apply),
    /// Plan, show, confirm, apply, and prove that a recording arrives.
    Install(Install),
    /// Roll the programs of this release out, service by service; stop at the first that is not well.
    Upgrade(Upgrade),
    /// Go back to the images that were in force before the last upgrade.
    Rollback(Upgrade),
    /// Tell what runs and what records, from the system itself.
    Status,
    /// Watch cameras, services and a run's steps on the terminal; keys open logs and what the doctor
    /// finds. With --output jsonl: what is seen, as lines.
    Watch(Watch),
    /// Look for everything that is wrong, and say what to do about it.
    Doctor,
    /// The site's cameras.
    #[command(subcommand)]
    Cameras(Cameras),
    /// What the site's parts know each other by.
    #[command(subcommand)]
    Secrets(crate::command::secrets::Command),
    /// Tell who may do what in the cluster, and whether that is the least that is needed.
    Rights(Rights),
    /// Take services and programs away; footage stays unless `--data` is given.
    Uninstall(Uninstall),
    /// The images that stakeout ships: make them, load them, push them.
    #[command(subcommand)]
    Image(crate::command::image::Command),
    /// The images that a site may run, and their digests.
    #[command(subcommand)]
    Catalogue(crate::command::catalogue::Command),
    /// Print the JSON schema of the site's file.
    Schema,
    /// Print the completions of a shell.
    Completions { shell: clap_complete::Shell },
    /// Keep the services of a site running, where systemd does not.
    #[command(hide = true)]
    Supervise,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Name of the site.
    #[arg(long)]
    pub(crate) site: Option<String>,
    /// A camera, as `NAME=rtsp://…`; can be given more than once.
    #[arg(long = "camera", value_name = "NAME=URL")]
    pub(crate) cameras: Vec<String>,
    /// Add the built-in test camera.
    #[arg(long)]
    pub(crate) test_camera: bool,
    /// Folder for everything that the site keeps.
    #[arg(long)]
    pub(crate) storage_path: Option<Utf8PathBuf>,
    /// Age at which footage goes, such as `30d`.
    #[arg(long)]
    pub(crate) retention: Option<String>,
    /// Bytes that footage may take, such as `500GB`.
    #[arg(long)]
    pub(crate) quota: Option<String>,
    /// Do not connect to the cameras.
    #[arg(long)]
    pub(crate) no_probe: bool,
    /// Overwrite a file that is there.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Render {
    /// Write the files below this folder instead of printing them.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: Option<Utf8PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Save the plan, for `stakeout apply`.
    #[arg(short, long = "out", value_name = "FILE")]
    pub(crate) out: Option<Utf8PathBuf>,
    #[command(flatten)]
    pub(crate) conflicts: ConflictOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// What `stakeout plan -o` saved.
    pub(crate) plan: Utf8PathBuf,
    #[command(flatten)]
    pub(crate) proof: ProofOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Install {
    #[command(flatten)]
    pub(crate) proof: ProofOptions,
    /// In a cluster: end when the cluster knows what is wanted, without waiting until it runs, nor
    /// for a recording; `stakeout status` tells of it later.
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) conflicts: ConflictOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    #[command(flatten)]
    pub(crate) proof: ProofOptions,
    #[command(flatten)]
    pub(crate) conflicts: ConflictOptions,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ConflictOptions {
    /// In a cluster: take the fields that the plan shows as another manager's (`kubectl edit`, Helm,
    /// an autoscaler). Without it a plan that would is not carried out (exit 4).
    #[arg(long)]
    pub(crate) force_conflicts: bool,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ProofOptions {
    /// Length of the recording that proves each camera, in seconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) proof_seconds: u64,
    /// Do not wait for a recording.
    #[arg(long)]
    pub(crate) no_verify: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Show the steps of a run, too: a file into which it writes its `--output jsonl`, or `-` for
    /// standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    pub(crate) run: Option<Utf8PathBuf>,
    /// Write everything that is seen into a new file.
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    pub(crate) record: Option<Utf8PathBuf>,
    /// Show a recording instead of the site; a run's `--output jsonl` is one, too.
    #[arg(long, value_name = "FILE")]
    pub(crate) replay: Option<Utf8PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cameras {
    /// The cameras of the profile, and whether they record.
    List,
    /// Look at a camera and write it into the profile.
    Add(AddCamera),
    /// Take a camera out of the profile; its footage stays.
    Remove { name: String },
    /// Tell what a camera offers, or what is wrong with it.
    Probe(ProbeCamera),
}

#[derive(Debug, Args)]
pub(crate) struct AddCamera {
    pub(crate) name: String,
    /// Recorded stream. A password in it is kept in a file of its own.
    #[arg(long)]
    pub(crate) rtsp: String,
    /// Stream for motion.
    #[arg(long)]
    pub(crate) sub: Option<String>,
    /// File with user and password, a line each.
    #[arg(long, value_name = "FILE")]
    pub(crate) login_file: Option<Utf8PathBuf>,
    /// When to record: continuous, motion or both.
    #[arg(long, default_value = "continuous")]
    pub(crate) when: String,
    /// Do not connect to the camera.
    #[arg(long)]
    pub(crate) no_probe: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProbeCamera {
    /// Cameras of the profile; all of them when none is named.
    pub(crate) names: Vec<String>,
    /// A camera that is in no profile.
    #[arg(long, conflicts_with = "names")]
    pub(crate) rtsp: Option<String>,
    /// File with user and password, a line each.
    #[arg(long, requires = "rtsp", value_name = "FILE")]
    pub(crate) login_file: Option<Utf8PathBuf>,
    /// How long to measure.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=120))]
    pub(crate) seconds: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Rights {
    /// Print the roles for a user, or for a service account as NAMESPACE:ACCOUNT, that let them
    /// install this site and nothing else; for `kubectl apply -f -`.
    #[arg(long, value_name = "USER")]
    pub(crate) role_for: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    /// Take configuration, secrets and logs, too.
    #[arg(long)]
    pub(crate) config: bool,
    /// Take everything, all footage included.
    #[arg(long)]
    pub(crate) data: bool,
}
