//! Where whoever watches looks: the camera that is chosen, what lies over the rest.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::widgets::TableState;

use crate::model::Model;

/// What a key asks of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    Quit,
    /// The log of this service.
    Log(String),
    /// What is wrong, looked for anew.
    Doctor,
    /// A replay stands still, or goes on.
    Pause,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Over {
    #[default]
    Nothing,
    Log,
    Doctor,
    Help,
}

#[derive(Debug, Default)]
pub struct View {
    pub(crate) table: TableState,
    pub(crate) over: Over,
    /// Of what lies over the rest: lines from its end (log) or its beginning (doctor).
    pub(crate) scroll: u16,
    /// Of a replay: nothing moves.
    pub(crate) paused: bool,
    pub(crate) replays: bool,
}

impl View {
    /// Of a recording, which can be paused.
    pub fn of_replay() -> Self {
        Self {
            replays: true,
            ..Self::default()
        }
    }

    pub fn paused(&self) -> bool {
        self.paused
    }

    pub fn key(&mut self, key: KeyEvent, model: &Model) -> Option<Wish> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Some(Wish::Quit),
            KeyCode::Char('q') | KeyCode::Esc if self.over != Over::Nothing => self.close(),
            KeyCode::Char('q') | KeyCode::Esc => return Some(Wish::Quit),
            KeyCode::Down | KeyCode::Char('j') => self.go(1, model),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1, model),
            KeyCode::PageDown => self.go(10, model),
            KeyCode::PageUp => self.go(-10, model),
            KeyCode::Char('l') | KeyCode::Enter => {
                let service = self.chosen(model)?;
                self.open(Over::Log);
                return Some(Wish::Log(service));
            }
            KeyCode::Char('d') => {
                self.open(Over::Doctor);
                return Some(Wish::Doctor);
            }
            KeyCode::Char('?' | 'h') => self.open(Over::Help),
            KeyCode::Char(' ') if self.replays => {
                self.paused = !self.paused;
                return Some(Wish::Pause);
            }
            _ => {}
        }
        None
    }

    fn open(&mut self, over: Over) {
        self.over = over;
        self.scroll = 0;
    }

    fn close(&mut self) {
        self.open(Over::Nothing);
    }

    fn go(&mut self, by: i16, model: &Model) {
        match self.over {
            Over::Nothing => {
                let last = model.cameras.len().saturating_sub(1);
                let now = self.table.selected().unwrap_or(0);
                let to = now.saturating_add_signed(isize::from(by)).min(last);
                self.table.select((!model.cameras.is_empty()).then_some(to));
            }
            // A log is read from its end.
            Over::Log => self.scroll = self.scroll.saturating_add_signed(-by),
            Over::Doctor | Over::Help => self.scroll = self.scroll.saturating_add_signed(by),
        }
    }

    /// Whose log is meant: the chosen camera's agent, else the first service in trouble, else any.
    fn chosen(&self, model: &Model) -> Option<String> {
        let camera = self.table.selected().and_then(|at| model.cameras.get(at));
        if let Some(camera) = camera {
            return Some(camera.sight.service.clone());
        }
        let unwell = model.services.values().find(|service| !service.well);
        let service = unwell.or_else(|| model.services.values().next())?;
        Some(service.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::{CameraSight, Line, ServiceSight, Sight};

    fn model() -> Model {
        let mut model = Model::default();
        for name in ["gate", "yard"] {
            model.take(Line::seen(
                0,
                Sight::Camera(CameraSight {
                    name: name.to_owned(),
                    service: format!("agent-{name}"),
                    ..CameraSight::default()
                }),
            ));
        }
        for (name, well) in [("agent-gate", true), ("vault", false)] {
            model.take(Line::seen(
                0,
                Sight::Service(ServiceSight {
                    name: name.to_owned(),
                    well,
                    state: String::new(),
                    causes: Vec::new(),
                }),
            ));
        }
        model
    }

    fn press(view: &mut View, model: &Model, keys: &[KeyCode]) -> Option<Wish> {
        let pressed = keys.iter().map(|key| view.key(KeyEvent::from(*key), model));
        pressed.last().flatten()
    }

    #[test]
    fn a_log_is_of_the_chosen_camera_else_of_what_is_in_trouble() {
        let (model, mut view) = (model(), View::default());
        let wish = press(&mut view, &model, &[KeyCode::Char('l')]);
        assert_eq!(wish, Some(Wish::Log("vault".to_owned())));
        let keys = [
            KeyCode::Esc,
            KeyCode::Down,
            KeyCode::Down,
            KeyCode::Down,
            KeyCode::Enter,
        ];
        let wish = press(&mut view, &model, &keys);
        assert_eq!(wish, Some(Wish::Log("agent-yard".to_owned())));
    }

    #[test]
    fn what_lies_over_the_rest_is_closed_first() {
        let (model, mut view) = (model(), View::default());
        assert_eq!(
            press(&mut view, &model, &[KeyCode::Char('d')]),
            Some(Wish::Doctor)
        );
        assert_eq!(press(&mut view, &model, &[KeyCode::Char('q')]), None);
        assert_eq!(
            press(&mut view, &model, &[KeyCode::Char('q')]),
            Some(Wish::Quit)
        );
    }

    #[test]
    fn only_a_replay_is_paused() {
        let (model, mut view) = (model(), View::default());
        assert_eq!(press(&mut view, &model, &[KeyCode::Char(' ')]), None);
        let mut view = View::of_replay();
        assert_eq!(
            press(&mut view, &model, &[KeyCode::Char(' ')]),
            Some(Wish::Pause)
        );
        assert!(view.paused());
    }
}
