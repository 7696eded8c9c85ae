//! Random changes of inputs, the same ones for the same seed.

#[path = "../support/random.rs"]
mod random;

use random::Random;

/// Pieces that mean something to one of the parsers, or that parsers stumble over.
const PIECES: [&[u8]; 48] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\n",
    b"\n\n",
    b"\r",
    b"\0",
    b"\x1b[2J",
    b"\xff",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\\u0000",
    b"\\ud800",
    b"\\u202e",
    b"null",
    b"true",
    b"1e400",
    b"-0.0",
    b"99999999999999999999",
    b"{\"a\":",
    b"[[[[[[[[",
    b"]]]]]]]]",
    b"\"id\":\"1\"",
    b"\"type\":\"TRAFFIC\"",
    b"\"key\":\"k\"",
    b"\"specversion\":\"1.0\"",
    b"\"time\":\"2026-02-29T24:00:60+99:99\"",
    b"\"data_base64\":\"AA==\"",
    b"ce-id: %ff\n",
    b"content-type: text/plain\n",
    b"content-type: application/x-ndjson\n",
    b"ce-",
    b"%",
    b"%e2%82%ac",
    b"/0",
    b"::ffff:0:0/96",
    b"::1",
    b"0.0.0.0",
    b"[::]:80",
    b"{http-",
    b"{status}",
];

/// Makes inputs of others.
pub(crate) struct Mutator {
    random: Random,
}

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed) }
    }

    /// One of `seeds`, changed in one to eight places.
    pub(crate) fn change(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.random.pick(seeds).clone();
        for _ in 0..=self.random.below(8) {
            self.change_once(&mut input, seeds);
        }
        // Long inputs find nothing that short ones do not, and take their time.
        input.truncate(16 << 10);
        input
    }

    fn change_once(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.random.below(input.len() as u64 + 1) as usize;
        let end = at + self.random.below((input.len() - at).min(16) as u64 + 1) as usize;
        match self.random.below(7) {
            0 if at < input.len() => input[at] ^= 1 << self.random.below(8),
            1 if at < input.len() => input[at] = self.random.below(256) as u8,
            2 => drop(input.drain(at..end)),
            3 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            4 => {
                // The tail of another input behind the head of this one.
                let other = self.random.pick(seeds);
                let from = self.random.below(other.len() as u64 + 1) as usize;
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            5 => input.truncate(at),
            _ => {
                let piece = *self.random.pick(&PIECES);
                input.splice(at..end, piece.iter().copied());
            }
        }
    }
}
