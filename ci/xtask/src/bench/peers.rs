//! helm and kubectl with the same objects as a site of ours.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use super::timed::{Run, timed};
use crate::cluster::Cluster;
use crate::process::read;
use crate::repository::Repository;

/// Of the length that ours have, which stand for what is made where it lies.
const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Objects of a site as `stakeout render` prints them, in the order in which they have to be made.
#[derive(Debug)]
pub(super) struct Objects(Vec<Value>);

impl Objects {
    /// Out of what `stakeout render --output json` prints.
    pub(super) fn read(printed: &str) -> anyhow::Result<Self> {
        let files: Vec<Value> =
            serde_json::from_str(printed).context("`stakeout render` wrote no list of files")?;
        let object = |file: &Value| -> anyhow::Result<Value> {
            let text = file["contents"].as_str().context("a file without text")?;
            let mut object: Value =
                serde_json::from_str(text).context("a file that is no object")?;
            let data = object.get_mut("data").and_then(Value::as_object_mut);
            if let Some(data) = data {
                let open = data.values_mut().filter(|value| value.is_null());
                open.for_each(|value| *value = SECRET.into());
            }
            Ok(object)
        };
        files.iter().map(object).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// One file for `kubectl apply`.
    pub(super) fn write(&self, path: &Utf8Path) -> anyhow::Result<()> {
        let lines: Vec<_> = self.0.iter().map(Value::to_string).collect();
        fs::write(path, lines.join("\n")).with_context(|| format!("cannot write `{path}`"))
    }

    /// A chart: a file of templates for each name, as people write charts.
    fn write_chart(&self, folder: &Utf8Path) -> anyhow::Result<()> {
        let templates = folder.join("templates");
        fs::create_dir_all(&templates).with_context(|| format!("cannot make `{templates}`"))?;
        let write = |path: Utf8PathBuf, text: &str| {
            fs::write(&path, text).with_context(|| format!("cannot write `{path}`"))
        };
        let about = "apiVersion: v2\nname: site\nversion: 1.0.0\n";
        write(folder.join("Chart.yaml"), about)?;
        let mut files = BTreeMap::<&str, Vec<String>>::new();
        for object in &self.0 {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            // Two braces begin what helm fills in.
            let object = object.to_string().replace("{{", "{{ \"{{\" }}");
            files.entry(name).or_default().push(object);
        }
        for (name, objects) in files {
            let path = templates.join(format!("{name}.yaml"));
            write(path, &objects.join("\n---\n"))?;
        }
        Ok(())
    }
}

/// A chart of the objects, and the program for it.
#[derive(Debug)]
pub(super) struct Helm<'a> {
    program: &'a Utf8Path,
    cluster: &'a Cluster,
    release: String,
    chart: Utf8PathBuf,
    folder: &'a Utf8Path,
}

/// Builds it where it is not there yet.
pub(super) fn helm(repository: &Repository) -> anyhow::Result<Utf8PathBuf> {
    let script = repository.root.join("ci/parts/kubernetes");
    let told = read(Command::new("bash").args([script.as_str(), "tool", "helm"]))?;
    Ok(told.trim().into())
}

impl<'a> Helm<'a> {
    pub(super) fn new(
        program: &'a Utf8Path,
        cluster: &'a Cluster,
        release: &str,
        objects: &Objects,
        folder: &'a Utf8Path,
    ) -> anyhow::Result<Self> {
        let chart = folder.join(format!("{release}-chart"));
        objects.write_chart(&chart)?;
        Ok(Self {
            program,
            cluster,
            release: release.to_owned(),
            chart,
            folder,
        })
    }

    /// `helm VERB`, with nothing that is waited for, as it is by default. Its release lies in
    /// `default`: the chart makes its own namespace.
    pub(super) fn run(&self, verb: &str) -> anyhow::Result<Run> {
        let mut command = self.cluster.command(self.program.as_str());
        command.args([
            verb,
            &self.release,
            self.chart.as_str(),
            "--namespace",
            "default",
        ]);
        let run = timed(&mut command, self.folder)?;
        ensure!(
            run.output.contains("STATUS: deployed"),
            "helm does not say that `{}` is deployed: {}",
            self.release,
            run.output
        );
        Ok(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_values_are_filled_in_and_braces_reach_the_cluster() {
        let contents = r#"{"kind":"Secret","metadata":{"name":"a"},"data":{"k":null,"b":"{{x}}"}}"#;
        let other = r#"{"kind":"Service","metadata":{"name":"b"}}"#;
        let printed = serde_json::json!([{ "contents": contents }, { "contents": other }]);
        let objects = Objects::read(&printed.to_string()).unwrap();
        assert_eq!(objects.0[0]["data"]["k"], SECRET);
        assert_eq!(
            (objects.count(), objects.0[1].to_string().as_str()),
            (2, other)
        );
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        objects.write_chart(folder).unwrap();
        let text = fs::read_to_string(folder.join("templates/a.yaml")).unwrap();
        assert!(text.contains(r#""b":"{{ "{{" }}x}}""#), "{text}");
        assert!(Objects::read("{}").is_err());
    }
}
