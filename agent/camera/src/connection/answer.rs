//! Answers to RTSP requests (RFC 2326 section 10).

use agent_media::Track;
use rtsp_types::{Method, Request, Response, ResponseBuilder, StatusCode, Url, Version, headers};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Connection, Ended, Then};
use crate::digest::Verdict;
use crate::options::Start;
use crate::player::Player;
use crate::rtp::RtpStream;
use crate::sdp;
use crate::session::{Carried, Delivery, Outlet, Session, State, UdpPair};
use crate::timeline::Timeline;
use crate::transport::{self, Proposal};

const METHODS: &str =
    "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, GET_PARAMETER, SET_PARAMETER, TEARDOWN";

type Answer = (Response<Vec<u8>>, Then);

/// What the path of a request means here.
struct Target {
    /// The track at the path's end, if it names one.
    track: Option<Track>,
    /// The session's URL with a slash at its end, without user, password and query.
    base: String,
}

impl Connection {
    pub(super) fn answer(&mut self, request: &Request<Vec<u8>>, now: Instant) -> Answer {
        let Some(sequence) = request.header(&headers::CSEQ) else {
            return (plain(StatusCode::BadRequest), Then::Close);
        };
        let (mut response, then) = self.answer_unnumbered(request, now);
        response.insert_header(headers::CSEQ, sequence.as_str());
        response.insert_header(headers::SERVER, "stakeout-test-camera");
        (response, then)
    }

    fn answer_unnumbered(&mut self, request: &Request<Vec<u8>>, now: Instant) -> Answer {
        if request.version() != Version::V1_0 {
            return no(StatusCode::RTSPVersionNotSupported);
        }
        if let Some(required) = request.header(&headers::REQUIRE) {
            let response = builder(StatusCode::OptionNotSupported)
                .header(headers::UNSUPPORTED, required.as_str());
            return done(response);
        }
        if *request.method() == Method::Options {
            return done(builder(StatusCode::Ok).header(headers::PUBLIC, METHODS));
        }
        if let Err(challenge) = self.admit(request, now) {
            return done(
                builder(StatusCode::Unauthorized).header(headers::WWW_AUTHENTICATE, challenge),
            );
        }
        let Some(target) = self.target(request.request_uri()) else {
            return no(StatusCode::NotFound);
        };
        let named = request.header(&headers::SESSION).map(|id| {
            id.as_str()
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned()
        });
        let known = self.session.as_ref().map(|session| session.id.as_str());
        if named.is_some() && named.as_deref() != known {
            return no(StatusCode::SessionNotFound);
        }
        match request.method() {
            Method::Describe => self.describe(request, &target),
            Method::Setup => self.set_up(request, &target, named.is_some(), now),
            Method::GetParameter | Method::SetParameter => self.keep_alive(),
            Method::Play | Method::Pause | Method::Teardown if named.is_none() => {
                no(StatusCode::SessionNotFound)
            }
            Method::Play => self.play(&target, now),
            Method::Pause => self.pause(),
            Method::Teardown => self.tear_down(&target),
            Method::Announce | Method::Record => {
                done(builder(StatusCode::MethodNotAllowed).header(headers::ALLOW, METHODS))
            }
            _ => done(builder(StatusCode::NotImplemented).header(headers::PUBLIC, METHODS)),
        }
    }

    /// Whether the request proves the login; else the challenge to answer with.
    fn admit(&self, request: &Request<Vec<u8>>, now: Instant) -> Result<(), String> {
        let Some(login) = &self.shared.options.login else {
            return Ok(());
        };
        let (gate, now) = (&self.shared.gate, now.into_std());
        let verdict = request
            .header(&headers::AUTHORIZATION)
            .map_or(Verdict::Refused, |proof| {
                gate.judge(login, <&str>::from(request.method()), proof.as_str(), now)
            });
        match verdict {
            Verdict::Granted => Ok(()),
            Verdict::Stale | Verdict::Refused => Err(gate.challenge(now, verdict)),
        }
    }

