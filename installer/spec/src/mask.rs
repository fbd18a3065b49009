//! Takes secrets out of text that is about to be shown.

/// Query parameters whose value is a secret; some cameras take the login there.
const SECRET_PARAMETERS: [&str; 6] = ["password", "passwd", "pwd", "pass", "token", "secret"];

/// Shows every URL in `text` without its user and password: `rtsp://***@host/main`.
///
/// A URL ends at white space, a double quote, `<`, `>` or a backtick. Where it is unclear how far
/// a password reaches (an `@` or `/` inside it), rather more is hidden than less.
pub fn mask(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let end = after.find(ends_url).unwrap_or(after.len());
        let (url, tail) = after.split_at(end);
        mask_url(url, &mut shown);
        rest = tail;
    }
    shown.push_str(rest);
    shown
}

fn ends_url(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '"' | '<' | '>' | '`')
}

/// `url` is what follows `://`.
fn mask_url(url: &str, shown: &mut String) {
    if let Some((_, host)) = url.rsplit_once('@') {
        shown.push_str("***@");
        return mask_parameters(host, shown);
    }
    let authority = url.split(['/', '?', '#']).next().unwrap_or_default();
    let port_like = |port: &str| port.chars().all(|c| c.is_ascii_digit() || is_closing(c));
    let login_like = !authority.starts_with('[')
        && authority
            .split_once(':')
            .is_some_and(|(_, port)| !port_like(port));
    if login_like {
        // Not a port: the `@` is missing or comes after white space.
        shown.push_str("***");
        return;
    }
    mask_parameters(url, shown);
}

/// Punctuation that may follow a URL in a sentence.
fn is_closing(c: char) -> bool {
    matches!(
        c,
        '.' | ',' | ';' | ':' | ')' | ']' | '}' | '\'' | '!' | '*'
    )
}

fn mask_parameters(url: &str, shown: &mut String) {
    for part in url.split_inclusive(['?', '&', '/', ';']) {
        let (body, separator) = match part.char_indices().next_back() {
            Some((at, '?' | '&' | '/' | ';')) => part.split_at(at),
            _ => (part, ""),
        };
        match body.split_once('=') {
            Some((key, _))
                if SECRET_PARAMETERS
                    .iter()
                    .any(|s| key.eq_ignore_ascii_case(s)) =>
            {
                shown.push_str(key);
                shown.push_str("=***");
            }
            _ => shown.push_str(body),
        }
        shown.push_str(separator);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::mask;

    #[track_caller]
    fn check(text: &str, wanted: &str) {
        assert_eq!(mask(text), wanted);
    }

    #[test]
    fn a_login_is_hidden_and_the_rest_stays() {
        check(
            "rtsp://admin:pw@10.0.0.1:554/main",
            "rtsp://***@10.0.0.1:554/main",
        );
        check(
            "see rtsp://a:b@h/1 and http://c:d@i/2.",
            "see rtsp://***@h/1 and http://***@i/2.",
        );
        check(
            "{\"url\":\"rtsp://a:b@h\",\"x\":\"y@z\"}",
            "{\"url\":\"rtsp://***@h\",\"x\":\"y@z\"}",
        );
        check("no URL at all: a@b", "no URL at all: a@b");
        check(
            "at http://127.0.0.1:8080, or https://h:9/x",
            "at http://127.0.0.1:8080, or https://h:9/x",
        );
        check("http://[::1]:80/", "http://[::1]:80/");
    }

    #[test]
    fn an_unencoded_password_is_hidden_whole() {
        check("rtsp://a:p@ss@h/x", "rtsp://***@h/x");
        check("rtsp://a:p/s?s#@h/x", "rtsp://***@h/x");
        check("rtsp://a:forgot-the-at", "rtsp://***");
    }

    #[test]
    fn a_login_in_the_query_is_hidden() {
        check(
            "rtsp://h/user=admin&password=pw&channel=1",
            "rtsp://h/user=admin&password=***&channel=1",
        );
        check("https://h/hook?token=abc", "https://h/hook?token=***");
    }

    proptest! {
        #[test]
        fn no_password_survives(
            before in "[ -P]{0,12}", user in "[!-~&&[^\"<>`]]{1,8}",
            password in "[!-~&&[^\"<>`]]{0,8}", after in "[ -P]{0,12}",
        ) {
            let text = format!("{before} rtsp://{user}:QZ{password}ZQ@host/x {after}");
            let masked = mask(&text);
            prop_assert!(!masked.contains("QZ"), "{masked}");
            prop_assert!(!masked.contains("ZQ"), "{masked}");
        }

        #[test]
        fn masking_twice_changes_nothing_more(text in "([a-z:/@=?&. *]|://|password=){0,24}") {
            let once = mask(&text);
            prop_assert_eq!(mask(&once), once);
        }
    }
}
