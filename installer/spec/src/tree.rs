//! YAML as a tree in which every key and value knows its place.
//!
//! It is built from the events that serde-saphyr itself reads (its `granit_parser`), because
//! serde's data model has no room for what we report and edit by: keys that stand twice, whether
//! a word was quoted, and where a list ends.

use std::collections::HashMap;
use std::ops::Range;

use serde_saphyr::granit_parser::{
    Event, Parser, ScalarStyle, ScanError, Span, StrInput, StructureStyle, options,
};

/// Nesting that no profile needs; it bounds our recursion.
const DEEPEST: usize = 32;
/// Values and characters that aliases may add. A profile of 10,000 cameras stays far below.
const MOST_COPIED: usize = 1_000_000;

/// A position in one of the files that a profile is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Index into the checker's list of files; 0 is the profile.
    pub(crate) file: usize,
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
}

impl Place {
    pub(crate) const START: Self = Self {
        file: 0,
        line: 1,
        column: 1,
    };
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) at: Place,
    /// Bytes of the source, without what follows the last value inside.
    pub(crate) span: Range<usize>,
    pub(crate) layout: Layout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    Block,
    Flow,
    Scalar,
    /// Written elsewhere and repeated here.
    Alias,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// `~`, `null` or nothing.
    Null,
    /// Without quotes: may mean a number or a truth value.
    Plain(String),
    /// In quotes or a block: text for certain.
    Quoted(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Place,
    pub(crate) value: Node,
}

/// What makes a file unreadable as a tree.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) at: Place,
    pub(crate) message: String,
    pub(crate) help: &'static str,
}

impl Node {
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Plain(text) | Kind::Quoted(text) => Some(text),
            _ => None,
        }
    }

    /// The same values in the same order, wherever they stand.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Null, Kind::Null) => true,
            (Kind::Plain(a), Kind::Plain(b)) | (Kind::Quoted(a), Kind::Quoted(b)) => a == b,
            (Kind::List(a), Kind::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
            }
            (Kind::Map(a), Kind::Map(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .zip(b)
                        .all(|(a, b)| a.key == b.key && a.value.same(&b.value))
            }
            _ => false,
        }
    }

    fn weight(&self) -> usize {
        match &self.kind {
            Kind::Null => 1,
            Kind::Plain(text) | Kind::Quoted(text) => 1 + text.len(),
            Kind::List(items) => items.iter().map(Self::weight).sum::<usize>() + 1,
            Kind::Map(entries) => {
                entries
                    .iter()
                    .map(|e| 1 + e.key.len() + e.value.weight())
                    .sum::<usize>()
                    + 1
            }
        }
    }
}

/// Reads the one document that `text` holds.
pub(crate) fn read(text: &str) -> Result<Node, Fault> {
    let limits = options! {
        flow_nesting_limit: DEEPEST,
        block_nesting_limit: DEEPEST,
        disallow_directives: true,
        emit_comments: false,
    };
    let parser = Parser::new_from_str_with_options(text, limits);
    Reader {
        parser,
        anchors: HashMap::new(),
        copied: 0,
        end: 0,
    }
    .document()
}

struct Reader<'t> {
    parser: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, (Node, usize)>,
    copied: usize,
    /// Byte after the last value read.
    end: usize,
}

