//! Cameras from a CSV list: each row becomes the mapping that the profile would hold.

use camino::Utf8Path;

use super::{Checker, Fields, MOST_CAMERAS, MOST_LIST_BYTES};
use crate::keys;
use crate::profile::Camera;
use crate::tree::{Entry, Kind, Layout, Node, Place};

/// A column of the list: its name, or none where it was refused.
type Column = Option<&'static str>;

impl Checker<'_> {
    pub(super) fn list(
        &mut self,
        at: Place,
        path: &str,
        list: &Utf8Path,
        cameras: &mut Vec<Camera>,
    ) {
        if self.files.iter().skip(1).any(|file| file == list.as_str()) {
            self.error(
                at,
                path,
                "this list was already named",
                "name each list once",
            );
            return;
        }
        let bytes = match self.lists.fetch(list) {
            Ok(bytes) => bytes,
            Err(error) => {
                let message = format!("cannot read the list: {error}");
                let help = "the path is relative to the profile's folder";
                self.error(at, path, message, help);
                return;
            }
        };
        let file = self.files.len();
        self.files.push(list.to_string());
        let start = Place {
            file,
            ..Place::START
        };
        if bytes.len() > MOST_LIST_BYTES {
            self.error(
                start,
                "",
                "the list is larger than 16 MiB",
                "split the site",
            );
            return;
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => self.rows(start, text.trim_start_matches('\u{feff}'), cameras),
            Err(error) => {
                let line = super::line_of(&bytes, &error);
                let help = "save it as `CSV UTF-8`";
                self.error(Place { line, ..start }, "", "the list is not UTF-8", help);
            }
        }
    }

    fn rows(&mut self, start: Place, text: &str, cameras: &mut Vec<Camera>) {
        let head = text.lines().next().unwrap_or_default();
        let separator = if head.contains(';') && !head.contains(',') {
            b';'
        } else {
            b','
        };
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(separator)
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        // The reader's own line numbers are behind where lines end with CR LF.
        let (mut counted, mut line) = (0, 1);
        let mut columns: Option<Vec<Column>> = None;
        for record in reader.records() {
            // In memory and UTF-8: what is left to go wrong has no position worth showing.
            let Ok(record) = record else {
                self.error(
                    start,
                    "",
                    "the list is not CSV",
                    "separate columns by `,` or `;`",
                );
                return;
            };
            let start_of_row = record.position().map_or(0, csv::Position::byte);
            let start_of_row = usize::try_from(start_of_row).unwrap_or(usize::MAX);
            let rest = text.get(start_of_row..).unwrap_or_default();
            let row = rest.trim_start_matches(['\r', '\n']);
            let before = text.len() - row.len();
            line += text
                .get(counted..before)
                .unwrap_or_default()
                .matches('\n')
                .count();
            counted = before;
            let source = row.lines().next().unwrap_or_default();
            let cell_place = |index: usize| Place {
                line,
                column: cell_column(source, char::from(separator), index),
                ..start
            };
            let Some(columns) = &columns else {
                let Some(found) = self.header(&record, cell_place) else {
                    return;
                };
                columns = Some(found);
                continue;
            };
            if record.iter().all(str::is_empty) {
                continue;
            }
            if cameras.len() >= MOST_CAMERAS {
                self.too_many(cell_place(0), "");
                return;
            }
            if record.len() > columns.len() {
                let message = format!(
                    "the row has {} cells, the first row names {} columns",
                    record.len(),
                    columns.len()
                );
                let help = "put a value that holds the separator in double quotes";
                self.error(cell_place(columns.len()), "", message, help);
                continue;
            }
            cameras.extend(self.row(&record, columns, cell_place));
        }
        if columns.is_none() {
            self.error(
                start,
                "",
                "the list is empty",
                "name the columns in the first row: name,rtsp",
            );
        }
    }

    fn header(
        &mut self,
        record: &csv::StringRecord,
        cell_place: impl Fn(usize) -> Place,
    ) -> Option<Vec<Column>> {
        let all = keys::COLUMNS.join(", ");
        let names: Vec<String> = record.iter().map(str::to_lowercase).collect();
        if !names.iter().any(|name| name == "name") {
            // Perhaps a row of data with a password in it: nothing of it is shown.
            let help = format!("the columns are {all}");
            let message = "the first row does not name the column `name`";
            self.error(cell_place(0), "", message, help);
            return None;
        }
        let mut columns: Vec<Column> = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let known = keys::COLUMNS.into_iter().find(|column| column == name);
            let at = cell_place(index);
            match known {
                Some(column) if columns.contains(&Some(column)) => {
                    self.error(at, column, "the column stands twice", "keep one of the two");
                    columns.push(None);
                }
                Some(column) => columns.push(Some(column)),
                None => {
                    let help = match keys::nearest(name, keys::COLUMNS) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("the columns are {all}"),
                    };
                    let message = if super::is_harmless(name) {
                        format!("there is no column `{name}`")
                    } else {
                        "there is no such column".to_owned()
                    };
                    self.error(at, "", message, help);
                    columns.push(None);
                }
            }
        }
        Some(columns)
    }

    fn row(
        &mut self,
        record: &csv::StringRecord,
        columns: &[Column],
        cell_place: impl Fn(usize) -> Place,
    ) -> Option<Camera> {
        let cells = record.iter().zip(columns).enumerate();
        let entries: Vec<Entry> = cells
            .filter(|(_, (cell, column))| column.is_some() && !cell.is_empty())
            .map(|(index, (cell, column))| {
                let at = cell_place(index);
                let kind = Kind::Quoted(cell.to_owned());
                let value = Node {
                    kind,
                    at,
                    span: 0..0,
                    layout: Layout::Scalar,
                };
                Entry {
                    key: column.unwrap_or_default().to_owned(),
                    at,
                    value,
                }
            })
            .collect();
        let fields = Fields {
            at: cell_place(0),
            entries: entries.iter().map(|entry| (entry, true)).collect(),
            meant: Vec::new(),
        };
        let cell = |key| {
            fields
                .get(key)
                .and_then(|node| Some((node.at, node.text()?)))
        };
        let mut logins = Vec::new();
        let mut complete = true;
        match (cell("user"), cell("password")) {
            (Some(_) | None, Some((at, _))) | (Some((at, _)), None) if fields.has("test") => {
                self.error(
                    at,
                    "password",
                    "a test camera has no login",
                    "leave the cell empty",
                );
                complete = false;
            }
            (Some((_, user)), Some((at, password))) => {
                logins.push((at, self.column_login(at, user, password)));
            }
            (Some((at, _)), None) => {
                self.error(
                    at,
                    "user",
                    "the row has a user but no password",
                    "fill in both",
                );
                complete = false;
            }
            (None, Some((at, _))) => {
                self.error(
                    at,
                    "password",
                    "the row has a password but no user",
                    "fill in both",
                );
                complete = false;
            }
            (None, None) => {}
        }
        let record = self.record_fields(&fields, "");
        let camera = self.camera(&fields, "", logins);
        Some(Camera {
            record: record?,
            ..camera?
        })
        .filter(|_| complete)
    }
}

/// Where the cell `index` begins in its line, from 1.
fn cell_column(line: &str, separator: char, index: usize) -> usize {
    let mut quoted = false;
    let mut left = index;
    if left == 0 {
        return 1;
    }
    for (column, c) in line.chars().enumerate() {
        if c == '"' {
            quoted = !quoted;
        } else if c == separator && !quoted {
            left -= 1;
            if left == 0 {
                return column + 2;
            }
        }
    }
    line.chars().count() + 1
}
