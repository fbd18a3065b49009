//! URLs of cameras and webhooks. None is ever shown in a message: any may hold a password.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use url::Url;

use super::Checker;
use crate::profile::Login;
use crate::tree::Node;

/// What a password that was not encoded does to a URL.
const ENCODE: &str = "write `rtsp://HOST:PORT/PATH` and give the login by `credentials`; in a URL, \
                      write @ as %40, / as %2F, # as %23, ? as %3F";

impl Checker<'_> {
    /// Returns a camera's URL without the login, and the login.
    pub(super) fn rtsp(&mut self, node: &Node, path: &str) -> Option<(Url, Option<Login>)> {
        let text = self.text(node, path)?;
        match split_rtsp(text) {
            Ok(parts) => Some(parts),
            Err((message, help)) => {
                self.error(node.at, path, message, help);
                None
            }
        }
    }

    pub(super) fn webhook(&mut self, node: &Node, path: &str) -> Option<Url> {
        const HELP: &str = "write `https://HOST/PATH` or `http://HOST/PATH`";
        let text = self.text(node, path)?;
        let (message, help) = match Url::parse(text) {
            Err(_) => ("this is not a URL", HELP),
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                ("a webhook is an http or https URL", HELP)
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => (
                "a webhook's URL must not hold a user or password",
                "take `user:password@` out; let the receiver accept by network or by path",
            ),
            Ok(url) => return Some(url),
        };
        self.error(node.at, path, message, help);
        None
    }
}

type Refusal = (&'static str, &'static str);

fn split_rtsp(text: &str) -> Result<(Url, Option<Login>), Refusal> {
    const FORM: &str = "write `rtsp://HOST/PATH`, for example rtsp://10.0.3.11/main";
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(("the URL holds white space", FORM));
    }
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::InvalidPort => ("the URL's port is not a number from 1 to 65535", ENCODE),
        url::ParseError::EmptyHost => ("the URL has no host", FORM),
        url::ParseError::RelativeUrlWithoutBase => ("the URL does not start with rtsp://", FORM),
        _ => ("this is not a URL", FORM),
    })?;
    match url.scheme() {
        "rtsp" => {}
        "rtsps" => {
            return Err((
                "RTSP over TLS (rtsps) is not available in this version",
                "use the camera's rtsp:// URL on a network that you trust",
            ));
        }
        _ => return Err(("a camera's URL starts with rtsp://", FORM)),
    }
    let host = url.host_str().filter(|host| !host.is_empty());
    if !is_host(host.ok_or(("the URL has no host", FORM))?) {
        return Err(("the URL's host is neither a name nor an address", FORM));
    }
    if url.port() == Some(0) {
        return Err(("the URL's port is not a number from 1 to 65535", FORM));
    }
    if text.matches("://").count() > 1 {
        return Err(("the URL holds a second `://`", FORM));
    }
    let has_login = !url.username().is_empty() || url.password().is_some();
    if url.fragment().is_some() || (!has_login && text.contains('@')) {
        // A `/`, `?` or `#` inside a password moves the rest of it into the path.
        return Err(("the URL holds `#`, or an `@` outside its login", ENCODE));
    }
    let login = if has_login { Some(login(&url)?) } else { None };
    let mut bare = url;
    let cleared = bare.set_username("").and_then(|()| bare.set_password(None));
    cleared.map_err(|()| ("the URL has no host", FORM))?;
    Ok((bare, login))
}

fn login(url: &Url) -> Result<Login, Refusal> {
    let decode = |part: &str| percent_decode_str(part).decode_utf8().map(Cow::into_owned);
    let user = decode(url.username());
    let password = decode(url.password().unwrap_or_default());
    let (Ok(user), Ok(password)) = (user, password) else {
        return Err(("the URL's login is not UTF-8", ENCODE));
    };
    if user.is_empty() {
        return Err(("the URL holds a password without a user", ENCODE));
    }
    if user.chars().chain(password.chars()).any(char::is_control) {
        return Err(("the URL's login holds a control character", ENCODE));
    }
    Ok(Login { user, password })
}

/// The `url` crate leaves hosts of schemes other than the web's unchecked.
fn is_host(host: &str) -> bool {
    if host.starts_with('[') {
        return true; // An IPv6 address, which the crate has parsed.
    }
    let numeric = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if numeric {
        host.parse::<std::net::Ipv4Addr>().is_ok()
    } else {
        host.chars().all(name)
    }
}
