//! The one client: a thread that speaks HTTP/1.1 over kept connections, with as little ado as possible.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// What the server answers.
pub(super) const ANSWER: &str = "hello, world\n";
/// A request as a service sees many of.
pub(super) const REQUEST: &[u8] =
    b"GET /orders/17?full=true HTTP/1.1\r\nhost: localhost\r\nuser-agent: keylane-benches\r\n\
    accept: */*\r\nreferer: http://localhost/orders\r\n\r\n";
/// A server that has not answered by then is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// Requests that go first and do not count, on a schedule.
pub(super) const WARM_UP: u64 = 100;

/// A kept connection.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    buffer: [u8; 2048],
}

impl Connection {
    fn open(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: [0; 2048] })
    }

    fn ask(&mut self) -> io::Result<()> {
        self.stream.write_all(REQUEST)
    }

    /// Reads one answer to its end.
    fn hear(&mut self) -> io::Result<()> {
        let mut filled = 0;
        loop {
            let count = match self.stream.read(&mut self.buffer[filled..]) {
                // A socket with a deadline is interrupted when the process is stopped for a while.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            filled += count;
            let text = &self.buffer[..filled];
            // The body is the end of the answer, and nothing is sent behind it.
            if text.ends_with(ANSWER.as_bytes()) {
                if text.starts_with(b"HTTP/1.1 200 ") {
                    return Ok(());
                }
                return Err(io::Error::other(String::from_utf8_lossy(text).into_owned()));
            }
            if count == 0 || filled == self.buffer.len() {
                return Err(io::Error::other(format!(
                    "an answer that ends in the middle: {}",
                    String::from_utf8_lossy(text)
                )));
            }
        }
    }
}

/// Asks `requests` times over `connections`, each as soon as it has its answer.
pub(super) struct Closed {
    connections: Vec<Connection>,
}

impl Closed {
    pub(super) fn open(server: SocketAddr, connections: usize) -> io::Result<Self> {
        let connections =
            (0..connections).map(|_| Connection::open(server)).collect::<Result<_, _>>()?;
        Ok(Self { connections })
    }

    /// Rounds of a request on each connection, then an answer from each; returns how many requests that were.
    pub(super) fn ask(&mut self, requests: u64) -> io::Result<u64> {
        let rounds = requests.div_ceil(self.connections.len() as u64);
        for _ in 0..rounds {
            for connection in &mut self.connections {
                connection.ask()?;
            }
            for connection in &mut self.connections {
                connection.hear()?;
            }
        }
        Ok(rounds * self.connections.len() as u64)
    }
}

/// Asks at a fixed rate over one connection; a request that could not be sent in time counts from when it was due.
pub(super) fn on_schedule(
    server: SocketAddr,
    requests: u64,
    interval: Duration,
) -> io::Result<Histogram<u64>> {
    let mut delays = Histogram::new_with_bounds(1, 60_000_000_000, 3).map_err(io::Error::other)?;
    let mut connection = Connection::open(server)?;
    for _ in 0..WARM_UP {
        connection.ask()?;
        connection.hear()?;
    }
    let mut due = Instant::now() + interval;
    for _ in 0..requests {
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        connection.ask()?;
        connection.hear()?;
        delays.saturating_record(due.elapsed().as_nanos() as u64);
        due += interval;
    }
    Ok(delays)
}