impl<'t> Reader<'t> {
    fn document(&mut self) -> Result<Node, Fault> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(fault(
                        &span,
                        "a second document starts here",
                        "a profile is one document: take out the line `---`",
                    ));
                }
                Event::DocumentStart(..) => {}
                _ => root = Some(self.node(event, &span)?),
            }
        }
        root.ok_or_else(|| Fault {
            at: Place::START,
            message: "the profile is empty".to_owned(),
            help: "start from a sample in `profiles/`, or run `stakeout init`",
        })
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Fault> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(syntax(&error)),
            None => Err(Fault {
                at: Place::START,
                message: "the profile ends too early".to_owned(),
                help: "",
            }),
        }
    }

    fn node(&mut self, event: Event<'t>, span: &Span) -> Result<Node, Fault> {
        let tag = event.tag().map(|tag| tag.is_yaml_core_schema_tag("str"));
        if tag == Some(false) {
            return Err(fault(
                span,
                "a tag (`!…`) stands here",
                "write the value without a tag",
            ));
        }
        let anchor = event.anchor_id().filter(|id| *id != 0);
        let start = byte(span.start.byte_offset());
        let (kind, layout) = match event {
            Event::Scalar(text, style, ..) => {
                self.end = byte(span.end.byte_offset());
                let kind = match (style, text.as_ref()) {
                    (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") if tag.is_none() => {
                        Kind::Null
                    }
                    (ScalarStyle::Plain, _) if tag.is_none() => Kind::Plain(text.into_owned()),
                    _ => Kind::Quoted(text.into_owned()),
                };
                (kind, Layout::Scalar)
            }
            Event::SequenceStart(style, ..) => (Kind::List(self.items()?), layout(style)),
            Event::MappingStart(style, ..) => (Kind::Map(self.entries()?), layout(style)),
            Event::Alias(id) => return self.copy(id, span),
            _ => return Err(fault(span, "a value is missing here", "")),
        };
        let node = Node {
            kind,
            at: place(span),
            span: start..self.end.max(start),
            layout,
        };
        if let Some(id) = anchor {
            self.anchors.insert(id, (node.clone(), node.weight()));
        }
        Ok(node)
    }

    fn items(&mut self) -> Result<Vec<Node>, Fault> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                self.close(&span);
                return Ok(items);
            }
            items.push(self.node(event, &span)?);
        }
    }

    fn entries(&mut self) -> Result<Vec<Entry>, Fault> {
        let mut entries = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                self.close(&span);
                return Ok(entries);
            }
            let key = self.node(event, &span)?;
            let Some(name) = key.text().map(str::to_owned) else {
                return Err(fault(&span, "a key is a plain word", "write `key: value`"));
            };
            let (event, span) = self.next()?;
            let value = self.node(event, &span)?;
            entries.push(Entry {
                key: name,
                at: key.at,
                value,
            });
        }
    }

    /// A bracket ends a flow collection; a block one ends with its last value.
    fn close(&mut self, span: &Span) {
        let (start, end) = (byte(span.start.byte_offset()), byte(span.end.byte_offset()));
        if end > start {
            self.end = end;
        }
    }

    fn copy(&mut self, id: usize, span: &Span) -> Result<Node, Fault> {
        let Some((node, weight)) = self.anchors.get(&id) else {
            return Err(fault(
                span,
                "an alias stands inside what it repeats",
                "take it out",
            ));
        };
        self.copied = self.copied.saturating_add(*weight);
        if self.copied > MOST_COPIED {
            return Err(fault(
                span,
                "aliases (`*…`) repeat too much",
                "write the cameras out, or keep them in a CSV list (`from:`)",
            ));
        }
        self.end = byte(span.end.byte_offset());
        let start = byte(span.start.byte_offset());
        let copy = node.clone();
        Ok(Node {
            at: place(span),
            span: start..self.end,
            layout: Layout::Alias,
            ..copy
        })
    }
}

fn layout(style: StructureStyle) -> Layout {
    match style {
        StructureStyle::Block => Layout::Block,
        StructureStyle::Flow => Layout::Flow,
    }
}

fn byte(offset: Option<usize>) -> usize {
    offset.expect("invariant: text in memory has byte offsets")
}

fn place(span: &Span) -> Place {
    Place {
        file: 0,
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

fn fault(span: &Span, message: &str, help: &'static str) -> Fault {
    Fault {
        at: place(span),
        message: message.to_owned(),
        help,
    }
}

fn syntax(error: &ScanError) -> Fault {
    let info = error.info();
    let help = if info.contains("tab") {
        "indent with spaces"
    } else if info.contains("anchor") {
        "`*` and `&` start an alias or an anchor: put the value in quotes"
    } else if info.contains("recursion") {
        "a profile nests only a few levels deep"
    } else {
        "check indentation, quotes and brackets here and on the line before"
    };
    let mark = error.marker();
    Fault {
        at: Place {
            file: 0,
            line: mark.line().max(1),
            column: mark.col() + 1,
        },
        message: format!("this is not YAML: {info}"),
        help,
    }
}
