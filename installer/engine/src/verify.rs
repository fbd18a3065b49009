//! The proof: a recording made now is followed from the camera to the event that tells of it,
//! and read back by an MP4 reader that is not ours.

use std::time::{Duration, Instant};

use agent_api::{CameraState, CameraStatus, Proof};
use installer_plan::{Verified, VerifiedHop};
use reqwest::{Certificate, Client, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use shiguredo_mp4::TrackKind;
use shiguredo_mp4::boxes::SampleEntry;
use shiguredo_mp4::demux::{Fmp4FileDemuxer, Input};
use url::Url;

use crate::apply::millis;
use crate::event::Event;
use crate::port::Probe;
use crate::wait::{Waited, until};

/// How to reach one camera's agent.
#[derive(Clone)]
pub struct CameraAccess {
    pub camera: String,
    /// Base of the agent, `http://127.0.0.1:port/`.
    pub agent: Url,
    pub token: String,
    /// Absent at a site without a vault.
    pub vault: Option<VaultAccess>,
    /// PEM of the only issuers that are trusted, where the site has certificates.
    pub trust: Option<String>,
    /// Where the agent keeps the camera's files, to name the recording at a site without a vault.
    pub folder: camino::Utf8PathBuf,
}

#[derive(Clone)]
pub struct VaultAccess {
    /// Base of the vault, `http://127.0.0.1:port/`.
    pub url: Url,
    pub token: String,
    /// Integrations are configured: the event has to reach all of them.
    pub integrations: bool,
}

impl std::fmt::Debug for CameraAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CameraAccess")
            .field("camera", &self.camera)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for VaultAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VaultAccess")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("camera `{camera}` gives no picture: {reason}")]
    NoPicture { camera: String, reason: String },
    #[error("cannot ask the {peer} for {what}")]
    Request {
        peer: &'static str,
        what: String,
        source: reqwest::Error,
    },
    #[error("the {peer} answered {status} when asked for {what}: {body}")]
    Refused {
        peer: &'static str,
        what: String,
        status: StatusCode,
        body: String,
    },
    #[error("recording `{recording}` of camera `{camera}` did not reach the vault")]
    NotStored { camera: String, recording: String },
    #[error("recording `{recording}` cannot be played: {reason}")]
    Unplayable { recording: String, reason: String },
    #[error("no event told of recording `{recording}` within {seconds} s")]
    NoEvent { recording: String, seconds: u64 },
    #[error("an integration did not take the event of recording `{recording}` within {seconds} s")]
    NotDelivered { recording: String, seconds: u64 },
}

/// A camera that was just plugged in has this long to give its first frame.
const PICTURE_DEADLINE: Duration = Duration::from_secs(30);
/// A question about what is.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
const EVENT_DEADLINE: Duration = Duration::from_secs(20);

/// Makes a recording of `seconds` at one camera and follows it to the end.
pub async fn verify(
    access: &CameraAccess,
    seconds: u64,
    report: &mut impl FnMut(Event),
) -> Result<Verified, VerifyError> {
    let client = client(access.trust.as_deref().unwrap_or_default());
    let mut stage = |text: &str| {
        report(Event::Verifying {
            camera: access.camera.clone(),
            stage: text.to_owned(),
        });
    };
    stage("waiting for the first frame");
    wait_for_picture(access, &client).await?;
    stage("recording");
    let proof = make_proof(access, &client, seconds).await?;
    let mut hops = vec![
        VerifiedHop {
            name: "camera".into(),
            ms: proof.first_frame_ms,
        },
        VerifiedHop {
            name: "agent".into(),
            ms: proof.recorded_ms,
        },
    ];
    let (clip, location, bytes) = if let Some(vault) = &access.vault {
        let uploaded = proof.uploaded_ms.ok_or_else(|| VerifyError::NotStored {
            camera: access.camera.clone(),
            recording: proof.recording.clone(),
        })?;
        hops.push(VerifiedHop {
            name: "vault".into(),
            ms: uploaded,
        });
        stage("reading it back from the vault");
        let begun = Instant::now();
        let (object, data) = fetch_object(access, vault, &client, &proof).await?;
        let clip = playable(&proof.recording, &data)?;
        hops.push(VerifiedHop {
            name: "object".into(),
            ms: millis(begun.elapsed()),
        });
        stage("waiting for its event");
        let begun = Instant::now();
        wait_for_event(vault, &client, &object).await?;
        hops.push(VerifiedHop {
            name: "event".into(),
            ms: millis(begun.elapsed()),
        });
        (clip, object.location, data.len())
    } else {
        stage("reading it back from the agent");
        let begun = Instant::now();
        let url = join(&access.agent, &["api", "recordings", &proof.recording]);
        let data = fetch_bytes("agent", client.get(url).bearer_auth(&access.token)).await?;
        let clip = playable(&proof.recording, &data)?;
        hops.push(VerifiedHop {
            name: "object".into(),
            ms: millis(begun.elapsed()),
        });
        (
            clip,
            access.folder.join(&proof.recording).into_string(),
            data.len(),
        )
    };
    Ok(Verified {
        camera: access.camera.clone(),
        recording: location,
        // Milliseconds are what anybody can use.
        seconds: (clip.seconds * 1000.0).round() / 1000.0,
        codec: clip.codec.to_owned(),
        width: clip.width,
        height: clip.height,
        frames: clip.frames,
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        hops,
    })
}

