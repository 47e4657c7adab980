//! The child's side: loads the engine and blocks in it. The only unsafe code of the program.

use std::{
    ffi::{CString, c_char, c_int, c_void},
    fs::File,
    io::{self, Read},
    os::fd::AsFd,
    path::PathBuf,
};

use nix::sys::signal::{SigSet, Signal};

use super::EngineError;

/// What the parent tells the child.
#[derive(Clone, Debug, clap::Args)]
pub struct ChildArguments {
    /// `libchdb.so`.
    #[arg(long)]
    pub library: PathBuf,
    /// The engine's data.
    #[arg(long)]
    pub store: PathBuf,
    /// The engine's configuration file.
    #[arg(long)]
    pub config: PathBuf,
    /// HTTP port on 127.0.0.1, 0 for any.
    #[arg(long)]
    pub http_port: u16,
    /// Native-protocol port on 127.0.0.1, 0 for any.
    #[arg(long)]
    pub tcp_port: u16,
    /// The statements that start the listeners and then wait for the end of standard input.
    #[arg(long)]
    pub query: String,
}

/// Runs the engine until the parent closes our standard input, or dies.
///
/// # Errors
/// [`EngineError`] when the library cannot be loaded or the engine ends with an error.
pub fn run(arguments: &ChildArguments) -> Result<(), EngineError> {
    // Ctrl-C reaches the whole process group, a service manager's SIGTERM the whole control group. The parent must
    // finish its inserts first, so only the end of the life line ends us (and SIGKILL).
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals
        .thread_block()
        .map_err(|errno| EngineError::Io { doing: "cannot block signals".to_owned(), source: errno.into() })?;
    watch_life_line()?;

    let text =
        |value: String| CString::new(value).map_err(|_| EngineError::Stopped("an argument has a NUL byte".to_owned()));
    let mut argv = Vec::new();
    for argument in [
        "clickhouse".to_owned(),
        "--path".to_owned(),
        arguments.store.display().to_string(),
        "--config-file".to_owned(),
        arguments.config.display().to_string(),
        "--listen_host".to_owned(),
        "127.0.0.1".to_owned(),
        "--http_port".to_owned(),
        arguments.http_port.to_string(),
        "--tcp_port".to_owned(),
        arguments.tcp_port.to_string(),
        "--query".to_owned(),
        arguments.query.clone(),
    ] {
        argv.push(text(argument)?);
    }
    run_engine(&arguments.library, &argv)
}

/// Puts a pipe of our own in place of standard input, which the engine reads, and closes it when the parent's ends.
fn watch_life_line() -> Result<(), EngineError> {
    let failed = || EngineError::io("cannot set up the engine's life line");
    let (engine_end, our_end) = io::pipe().map_err(failed())?;
    let parent = io::stdin().as_fd().try_clone_to_owned().map_err(failed())?;
    nix::unistd::dup2_stdin(&engine_end).map_err(io::Error::from).map_err(failed())?;
    std::thread::Builder::new()
        .name("life-line".to_owned())
        .spawn(move || {
            let mut parent = File::from(parent);
            let mut byte = [0];
            // The parent never writes; every return is the end.
            while matches!(parent.read(&mut byte), Ok(1)) {}
            drop(our_end);
        })
        .map_err(failed())?;
    Ok(())
}

/// Loads the library and calls into it; returns when the engine has shut down.
#[expect(unsafe_code, reason = "the engine is a C library; this is the one place that calls it")]
fn run_engine(library: &PathBuf, argv: &[CString]) -> Result<(), EngineError> {
    type SetSignalHandlers = unsafe extern "C" fn(c_int);
    type QueryCommandLine = unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut c_void;
    type ResultError = unsafe extern "C" fn(*mut c_void) -> *const c_char;

    let load_error = |error: libloading::Error| EngineError::Load { path: library.clone(), message: error.to_string() };
    let mut pointers: Vec<*mut c_char> = argv.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
    pointers.push(std::ptr::null_mut());
    let count = c_int::try_from(argv.len()).map_err(|_| EngineError::Stopped("too many arguments".to_owned()))?;

    // SAFETY: the library's initialisers run in a process that does nothing else. The signatures are those of
    // chdb.h of the pinned version: `argv` is `count` NUL-terminated strings and a null, alive for the whole call,
    // and not written to; the result is null or a handle whose error is null or a NUL-terminated string.
    unsafe {
        let engine = libloading::Library::new(library).map_err(load_error)?;
        let set_signal_handlers: libloading::Symbol<'_, SetSignalHandlers> =
            engine.get(b"chdb_set_signal_handlers_enabled\0").map_err(load_error)?;
        let query_command_line: libloading::Symbol<'_, QueryCommandLine> =
            engine.get(b"chdb_query_cmdline\0").map_err(load_error)?;
        let result_error: libloading::Symbol<'_, ResultError> =
            engine.get(b"chdb_result_error\0").map_err(load_error)?;

        set_signal_handlers(0);
        let result = query_command_line(count, pointers.as_mut_ptr());
        let error = if result.is_null() { std::ptr::null() } else { result_error(result) };
        let outcome = if error.is_null() {
            Ok(())
        } else {
            Err(EngineError::Stopped(std::ffi::CStr::from_ptr(error).to_string_lossy().into_owned()))
        };
        // Its threads may still run: unloading it would pull the code from under them.
        std::mem::forget(engine);
        outcome
    }
}
