//! One bare DESCRIBE, without credentials: is there a camera, and how does it want to be asked?
//!
//! retina hides the challenge and the kind of a connection error; the probe needs both.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use crate::CaptureError;

/// A camera on a slow link answers a SYN within one retransmission or two.
const CONNECT: Duration = Duration::from_secs(5);
/// Cameras that wake an encoder for DESCRIBE take seconds.
const ANSWER: Duration = Duration::from_secs(8);
/// A response head is a few hundred bytes; more is not RTSP.
const LARGEST_HEAD: usize = 16 * 1024;

/// The challenge of a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Open,
    Basic,
    Digest,
}

impl Scheme {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "none",
            Self::Basic => "basic",
            Self::Digest => "digest",
        }
    }
}

/// `host:port` for messages.
pub(crate) fn address(url: &Url) -> String {
    format!(
        "{}:{}",
        url.host_str().unwrap_or("?"),
        url.port().unwrap_or(554)
    )
}

/// Connects to the camera, or says why not.
pub(crate) async fn connect(url: &Url) -> Result<TcpStream, CaptureError> {
    let host = url.host_str().unwrap_or_default();
    // `[::1]` is how a URL writes it, `::1` how a resolver wants it.
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((bare, url.port().unwrap_or(554))).await;
    let addresses = match found {
        Ok(addresses) => addresses.collect::<Vec<_>>(),
        Err(source) => {
            return Err(CaptureError::Dns {
                host: host.to_owned(),
                source,
            });
        }
    };
    let address = address(url);
    match timeout(CONNECT, TcpStream::connect(addresses.as_slice())).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(source)) if source.kind() == ErrorKind::ConnectionRefused => {
            Err(CaptureError::Refused { address, source })
        }
        Ok(Err(source)) => Err(CaptureError::Unreachable {
            address,
            source: Some(source),
        }),
        Err(_) => Err(CaptureError::Unreachable {
            address,
            source: None,
        }),
    }
}

/// Asks without credentials and returns the camera's challenge.
pub(crate) async fn ask(url: &Url) -> Result<Scheme, CaptureError> {
    let mut stream = connect(url).await?;
    let request = format!(
        "DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\nUser-Agent: {}\r\n\r\n",
        crate::session::USER_AGENT
    );
    let head = match timeout(ANSWER, exchange(&mut stream, request.as_bytes())).await {
        Ok(Ok(head)) => head,
        Ok(Err(e)) => return Err(protocol(url, &format!("reading its answer failed: {e}"))),
        Err(_) => return Err(protocol(url, "it took the connection and did not answer")),
    };
    judge(url, &head)
}

async fn exchange(stream: &mut TcpStream, request: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(request).await?;
    let mut head = Vec::new();
    let mut buffer = [0; 2048];
    while head.len() < LARGEST_HEAD && !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            break;
        }
        head.extend_from_slice(&buffer[..n]);
    }
    Ok(head)
}

fn judge(url: &Url, head: &[u8]) -> Result<Scheme, CaptureError> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let mut words = first.split(' ');
    let status = match (words.next(), words.next().map(str::parse::<u16>)) {
        (Some("RTSP/1.0" | "RTSP/2.0"), Some(Ok(status))) => status,
        (Some(w), _) if w.starts_with("HTTP/") => {
            return Err(protocol(url, "an HTTP server answered"));
        }
        _ if head.is_empty() => return Err(protocol(url, "it closed the connection unanswered")),
        _ => return Err(protocol(url, "its answer is not RTSP")),
    };
    match status {
        // Redirects are followed by nobody here; the session will say so.
        200..=299 => Ok(Scheme::Open),
        401 => {
            let challenges = lines
                .take_while(|l| !l.is_empty())
                .filter_map(|l| l.split_once(':'))
                .filter(|(name, _)| name.trim().eq_ignore_ascii_case("www-authenticate"))
                .map(|(_, value)| value.trim().to_ascii_lowercase());
            let mut scheme = None;
            for challenge in challenges {
                if challenge.contains("digest") {
                    scheme = Some(Scheme::Digest);
                } else if challenge.contains("basic") && scheme.is_none() {
                    scheme = Some(Scheme::Basic);
                }
            }
            scheme.ok_or_else(|| {
                protocol(url, "it wants a login and offers neither Basic nor Digest")
            })
        }
        _ => Err(by_status(url, status, false)),
    }
}

/// What a status means, wherever it came from.
pub(crate) fn by_status(url: &Url, status: u16, given: bool) -> CaptureError {
    match status {
        401 | 403 => CaptureError::Unauthorized {
            address: address(url),
            given,
        },
        404 | 454 | 410 => CaptureError::NotFound {
            address: address(url),
            path: url.path().to_owned(),
        },
        _ => protocol(url, &format!("it answered with status {status}")),
    }
}

pub(crate) fn protocol(url: &Url, reason: &str) -> CaptureError {
    CaptureError::Protocol {
        address: address(url),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use agent_api::ProbeFailureKind;

    use super::*;

    fn judged(head: &str) -> Result<Scheme, ProbeFailureKind> {
        let url = Url::parse("rtsp://camera/main").expect("a URL");
        judge(&url, head.as_bytes()).map_err(|e| e.kind())
    }

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(judged("RTSP/1.0 200 OK\r\n\r\n"), Ok(Scheme::Open));
        let both = "RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nwww-authenticate: Digest realm=\"x\", nonce=\"1\"\r\n\r\n";
        assert_eq!(judged(both), Ok(Scheme::Digest));
        let basic = "RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n";
        assert_eq!(judged(basic), Ok(Scheme::Basic));
        assert_eq!(
            judged("RTSP/1.0 404 Not Found\r\n\r\n"),
            Err(ProbeFailureKind::NotFound)
        );
        assert_eq!(
            judged("RTSP/1.0 403 Forbidden\r\n\r\n"),
            Err(ProbeFailureKind::Unauthorized)
        );
        for odd in [
            "",
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "\0\u{1}garbage",
            "RTSP/1.0 five\r\n\r\n",
        ] {
            assert_eq!(judged(odd), Err(ProbeFailureKind::Protocol), "{odd:?}");
        }
    }
}
