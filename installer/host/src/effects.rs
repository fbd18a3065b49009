//! The primitives through which a host is changed: the only code of the installer that writes.
//!
//! Each primitive is atomic, or leaves a file named `.NAME.stakeout-new` that the next run
//! overwrites or removes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, lchown};
use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use installer_engine::{CRASH_VARIABLE, EffectError, ErrorKind, Primitives};
use rustix::process::{Pid, Signal};

/// Counts and performs.
#[derive(Debug)]
pub struct Effects {
    primitives: Primitives,
}

impl Effects {
    pub fn new(primitives: Primitives) -> Self {
        Self { primitives }
    }

    /// Primitives performed so far.
    pub fn count(&self) -> u64 {
        self.primitives.count()
    }

    fn done(&mut self) {
        self.primitives.done();
    }

    /// Makes a folder, or sets mode and owner of the one that is there.
    pub fn make_directory(
        &mut self,
        path: &Utf8Path,
        mode: u32,
        owner: Option<u32>,
    ) -> Result<(), EffectError> {
        let failed = |error| environment(format!("cannot make folder `{path}`"), error);
        match DirBuilder::new().mode(mode).create(path) {
            Ok(()) => self.done(),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => return Err(failed(error)),
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        if let Some(owner) = owner {
            chown(path, Some(owner), Some(owner)).map_err(failed)?;
        }
        self.done();
        Ok(())
    }

    /// Makes a folder and those above it.
    pub fn make_directories(&mut self, path: &Utf8Path) -> Result<(), EffectError> {
        let missing: Vec<_> = path
            .ancestors()
            .take_while(|folder| !folder.exists())
            .collect();
        for folder in missing.into_iter().rev() {
            self.make_directory(folder, 0o755, None)?;
        }
        Ok(())
    }

    /// Writes a whole file: it is there with all of `contents` on disk, or not at all.
    pub fn write_file(
        &mut self,
        path: &Utf8Path,
        mode: u32,
        owner: Option<u32>,
        contents: &[u8],
    ) -> Result<(), EffectError> {
        let failed = |error| environment(format!("cannot write `{path}`"), error);
        let new = beside(path);
        remove_if_there(&new).map_err(failed)?;
        let file = self.create(&new, mode, owner).map_err(failed)?;
        (&file)
            .write_all(contents)
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        self.done();
        self.rename(&new, path).map_err(failed)
    }

    /// Copies a program, so that the copy is complete before it has its name.
    pub fn copy_program(&mut self, from: &Utf8Path, to: &Utf8Path) -> Result<(), EffectError> {
        let failed = |error| environment(format!("cannot copy `{from}` to `{to}`"), error);
        let new = beside(to);
        remove_if_there(&new).map_err(failed)?;
        let mut source = File::open(from).map_err(failed)?;
        let mut file = self.create(&new, 0o755, None).map_err(failed)?;
        io::copy(&mut source, &mut file)
            .and_then(|_| file.sync_all())
            .map_err(failed)?;
        self.done();
        self.rename(&new, to).map_err(failed)
    }

    fn create(&mut self, path: &Utf8Path, mode: u32, owner: Option<u32>) -> io::Result<File> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        // The mask of the user that installs must not change what was planned.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        if let Some(owner) = owner {
            chown(path, Some(owner), Some(owner))?;
        }
        self.done();
        Ok(file)
    }

    fn rename(&mut self, from: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
        fs::rename(from, to)?;
        if let Some(folder) = to.parent() {
            File::open(folder)?.sync_all()?;
        }
        self.done();
        Ok(())
    }

    pub fn remove_file(&mut self, path: &Utf8Path) -> Result<(), EffectError> {
        remove_if_there(path)
            .map_err(|error| environment(format!("cannot remove `{path}`"), error))?;
        self.done();
        Ok(())
    }

    /// Removes a folder when it is empty; `recursive` takes what is in it.
    pub fn remove_directory(
        &mut self,
        path: &Utf8Path,
        recursive: bool,
    ) -> Result<(), EffectError> {
        let result = if recursive {
            fs::remove_dir_all(path)
        } else {
            fs::remove_dir(path)
        };
        match result {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // An empty folder in a folder of somebody else's, who made both for us.
            Err(error)
                if !recursive
                    && matches!(
                        error.kind(),
                        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::PermissionDenied
                    ) => {}
            Err(error) => {
                return Err(environment(format!("cannot remove folder `{path}`"), error));
            }
        }
        self.done();
        Ok(())
    }

    /// Gives all that lies there to `owner`: links themselves, never what they point at.
    pub fn own(&mut self, path: &Utf8Path, owner: u32) -> Result<(), EffectError> {
        give(path, owner)
            .map_err(|error| environment(format!("cannot change the owner of `{path}`"), error))?;
        self.done();
        Ok(())
    }

    /// The text of a file of the site's.
    pub fn read(&self, path: &Utf8Path) -> Result<String, EffectError> {
        fs::read_to_string(path)
            .map_err(|error| environment(format!("cannot read `{path}`"), error))
    }

    /// Runs a program of the system to its end.
    pub fn run(&mut self, program: &str, arguments: &[&str]) -> Result<(), EffectError> {
        let line = format!("{program} {}", arguments.join(" "));
        let output = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| environment(format!("cannot run `{line}`"), error))?;
        self.done();
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(EffectError::new(ErrorKind::Environment, format!("`{line}` failed")).because(said))
    }

    /// Starts a program that outlives this one.
    pub fn start_detached(
        &mut self,
        program: &Utf8Path,
        arguments: &[&str],
        log: &Utf8Path,
    ) -> Result<(), EffectError> {
        let failed = |error| environment(format!("cannot start `{program}`"), error);
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(log);
        let log = log.map_err(failed)?;
        Command::new(program)
            .args(arguments)
            .current_dir("/")
            .env_remove(CRASH_VARIABLE)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        self.done();
        Ok(())
    }

    /// Sends a signal; a process that is gone already is fine.
    pub fn signal(&mut self, process: i32, signal: Signal) -> Result<(), EffectError> {
        if let Some(pid) = Pid::from_raw(process) {
            match rustix::process::kill_process(pid, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => {
                    let operation = format!("cannot signal process {process}");
                    return Err(environment(operation, error.into()));
                }
            }
        }
        self.done();
        Ok(())
    }
}

/// Where a file is written before it gets its name.
fn beside(path: &Utf8Path) -> Utf8PathBuf {
    let name = path.file_name().unwrap_or("file");
    path.with_file_name(format!(".{name}.stakeout-new"))
}

fn remove_if_there(path: &Utf8Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn give(path: &Utf8Path, owner: u32) -> io::Result<()> {
    lchown(path, Some(owner), Some(owner))?;
    if !fs::symlink_metadata(path)?.is_dir() {
        return Ok(());
    }
    for entry in path.read_dir_utf8()? {
        give(entry?.path(), owner)?;
    }
    Ok(())
}

fn environment(operation: String, error: io::Error) -> EffectError {
    EffectError::new(ErrorKind::Environment, operation).because(error)
}
