//! RTP and RTCP packets (RFC 3550).

mod payload;

pub(crate) use payload::{BrokenSample, Payload, aac_payloads, video_payloads};

use std::time::Duration;

/// Seconds from the NTP epoch (1900) to the Unix epoch (RFC 5905 figure 4).
const NTP_TO_UNIX: u64 = 2_208_988_800;
const SENDER_REPORT: u8 = 200;
const SOURCE_DESCRIPTION: u8 = 202;

/// Numbering of one RTP stream.
#[derive(Debug)]
pub(crate) struct RtpStream {
    payload_type: u8,
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    /// RTP timestamp of tick 0.
    base: u32,
    packets: u32,
    octets: u32,
}

impl RtpStream {
    /// `ssrc` and `base` (the timestamp of tick 0) are random (RFC 3550 section 5.1); so is the
    /// first sequence number, which comes out of both.
    pub(crate) fn new(payload_type: u8, ssrc: u32, base: u32) -> Self {
        let [high, low, ..] = (ssrc ^ base).to_be_bytes();
        Self {
            payload_type,
            ssrc,
            base,
            sequence: u16::from_be_bytes([high, low]),
            packets: 0,
            octets: 0,
        }
    }

    pub(crate) fn timestamp(&self, ticks: u64) -> u32 {
        let wrapped = u32::try_from(ticks & 0xffff_ffff).expect("invariant: masked to 32 bits");
        self.base.wrapping_add(wrapped)
    }

    /// Appends a packet to `out` and counts it.
    pub(crate) fn write(&mut self, ticks: u64, payload: &Payload<'_>, out: &mut Vec<u8>) {
        let marker = if payload.last { 0x80 } else { 0 };
        out.extend_from_slice(&[0x80, marker | self.payload_type]);
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.timestamp(ticks).to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(&payload.head);
        out.extend_from_slice(payload.body);
        self.sequence = self.sequence.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.octets = self.octets.wrapping_add(size);
    }

    /// Skips a sequence number, as a lost packet does.
    pub(crate) fn lose(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// Sender report with the mandatory CNAME (RFC 3550 sections 6.4.1 and 6.5.1); `unix` is the
    /// wall clock's time since 1970 at which `ticks` is shown.
    pub(crate) fn report(&self, unix: Duration, ticks: u64) -> Vec<u8> {
        let seconds = unix.as_secs().wrapping_add(NTP_TO_UNIX) & 0xffff_ffff;
        let fraction = (u64::from(unix.subsec_nanos()) << 32) / 1_000_000_000;
        let mut packet = vec![0x80, SENDER_REPORT, 0, 6];
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
        packet.extend_from_slice(&((seconds << 32) | fraction).to_be_bytes());
        packet.extend_from_slice(&self.timestamp(ticks).to_be_bytes());
        packet.extend_from_slice(&self.packets.to_be_bytes());
        packet.extend_from_slice(&self.octets.to_be_bytes());
        // One chunk: source, CNAME item (type 1) of six bytes, closing zeros to a 32-bit border.
        packet.extend_from_slice(&[0x81, SOURCE_DESCRIPTION, 0, 4]);
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
        packet.extend_from_slice(b"\x01\x06camera\0\0\0\0");
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> RtpStream {
        RtpStream::new(96, 7, 0xffff_fff0)
    }

    #[test]
    fn numbers_wrap_and_count_on() {
        let mut stream = stream();
        let mut out = Vec::new();
        stream.write(
            0x20,
            &Payload {
                head: vec![1],
                body: &[2, 3],
                last: true,
            },
            &mut out,
        );
        assert_eq!(
            out,
            [0x80, 0xe0, 0xff, 0xff, 0, 0, 0, 0x10, 0, 0, 0, 7, 1, 2, 3]
        );
        assert_eq!((stream.sequence, stream.packets, stream.octets), (0, 1, 3));
        assert_eq!(stream.timestamp(0x1_0000_0020), 0x10);
    }

    #[test]
    fn reports_have_the_lengths_they_state() {
        let report = stream().report(Duration::new(1, 500_000_000), 0);
        assert_eq!(report.len(), 28 + 20);
        assert_eq!(report[8..12], (2_208_988_801_u32).to_be_bytes());
        assert_eq!(report[12..16], [0x80, 0, 0, 0]);
        assert_eq!(report[28..32], [0x81, 202, 0, 4]);
    }
}
