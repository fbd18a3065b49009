//! `stakeout watch`: the site as it is, second by second, and a run's steps as they are done.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::Ordering;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use crossterm::event::{Event, EventStream};
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use installer_watch::{Finding, Line, Model, Outcome, Replay, Sight, View, Wish};
use ratatui::DefaultTerminal;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::doctor;
use crate::args;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::eyes::{self, now_ms};
use crate::output::{Output, Printer};
use crate::site::Site;

/// Between two pictures: fast enough for the eye, and a processor does not notice.
const PICTURE: Duration = Duration::from_millis(200);

pub(super) async fn run(arguments: &args::Watch, context: &Context) -> Result<Exit, CommandError> {
    let shows = context.printer.output == Output::Human;
    if shows && !io::stdout().is_terminal() {
        let error = CommandError::new(Exit::Usage, "there is no terminal to draw on");
        return Err(error.hint("add --output jsonl to get what is seen as lines"));
    }
    if let Some(path) = &arguments.replay {
        let text = fs::read_to_string(path).map_err(|error| {
            let what = format!("cannot read the recording `{path}`");
            CommandError::because(Exit::Usage, what, &error)
        })?;
        let replay = Replay::parse(&text).map_err(|error| {
            let hint = "`stakeout watch --record FILE` writes one";
            CommandError::from_error(Exit::Usage, &error).hint(hint)
        })?;
        return play(replay, shows).await;
    }
    let site = Site::read(context)?;
    let kept = arguments.record.as_deref().map(Kept::create).transpose()?;
    let mut watch = Watch {
        context,
        kept,
        model: Model::default(),
    };
    let (sender, lines) = unbounded_channel();
    let looking = eyes::keep_looking(&site, context, &sender);
    let following = follow(arguments.run.as_deref(), &sender);
    tokio::pin!(looking, following);
    let work = async {
        // The run may end; the site goes on.
        tokio::join!(looking, async {
            if let Err(error) = following.await {
                let error = error.to_string();
                drop(sender.send(Line::seen(now_ms(), Sight::Blind { error })));
            }
        });
    };
    if shows {
        let mut screen = Screen::open()?;
        watch.on_screen(&site, &mut screen, lines, work).await
    } else {
        watch.as_lines(lines, work).await
    }
}

/// Where everything that is seen is written.
struct Kept {
    path: Utf8PathBuf,
    file: File,
}

impl Kept {
    fn create(path: &Utf8Path) -> Result<Self, CommandError> {
        let file = File::create_new(path).map_err(|error| {
            let taken = error.kind() == io::ErrorKind::AlreadyExists;
            let failed = not_kept(path, &error);
            if taken {
                failed.hint("name another file, or remove that one")
            } else {
                failed
            }
        })?;
        let path = path.to_owned();
        Ok(Self { path, file })
    }

    fn keep(&mut self, line: &Line) -> Result<(), CommandError> {
        let text = format!("{}\n", line.text(now_ms()));
        let written = self.file.write_all(text.as_bytes());
        written.map_err(|error| not_kept(&self.path, &error))
    }
}

fn not_kept(path: &Utf8Path, error: &io::Error) -> CommandError {
    let what = format!("cannot write the recording `{path}`");
    CommandError::because(Exit::Internal, what, error)
}

/// The terminal, given back as it was.
struct Screen {
    terminal: DefaultTerminal,
    keys: EventStream,
}

impl Screen {
    fn open() -> Result<Self, CommandError> {
        let terminal = ratatui::try_init().map_err(|error| screen_error(&error))?;
        let keys = EventStream::new();
        Ok(Self { terminal, keys })
    }

    fn draw(&mut self, model: &Model, view: &mut View) -> Result<(), CommandError> {
        let drawn = self
            .terminal
            .draw(|frame| installer_watch::draw(frame, model, view));
        drawn.map(drop).map_err(|error| screen_error(&error))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn screen_error(error: &io::Error) -> CommandError {
    CommandError::because(Exit::Internal, "cannot draw on the terminal", error)
}

struct Watch<'a> {
    context: &'a Context,
    kept: Option<Kept>,
    model: Model,
}

type Lines = tokio::sync::mpsc::UnboundedReceiver<Line>;

impl Watch<'_> {
    fn take(&mut self, line: Line) -> Result<(), CommandError> {
        if let Some(kept) = &mut self.kept {
            kept.keep(&line)?;
        }
        self.model.take(line);
        Ok(())
    }