/// What an agent says of its cameras now.
pub async fn read_cameras(agent: &Url, token: &str) -> Result<Vec<CameraStatus>, VerifyError> {
    let request = client("")
        .get(join(agent, &["api", "cameras"]))
        .bearer_auth(token)
        .timeout(ANSWER_DEADLINE);
    fetch_json("agent", request).await
}

/// What the vault holds; nothing at a site without one.
pub async fn read_usage(access: &CameraAccess) -> Result<Option<vault_api::Usage>, VerifyError> {
    let Some(vault) = &access.vault else {
        return Ok(None);
    };
    let request = client(access.trust.as_deref().unwrap_or_default())
        .get(join(&vault.url, &["api", "usage"]))
        .bearer_auth(&vault.token)
        .timeout(ANSWER_DEADLINE);
    fetch_json("vault", request).await.map(Some)
}

fn client(trusted: &str) -> Client {
    Client::builder()
        .no_proxy()
        // The site's own authority, and no other, vouches for what is asked here.
        .tls_certs_only(Certificate::from_pem_bundle(trusted.as_bytes()).unwrap_or_default())
        .connect_timeout(Duration::from_secs(5))
        .build()
        .expect("invariant: a client with certificates that were parsed builds")
}

async fn wait_for_picture(access: &CameraAccess, client: &Client) -> Result<(), VerifyError> {
    let url = join(&access.agent, &["api", "cameras"]);
    let waited = until(
        PICTURE_DEADLINE,
        || false,
        |_| {},
        || async {
            let request = client.get(url.clone()).bearer_auth(&access.token);
            let cameras: Vec<CameraStatus> = match fetch_json("agent", request).await {
                Ok(cameras) => cameras,
                Err(error) => return Probe::Waiting(error.to_string()),
            };
            match cameras.iter().find(|camera| camera.name == access.camera) {
                Some(camera) if camera.state == CameraState::Receiving && camera.frames > 0 => {
                    Probe::Met
                }
                Some(camera) => Probe::Waiting(
                    camera
                        .error
                        .clone()
                        .unwrap_or_else(|| "no frame has come yet".to_owned()),
                ),
                None => Probe::Failed("its agent does not know it".to_owned()),
            }
        },
    );
    match waited.await {
        Waited::Met => Ok(()),
        Waited::TimedOut(reason) | Waited::Failed(reason) | Waited::Forbidden(reason) => {
            Err(VerifyError::NoPicture {
                camera: access.camera.clone(),
                reason,
            })
        }
        Waited::Interrupted => Ok(()),
    }
}

async fn make_proof(
    access: &CameraAccess,
    client: &Client,
    seconds: u64,
) -> Result<Proof, VerifyError> {
    let mut url = join(&access.agent, &["api", "cameras", &access.camera, "proof"]);
    url.query_pairs_mut()
        .append_pair("seconds", &seconds.to_string());
    // A key frame may be 20 s away, twice; uploading waits for the vault.
    let deadline = Duration::from_secs(seconds * 2 + 60);
    fetch_json(
        "agent",
        client
            .post(url)
            .bearer_auth(&access.token)
            .timeout(deadline),
    )
    .await
}

async fn fetch_object(
    access: &CameraAccess,
    vault: &VaultAccess,
    client: &Client,
    proof: &Proof,
) -> Result<(vault_api::Recording, Vec<u8>), VerifyError> {
    let mut url = join(&vault.url, &["api", "recordings"]);
    url.query_pairs_mut()
        .append_pair("camera", &access.camera)
        .append_pair("limit", "20");
    let page: vault_api::Page =
        fetch_json("vault", client.get(url).bearer_auth(&vault.token)).await?;
    let wanted = |recording: &vault_api::Recording| {
        recording.key.rsplit('/').next() == Some(proof.recording.as_str())
    };
    let object =
        page.recordings
            .into_iter()
            .find(wanted)
            .ok_or_else(|| VerifyError::NotStored {
                camera: access.camera.clone(),
                recording: proof.recording.clone(),
            })?;
    let url = join(
        &vault.url,
        &["api", "recordings", &object.id.to_string(), "media"],
    );
    let data = fetch_bytes("vault", client.get(url).bearer_auth(&vault.token)).await?;
    Ok((object, data))
}