    /// `None` for a path that is not served.
    fn target(&self, url: Option<&Url>) -> Option<Target> {
        let path = url.map_or("", Url::path).trim_end_matches('/');
        let track = |path: &str, track| {
            let rest = path.strip_suffix(sdp::control(track))?;
            Some((rest.to_owned(), Some(track)))
        };
        let (path, track) = track(path, Track::Video)
            .or_else(|| track(path, Track::Audio))
            .unwrap_or_else(|| (path.to_owned(), None));
        let wanted = self.shared.options.path.trim_matches('/');
        if !wanted.is_empty() && path.trim_matches('/') != wanted {
            return None;
        }
        let base = url.cloned().and_then(|mut url| {
            url.set_path(&format!("{}/", path.trim_end_matches('/')));
            url.set_query(None);
            url.set_username("")
                .and_then(|()| url.set_password(None))
                .ok()?;
            Some(url.to_string())
        });
        Some(Target {
            track,
            base: base.unwrap_or_else(|| format!("rtsp://{}/", self.local)),
        })
    }

    fn describe(&self, request: &Request<Vec<u8>>, target: &Target) -> Answer {
        let accepted = request.header(&headers::ACCEPT).is_none_or(|accept| {
            ["application/sdp", "application/*", "*/*"]
                .iter()
                .any(|kind| accept.as_str().to_ascii_lowercase().contains(kind))
        });
        if !accepted {
            return no(StatusCode::NotAcceptable);
        }
        let description = sdp::describe(&self.shared.clip, self.local.ip());
        let response = builder(StatusCode::Ok)
            .header(headers::CONTENT_BASE, target.base.as_str())
            .header(headers::CONTENT_TYPE, "application/sdp")
            .build(description.into_bytes());
        (response, Then::Nothing)
    }

    fn set_up(
        &mut self,
        request: &Request<Vec<u8>>,
        target: &Target,
        in_session: bool,
        now: Instant,
    ) -> Answer {
        let has_audio = self.shared.clip.audio.is_some();
        let track = match target.track {
            Some(Track::Audio) if !has_audio => return no(StatusCode::NotFound),
            Some(track) => track,
            None if has_audio => return no(StatusCode::AggregateOperationNotAllowed),
            None => Track::Video,
        };
        let header = request
            .header(&headers::TRANSPORT)
            .map_or("", |value| value.as_str());
        let Some(proposal) = transport::choose(header) else {
            return no(StatusCode::UnsupportedTransport);
        };
        let carried = match proposal {
            Proposal::Interleaved(_) => Carried::Interleaved,
            Proposal::Udp(..) => Carried::Udp,
        };
        if !in_session {
            // A client that sets up anew has given up its old session.
            self.session = None;
        }
        if self.session.is_none() {
            let Ok(id) = getrandom::u64() else {
                return no(StatusCode::InternalServerError);
            };
            self.session = Some(Session {
                id: format!("{id:016x}"),
                state: State::Ready(Vec::new()),
                seen: watch::Sender::new(now),
                carried,
                tasks: Vec::new(),
            });
        }
        let answer = self.add_outlet(track, proposal, carried);
        // A session without any track is none.
        let empty = |session: &Session| matches!(&session.state, State::Ready(o) if o.is_empty());
        if self.session.as_ref().is_some_and(empty) {
            self.session = None;
        }
        answer
    }

    fn add_outlet(&mut self, track: Track, proposal: Proposal, carried: Carried) -> Answer {
        let Some(session) = &mut self.session else {
            return no(StatusCode::SessionNotFound);
        };
        let State::Ready(outlets) = &mut session.state else {
            return no(StatusCode::MethodNotValidInThisState);
        };
        if session.carried != carried {
            return no(StatusCode::UnsupportedTransport);
        }
        outlets.retain(|outlet| outlet.track != track);
        let (Ok(ssrc), Ok(base)) = (getrandom::u32(), getrandom::u32()) else {
            return no(StatusCode::InternalServerError);
        };
        let stream = RtpStream::new(sdp::payload_type(track), ssrc, base);
        let ssrc = stream.ssrc;
        let (delivery, transport) = match proposal {
            Proposal::Interleaved(channels) => {
                let (rtp, rtcp) = free_channels(outlets, channels);
                let delivery = Delivery::Interleaved {
                    rtp,
                    rtcp,
                    queue: self.queue.clone(),
                };
                let text = format!(
                    "RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp};ssrc={ssrc:08X};mode=\"PLAY\""
                );
                (delivery, text)
            }
            Proposal::Udp(rtp, rtcp) => {
                let bound = UdpPair::bind(self.local.ip(), self.peer.ip(), (rtp, rtcp));
                let Ok(pair) = bound else {
                    return no(StatusCode::InternalServerError);
                };
                let listen = pair.clone().listen(session.seen.clone());
                session.tasks.push(self.tasks.spawn(async {
                    listen.await;
                    Ended::Listener
                }));
                let text = format!(
                    "RTP/AVP;unicast;client_port={rtp}-{rtcp};server_port={}-{};ssrc={ssrc:08X};\
                     mode=\"PLAY\"",
                    pair.port,
                    pair.port + 1
                );
                (Delivery::Udp(pair), text)
            }
        };
        outlets.push(Outlet {
            track,
            stream,
            delivery,
        });
        let session = format!(
            "{};timeout={}",
            session.id,
            self.shared.options.session_timeout.as_secs().max(1)
        );
        done(
            builder(StatusCode::Ok)
                .header(headers::TRANSPORT, transport)
                .header(headers::SESSION, session),
        )
    }

