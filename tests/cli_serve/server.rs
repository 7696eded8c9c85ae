//! The binary under test.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Far above what anything takes, so that a hang has a name.
const PATIENCE: Duration = Duration::from_secs(60);

/// `keylane serve` with these arguments, in a folder without a configuration.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keylane"));
    command
        .arg("serve")
        .args(args)
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A server that runs on a port of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Option<Child>,
    /// Lines of the standard error, as they come.
    stderr: Receiver<String>,
    /// Those that were looked at.
    said: String,
    stdout: Option<JoinHandle<String>>,
}

/// How a server ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Server {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = command(&["--listen", "127.0.0.1:0"]);
        if !args.contains(&"--drain-timeout") {
            // On a machine that is busy with other things, ten seconds may pass with nothing done.
            command.args(["--drain-timeout", "10m"]);
        }
        Self::spawn(command.args(args))
    }

    /// Starts a command and waits until it listens.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the command starts");
        let (sender, stderr) = channel();
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        std::thread::spawn(move || {
            for line in lines {
                let _ = sender.send(line.expect("the server writes UTF-8"));
            }
        });
        let stdout = child.stdout.take().map(|mut stdout| {
            std::thread::spawn(move || {
                let mut text = String::new();
                stdout.read_to_string(&mut text).expect("the server writes UTF-8");
                text
            })
        });
        let address = ([127, 0, 0, 1], 0).into();
        let mut server = Self { address, child: Some(child), stderr, said: String::new(), stdout };
        let line = server.wait_for("listening on http://");
        let address = line.rsplit('/').next().expect("an address");
        server.address = address.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
        server
    }

    /// The next line of the standard error with this text in it.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        loop {
            match self.stderr.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.said.push_str(&line);
                    self.said.push('\n');
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("{error}, but no {text:?} in {:?}", self.said),
            }
        }
    }

    pub(crate) fn signal(&self, signal: libc::c_int) {
        let child = self.child.as_ref().expect("it runs");
        let pid = libc::pid_t::try_from(child.id()).expect("a process id");
        // SAFETY: `kill` takes any numbers; the child has not been waited for, so its id is still its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self) -> Ended {
        let status = self.child.take().expect("it runs").wait().expect("it can be waited for");
        while let Ok(line) = self.stderr.recv_timeout(PATIENCE) {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        let stdout =
            self.stdout.take().map(|reader| reader.join().expect("the reader does not panic"));
        Ended {
            code: status.code(),
            stdout: stdout.unwrap_or_default(),
            stderr: std::mem::take(&mut self.said),
        }
    }

    /// Ends it as an operator would.
    pub(crate) fn stop(self) -> Ended {
        self.signal(libc::SIGTERM);
        self.wait()
    }
}

impl Drop for Server {
    /// A test that fails leaves no process behind.
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// Asserts that the report has this line, whatever blanks are in it.
    #[track_caller]
    pub(crate) fn says(&self, line: &str) -> &Self {
        let plain = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let found = self.stderr.lines().any(|said| plain(said).starts_with(&plain(line)));
        assert!(found, "no {line:?} in\n{}", self.stderr);
        self
    }
}

/// Runs a command that does not get to listen.
pub(crate) fn refused(args: &[&str]) -> Ended {
    let output = command(args).output().expect("the command starts");
    let text = |bytes| String::from_utf8(bytes).expect("the command writes UTF-8");
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// An empty folder for one test.
pub(crate) fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli_serve").join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the target folder can be written to");
    folder
}

/// The path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("the target folder has a UTF-8 path")
}

/// An event in the simple form.
pub(crate) fn event(kind: &str, key: &str, n: usize) -> String {
    format!("{{\"type\":\"{kind}\",\"key\":\"{key}\",\"data\":{{\"n\":{n}}}}}\n")
}
