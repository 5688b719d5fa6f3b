//! Ctrl-C and a polite kill: the first asks the work to stop, the second ends the process at once.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

static ASKED: AtomicBool = AtomicBool::new(false);
static SIGNAL: AtomicUsize = AtomicUsize::new(0);

/// Listens from now on.
///
/// # Errors
/// Whatever the system says.
pub fn listen() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_default(signal, &ASKED)?;
        flag::register_usize(signal, &SIGNAL, signal as usize)?;
        flag::register(signal, &ASKED)?;
    }
    Ok(())
}

/// Whether a signal has come.
pub fn asked_to_stop() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// The exit code that stands for the signal that came, if one did: 128 and its number.
pub fn exit_code() -> Option<u8> {
    asked_to_stop().then(|| 128 + SIGNAL.load(Ordering::Relaxed) as u8)
}
