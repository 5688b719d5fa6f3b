//! Ctrl-C and a polite kill: the first asks the work to stop, the second ends the process at once. SIGUSR1 asks for a
//! checkpoint: at once between two steps, after an evaluation or a save that is under way, after the first step if none is done.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bidst_train::trainer::Wish;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

static ASKED: AtomicBool = AtomicBool::new(false);
static SIGNAL: AtomicUsize = AtomicUsize::new(0);
static SAVE: AtomicBool = AtomicBool::new(false);

/// Remembers from now on whether a checkpoint was asked for. Before this, SIGUSR1 would end the process.
///
/// # Errors
/// Whatever the system says.
pub fn listen_for_saves() -> io::Result<()> {
    #[cfg(unix)]
    flag::register(signal_hook::consts::SIGUSR1, &SAVE)?;
    Ok(())
}

/// Listens from now on for what asks to stop. Before this, there is nothing to be saved, and a signal ends the process.
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

/// Whether a signal has come that asks to stop.
pub fn asked_to_stop() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// What the signals that have come ask of a run. To be saved it is asked once for each.
pub fn wish() -> Wish {
    match (asked_to_stop(), SAVE.swap(false, Ordering::Relaxed)) {
        (true, _) => Wish::Stop,
        (false, true) => Wish::Save,
        (false, false) => Wish::GoOn,
    }
}

/// The exit code that stands for the signal that came, if one did: 128 and its number.
pub fn exit_code() -> Option<u8> {
    asked_to_stop().then(|| 128 + SIGNAL.load(Ordering::Relaxed) as u8)
}
