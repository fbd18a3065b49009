//! A registry on loopback, and a gate before it that is shut or busy at will.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use camino::Utf8Path;

use crate::shipped::Server;
use crate::{free_port, root, wait_until};

/// Debian's docker-registry; it and what it holds go when this is dropped.
#[derive(Debug)]
pub struct Registry {
    pub address: String,
    _server: Server,
    _folder: tempfile::TempDir,
}

impl Registry {
    /// Serves with these further arguments of `ci/parts/registry`.
    pub fn start(words: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder in /tmp");
        let at = Utf8Path::from_path(folder.path()).expect("a folder in /tmp has a plain name");
        let port = free_port();
        let mut command = Command::new(root().join("ci/parts/registry"));
        command.arg(at).arg(port.to_string()).args(words);
        let registry = Self {
            address: format!("127.0.0.1:{port}"),
            _server: Server::start(&mut command, &at.join("log")),
            _folder: folder,
        };
        let listens = || TcpStream::connect(&registry.address).is_ok();
        wait_until(Duration::from_secs(20), "the registry listens", listens);
        registry
    }
}

/// How a gate treats whoever comes.
#[derive(Debug, Clone, Copy)]
pub enum Mood {
    Open,
    /// Hangs up, as a server that is not there.
    Shut,
    /// Answers 429 until then, and says how many seconds are left.
    Busy(Instant),
}

/// Stands before a server that speaks plain HTTP.
#[derive(Debug)]
pub struct Gate {
    pub address: String,
    state: Arc<Mutex<(Mood, u32)>>,
}

impl Gate {
    pub fn stand(before: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it listens").to_string();
        let state = Arc::new(Mutex::new((Mood::Open, 0)));
        let (shared, to) = (Arc::clone(&state), before.to_owned());
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let (shared, to) = (Arc::clone(&shared), to.clone());
                thread::spawn(move || pass(client, &to, &shared));
            }
        });
        Self { address, state }
    }

    pub fn set(&self, mood: Mood) {
        *self.state.lock().expect("no holder panics") = (mood, 0);
    }

    /// How many were sent away since the mood was set.
    pub fn refused(&self) -> u32 {
        self.state.lock().expect("no holder panics").1
    }
}

fn pass(mut client: TcpStream, to: &str, state: &Mutex<(Mood, u32)>) -> Option<()> {
    let mut begin = vec![0; 16 * 1024];
    let n = client.read(&mut begin).ok()?;
    let begin = begin.get(..n)?;
    // Engines try TLS first; what is not a method's letter is that.
    if !begin.first()?.is_ascii_uppercase() {
        let answer = b"HTTP/1.0 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        return client.write_all(answer).ok();
    }
    let mood = {
        let mut state = state.lock().ok()?;
        state.1 += u32::from(!matches!(state.0, Mood::Open));
        state.0
    };
    match mood {
        Mood::Shut => return None,
        Mood::Busy(until) if until > Instant::now() => {
            let left = (until - Instant::now()).as_secs() + 1;
            let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"come back later"}]}"#;
            let answer = format!(
                "HTTP/1.1 429 Too Many Requests\r\nRetry-After: {left}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
            return client.write_all(answer.as_bytes()).ok();
        }
        Mood::Busy(_) | Mood::Open => {}
    }
    let mut server = TcpStream::connect(to).ok()?;
    server.write_all(begin).ok()?;
    let (mut from, mut into) = (client.try_clone().ok()?, server.try_clone().ok()?);
    let up = thread::spawn(move || {
        std::io::copy(&mut from, &mut into).ok();
        into.shutdown(Shutdown::Write).ok();
    });
    std::io::copy(&mut server, &mut client).ok();
    client.shutdown(Shutdown::Both).ok();
    up.join().ok()
}
