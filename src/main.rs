use std::process::ExitCode;

fn main() -> ExitCode {
    // Before any runtime, thread or logger: a shim is single-threaded and small.
    if let Some(code) = hangar::transport::shim::entry() {
        return code;
    }
    ExitCode::SUCCESS
}
