//! The commands of the command line: arguments in, words for people out.

pub mod simulate;
