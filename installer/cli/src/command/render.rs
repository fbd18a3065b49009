//! `stakeout render`: the files of an installation, without installing.

use installer_render::RenderedFile;

use crate::args;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::site::{MayAsk, Site, absolute};

pub(super) async fn run(arguments: &args::Render, context: &Context) -> Result<Exit, CommandError> {
    let site = Site::read(context)?;
    site.print_warnings();
    let logins = site.logins(context, MayAsk::No);
    let observed = site.observe(&logins).await?;
    let files = site.files(&observed)?;
    let Some(folder) = &arguments.to else {
        let text: Vec<_> = files
            .iter()
            .map(|file| format!("# {}\n{}", file.path, file.contents))
            .collect();
        context.printer.result(&text.join("\n"), &files);
        return Ok(Exit::Done);
    };
    let folder = absolute(folder)?;
    let mut effects = context.effects();
    let failed = |error| CommandError::from_error(Exit::Usage, &error);
    for RenderedFile { path, contents } in &files {
        let path = folder.join(path.strip_prefix("/").unwrap_or(path));
        if let Some(parent) = path.parent() {
            effects.make_directories(parent).map_err(failed)?;
        }
        effects
            .write_file(&path, 0o644, None, contents.as_bytes())
            .map_err(failed)?;
    }
    context
        .printer
        .result(&format!("{} files below {folder}", files.len()), &files);
    Ok(Exit::Done)
}
