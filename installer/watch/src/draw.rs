//! The screen: cameras above, what goes on and what is wrong below, keys at the foot.

use installer_plan::{Change, human_bytes};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Margin, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table, Wrap};

use crate::line::Outcome;
use crate::model::{Camera, Model, Proof, Run, StepState};
use crate::text::{names, rate, short, time};
use crate::view::{Over, View};

/// From here on there is room for file names, and for panes beside each other.
const WIDE: u16 = 120;
/// Names beside a cause.
const NAMES: usize = 4;

const GOOD: Style = Style::new().fg(Color::Green);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const DOUBT: Style = Style::new().fg(Color::Yellow);
const DIM: Style = Style::new().fg(Color::DarkGray);

pub fn draw(frame: &mut Frame<'_>, model: &Model, view: &mut View) {
    let below = lower_height(frame.area(), model);
    let [head, table, lower, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(4),
        Constraint::Length(below),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(header(model, head.width >= WIDE), head);
    cameras(frame, table, model, view);
    panes(frame, lower, model);
    frame.render_widget(keys(view), foot);
    over(frame, model, view);
}

/// Two thirds of the screen at most, and no more than there is to say.
fn lower_height(area: Rect, model: &Model) -> u16 {
    let going = model.run.as_ref().filter(|run| !run.is_well_over());
    let run = going.map_or(0, |run| run.steps.len() + run.proofs.len() + 1);
    let left = u16::try_from(run.max(model.services.len() + 1)).unwrap_or(u16::MAX / 2) + 2;
    let needed = match tall_causes(model, area.width) {
        0 => left,
        tall if area.width >= WIDE => left.max(tall + 2),
        tall => left + tall + 2,
    };
    needed.min(area.height / 3 * 2)
}

fn header(model: &Model, wide: bool) -> Line<'_> {
    let Some(site) = &model.site else {
        return match &model.blind {
            Some(error) => Line::from(vec![" cannot be asked: ".into(), Span::styled(error, BAD)]),
            None => Line::from(" asking the site …").style(DIM),
        };
    };
    let recording = model
        .cameras
        .iter()
        .filter(|one| one.sight.receiving)
        .count();
    let well = model.services.values().filter(|one| one.well).count();
    let count = |good: usize, all: usize, what: &str| {
        let style = if good == all { GOOD } else { BAD };
        Span::styled(format!("{good}/{all} {what}"), style)
    };
    let mut spans = vec![Span::raw(" "), Span::raw(site.name.as_str()).bold()];
    if wide {
        spans.push(Span::styled(format!(" on {}", site.place), DIM));
    }
    spans.extend([
        Span::raw("  "),
        count(recording, model.cameras.len(), "record"),
        Span::raw("  "),
        count(well, model.services.len(), "well"),
    ]);
    if let Some(ago) = model.unseen_for() {
        spans.push(Span::styled(format!("  seen {} ago", time(ago)), DOUBT));
    }
    if let Some(disk) = model.disk {
        let style = if disk.full { BAD } else { DIM };
        spans.push(Span::styled(
            format!("  disk {} free", human_bytes(disk.free_bytes)),
            style,
        ));
    }
    if let Some(vault) = model.vault {
        let waits = match vault.undelivered {
            0 => String::new(),
            n => format!(", {n} events wait"),
        };
        let size = if wide {
            format!(", {}", human_bytes(vault.bytes))
        } else {
            String::new()
        };
        let words = format!("  {} recordings{size}{waits}", vault.recordings);
        spans.push(Span::styled(words, DIM));
    }
    Line::from(spans)
}

fn cameras(frame: &mut Frame<'_>, area: Rect, model: &Model, view: &mut View) {
    let wide = area.width >= WIDE;
    let mut titles = vec![
        "camera", "state", "picture", "rate", "footage", "gap", "waits",
    ];
    let mut widths = vec![
        Constraint::Min(12),
        Constraint::Length(10),
        Constraint::Length(15),
        Constraint::Length(11),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(5),
    ];
    if wide {
        titles.push("newest segment");
        widths.push(Constraint::Fill(2));
    }
    let rows = model.cameras.iter().map(|camera| {
        let cells = row(camera, model.now_ms);
        Row::new(cells.into_iter().take(titles.len()))
    });
    let table = Table::new(rows, widths)
        .header(Row::new(titles.clone()).style(DIM))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(Block::bordered().border_style(DIM).title("Cameras"));
    frame.render_stateful_widget(table, area, &mut view.table);
}