async fn wait_for_event(
    vault: &VaultAccess,
    client: &Client,
    object: &vault_api::Recording,
) -> Result<(), VerifyError> {
    let mut url = join(&vault.url, &["api", "events"]);
    url.query_pairs_mut()
        .append_pair("recording", &object.id.to_string())
        .append_pair("wait_ms", &EVENT_DEADLINE.as_millis().to_string());
    let request = client
        .get(url)
        .bearer_auth(&vault.token)
        .timeout(EVENT_DEADLINE + Duration::from_secs(5));
    let events: Vec<vault_api::Event> = fetch_json("vault", request).await?;
    let told = events.iter().find(|event| event.recording.id == object.id);
    let seconds = EVENT_DEADLINE.as_secs();
    if told.is_none() {
        return Err(VerifyError::NoEvent {
            recording: object.key.clone(),
            seconds,
        });
    }
    if !vault.integrations {
        return Ok(());
    }
    let url = join(&vault.url, &["api", "usage"]);
    let waited = until(
        EVENT_DEADLINE,
        || false,
        |_| {},
        || async {
            let request = client.get(url.clone()).bearer_auth(&vault.token);
            match fetch_json::<vault_api::Usage>("vault", request).await {
                Ok(usage) if usage.undelivered == 0 => Probe::Met,
                Ok(usage) => Probe::Waiting(format!("{} events wait", usage.undelivered)),
                Err(error) => Probe::Waiting(error.to_string()),
            }
        },
    );
    match waited.await {
        Waited::Met => Ok(()),
        _ => Err(VerifyError::NotDelivered {
            recording: object.key.clone(),
            seconds,
        }),
    }
}

fn join(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    url.path_segments_mut()
        .expect("invariant: an http URL has a path")
        .pop_if_empty()
        .extend(segments);
    url
}

async fn fetch(
    peer: &'static str,
    request: RequestBuilder,
) -> Result<reqwest::Response, VerifyError> {
    let (client, request) = request.build_split();
    let failed = |what: &str, source| VerifyError::Request {
        peer,
        what: what.to_owned(),
        source,
    };
    let request = request.map_err(|source| failed("a request", source))?;
    let what = format!("{} {}", request.method(), request.url().path());
    let answer = client
        .execute(request)
        .await
        .map_err(|source| failed(&what, source))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = answer.text().await.unwrap_or_default();
    let body = body.chars().take(300).collect();
    Err(VerifyError::Refused {
        peer,
        what,
        status,
        body,
    })
}

async fn fetch_json<T: DeserializeOwned>(
    peer: &'static str,
    request: RequestBuilder,
) -> Result<T, VerifyError> {
    let answer = fetch(peer, request).await?;
    let what = answer.url().path().to_owned();
    answer
        .json()
        .await
        .map_err(|source| VerifyError::Request { peer, what, source })
}

async fn fetch_bytes(peer: &'static str, request: RequestBuilder) -> Result<Vec<u8>, VerifyError> {
    let answer = fetch(peer, request).await?;
    let what = answer.url().path().to_owned();
    let bytes = answer.bytes().await;
    bytes
        .map(|b| b.to_vec())
        .map_err(|source| VerifyError::Request { peer, what, source })
}

/// What a recording turned out to hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    pub codec: &'static str,
    pub width: u32,
    pub height: u32,
    pub frames: u64,
    pub seconds: f64,
}

fn playable(recording: &str, data: &[u8]) -> Result<Clip, VerifyError> {
    let broken = |reason: String| VerifyError::Unplayable {
        recording: recording.into(),
        reason,
    };
    let clip = read_clip(data).map_err(broken)?;
    if clip.frames == 0 {
        return Err(broken("it holds no video frame".to_owned()));
    }
    Ok(clip)
}

/// Reads a fragmented MP4 with an independent demuxer (shiguredo_mp4).
pub fn read_clip(data: &[u8]) -> Result<Clip, String> {
    let mut demuxer = Fmp4FileDemuxer::new();
    let mut clip = Clip {
        codec: "",
        width: 0,
        height: 0,
        frames: 0,
        seconds: 0.0,
    };
    loop {
        while let Some(wanted) = demuxer.required_input() {
            let start = usize::try_from(wanted.position)
                .unwrap_or(usize::MAX)
                .min(data.len());
            let rest = data.get(start..).unwrap_or_default();
            let piece = wanted
                .size
                .map_or(rest, |size| rest.get(..size).unwrap_or(rest));
            demuxer.handle_input(Input {
                position: wanted.position,
                data: piece,
            });
        }
        let sample = match demuxer.next_sample() {
            Ok(Some(sample)) => sample,
            Ok(None) => return Ok(clip),
            Err(shiguredo_mp4::demux::DemuxError::InputRequired(_)) => continue,
            Err(error) => return Err(error.to_string()),
        };
        if sample.track.kind != TrackKind::Video {
            continue;
        }
        if let Some(entry) = sample.sample_entry {
            let (codec, visual) = match entry {
                SampleEntry::Avc1(entry) => ("h264", &entry.visual),
                SampleEntry::Hvc1(entry) => ("h265", &entry.visual),
                SampleEntry::Hev1(entry) => ("h265", &entry.visual),
                _ => return Err("its video is neither H.264 nor H.265".to_owned()),
            };
            clip.codec = codec;
            clip.width = u32::from(visual.width);
            clip.height = u32::from(visual.height);
        }
        clip.frames += 1;
        clip.seconds += f64::from(sample.duration) / f64::from(sample.track.timescale.get());
    }
}
