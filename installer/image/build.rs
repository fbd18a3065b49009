//! Takes the release that is being built into the program: `STAKEOUT_RELEASE` names its
//! `release.json`. A plain source build has none.

use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=STAKEOUT_RELEASE");
    let text = match env::var("STAKEOUT_RELEASE") {
        Ok(path) if !path.is_empty() => {
            println!("cargo::rerun-if-changed={path}");
            let text = fs::read_to_string(&path)
                .map_err(|error| format!("cannot read the release `{path}`: {error}"))?;
            if !text.trim_start().starts_with('{') {
                return Err(format!("`{path}` is not a release.json"));
            }
            text
        }
        _ => String::new(),
    };
    let folder = env::var("OUT_DIR").map_err(|error| format!("OUT_DIR: {error}"))?;
    let file = Path::new(&folder).join("release.json");
    fs::write(&file, text).map_err(|error| format!("cannot write `{}`: {error}", file.display()))
}