fn row(camera: &Camera, now: u64) -> Vec<Cell<'static>> {
    let sight = &camera.sight;
    let gap = camera.gap();
    let state = match (sight.receiving, gap) {
        (true, None) => Cell::new("records").style(GOOD),
        (true, Some(_)) => Cell::new("silent").style(DOUBT),
        (false, _) if sight.error.is_none() => Cell::new("connecting").style(DOUBT),
        (false, _) => Cell::new("failing").style(BAD),
    };
    let age = sight.footage_ms.map(|at| time(now.saturating_sub(at)));
    let gap = match (gap, camera.longest_gap) {
        (Some(gap), _) => Cell::new(time(gap)).style(BAD),
        (None, 0) => Cell::new(""),
        // What was.
        (None, longest) => Cell::new(time(longest)).style(DIM),
    };
    let received = camera.rate().filter(|_| sight.receiving);
    let waiting = match sight.waiting {
        0 => String::new(),
        n => n.to_string(),
    };
    vec![
        Cell::new(sight.name.clone()),
        state,
        Cell::new(sight.picture.clone().unwrap_or_default()),
        Cell::new(received.map(rate).unwrap_or_default()),
        Cell::new(age.unwrap_or_default()),
        gap,
        Cell::new(waiting),
        Cell::new(sight.segment.clone().unwrap_or_default()).style(DIM),
    ]
}

/// Lines that all causes take; those that are broken between words may take one more.
fn tall_causes(model: &Model, width: u16) -> u16 {
    let width = usize::from(width.saturating_sub(4)).max(1);
    let tall = model.causes().into_iter().map(|(cause, who)| {
        let long = names(&who, NAMES).chars().count() + 2 + cause.chars().count();
        long.div_ceil(width)
    });
    u16::try_from(tall.sum::<usize>()).unwrap_or(u16::MAX / 2)
}

fn panes(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let causes = model.causes();
    let left = match &model.run {
        Some(run) => (
            "Run",
            run_lines(run, usize::from(area.height.saturating_sub(2))),
        ),
        None => ("Services", service_lines(model)),
    };
    let pane = |(title, lines): (&'static str, Vec<Line<'static>>)| {
        Paragraph::new(lines).block(Block::bordered().border_style(DIM).title(title))
    };
    if causes.is_empty() {
        frame.render_widget(pane(left), area);
        return;
    }
    let lines = causes.iter().map(|(cause, who)| {
        let who = names(who, NAMES);
        Line::from(vec![
            Span::styled(who, BAD),
            ": ".into(),
            cause.clone().into(),
        ])
    });
    let right = pane(("Causes", lines.collect())).wrap(Wrap { trim: true });
    let [first, second] = if area.width >= WIDE {
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(2)]).areas(area)
    } else {
        // What is wrong counts more than what is done.
        let room = (tall_causes(model, area.width) + 2).min(area.height / 3 * 2);
        Layout::vertical([Constraint::Fill(1), Constraint::Length(room)]).areas(area)
    };
    frame.render_widget(pane(left), first);
    frame.render_widget(right, second);
}

fn service_lines(model: &Model) -> Vec<Line<'static>> {
    let mut services: Vec<_> = model.services.values().collect();
    // What is in trouble is seen first.
    services.sort_by_key(|service| service.well);
    let line = |service: &&crate::line::ServiceSight| {
        let (mark, style) = if service.well {
            ("ok  ", GOOD)
        } else {
            ("FAIL", BAD)
        };
        Line::from(vec![
            Span::styled(mark, style),
            format!("  {}: {}", service.name, service.state).into(),
        ])
    };
    let run = model.run.as_ref().and_then(|run| run.applied);
    let over = run.map(|(changed, ms)| {
        let words = format!("run over: {changed} changes in {}", time(ms));
        Line::from(words).style(DIM)
    });
    over.into_iter().chain(services.iter().map(line)).collect()
}

