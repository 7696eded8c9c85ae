//! The input in pieces of whole lines, in bounded memory.
//!
//! A line may be as long as the limit and no longer: the rest of a longer one is read and dropped, so that a line without an end
//! costs the memory of one that is just too long. What a single read returned is handed on at once, so a slow pipe is not
//! held back until a buffer is full.

use std::io::{self, ErrorKind, Read};

/// How much one read asks for. Large enough that the cost of a call and of a hand-over vanishes. Twice as much reads no faster, and
/// doubles the median latency, because the events of a chunk are emitted together and wait for each other.
const READ: usize = 128 * 1024;

/// A piece of the input: whole lines, and perhaps one that was too long behind them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The lines with their newlines; only the last line of the input may lack it.
    pub(crate) lines: Vec<u8>,
    /// The number of the first line, counted from 1.
    pub(crate) first_line: u64,
    /// The number of the line behind `lines`, if it is longer than the limit.
    pub(crate) too_long: Option<u64>,
}

/// Why the input could not be read on.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The operating system said so.
    Io(io::Error),
    /// The first bytes are those of something that has no lines; what it is, and the command that gives lines.
    NotText { what: &'static str, instead: &'static str },
}

/// First bytes of what people hand over in place of text. Enough of them that no bad first line is taken for it.
const NOT_TEXT: [(&[u8], &str, &str); 5] = [
    (b"\x1f\x8b\x08", "gzip-compressed", "zcat"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", "zstdcat"),
    (b"\xfd7zX", "xz-compressed", "xzcat"),
    (b"\xff\xfe{\0", "UTF-16 text", "iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff\0{", "UTF-16 text", "iconv -f UTF-16 -t UTF-8"),
];

/// An input under way.
pub(crate) struct Chunks {
    source: Box<dyn Read + Send>,
    /// The most bytes of a line, its newline not counted.
    max_line: usize,
    /// What was read behind the last newline: at most `max_line` bytes, or a little more for one call.
    rest: Vec<u8>,
    /// The number of the line that `rest` begins.
    next_line: u64,
    /// The line under way was too long, and what comes until its newline is dropped.
    skipping: bool,
    /// Whether anything was read yet.
    begun: bool,
    /// Bytes read so far.
    bytes: u64,
}

impl std::fmt::Debug for Chunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunks").field("next_line", &self.next_line).finish_non_exhaustive()
    }
}

impl Chunks {
    /// Reads `source` in lines of at most `max_line` bytes.
    pub(crate) fn new(source: Box<dyn Read + Send>, max_line: usize) -> Self {
        Self {
            source,
            max_line,
            rest: Vec::new(),
            next_line: 1,
            skipping: false,
            begun: false,
            bytes: 0,
        }
    }

    /// Bytes read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next piece of the input, in the memory of `spare`, or `None` at its end. Blocks until there is a whole line.
    pub(crate) fn next(&mut self, mut spare: Vec<u8>) -> Result<Option<Chunk>, ReadError> {
        spare.clear();
        let mut lines = spare;
        lines.append(&mut self.rest);
        loop {
            if !self.skipping && lines.len() > self.max_line {
                self.skipping = true;
                lines.clear();
                return Ok(Some(self.chunk(lines, true)));
            }
            let old = lines.len();
            let new = self.read(&mut lines)?;
            if new == 0 {
                let some = !lines.is_empty();
                return Ok(some.then(|| self.chunk(lines, false)));
            }
            if self.skipping {
                let Some(end) = memchr::memchr(b'\n', &lines) else {
                    lines.clear();
                    continue;
                };
                lines.drain(..=end);
                self.skipping = false;
            }
            // What was left over has no newline in it, so only the new bytes are searched.
            let searched = old.min(lines.len());
            if let Some(last) = memchr::memrchr(b'\n', &lines[searched..]) {
                let end = searched + last + 1;
                self.rest.extend_from_slice(&lines[end..]);
                lines.truncate(end);
                return Ok(Some(self.chunk(lines, false)));
            }
        }
    }

    /// Hands out `lines` and counts them.
    fn chunk(&mut self, lines: Vec<u8>, too_long: bool) -> Chunk {
        let first_line = self.next_line;
        self.next_line += memchr::memchr_iter(b'\n', &lines).count() as u64;
        let too_long = too_long.then(|| {
            self.next_line += 1;
            self.next_line - 1
        });
        Chunk { lines, first_line, too_long }
    }

