//! What processes say to each other over a control connection, and how it looks on the wire: a
//! length, a kind, and the rest. A length beyond the limit is refused before anything is read.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::dataflow::outcome::Failure;

/// The longest that a process may say before it has proven who it is.
pub const HELLO_BYTES_MAX: usize = 4 << 10;
/// The longest that a process of the cluster may say: orders carry positions of all partitions.
pub const FRAME_BYTES_MAX: usize = 256 << 20;

/// One thing said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// To process 0: I am connected with everyone.
    Connected,
    /// From process 0: what was decided.
    Orders(Vec<u8>),
    /// To process 0: I have the orders.
    Ready,
    /// From process 0: everyone is ready.
    Go,
    /// I am alive, and my workers have turned so often.
    Beat(Vec<u64>),
    /// Stop after the open epoch.
    Stop,
    /// The run has failed.
    Failed(Failed),
    /// A process is gone.
    Gone(Gone),
    /// To process 0: I am done, and this is what it came to.
    Summary(Vec<u8>),
    /// From process 0: everyone is done.
    Bye,
    /// To process 0: something that the run has to say.
    Word(Vec<u8>),
    /// From process 0: a snapshot is wanted, and none of its sources can cut one now.
    Cut,
}

/// Whose failure it is and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The process that failed first.
    pub process: usize,
    /// What all processes end with.
    pub code: u8,
    /// One sentence.
    pub message: String,
    /// What led to it.
    pub causes: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
}

/// A process that is no longer there, and how that was noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Which.
    pub process: usize,
    /// Why one thinks so.
    pub why: String,
}

impl Failed {
    /// A failure of `process`, to be told.
    pub fn of(process: usize, code: u8, failure: &Failure) -> Self {
        Self {
            process,
            code,
            message: failure.message.clone(),
            causes: failure.causes.clone(),
            hint: failure.hint.clone(),
        }
    }

    /// The failure as another process shows it.
    pub fn told(&self) -> Failure {
        Failure {
            message: format!("process {}: {}", self.process, self.message),
            causes: self.causes.clone(),
            hint: self.hint.clone(),
            again: self.code == super::PEER_LOST,
        }
    }
}

impl Gone {
    /// The failure that it is for those who remain.
    pub fn told(&self) -> Failure {
        Failure::new(format!("lost process {} ({})", self.process, self.why))
    }
}

impl Frame {
    /// Writes it, whole or not at all as far as the caller is concerned.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let (kind, body) = match self {
            Self::Connected => (1, Vec::new()),
            Self::Orders(bytes) => (2, bytes.clone()),
            Self::Ready => (3, Vec::new()),
            Self::Go => (4, Vec::new()),
            Self::Beat(turns) => (5, json(turns)),
            Self::Stop => (6, Vec::new()),
            Self::Failed(failed) => (7, json(failed)),
            Self::Gone(gone) => (8, json(gone)),
            Self::Summary(bytes) => (9, bytes.clone()),
            Self::Bye => (10, Vec::new()),
            Self::Word(bytes) => (11, bytes.clone()),
            Self::Cut => (12, Vec::new()),
        };
        let mut bytes = vec![kind];
        bytes.extend(body);
        write_block(to, &bytes, FRAME_BYTES_MAX)
    }

    /// Reads one.
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let bytes = read_block(from, FRAME_BYTES_MAX)?;
        let Some((&kind, body)) = bytes.split_first() else {
            return Err(malformed("an empty frame"));
        };
        Ok(match kind {
            1 => Self::Connected,
            2 => Self::Orders(body.to_vec()),
            3 => Self::Ready,
            4 => Self::Go,
            5 => Self::Beat(parse(body)?),
            6 => Self::Stop,
            7 => Self::Failed(parse(body)?),
            8 => Self::Gone(parse(body)?),
            9 => Self::Summary(body.to_vec()),
            10 => Self::Bye,
            11 => Self::Word(body.to_vec()),
            12 => Self::Cut,
            _ => return Err(malformed(&format!("a frame of the unknown kind {kind}"))),
        })
    }
}

/// Writes a length and that many bytes.
pub fn write_block(to: &mut impl Write, bytes: &[u8], max: usize) -> io::Result<()> {
    if bytes.len() > max {
        return Err(malformed(&format!(
            "{} bytes at once, at most {max} go over a control connection",
            bytes.len()
        )));
    }
    let length = u32::try_from(bytes.len()).expect("the limits fit into 32 bits");
    let mut whole = length.to_be_bytes().to_vec();
    whole.extend(bytes);
    to.write_all(&whole)?;
    to.flush()
}

/// Reads a length and that many bytes, at most `max`.
pub fn read_block(from: &mut impl Read, max: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > max {
        return Err(malformed(&format!(
            "{length} bytes announced, at most {max}"
        )));
    }
    // Grows with what arrives: a stranger's announcement reserves nothing.
    let mut bytes = Vec::new();
    let read = from.take(length as u64).read_to_end(&mut bytes)?;
    if read < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Reads JSON out of a block.
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(|error| malformed(&error.to_string()))
}

/// What an error of a connection says of the process at its other end.
pub fn why(error: &io::Error) -> String {
    let ended = [
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::BrokenPipe,
    ];
    if ended.contains(&error.kind()) {
        "it ended".to_owned()
    } else {
        error.to_string()
    }
}

/// What was read cannot be understood.
pub fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Writes plain data as JSON.
pub fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("what is said is plain data")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_frame() -> impl Strategy<Value = Frame> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
        let failed = (any::<usize>(), any::<u8>(), ".*").prop_map(|(process, code, message)| {
            let failure = Failure::new(message).because("cause").hint("hint");
            Frame::Failed(Failed::of(process, code, &failure))
        });
        prop_oneof![
            Just(Frame::Connected),
            Just(Frame::Ready),
            Just(Frame::Go),
            Just(Frame::Stop),
            Just(Frame::Bye),
            Just(Frame::Cut),
            bytes().prop_map(Frame::Orders),
            bytes().prop_map(Frame::Summary),
            proptest::collection::vec(any::<u64>(), 0..9).prop_map(Frame::Beat),
            (any::<usize>(), ".*").prop_map(|(process, why)| Frame::Gone(Gone { process, why })),
            failed,
        ]
    }

    proptest! {
        #[test]
        fn a_frame_is_read_as_it_was_written_and_not_from_half_of_it(
            frame in any_frame(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = Vec::new();
            frame.write(&mut bytes).unwrap();

            prop_assert_eq!(Frame::read(&mut bytes.as_slice()).unwrap(), frame);
            let half = &bytes[..cut.index(bytes.len())];
            prop_assert!(Frame::read(&mut &half[..]).is_err());
        }

        #[test]
        fn whatever_bytes_come_are_a_frame_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            kind in 0_u8..13,
        ) {
            let _ = Frame::read(&mut bytes.as_slice());
            // With a length that is right, so that the inside is reached.
            let mut framed = Vec::new();
            write_block(&mut framed, &[&[kind], bytes.as_slice()].concat(), 400).unwrap();
            let _ = Frame::read(&mut framed.as_slice());
        }
    }

    #[test]
    fn a_long_announcement_is_refused_before_anything_is_read() {
        let mut bytes = u32::MAX.to_be_bytes().to_vec();
        bytes.extend([0; 10]);
        let mut rest = bytes.as_slice();

        let error = read_block(&mut rest, HELLO_BYTES_MAX).unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(rest.len(), 10);
    }
}