    fn play(&mut self, target: &Target, now: Instant) -> Answer {
        let Some(session) = &mut self.session else {
            return no(StatusCode::SessionNotFound);
        };
        let answer = builder(StatusCode::Ok)
            .header(headers::SESSION, session.id.as_str())
            .header(headers::RANGE, "npt=now-");
        let outlets = match &mut session.state {
            State::Ready(outlets) => std::mem::take(outlets),
            State::Playing { paused } => {
                paused.send_replace(false);
                return done(answer);
            }
        };
        let shared = &self.shared;
        let elapsed = match shared.options.start {
            Start::Running => now.saturating_duration_since(shared.epoch),
            Start::Beginning => std::time::Duration::ZERO,
        };
        let timeline = Timeline::starting_at(shared.clip.clone(), elapsed);
        let streams = outlets.iter().map(|outlet| {
            format!(
                "url={}{};seq={};rtptime={}",
                target.base,
                sdp::control(outlet.track),
                outlet.stream.sequence,
                outlet.stream.timestamp(timeline.start_ticks(outlet.track))
            )
        });
        let streams = streams.collect::<Vec<_>>().join(",");
        let (paused, receiver) = watch::channel(false);
        session.state = State::Playing { paused };
        let player = Player {
            clip: shared.clip.clone(),
            timeline,
            outlets,
            paused: receiver,
            faults: shared.options.faults,
        };
        let response = answer.header(headers::RTP_INFO, streams).build(Vec::new());
        (response, Then::Start(Box::new(player)))
    }

    fn pause(&mut self) -> Answer {
        let Some(session) = &self.session else {
            return no(StatusCode::SessionNotFound);
        };
        let State::Playing { paused } = &session.state else {
            return no(StatusCode::MethodNotValidInThisState);
        };
        paused.send_replace(true);
        done(builder(StatusCode::Ok).header(headers::SESSION, session.id.as_str()))
    }

    fn keep_alive(&self) -> Answer {
        let mut answer = builder(StatusCode::Ok);
        if let Some(session) = &self.session {
            answer = answer.header(headers::SESSION, session.id.as_str());
        }
        done(answer)
    }

    /// One track cannot leave a session with two: RFC 2326 allows 460 for that.
    fn tear_down(&mut self, target: &Target) -> Answer {
        if target.track.is_some() && self.shared.clip.audio.is_some() {
            return no(StatusCode::OnlyAggregateOperationAllowed);
        }
        self.session = None;
        done(builder(StatusCode::Ok))
    }
}

/// The channels the client chose, unless another track has one of them; then the next free.
fn free_channels(outlets: &[Outlet], wanted: Option<(u8, u8)>) -> (u8, u8) {
    let taken: Vec<u8> = outlets
        .iter()
        .filter_map(|outlet| match outlet.delivery {
            Delivery::Interleaved { rtp, rtcp, .. } => Some([rtp, rtcp]),
            Delivery::Udp(_) => None,
        })
        .flatten()
        .collect();
    let free = |(rtp, rtcp): &(u8, u8)| !taken.contains(rtp) && !taken.contains(rtcp);
    let pairs = (0..127).map(|half| (half * 2, half * 2 + 1));
    wanted
        .into_iter()
        .chain(pairs)
        .find(free)
        .unwrap_or((254, 255))
}

fn builder(status: StatusCode) -> ResponseBuilder {
    Response::builder(Version::V1_0, status)
}

fn plain(status: StatusCode) -> Response<Vec<u8>> {
    builder(status).build(Vec::new())
}

fn no(status: StatusCode) -> Answer {
    (plain(status), Then::Nothing)
}

fn done(builder: ResponseBuilder) -> Answer {
    (builder.build(Vec::new()), Then::Nothing)
}