    /// Reads once, behind what `lines` holds. Returns 0 at the end of the input.
    fn read(&mut self, lines: &mut Vec<u8>) -> Result<usize, ReadError> {
        let old = lines.len();
        lines.resize(old + READ, 0);
        let result = loop {
            match self.source.read(&mut lines[old..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        lines.truncate(old + *result.as_ref().unwrap_or(&0));
        let new = result.map_err(ReadError::Io)?;
        self.bytes += new as u64;
        if !self.begun && new > 0 {
            self.begun = true;
            for (magic, what, instead) in NOT_TEXT {
                if lines.starts_with(magic) {
                    return Err(ReadError::NotText { what, instead });
                }
            }
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source that returns the pieces it was given, one a read.
    struct Pieces(Vec<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.first_mut() else { return Ok(0) };
            let n = piece.len().min(buf.len());
            buf[..n].copy_from_slice(&piece[..n]);
            piece.drain(..n);
            if piece.is_empty() {
                self.0.remove(0);
            }
            Ok(n)
        }
    }

    /// Every line with its number, as the chunks give them; `None` is a line that was too long.
    fn lines(pieces: &[&[u8]], max_line: usize) -> Vec<(u64, Option<String>)> {
        let pieces = pieces.iter().map(|piece| piece.to_vec()).collect();
        let mut chunks = Chunks::new(Box::new(Pieces(pieces)), max_line);
        let mut all = Vec::new();
        let mut spare = Vec::new();
        while let Some(chunk) = chunks.next(std::mem::take(&mut spare)).unwrap() {
            let text = String::from_utf8(chunk.lines).unwrap();
            for (number, line) in (chunk.first_line..).zip(text.lines()) {
                // A long line that one read returned with its newline is left to whoever cuts the chunk.
                all.push((number, (line.len() <= max_line).then(|| line.to_owned())));
            }
            all.extend(chunk.too_long.map(|number| (number, None)));
            spare = text.into_bytes();
        }
        all
    }

    fn line(number: u64, text: &str) -> (u64, Option<String>) {
        (number, Some(text.to_owned()))
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let input = b"one\ntwo\n\nfour\nfive";
        let expected =
            vec![line(1, "one"), line(2, "two"), line(3, ""), line(4, "four"), line(5, "five")];
        assert_eq!(lines(&[input], 100), expected);
        for at in 0..input.len() {
            let (a, b) = input.split_at(at);
            let pieces: Vec<_> = [a, b].into_iter().filter(|piece| !piece.is_empty()).collect();
            assert_eq!(lines(&pieces, 100), expected, "cut at {at}");
        }
        let single: Vec<_> = input.chunks(1).collect();
        assert_eq!(lines(&single, 100), expected);
    }

    #[test]
    fn a_line_is_handed_on_as_soon_as_it_is_there() {
        let pieces = vec![b"one\ntw".to_vec(), b"o\n".to_vec()];
        let mut chunks = Chunks::new(Box::new(Pieces(pieces)), 100);
        assert_eq!(chunks.next(Vec::new()).unwrap().unwrap().lines, b"one\n");
        assert_eq!(chunks.next(Vec::new()).unwrap().unwrap().lines, b"two\n");
        assert_eq!(chunks.bytes(), 8);
        assert!(chunks.next(Vec::new()).unwrap().is_none());
    }

    #[test]
    fn a_line_that_is_too_long_is_dropped_and_named_once() {
        let expected = vec![line(1, "one"), (2, None), line(3, "three"), (4, None)];
        let input = b"one\n123456789\nthree\n1234567890";
        for size in 1..8 {
            let pieces: Vec<_> = input.chunks(size).collect();
            assert_eq!(lines(&pieces, 7), expected, "{size} bytes at a time");
        }
    }

    #[test]
    fn a_line_of_just_the_limit_is_read() {
        let pieces: Vec<_> = b"12345\n123456\n12345".chunks(1).collect();
        assert_eq!(lines(&pieces, 5), vec![line(1, "12345"), (2, None), line(3, "12345")]);
    }

    #[test]
    fn a_line_without_an_end_takes_bounded_memory() {
        let endless = Box::new(io::repeat(b'x').take(64 << 20));
        let mut chunks = Chunks::new(endless, 1 << 20);
        let first = chunks.next(Vec::new()).unwrap().unwrap();
        assert_eq!((first.too_long, first.lines.len()), (Some(1), 0));
        assert!(first.lines.capacity() <= 4 << 20, "{} bytes", first.lines.capacity());
        assert!(chunks.next(first.lines).unwrap().is_none());
        assert_eq!(chunks.bytes(), 64 << 20);
    }

    #[test]
    fn what_is_not_text_is_recognised() {
        for (magic, what, _) in NOT_TEXT {
            let mut chunks = Chunks::new(Box::new(Pieces(vec![[magic, b"rest\n"].concat()])), 100);
            match chunks.next(Vec::new()) {
                Err(ReadError::NotText { what: found, .. }) => assert_eq!(found, what),
                other => panic!("{what}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_error_of_the_source_is_handed_on() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let mut chunks = Chunks::new(Box::new(b"one\ntwo".chain(Broken)), 100);
        assert_eq!(chunks.next(Vec::new()).unwrap().unwrap().lines, b"one\n");
        assert!(matches!(chunks.next(Vec::new()), Err(ReadError::Io(_))));
    }
}
