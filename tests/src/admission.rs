//! An admission webhook on loopback that refuses whatever it is asked about.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::serve::Listener;
use axum::{Json, Router, routing};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Ends when it is dropped.
#[derive(Debug)]
pub struct Webhook {
    address: SocketAddr,
    trust: String,
    _runtime: Runtime,
}

impl Webhook {
    /// Refuses with this answer: its code, its reason, and its words.
    pub fn start(code: u16, reason: &'static str, words: &'static str) -> Self {
        let made = rcgen::generate_simple_self_signed([Ipv4Addr::LOCALHOST.to_string()]);
        let made = made.expect("a certificate can be made");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .expect("key and certificate go together");
        let runtime = Runtime::new().expect("threads can be started");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let tls = Tls {
            listener,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        };
        let answer = move |Json(review): Json<Value>| async move {
            let uid = review.pointer("/request/uid").cloned().unwrap_or_default();
            let status = json!({ "code": code, "reason": reason, "message": words });
            Json(json!({
                "apiVersion": "admission.k8s.io/v1",
                "kind": "AdmissionReview",
                "response": { "uid": uid, "allowed": false, "status": status },
            }))
        };
        let router = Router::new().route("/", routing::post(answer));
        runtime.spawn(async move { axum::serve(tls, router).await });
        Self {
            address,
            trust: STANDARD.encode(made.cert.pem()),
            _runtime: runtime,
        }
    }

    /// How an API server reaches it.
    pub fn client(&self) -> Value {
        json!({ "url": format!("https://{}/", self.address), "caBundle": self.trust })
    }
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // Whoever gives up in between is no reason to end.
            if let Ok((stream, address)) = self.listener.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
