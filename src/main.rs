//! Arguments in, exit code out.

use std::process::ExitCode;

use mimalloc::MiMalloc;

// Batches are made on one thread and freed on another, which is what this allocator is good at.
#[global_allocator]
static GLOBAL: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    end_on_panic();
    tidemark::cli::main(std::env::args_os())
}

/// A panic in one worker leaves the others waiting for ever: it ends the process, whichever
/// thread it happened on.
fn end_on_panic() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if tidemark::types::is_caught() {
            return;
        }
        if !tidemark::engine::say_panic(panic) {
            say(panic);
        }
        std::process::exit(101);
    }));
}
