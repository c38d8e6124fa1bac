//! Owns the replacing of a file as a whole: whoever reads it, and whoever starts after a
//! crash at any instant, finds the old content or the new.

#[cfg(unix)]
use std::fs::File;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Files that only their owner may read.
pub(super) const PRIVATE: u32 = 0o600;

/// Puts `bytes` at `path`, with the permissions `mode` where the system knows modes.
/// A symbolic link at `path` is replaced, not followed.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let draft = draft(path);
    let written = write(&draft, bytes, mode).and_then(|()| fs::rename(&draft, path));
    if let Err(error) = written {
        // Nobody knows the draft but us.
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    settle(path)
}

fn write(draft: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // One that a crash left is ours, and may have other permissions.
    let _ = fs::remove_file(draft);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(draft)?;
    // What the process's mask took away is given back.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Beside the file, so that the rename stays on one file system.
fn draft(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.localport-new"))
}

/// The rename itself reaches the disk.
#[cfg(unix)]
fn settle(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// Windows writes directories through.
#[cfg(not(unix))]
fn settle(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// The permissions of the file at `path`, or private ones where there is none.
#[cfg(unix)]
pub(super) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).map_or(PRIVATE, |file| file.permissions().mode() & 0o777)
}

/// Windows inherits the directory's.
#[cfg(not(unix))]
pub(super) fn mode(_path: &Path) -> u32 {
    PRIVATE
}
