//! The `benchmark` program: plain against speculative decoding.

fn main() -> std::process::ExitCode {
    specdec_rs::cli::run_benchmark(std::env::args_os())
}
