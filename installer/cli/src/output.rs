//! The only code that prints: stdout is data, stderr is progress.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::error::CommandError;

/// Who reads what a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A person.
    Human,
    /// A program that waits for the end: one JSON document.
    Json,
    /// A program that follows: one JSON document a line, the last one the result.
    Jsonl,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    pub(crate) output: Output,
}

impl Printer {
    /// A result: `text` for people, `value` for programs.
    pub(crate) fn result<T: Serialize>(self, text: &str, value: &T) {
        match self.output {
            Output::Human => {
                write(io::stdout(), text);
            }
            Output::Json => {
                let json = serde_json::to_string_pretty(value);
                write(
                    io::stdout(),
                    &json.expect("invariant: plain data serialises"),
                );
            }
            Output::Jsonl => self.event(value),
        }
    }

    /// A result that is text for programs, too: a schema, a script.
    pub(crate) fn text(text: &str) {
        write(io::stdout(), text);
    }

    /// A line of progress for programs that follow.
    pub(crate) fn event<T: Serialize>(self, value: &T) {
        if self.output == Output::Jsonl {
            let json = serde_json::to_string(value).expect("invariant: plain data serialises");
            write(io::stdout(), &json);
        }
    }

    /// A line that is JSON already; whether somebody still reads.
    pub(crate) fn line(json: &str) -> bool {
        write(io::stdout(), json)
    }

    /// A line of progress for people.
    pub(crate) fn note(self, text: &str) {
        if self.output == Output::Human {
            write(io::stderr(), text);
        }
    }

    /// Something that people should see whatever is printed elsewhere.
    pub(crate) fn warn(text: &str) {
        write(io::stderr(), text);
    }

    pub(crate) fn error(self, error: &CommandError) {
        if self.output != Output::Human {
            #[derive(Serialize)]
            struct Failed<'a> {
                exit: u8,
                #[serde(flatten)]
                error: &'a CommandError,
            }
            self.result(
                "",
                &Failed {
                    exit: error.exit as u8,
                    error,
                },
            );
        }
        let mut text = format!("error: {}", error.message);
        for cause in &error.causes {
            text.push_str("\n  caused by: ");
            text.push_str(cause);
        }
        for hint in &error.hints {
            text.push_str("\n  hint: ");
            text.push_str(hint);
        }
        write(io::stderr(), &text);
    }
}

/// A terminal on both ends: somebody can be asked.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn write(mut stream: impl Write, text: &str) -> bool {
    let end = if text.ends_with('\n') || text.is_empty() {
        ""
    } else {
        "\n"
    };
    // A reader that went away (`| head`) has seen enough.
    let written = write!(stream, "{text}{end}").and_then(|()| stream.flush());
    if written.is_err() {
        tracing::debug!("the reader of our output is gone");
    }
    written.is_ok()
}
