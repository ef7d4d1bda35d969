//! A connection between two processes: plain TCP, or the near end of an encrypted one. Timely and
//! the control threads read one clone while they write another.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use timely::communication::allocator::zero_copy::stream::Stream;

use super::tls::Pump;
use crate::types::Clock;

/// How long the network may swallow what was sent before the connection counts as broken.
const SWALLOWED_MAX: Duration = Duration::from_secs(10);

/// How often whoever waits looks whether it is asked to stop.
pub const LISTEN: Duration = Duration::from_millis(100);

/// A connection.
#[derive(Debug)]
pub enum Link {
    /// As it is.
    Plain(TcpStream),
    /// Encrypted: two threads carry bytes between this end and the network.
    Secure(UnixStream, Arc<Pump>),
}

impl Link {
    /// Bounds every wait for the other side, or lets them wait for ever.
    pub fn set_timeouts(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Plain(stream) => {
                stream.set_read_timeout(timeout)?;
                stream.set_write_timeout(timeout)
            }
            Self::Secure(stream, _) => {
                stream.set_read_timeout(timeout)?;
                stream.set_write_timeout(timeout)
            }
        }
    }

    /// Bounds every wait for the other side to take what is written.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.set_write_timeout(timeout),
            Self::Secure(stream, _) => stream.set_write_timeout(timeout),
        }
    }

    /// Whether the other side has closed it. Reads nothing.
    pub fn is_closed(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        let peeked = match self {
            Self::Plain(stream) => peek(&SockRef::from(stream), &mut byte),
            Self::Secure(stream, _) => peek(&SockRef::from(stream), &mut byte),
        };
        match peeked {
            Ok(read) => read == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Waits, no longer than `most`, until there is something to read, if only its end. Reads nothing.
    pub fn comes_within(&self, most: Duration) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        let socket = match self {
            Self::Plain(stream) => SockRef::from(stream),
            Self::Secure(stream, _) => SockRef::from(stream),
        };
        let peeked = socket.set_read_timeout(Some(most));
        match peeked.and_then(|()| socket.peek(&mut byte)) {
            Ok(_) => true,
            // What else is wrong, whoever reads hears.
            Err(error) => !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ),
        }
    }

    /// The threads behind it, if it is encrypted.
    pub fn pump(&self) -> Option<Arc<Pump>> {
        match self {
            Self::Plain(_) => None,
            Self::Secure(_, pump) => Some(Arc::clone(pump)),
        }
    }
}

fn peek(socket: &SockRef<'_>, byte: &mut [std::mem::MaybeUninit<u8>]) -> io::Result<usize> {
    socket.set_nonblocking(true)?;
    let peeked = socket.peek(byte);
    socket.set_nonblocking(false)?;
    peeked
}

/// Small messages go at once, and a network that swallows everything is noticed.
pub fn harden(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(5))
        .with_interval(Duration::from_secs(2))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(SWALLOWED_MAX))?;
    Ok(())
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Secure(stream, _) => stream.read(buffer),
        }
    }
}

impl Write for Link {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buffer),
            Self::Secure(stream, _) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Secure(stream, _) => stream.flush(),
        }
    }
}

impl Stream for Link {
    fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Plain(stream) => Ok(Self::Plain(stream.try_clone()?)),
            Self::Secure(stream, pump) => Ok(Self::Secure(stream.try_clone()?, Arc::clone(pump))),
        }
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.set_nonblocking(nonblocking),
            Self::Secure(stream, _) => stream.set_nonblocking(nonblocking),
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.shutdown(how),
            Self::Secure(stream, _) => stream.shutdown(how),
        }
    }
}

/// A time by which all of a conversation has to be over, however slowly it is fed.
#[derive(Clone, Debug)]
pub struct Until {
    clock: Clock,
    time: Duration,
}

impl Until {
    /// So long from now.
    pub fn after(clock: &Clock, wait: Duration) -> Self {
        Self {
            clock: clock.clone(),
            time: clock.elapsed() + wait,
        }
    }

    /// What is left of it.
    pub fn left(&self) -> Duration {
        self.time.saturating_sub(self.clock.elapsed())
    }

    /// The earlier of the two.
    pub fn at_most(&self, wait: Duration) -> Self {
        Self {
            clock: self.clock.clone(),
            time: self.time.min(self.clock.elapsed() + wait),
        }
    }

    fn left_or_late(&self) -> io::Result<Duration> {
        let left = self.left();
        if left.is_zero() {
            return Err(late());
        }
        Ok(left)
    }
}

/// A stream whose every read and write ends in time.
pub struct Timed<'a, S> {
    /// The stream.
    pub stream: &'a mut S,
    /// When it is too late.
    pub until: &'a Until,
}

/// What can be told to wait no longer than this.
pub trait Waits: Read + Write {
    /// Bounds every wait for the other side.
    fn wait_at_most(&self, timeout: Duration) -> io::Result<()>;
}

impl Waits for TcpStream {
    fn wait_at_most(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout))?;
        self.set_write_timeout(Some(timeout))
    }
}

impl Waits for Link {
    fn wait_at_most(&self, timeout: Duration) -> io::Result<()> {
        self.set_timeouts(Some(timeout))
    }
}

impl<S: Waits> Read for Timed<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.wait_at_most(self.until.left_or_late()?)?;
        self.stream.read(buffer).map_err(waited)
    }
}

impl<S: Waits> Write for Timed<'_, S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.wait_at_most(self.until.left_or_late()?)?;
        self.stream.write(buffer).map_err(waited)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn waited(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        late()
    } else {
        error
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time")
}
