//! Owns where a journal lies: a file in the state directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// More is not read: no journal grows near it.
const LIMIT: u64 = 64 * 1024 * 1024;

/// What keeps bytes through a crash.
pub trait Medium: Send + 'static {
    /// What it holds.
    ///
    /// # Errors
    /// When it holds something that cannot be read; one that holds nothing is empty.
    fn read(&mut self) -> io::Result<Vec<u8>>;

    /// Adds `bytes` behind what it holds, and returns when they lie there for good.
    ///
    /// # Errors
    /// When they do not; a part of them may.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Holds `bytes` instead of all before, in one step that a crash cannot divide.
    ///
    /// # Errors
    /// When it does not; it holds what it held then.
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// A journal in a file.
pub struct JournalFile {
    path: PathBuf,
    file: Option<File>,
}

impl JournalFile {
    /// The journal at `path`; the file need not be there.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    fn file(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => options().append(true).create(true).open(&self.path)?,
        };
        Ok(self.file.insert(file))
    }
}

impl Medium for JournalFile {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match File::open(&self.path) {
            Ok(file) => file.take(LIMIT).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = self.file()?;
        file.write_all(bytes)?;
        file.sync_data()
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let draft = self.path.with_extension("new");
        let written = write(&draft, bytes);
        if written.is_err() {
            // It may be what fills the disk.
            let _ = fs::remove_file(&draft);
        }
        let file = written?;
        // Windows renames over no open file.
        self.file = None;
        fs::rename(&draft, &self.path)?;
        self.file = Some(file);
        sync_directory(&self.path)
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<File> {
    // Made anew: what a crash left there may be anything.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = options().append(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    Ok(file)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// A new name lies on the disk only when its directory does.
#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// NTFS journals its names itself.
#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}
