//! Has a browser show the page that checks the kernels: serves it, and listens to what it says.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long a page may say nothing.
const SILENCE: Duration = Duration::from_secs(240);

/// Which browser, for its command line.
#[derive(Clone, Copy, Debug)]
pub enum Browser {
    Chromium,
    Firefox,
}

impl Browser {
    /// Its program, in its packages.
    fn program(self) -> &'static str {
        match self {
            Self::Chromium => "usr/lib/chromium/chromium",
            Self::Firefox => "usr/lib/firefox-esr/firefox-esr",
        }
    }

    /// Shows a page without a window, on a software driver and with a profile that is new.
    fn command(self, root: &Path, profile: &Path, page: &str) -> io::Result<Command> {
        let mut command = Command::new(root.join(self.program()));
        match self {
            Self::Chromium => {
                command
                    .args(["--headless", "--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"])
                    .args(["--no-first-run", "--disable-quic", "--disable-sync", "--disable-background-networking"])
                    .arg("--disable-component-update")
                    .arg(format!("--user-data-dir={}", profile.display()));
            }
            Self::Firefox => {
                fs::write(profile.join("user.js"), FIREFOX)?;
                command.args(["--headless", "--no-remote", "--profile"]).arg(profile);
            }
        }
        command.arg(page).env("HOME", profile);
        Ok(command)
    }
}

/// WebGPU on any driver, and nothing that a browser does of its own accord.
const FIREFOX: &str = r#"user_pref("dom.webgpu.enabled", true);
user_pref("gfx.webgpu.ignore-blocklist", true);
user_pref("app.normandy.enabled", false);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "");
"#;

/// What a page sends.
#[derive(Debug, PartialEq)]
enum Sent {
    Said(String),
    /// Whether all is right.
    Ended(bool),
}

/// Shows the page of a folder in a browser that is unpacked in `root`, prints what it says, and returns how long it
/// took if all is right.
pub fn show(
    browser: Browser,
    root: &Path,
    environment: &[(&str, impl AsRef<std::ffi::OsStr>)],
    folder: &Path,
) -> Result<Duration, String> {
    let start = Instant::now();
    let failed = |error: io::Error| format!("cannot show {} in {browser:?}: {error}", folder.display());
    let (address, sent) = serve(folder).map_err(failed)?;
    let profile = Profile::new().map_err(failed)?;
    let log = profile.0.join("log");
    let mut command = browser.command(root, &profile.0, &address).map_err(failed)?;
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).map_err(failed)?);
    println!("\n== page: {address} in {}", command.get_program().display());
    let child = Running(command.spawn().map_err(failed)?);
    match listen(&sent, child) {
        Ok(true) => Ok(start.elapsed()),
        Ok(false) => Err("not all is right; the page says above what is not".to_owned()),
        Err(message) => {
            let log = fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(20)..].join("\n");
            Err(format!("{message}; the last lines of the browser's own:\n{last}"))
        }
    }
}

/// Prints what the page says until it ends, and returns whether all is right.
fn listen(sent: &Receiver<Sent>, mut child: Running) -> Result<bool, String> {
    let mut heard = Instant::now();
    loop {
        match sent.recv_timeout(Duration::from_secs(1)) {
            Ok(Sent::Said(text)) => {
                println!("{text}");
                heard = Instant::now();
            }
            Ok(Sent::Ended(right)) => return Ok(right),
            Err(RecvTimeoutError::Disconnected) => return Err("nothing listens to the page any more".to_owned()),
            Err(RecvTimeoutError::Timeout) if heard.elapsed() > SILENCE => {
                return Err(format!("the page has said nothing for {} s", SILENCE.as_secs()));
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Ok(Some(status)) = child.0.try_wait() {
                    return Err(format!("the browser ended with {status}"));
                }
            }
        }
    }
}

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Where it has ended already there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An empty folder for a browser's profile, which goes with its owner.
struct Profile(PathBuf);

impl Profile {
    fn new() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("wgpu-batchnorm-profile-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        // A browser that is just ending may still write. What is left behind is in the way of nothing.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Serves a folder on a port of this machine, each connection on a thread: browsers open some that they do not use.
fn serve(folder: &Path) -> io::Result<(String, Receiver<Sent>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = format!("http://{}/", listener.local_addr()?);
    let (sender, receiver) = channel();
    let folder = folder.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (folder, sender) = (folder.clone(), sender.clone());
            // A connection that breaks off is the browser's affair: it asks again or says nothing more.
            thread::spawn(move || answer(&stream, &folder, &sender));
        }
    });
    Ok((address, receiver))
}

/// Answers one request: a file, or what the page has to say.
fn answer(mut stream: &TcpStream, folder: &Path, sent: &Sender<Sent>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        if head.is_empty() {
            head = line;
        }
    }
    let mut words = head.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let name = match path.trim_start_matches('/') {
        "" => "index.html",
        name => name,
    };
    let (status, kind, body) = if method == "POST" {
        let mut text = String::new();
        reader.take(length).read_to_string(&mut text)?;
        let message = if name == "ended" { Sent::Ended(text == "right") } else { Sent::Said(text) };
        // Nobody listens once the page has ended.
        let _ = sent.send(message);
        ("204 No Content", "text/plain", Vec::new())
    } else {
        let kind = match Path::new(name).extension().and_then(|extension| extension.to_str()) {
            Some("html") => "text/html",
            Some("js") => "text/javascript",
            Some("wasm") => "application/wasm",
            _ => "application/octet-stream",
        };
        match fs::read(folder.join(name)) {
            Ok(body) if !name.contains("..") => ("200 OK", kind, body),
            _ => ("404 Not Found", "text/plain", Vec::new()),
        }
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(&body)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the server answers a request.
    fn ask(address: &str, request: &str) -> String {
        let host = address.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(host).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_page_is_served_and_heard() {
        let folder = std::env::temp_dir().join(format!("xtask-page-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("index.html"), "the page").unwrap();
        let (address, sent) = serve(&folder).unwrap();
        let page = ask(&address, "GET / HTTP/1.1\r\nHost: here\r\n\r\n");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"), "{page}");
        assert!(page.ends_with("\r\n\r\nthe page"), "{page}");
        for missing in ["/nothing.js", "/../index.html"] {
            let answer = ask(&address, &format!("GET {missing} HTTP/1.1\r\n\r\n"));
            assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        }
        ask(&address, "POST /said HTTP/1.1\r\ncontent-length: 4\r\n\r\nα+β");
        ask(&address, "POST /said HTTP/1.1\r\nContent-Length: 5\r\n\r\nα+β");
        ask(&address, "POST /ended HTTP/1.1\r\nContent-Length: 5\r\n\r\nwrong");
        ask(&address, "POST /ended HTTP/1.1\r\nContent-Length: 5\r\n\r\nright");
        let sent: Vec<Sent> = sent.try_iter().collect();
        assert_eq!(sent, [Sent::Said("α+β".to_owned()), Sent::Ended(false), Sent::Ended(true)]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
