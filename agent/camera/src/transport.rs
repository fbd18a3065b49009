//! The Transport header of SETUP (RFC 2326 section 12.39), as far as cameras offer it.

/// One way to carry a track that a client proposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proposal {
    /// Interleaved in the RTSP connection; channels for RTP and RTCP when the client chose them.
    Interleaved(Option<(u8, u8)>),
    /// UDP unicast to the client's ports for RTP and RTCP.
    Udp(u16, u16),
}

/// The first proposal that this camera can serve; `None`: 461.
pub(crate) fn choose(header: &str) -> Option<Proposal> {
    header.split(',').find_map(parse)
}

fn parse(text: &str) -> Option<Proposal> {
    let mut parameters = text.split(';').map(str::trim);
    let profile = parameters.next()?.to_ascii_uppercase();
    let parameters: Vec<_> = parameters.collect();
    let value = |name: &str| {
        parameters.iter().find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim()
                .eq_ignore_ascii_case(name)
                .then_some(value.trim())
        })
    };
    let has = |name: &str| {
        parameters
            .iter()
            .any(|part| part.eq_ignore_ascii_case(name))
    };
    if has("multicast") || value("mode").is_some_and(|mode| !is_play(mode)) {
        return None;
    }
    match profile.as_str() {
        "RTP/AVP/TCP" => match value("interleaved") {
            Some(range) => Some(Proposal::Interleaved(Some(pair(range)?))),
            None => Some(Proposal::Interleaved(None)),
        },
        "RTP/AVP" | "RTP/AVP/UDP" => {
            let (rtp, rtcp) = pair::<u16>(value("client_port")?)?;
            (rtp != 0 && rtcp != 0).then_some(Proposal::Udp(rtp, rtcp))
        }
        _ => None,
    }
}

fn is_play(mode: &str) -> bool {
    mode.trim_matches('"').eq_ignore_ascii_case("play")
}

/// `A-B`, or `A` for `A` and the number after it.
fn pair<N: std::str::FromStr + Copy + PartialEq + Successor>(range: &str) -> Option<(N, N)> {
    let (first, second) = if let Some((first, second)) = range.split_once('-') {
        (first.trim().parse().ok()?, second.trim().parse().ok()?)
    } else {
        let first: N = range.parse().ok()?;
        (first, first.successor()?)
    };
    (first != second).then_some((first, second))
}

trait Successor: Sized {
    fn successor(self) -> Option<Self>;
}

impl Successor for u8 {
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Successor for u16 {
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(header: &str, wanted: Option<Proposal>) {
        assert_eq!(choose(header), wanted, "{header}");
    }

    #[test]
    fn takes_the_first_that_it_can_serve() {
        check(
            "RTP/AVP/TCP;unicast;interleaved=2-3",
            Some(Proposal::Interleaved(Some((2, 3)))),
        );
        check("RTP/AVP/TCP", Some(Proposal::Interleaved(None)));
        check(
            "RTP/AVP;unicast;client_port=5000-5001;mode=\"PLAY\"",
            Some(Proposal::Udp(5000, 5001)),
        );
        check(
            "RTP/AVP/UDP;client_port=5000",
            Some(Proposal::Udp(5000, 5001)),
        );
        check(
            "RTP/AVP;multicast, RAW/RAW/UDP, rtp/avp/tcp; interleaved = 0-1",
            Some(Proposal::Interleaved(Some((0, 1)))),
        );
    }

    #[test]
    fn refuses_the_rest() {
        for header in [
            "",
            "RTP/AVP",
            "RTP/SAVP;unicast;client_port=1-2",
            "RTP/AVP;multicast;client_port=5000-5001",
            "RTP/AVP/TCP;interleaved=300-301",
            "RTP/AVP/TCP;interleaved=4-4",
            "RTP/AVP;client_port=0-1",
            "RTP/AVP;client_port=65535",
            "RTP/AVP/TCP;mode=RECORD",
        ] {
            check(header, None);
        }
    }

    proptest! {
        #[test]
        fn never_panics(header in "\\PC{0,120}") {
            choose(&header);
        }

        #[test]
        fn never_panics_near_the_truth(header in "(RTP/AVP(/TCP|/UDP)?|,|;|=|-|interleaved|client_port|[0-9]{1,6}| ){0,20}") {
            choose(&header);
        }
    }
}