/// What goes on, and what came before it as far as there is room.
fn run_lines(run: &Run, room: usize) -> Vec<Line<'static>> {
    let mut head = format!("{} of {} steps done", run.done(), run.of);
    if let Some((changed, ms)) = run.applied {
        head = format!("applied: {changed} changes in {}", time(ms));
    }
    let mut lines = Vec::new();
    for step in &run.steps {
        let verb = match step.change {
            Change::Add => "+",
            Change::Change => "~",
            Change::Remove => "-",
        };
        let (mark, style, more) = match &step.state {
            StepState::Doing => ("…   ", DOUBT, String::new()),
            StepState::Waiting(reason) => ("wait", DOUBT, format!(": {reason}")),
            StepState::Done(ms) => ("done", GOOD, format!(" ({})", time(*ms))),
            StepState::Failed(error) => ("FAIL", BAD, format!(": {error}")),
        };
        lines.push(Line::from(vec![
            Span::styled(mark, style),
            format!("  {verb} {}{more}", step.id).into(),
        ]));
    }
    for (camera, proof) in &run.proofs {
        let (mark, style, words) = match proof {
            Proof::Stage(stage) => ("wait", DOUBT, stage),
            Proof::Done(words) => ("ok  ", GOOD, words),
            Proof::Failed(error) => ("FAIL", BAD, error),
        };
        lines.push(Line::from(vec![
            Span::styled(mark, style),
            format!("  camera {camera}: {words}").into(),
        ]));
    }
    let hidden = lines.len().saturating_sub(room.saturating_sub(1));
    lines.drain(..hidden);
    lines.insert(0, Line::from(head).style(DIM));
    lines
}

fn keys(view: &View) -> Line<'static> {
    let words = if view.over != Over::Nothing {
        " ↑↓ scroll  esc back  ctrl-c quit"
    } else if view.paused {
        " space goes on  ↑↓ choose  l log  d doctor  ? help  q quit"
    } else if view.replays {
        " space pause  ↑↓ choose  l log  d doctor  ? help  q quit"
    } else {
        " ↑↓ choose  l log  d doctor  ? help  q quit"
    };
    Line::from(words).style(DIM)
}

const HELP: &str = "\
↑ ↓ j k     choose a camera, scroll
l, Enter    log of the chosen camera's agent, or of what is in trouble
d           look for everything that is wrong
space       pause a replay
q, Esc      back, quit

state       records: frames come; silent: none for 2 s; connecting; failing
rate        of the last 10 s
footage     age of the newest footage on disk
gap         how long no frame has come; in grey the longest one since you watch
waits       recordings that the vault does not have yet";

fn over(frame: &mut Frame<'_>, model: &Model, view: &View) {
    let (title, lines): (String, Vec<Line<'_>>) = match view.over {
        Over::Nothing => return,
        Over::Help => ("Help".to_owned(), HELP.lines().map(Line::from).collect()),
        Over::Log => match &model.log {
            Some((service, lines)) => (
                format!("Log of {service}"),
                lines.iter().map(|line| Line::from(line.as_str())).collect(),
            ),
            None => ("Log".to_owned(), vec![Line::from("asking …").style(DIM)]),
        },
        Over::Doctor => ("Doctor".to_owned(), findings(model)),
    };
    let area = frame.area().inner(Margin::new(2, 1));
    let room = area.height.saturating_sub(2);
    let width = usize::from(area.width.saturating_sub(2)).max(1);
    let tall: usize = lines
        .iter()
        .map(|line| line.width().div_ceil(width).max(1))
        .sum();
    let most = u16::try_from(tall).unwrap_or(u16::MAX).saturating_sub(room);
    let down = match view.over {
        Over::Log => most.saturating_sub(view.scroll),
        _ => view.scroll.min(most),
    };
    let text = Paragraph::new(lines)
        .wrap(Wrap { trim: false })
        .scroll((down, 0))
        .block(Block::bordered().title(short(&title, width)));
    frame.render_widget(Clear, area);
    frame.render_widget(text, area);
}

fn findings(model: &Model) -> Vec<Line<'_>> {
    let Some(findings) = &model.findings else {
        return vec![Line::from("looking …").style(DIM)];
    };
    let mut sorted: Vec<_> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.outcome));
    let mut lines = Vec::new();
    for finding in sorted {
        let (mark, style) = match finding.outcome {
            Outcome::Pass => ("ok  ", GOOD),
            Outcome::Info => ("note", DIM),
            Outcome::Warning => ("warn", DOUBT),
            Outcome::Fail => ("FAIL", BAD),
        };
        let words = format!("  {} [{}]", finding.message, finding.id);
        lines.push(Line::from(vec![Span::styled(mark, style), words.into()]));
        if finding.outcome > Outcome::Pass && !finding.help.is_empty() {
            lines.push(Line::from(format!("      {}", finding.help)).style(DIM));
        }
    }
    lines
}
