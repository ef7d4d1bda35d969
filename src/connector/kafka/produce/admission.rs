//! How the rows of a table are held to what it says of them. What its constraints mean is the engine's
//! business, which `produce` is below: whoever asks for it brings that along.

use std::fmt;
use std::sync::Arc;

use crate::format::{Block, Decoded, Decoder};

/// Decodes a block, and puts the rows that break the table's word among the rejects.
type Admit = dyn Fn(&mut dyn Decoder, &Block) -> Result<Decoded, String> + Send + Sync;

/// What a table lets in, of the columns that are not computed.
#[derive(Clone)]
pub struct Admission(Arc<Admit>);

impl Admission {
    /// By this function.
    pub fn new(
        admit: impl Fn(&mut dyn Decoder, &Block) -> Result<Decoded, String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(admit))
    }

    /// The rows of a block that may pass, and why the others may not.
    pub(super) fn admit(
        &self,
        decoder: &mut dyn Decoder,
        block: &Block,
    ) -> Result<Decoded, String> {
        (self.0)(decoder, block)
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admission")
    }
}
