//! Changes to a profile's text that leave every other line as it is, comments included.
//!
//! Invariant: a changed text is read again and holds exactly the cameras that it should; a change
//! that cannot be proved so is refused.

use std::ops::Range;

use thiserror::Error;

use crate::check;
use crate::document::camera_yaml;
use crate::profile::{Camera, Credentials, Source};
use crate::tree::{self, Kind, Layout, Node};

/// Why a text was left alone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EditError {
    #[error("the profile cannot be read: line {line}: {message}")]
    Unreadable { line: usize, message: String },
    #[error("camera `{0}` is already there")]
    Exists(String),
    #[error("the profile names no camera `{0}`; a camera of a CSV list is removed from that list")]
    NotFound(String),
    #[error("camera `{0}` is the only one; a profile needs at least one")]
    Last(String),
    #[error("`cameras` is laid out in a way that cannot be changed by a program; edit it by hand")]
    Layout,
}

/// Returns `text` with `camera` at the end of its list. A login that stood in a URL is not
/// written: move it into a store first and name that in `credentials`.
pub fn add_camera(text: &str, camera: &Camera) -> Result<String, EditError> {
    let root = read(text)?;
    if items(&root)
        .iter()
        .any(|item| name(item) == Some(&camera.name))
    {
        return Err(EditError::Exists(camera.name.clone()));
    }
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let Some(entry) = root.entry("cameras") else {
        let item = block_item(camera, 2, newline);
        let gap = if text.ends_with('\n') { "" } else { newline };
        return proved(
            format!("{text}{gap}cameras:{newline}{item}"),
            &root,
            Some(camera),
            None,
        );
    };
    let list = &entry.value;
    let (at, addition) = match (&list.kind, list.layout) {
        (Kind::List(_), Layout::Block) => {
            let first = items(&root).first().ok_or(EditError::Layout)?;
            let indent = dash_column(text, first.span.start).ok_or(EditError::Layout)?;
            let end = line_end(text, list.span.end);
            let gap = if before(text, end).ends_with('\n') {
                ""
            } else {
                newline
            };
            (end, format!("{gap}{}", block_item(camera, indent, newline)))
        }
        (Kind::List(items), Layout::Flow) => {
            let item = serde_json::to_string(&crate::document::CameraDocument::from(camera))
                .map_err(|_| EditError::Layout)?;
            match items.last() {
                Some(last) => (last.span.end, format!(", {item}")),
                None => (list.span.end - 1, item),
            }
        }
        _ => return Err(EditError::Layout),
    };
    proved(replace(text, at..at, &addition)?, &root, Some(camera), None)
}

/// Returns `text` without the camera `name`. Comments outside its lines stay.
pub fn remove_camera(text: &str, name: &str) -> Result<String, EditError> {
    let root = read(text)?;
    let all = items(&root);
    let Some(index) = all.iter().position(|item| self::name(item) == Some(name)) else {
        return Err(EditError::NotFound(name.to_owned()));
    };
    let list = &root.entry("cameras").ok_or(EditError::Layout)?.value;
    let (Some(item), false) = (all.get(index), all.len() == 1) else {
        return Err(EditError::Last(name.to_owned()));
    };
    let range = match list.layout {
        Layout::Block => {
            let start = before(text, item.span.start)
                .rfind('\n')
                .map_or(0, |at| at + 1);
            start..line_end(text, item.span.end)
        }
        Layout::Flow => match (
            index.checked_sub(1).and_then(|i| all.get(i)),
            all.get(index + 1),
        ) {
            (_, Some(next)) => item.span.start..next.span.start,
            (Some(previous), None) => previous.span.end..item.span.end,
            (None, None) => return Err(EditError::Layout),
        },
        Layout::Scalar | Layout::Alias => return Err(EditError::Layout),
    };
    proved(replace(text, range, "")?, &root, None, Some(index))
}

/// Reads the change back: the old tree, less `removed`, plus `added`, and nothing else.
fn proved(
    text: String,
    old: &Node,
    added: Option<&Camera>,
    removed: Option<usize>,
) -> Result<String, EditError> {
    let new = tree::read(&text).map_err(|_| EditError::Layout)?;
    let (Kind::Map(before), Kind::Map(after)) = (&old.kind, &new.kind) else {
        return Err(EditError::Layout);
    };
    let others = |entries: &'_ [tree::Entry]| -> Vec<tree::Entry> {
        entries
            .iter()
            .filter(|e| e.key != "cameras")
            .cloned()
            .collect()
    };
    let (before, after) = (others(before), others(after));
    let mut kept = before.len() == after.len()
        && before
            .iter()
            .zip(&after)
            .all(|(a, b)| a.key == b.key && a.value.same(&b.value));
    let mut wanted: Vec<&Node> = items(old).iter().collect();
    if let Some(index) = removed {
        wanted.remove(index);
    }
    let mut found: Vec<&Node> = items(&new).iter().collect();
    if let Some(camera) = added {
        let written = found.pop().and_then(check::camera_alone);
        kept &= written.is_some_and(|written| written == without_secret(camera));
    }
    kept &= wanted.len() == found.len() && wanted.iter().zip(&found).all(|(a, b)| a.same(b));
    if kept {
        Ok(text)
    } else {
        Err(EditError::Layout)
    }
}

fn without_secret(camera: &Camera) -> Camera {
    let mut camera = camera.clone();
    if let Source::Rtsp { credentials, .. } = &mut camera.source
        && matches!(credentials, Some(Credentials::Inline(_)))
    {
        *credentials = None;
    }
    camera
}

fn read(text: &str) -> Result<Node, EditError> {
    let root = tree::read(text).map_err(|fault| EditError::Unreadable {
        line: fault.at.line,
        message: fault.message,
    })?;
    if matches!(root.kind, Kind::Map(_)) && root.layout == Layout::Block {
        Ok(root)
    } else {
        Err(EditError::Layout)
    }
}

fn items(root: &Node) -> &[Node] {
    match root.entry("cameras").map(|entry| &entry.value.kind) {
        Some(Kind::List(items)) => items,
        _ => &[],
    }
}

fn name(item: &Node) -> Option<&str> {
    item.entry("name").and_then(|entry| entry.value.text())
}

fn block_item(camera: &Camera, indent: usize, newline: &str) -> String {
    let margin = " ".repeat(indent);
    let lines = camera_yaml(camera);
    let lines = lines.lines().enumerate().map(|(index, line)| {
        let lead = if index == 0 { "- " } else { "  " };
        format!("{margin}{lead}{line}{newline}")
    });
    lines.collect()
}

/// Where the `-` stands that leads the item at `at`. Bytes are columns: an indentation is spaces.
fn dash_column(text: &str, at: usize) -> Option<usize> {
    let lead = before(text, at).trim_end_matches(' ').strip_suffix('-')?;
    let line = lead.rfind('\n').map_or(0, |newline| newline + 1);
    Some(lead.len() - line)
}

/// The start of the line after the one in which `at` stands, or `at` if it starts a line.
fn line_end(text: &str, at: usize) -> usize {
    if before(text, at).ends_with('\n') {
        return at;
    }
    let rest = text.get(at..).unwrap_or_default();
    rest.find('\n')
        .map_or(text.len(), |newline| at + newline + 1)
}

fn before(text: &str, at: usize) -> &str {
    text.get(..at).unwrap_or(text)
}

fn replace(text: &str, range: Range<usize>, with: &str) -> Result<String, EditError> {
    match (text.get(..range.start), text.get(range.end..)) {
        (Some(head), Some(tail)) => Ok(format!("{head}{with}{tail}")),
        _ => Err(EditError::Layout),
    }
}
