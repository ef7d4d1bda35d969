//! The handshake over one connection, from either side, bounded in time: `hello` says what is said.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::frame::{self, HELLO_BYTES_MAX};
use super::hello::{
    AnyHello, Difference, Hello, MAGIC, Purpose, Side, Verdict, difference, holds, nonce, prove,
};
use super::link::{Link, Timed, Until};
use super::tls::Tls;

/// How someone begins who expected TLS and did not get it.
const TLS_ALERT: [u8; 2] = [0x15, 0x03];

/// What every handshake of a process says and checks.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Which process this is.
    pub process: usize,
    /// How many there are.
    pub processes: usize,
    /// The version of the program and of what is spoken here.
    pub version: String,
    /// The pipeline.
    pub fingerprint: String,
    /// The options that all processes must have alike.
    pub options: String,
    /// Which start of a supervisor it belongs to.
    pub attempt: Option<u64>,
    /// What all know and nobody else.
    pub secret: Vec<u8>,
    /// Certificates, if connections are encrypted.
    pub tls: Option<Tls>,
}

/// Why a connection did not come to be.
#[derive(Debug)]
pub enum Apart {
    /// The other is one of ours and does not belong here.
    Different {
        /// Who it says it is.
        peer: usize,
        /// Why.
        difference: Difference,
    },
    /// The other is not one of ours.
    Stranger(String),
    /// It may come to be another time.
    Broken(io::Error),
}

/// A way to ask for a seat: `Ok` is a promise that the connection will be kept.
pub type Claim<'a> = &'a dyn Fn(usize, Purpose) -> Result<(), Difference>;

impl Identity {
    fn hello(&self, to: usize, purpose: Purpose) -> Hello {
        Hello {
            version: self.version.clone(),
            process: self.process,
            to,
            processes: self.processes,
            purpose,
            fingerprint: self.fingerprint.clone(),
            options: self.options.clone(),
            attempt: self.attempt,
            nonce: nonce(),
        }
    }

    /// Makes itself known to process `to`, which listens at `host`.
    pub fn connect(
        &self,
        stream: TcpStream,
        host: &str,
        (to, purpose): (usize, Purpose),
        until: &Until,
    ) -> Result<Link, Apart> {
        let mut link = match &self.tls {
            None => Link::Plain(stream),
            Some(tls) => tls.connect(stream, host, until).map_err(encrypted)?,
        };
        let mut timed = Timed {
            stream: &mut link,
            until,
        };
        let mine = self.hello(to, purpose);
        let sent = frame::json(&mine);
        say(&mut timed, &sent)?;
        let (theirs, heard) = listen(&mut timed, &mine)?;
        let different = |difference| Apart::Different {
            peer: to,
            difference,
        };
        if let Some(difference) = difference(&mine, &theirs) {
            return Err(different(difference));
        }
        let proof = prove(&self.secret, Side::Connects, &sent, &heard);
        frame::write_block(&mut timed, &proof, HELLO_BYTES_MAX)?;
        let verdict = frame::read_block(&mut timed, HELLO_BYTES_MAX)?;
        match frame::parse(&verdict).map_err(garbled)? {
            Verdict::WrongSecret => Err(different(Difference::Secret)),
            Verdict::AlreadyHere => Err(different(Difference::AlreadyHere)),
            Verdict::Welcome { proof } => {
                if !holds(&self.secret, &proof, Side::Accepts, &sent, &heard) {
                    return Err(different(Difference::Secret));
                }
                link.set_timeouts(None)?;
                Ok(link)
            }
        }
    }

