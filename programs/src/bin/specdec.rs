//! The `specdec` program.

fn main() -> std::process::ExitCode {
    specdec_rs::cli::run(std::env::args_os())
}