    async fn on_screen(
        &mut self,
        site: &Site,
        screen: &mut Screen,
        mut lines: Lines,
        work: impl Future<Output = ()>,
    ) -> Result<Exit, CommandError> {
        let mut view = View::default();
        let mut pictures = interval(PICTURE);
        pictures.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What keys have asked for, while the site is looked at.
        let mut asked: FuturesUnordered<LocalBoxFuture<'_, Line>> = FuturesUnordered::new();
        tokio::pin!(work);
        loop {
            tokio::select! {
                () = &mut work => return Ok(Exit::Done),
                Some(line) = lines.recv() => self.take(line)?,
                Some(line) = asked.next() => self.take(line)?,
                key = screen.keys.next() => {
                    let Some(Ok(event)) = key else { return Ok(Exit::Done) };
                    let Event::Key(key) = event else { continue };
                    match view.key(key, &self.model) {
                        Some(Wish::Quit) => return Ok(Exit::Done),
                        Some(Wish::Log(service)) => {
                            asked.push(eyes::log(site, self.context, service).boxed_local());
                        }
                        Some(Wish::Doctor) => asked.push(look_for_faults(site, self.context).boxed_local()),
                        Some(Wish::Pause) | None => {}
                    }
                    screen.draw(&self.model, &mut view)?;
                }
                _ = pictures.tick() => {
                    self.model.tick(now_ms());
                    screen.draw(&self.model, &mut view)?;
                }
            }
        }
    }

    /// For programs that follow.
    async fn as_lines(
        &mut self,
        mut lines: Lines,
        work: impl Future<Output = ()>,
    ) -> Result<Exit, CommandError> {
        self.context.catch_interrupt();
        let mut looks = interval(PICTURE);
        tokio::pin!(work);
        loop {
            tokio::select! {
                () = &mut work => return Ok(Exit::Done),
                Some(line) = lines.recv() => {
                    let read = Printer::line(&line.text(now_ms()));
                    self.take(line)?;
                    if !read {
                        return Ok(Exit::Done);
                    }
                }
                _ = looks.tick() => {
                    if self.context.interrupted.load(Ordering::Relaxed) {
                        return Ok(Exit::Done);
                    }
                }
            }
        }
    }
}

async fn look_for_faults(site: &Site, context: &Context) -> Line {
    let findings = doctor::examine(site, context, |_| {}).await;
    let findings = findings.unwrap_or_else(|error| {
        vec![Finding {
            id: "doctor".to_owned(),
            outcome: Outcome::Fail,
            message: error.message,
            help: error.causes.join(": "),
        }]
    });
    Line::seen(now_ms(), Sight::Doctor { findings })
}

/// What a run tells, from its beginning: of a file that it still writes, or of a pipe.
async fn follow(path: Option<&Utf8Path>, lines: &UnboundedSender<Line>) -> io::Result<()> {
    let Some(path) = path else {
        return Ok(());
    };
    if path == "-" {
        return follow_reader(tokio::io::stdin(), false, lines).await;
    }
    follow_reader(tokio::fs::File::open(path).await?, true, lines).await
}

/// `grows`: there may be more where it ends now.
async fn follow_reader(
    reader: impl AsyncRead + Unpin,
    grows: bool,
    lines: &UnboundedSender<Line>,
) -> io::Result<()> {
    let mut reader = BufReader::new(reader);
    let mut text = String::new();
    while !lines.is_closed() {
        let read = reader.read_line(&mut text).await?;
        if !text.ends_with('\n') && (read > 0 || grows) {
            sleep(PICTURE).await;
            continue;
        }
        if read == 0 {
            return Ok(());
        }
        // What a run says beside its events is for people.
        if let Ok(Some(line)) = Line::parse(text.trim()) {
            drop(lines.send(line));
        }
        text.clear();
    }
    Ok(())
}

/// A recording, in its own time.
async fn play(mut replay: Replay, shows: bool) -> Result<Exit, CommandError> {
    let (mut model, mut view) = (Model::default(), View::of_replay());
    if !shows {
        // Programs have no time to lose.
        while !replay.is_over() {
            let (lines, now) = replay.pass(1_000);
            for line in lines {
                if !Printer::line(&line.text(now)) {
                    return Ok(Exit::Done);
                }
            }
        }
        return Ok(Exit::Done);
    }
    let mut screen = Screen::open()?;
    let mut pictures = interval(PICTURE);
    let step = u64::try_from(PICTURE.as_millis()).expect("invariant: less than a second");
    loop {
        tokio::select! {
                   key = screen.keys.next() => {
                       let Some(Ok(event)) = key else { return Ok(Exit::Done) };
                       let Event::Key(key) = event else { continue };
                       // Logs and findings are those of the recording.
                       if view.key(key, &model) == Some(Wish::Quit) {
                           return Ok(Exit::Done);
                       }
                   }
                   _ = pictures.tick() => {
                       if !view.paused() && !replay.is_over() {
                           let (lines, now) = replay.pass(step);
                           for line in lines {
        model.take(line);
        }
                           model.tick(now);
                       }
                   }
               }
        screen.draw(&model, &mut view)?;
    }
}
