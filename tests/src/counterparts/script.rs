//! Python that drives an unmodified client: the programs of `tests/clients`.

use std::{path::Path, time::Duration};

use tokio::process::Command;

use super::{
    Answer, CounterpartError,
    program::{in_venv, run, without_settings},
};

/// Runs `tests/clients/NAME` with these arguments; `settings` say where the API is and who asks.
pub async fn run_client(
    name: &str,
    arguments: &[&str],
    settings: &[(String, String)],
    limit: Duration,
) -> Result<Answer, CounterpartError> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let mut command = Command::new(in_venv("python")?);
    without_settings(&mut command);
    command.current_dir(&folder).arg(folder.join(name)).args(arguments);
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    run(command, limit).await
}

/// Runs a program of the virtual environment, such as `openstack`.
pub async fn run_program(
    name: &str,
    arguments: &[&str],
    settings: &[(String, String)],
    limit: Duration,
) -> Result<Answer, CounterpartError> {
    run_program_in(&std::env::temp_dir(), name, arguments, settings, limit).await
}

/// The same for one that leaves files in the folder it runs in.
pub async fn run_program_in(
    folder: &Path,
    name: &str,
    arguments: &[&str],
    settings: &[(String, String)],
    limit: Duration,
) -> Result<Answer, CounterpartError> {
    let mut command = Command::new(in_venv(name)?);
    without_settings(&mut command);
    command.current_dir(folder).args(arguments).envs(settings.iter().map(|(name, value)| (name, value)));
    run(command, limit).await
}

/// The settings of a client of an API that asks for no credentials.
#[must_use]
pub fn no_credentials(endpoint: &str) -> Vec<(String, String)> {
    let all = [("OS_AUTH_TYPE", "none"), ("OS_ENDPOINT", endpoint)];
    all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
