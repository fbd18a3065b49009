//! Events on their way to real brokers, which come, go and say no.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod amqp;
mod mqtt;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use vault_api::Event;
use vault_catalogue::{Catalogue, NewRecording, SqliteCatalogue};
use vault_integrations::{Broker, Credentials, Sink, deliver};
use vault_testkit::RealBroker;

const NAME: &str = "broker";

/// A catalogue with events, as the vault has it.
struct Outbox {
    _folder: tempfile::TempDir,
    catalogue: Arc<dyn Catalogue>,
    news: watch::Sender<u64>,
}

/// A delivery that runs, and what it has to say.
struct Delivery {
    task: JoinHandle<()>,
    trouble: watch::Receiver<Option<String>>,
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Outbox {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("c.sqlite")).unwrap();
        let catalogue = SqliteCatalogue::open(&path, "site").unwrap();
        Self {
            _folder: folder,
            catalogue: Arc::new(catalogue),
            news: watch::Sender::new(0),
        }
    }

    /// Stores a recording; its event waits from now on.
    fn add(&self, number: i64) {
        let camera = if number % 2 == 0 { "gate" } else { "yard" };
        let new = NewRecording {
            account: "a".into(),
            key: format!("a/{number}.mp4"),
            camera: camera.into(),
            start_ms: number,
            duration_ms: 0,
            bytes: 1,
            sha256: None,
            stored_ms: 0,
            location: String::new(),
        };
        self.catalogue.add(&new).unwrap();
        self.news.send_modify(|count| *count += 1);
    }

    fn deliver(&self, sink: impl Sink) -> Delivery {
        let (sender, trouble) = watch::channel(None);
        let (catalogue, news) = (Arc::clone(&self.catalogue), self.news.subscribe());
        let task = tokio::spawn(deliver(sink, catalogue, news, sender));
        Delivery { task, trouble }
    }

    fn taken(&self) -> i64 {
        self.catalogue.delivered(NAME).unwrap()
    }

    fn events(&self) -> Vec<Event> {
        let events = self.catalogue.events(0, None, 1000);
        events.unwrap()
    }

    async fn all_taken(&self, number: i64) {
        let taken = async {
            while self.taken() < number {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let taken = tokio::time::timeout(Duration::from_secs(40), taken).await;
        assert!(taken.is_ok(), "{} of {number} were taken", self.taken());
    }
}

impl Delivery {
    /// Waits for a trouble that says so.
    async fn says(&mut self, word: &str) -> String {
        let said = self
            .trouble
            .wait_for(|said| said.as_ref().is_some_and(|said| said.contains(word)));
        let said = tokio::time::timeout(Duration::from_secs(20), said).await;
        let Ok(said) = said.map(|said| said.unwrap().clone().unwrap()) else {
            panic!("wanted `{word}`, heard {:?}", *self.trouble.borrow());
        };
        assert!(
            !said.contains(RealBroker::PASSWORD) && !said.contains("wrong-012"),
            "{said}"
        );
        said
    }

    async fn is_well(&mut self) {
        let well = self.trouble.wait_for(Option::is_none);
        let well = tokio::time::timeout(Duration::from_secs(20), well).await;
        drop(well.expect("the trouble does not end").unwrap());
    }
}

fn broker(real: &RealBroker) -> Broker {
    Broker {
        name: NAME.into(),
        url: real.part.url.parse().unwrap(),
        credentials: Some(Credentials {
            user: RealBroker::USER.into(),
            password: RealBroker::PASSWORD.into(),
        }),
        roots: None,
    }
}

/// With a certificate, and a client that trusts it.
fn with_tls(kind: &'static str) -> (RealBroker, Broker) {
    let files = vault_testkit::Files::default();
    let (certificate, key) = files.certificate("broker");
    let tls = [("--certificate", certificate.as_str()), ("--key", &key)];
    let real = RealBroker::start(kind, files, &tls);
    let mut broker = broker(&real);
    broker.roots = Some(fs::read(certificate).unwrap());
    (real, broker)
}

/// At least once and in order: leaving out what was heard before, nothing is missing or misplaced.
fn assert_complete(heard: &[Event], outbox: &Outbox) {
    let mut seen = BTreeSet::new();
    let first: Vec<_> = heard
        .iter()
        .filter(|event| seen.insert(event.seq))
        .collect();
    let wanted = outbox.events();
    assert_eq!(first, wanted.iter().collect::<Vec<_>>());
}
