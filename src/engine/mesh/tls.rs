//! TLS between processes, each side with a certificate that the other checks.
//!
//! Timely reads one clone of a connection while it writes another, and an encrypted connection has
//! one state for both directions. So each gets two threads that carry bytes between the network and
//! a local socket pair, and everyone else sees that pair's near end:
//!
//! ```text
//!   timely, control ◀──▶ socket pair ◀── opens ──  network
//!                                     ── seals ──▶
//! ```
//!
//! The cost, per connection and process: two threads, one more copy through the kernel in each
//! direction, and the cipher. The state is locked while bytes are turned, never while one waits for
//! the network; the opening thread never writes to it, so two processes that both send flat out
//! cannot wait for each other.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::link::{Link, Timed, Until};
use crate::dataflow::outcome::Failure;
use crate::engine::threads::spawn_named;

/// How much is turned at once.
const CHUNK: usize = 64 << 10;

/// The certificates of a process.
#[derive(Clone, Debug)]
pub struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Tls {
    /// Reads a certificate chain, its key, and who signs the certificates of the cluster.
    pub fn read(certificate: &Path, key: &Path, authority: &Path) -> Result<Self, Failure> {
        let chain = certificates(certificate)?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unread(key, error))?;
        let mut roots = RootCertStore::empty();
        for root in certificates(authority)? {
            roots.add(root).map_err(|error| unread(authority, error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let unfit = |error: &dyn std::fmt::Display| {
            Failure::new(format!("cannot use `{}`", certificate.display()))
                .because(error)
                .hint("--tls-cert and --tls-key have to belong together")
        };
        let roots = Arc::new(roots);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(|error| unread(authority, error))?;
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unfit(&error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain.clone(), secret.clone_key())
            .map_err(|error| unfit(&error))?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unfit(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, secret)
            .map_err(|error| unfit(&error))?;
        // Nobody comes back: a ticket would only be bytes to write at an awkward time.
        server.send_tls13_tickets = 0;
        Ok(Self {
            client: Arc::new(client),
            server: Arc::new(server),
        })
    }

    /// Secures a connection to `host`, whose certificate has to bear that name.
    pub fn connect(&self, stream: TcpStream, host: &str, until: &Until) -> io::Result<Link> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let state = ClientConnection::new(Arc::clone(&self.client), name);
        secure(stream, state.map_err(io::Error::other)?.into(), until)
    }

    /// Secures a connection that someone made to us.
    pub fn accept(&self, stream: TcpStream, until: &Until) -> io::Result<Link> {
        let state = ServerConnection::new(Arc::clone(&self.server));
        secure(stream, state.map_err(io::Error::other)?.into(), until)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| unread(path, error))?
        .collect();
    let all = all.map_err(|error| unread(path, error))?;
    if all.is_empty() {
        return Err(unread(path, "there is no certificate in it"));
    }
    Ok(all)
}

fn unread(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(format!("cannot read `{}`", path.display()))
        .because(why)
        .hint("--tls-cert, --tls-key and --tls-ca are PEM files")
}

/// The threads behind an encrypted connection.
#[derive(Debug, Default)]
pub struct Pump {
    sealing: Mutex<Option<JoinHandle<()>>>,
}

impl Pump {
    /// Waits until all that was written is on the network. The near end has to be shut for writing.
    pub fn drain(&self) {
        let thread = self
            .sealing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // A panic there has been said already, and there is nothing left to carry.
            let _ = thread.join();
        }
    }
}

type State = Arc<Mutex<rustls::Connection>>;

/// Shakes hands and starts the threads.
fn secure(mut stream: TcpStream, mut state: rustls::Connection, until: &Until) -> io::Result<Link> {
    while state.is_handshaking() {
        let mut timed = Timed {
            stream: &mut stream,
            until,
        };
        state.complete_io(&mut timed)?;
    }
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    let (near, far) = UnixStream::pair()?;
    let state: State = Arc::new(Mutex::new(state));
    let pump = Arc::new(Pump::default());
    let opening = (stream.try_clone()?, far.try_clone()?, Arc::clone(&state));
    spawn_named("tls-open", move || {
        let (stream, far, state) = opening;
        // However it ends, whoever reads the near end sees an end.
        let _ = open(&stream, &far, &state);
        let _ = far.shutdown(Shutdown::Write);
    });
    let sealing = spawn_named("tls-seal", move || {
        let _ = seal(&stream, &far, &state);
        let _ = stream.shutdown(Shutdown::Write);
        // Whoever writes to the near end is told, if it was the network that broke.
        let _ = far.shutdown(Shutdown::Read);
    });
    *pump.sealing.lock().unwrap_or_else(PoisonError::into_inner) = Some(sealing);
    Ok(Link::Secure(near, pump))
}

/// From the network to the near end.
fn open(mut stream: &TcpStream, mut far: &UnixStream, state: &State) -> io::Result<()> {
    let mut sealed = vec![0; CHUNK];
    let mut opened = Vec::new();
    // What came with the last bytes of the handshake is in the state already.
    let mut arrived = 0;
    loop {
        let mut rest = &sealed[..arrived];
        opened.clear();
        {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                if !rest.is_empty() {
                    state.read_tls(&mut rest)?;
                }
                let held = state.process_new_packets().map_err(io::Error::other)?;
                let start = opened.len();
                opened.resize(start + held.plaintext_bytes_to_read(), 0);
                state.reader().read_exact(&mut opened[start..])?;
                if rest.is_empty() {
                    break;
                }
            }
        }
        far.write_all(&opened)?;
        arrived = stream.read(&mut sealed)?;
        if arrived == 0 {
            return Ok(());
        }
    }
}

/// From the near end to the network.
fn seal(mut stream: &TcpStream, mut far: &UnixStream, state: &State) -> io::Result<()> {
    let mut opened = vec![0; CHUNK];
    let mut sealed = Vec::new();
    loop {
        let read = far.read(&mut opened)?;
        {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let mut rest = &opened[..read];
            // The state takes no more than its buffer holds.
            while !rest.is_empty() {
                let taken = state.writer().write(rest)?;
                rest = &rest[taken..];
                while state.wants_write() {
                    state.write_tls(&mut sealed)?;
                }
            }
            if read == 0 {
                state.send_close_notify();
                while state.wants_write() {
                    state.write_tls(&mut sealed)?;
                }
            }
        }
        stream.write_all(&sealed)?;
        sealed.clear();
        if read == 0 {
            return Ok(());
        }
    }
}
