//! The script that installs a release.

use anyhow::{Context as _, ensure};
use tera::{Context, Tera};

use crate::repository::Repository;

const TEMPLATE: &str = "templates/install.sh.j2";

/// Renders the script. Its values stand between single quotes and must not end them.
pub(super) fn render(
    repository: &Repository,
    version: &str,
    url: &str,
    public_key: &str,
) -> anyhow::Result<String> {
    let path = repository.root.join(TEMPLATE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
    render_text(&text, version, url, public_key)
}

fn render_text(text: &str, version: &str, url: &str, public_key: &str) -> anyhow::Result<String> {
    let mut context = Context::new();
    for (name, value) in [
        ("version", version),
        ("url", url.trim_end_matches('/')),
        ("public_key", public_key.trim_end()),
    ] {
        ensure!(
            !value.contains('\''),
            "the script's {name} holds a quote: {value}"
        );
        context.insert(name, value);
    }
    Tera::one_off(text, &context, false).context("cannot render the script")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_leave_its_quotes() {
        let render = |url: &str| render_text("a='{{ url }}'\n", "1", url, "k");
        assert_eq!(render("http://a/").unwrap(), "a='http://a'\n");
        assert!(render("'; rm -r /").is_err());
        assert!(render_text("{{ frob }}", "1", "u", "k").is_err());
    }

    #[test]
    fn the_script_is_one_that_a_shell_reads() {
        let repository = Repository::find().unwrap();
        let script = render(&repository, "1.2.3", "http://a", "KEY\nKEY\n").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("install.sh");
        std::fs::write(&path, script).unwrap();
        let checked = std::process::Command::new("sh")
            .arg("-n")
            .arg(&path)
            .output();
        assert!(checked.as_ref().unwrap().status.success(), "{checked:?}");
    }
}