    /// Finds out who has connected. `claim` is asked once it is known.
    pub fn accept(
        &self,
        stream: TcpStream,
        claim: Claim<'_>,
        until: &Until,
    ) -> Result<(usize, Purpose, Link), Apart> {
        let mut link = match &self.tls {
            None => Link::Plain(stream),
            Some(tls) => tls.accept(stream, until).map_err(encrypted)?,
        };
        let mut timed = Timed {
            stream: &mut link,
            until,
        };
        hear_magic(&mut timed)?;
        // Purpose and place are the other's to choose: what is said back is only who this is.
        let mine = self.hello(self.process, Purpose::Data);
        let sent = frame::json(&mine);
        say(&mut timed, &sent)?;
        let (theirs, heard) = hear_hello(&mut timed, &mine)?;
        let peer = theirs.process;
        let different = |difference| Apart::Different { peer, difference };
        if let Some(difference) = difference(&mine, &theirs) {
            return Err(different(difference));
        }
        let proof = frame::read_block(&mut timed, HELLO_BYTES_MAX)?;
        if !holds(&self.secret, &proof, Side::Connects, &heard, &sent) {
            tell(&mut timed, &Verdict::WrongSecret);
            return Err(different(Difference::Secret));
        }
        // Only now: whoever does not know the secret cannot take a seat.
        if let Err(difference) = claim(peer, theirs.purpose) {
            tell(&mut timed, &Verdict::AlreadyHere);
            return Err(different(difference));
        }
        let proof = prove(&self.secret, Side::Accepts, &heard, &sent);
        let verdict = frame::json(&Verdict::Welcome { proof });
        frame::write_block(&mut timed, &verdict, HELLO_BYTES_MAX)?;
        link.set_timeouts(None)?;
        Ok((peer, theirs.purpose, link))
    }
}

fn say(to: &mut impl Write, hello: &[u8]) -> io::Result<()> {
    to.write_all(&MAGIC)?;
    frame::write_block(to, hello, HELLO_BYTES_MAX)
}

/// Refuses; whether the other still listens does not matter.
fn tell(to: &mut impl Write, verdict: &Verdict) {
    let _ = frame::write_block(to, &frame::json(verdict), HELLO_BYTES_MAX);
}

fn listen(from: &mut impl Read, mine: &Hello) -> Result<(Hello, Vec<u8>), Apart> {
    hear_magic(from)?;
    hear_hello(from, mine)
}

fn hear_magic(from: &mut impl Read) -> Result<(), Apart> {
    let mut magic = [0; MAGIC.len()];
    let mut read = 0;
    while read < magic.len() {
        match from.read(&mut magic[read..])? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            more => read += more,
        }
        // As soon as it is clear: a stranger may say less than eight bytes.
        let (heard, expected) = (&magic[..read], &MAGIC[..read]);
        if heard.starts_with(&TLS_ALERT) {
            return Err(Apart::Stranger("it wants TLS".to_owned()));
        }
        if heard != expected {
            let heard = String::from_utf8_lossy(heard);
            return Err(Apart::Stranger(format!("it began with {heard:?}")));
        }
    }
    Ok(())
}

/// A hello of another version may have another shape: its version is read first.
fn hear_hello(from: &mut impl Read, mine: &Hello) -> Result<(Hello, Vec<u8>), Apart> {
    let bytes = frame::read_block(from, HELLO_BYTES_MAX)?;
    match frame::parse(&bytes) {
        Ok(hello) => Ok((hello, bytes)),
        Err(error) => match frame::parse::<AnyHello>(&bytes) {
            Ok(AnyHello { version, process }) if version != mine.version => Err(Apart::Different {
                peer: process,
                difference: Difference::Version {
                    here: mine.version.clone(),
                    there: version,
                },
            }),
            Ok(_) | Err(_) => Err(garbled(error)),
        },
    }
}

fn garbled(error: io::Error) -> Apart {
    Apart::Stranger(error.to_string())
}

/// An encryption that does not come about is somebody else, or wrong certificates; a network that
/// breaks meanwhile may be better next time.
fn encrypted(error: io::Error) -> Apart {
    let kind = error.kind();
    if kind == io::ErrorKind::InvalidData || kind == io::ErrorKind::InvalidInput {
        Apart::Stranger(format!("no TLS: {error}"))
    } else {
        Apart::Broken(error)
    }
}

impl From<io::Error> for Apart {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::InvalidData {
            Self::Stranger(error.to_string())
        } else {
            Self::Broken(error)
        }
    }
}
