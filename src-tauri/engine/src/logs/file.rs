//! Owns the log files: `localport.log` and its older ones, bounded in size and number.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// Files kept: the current one and the older ones.
pub const FILES: usize = 5;
/// Size at which the next file begins: with five of them, weeks of ordinary use.
pub const FILE_BYTES: u64 = 5 * 1024 * 1024;

/// The current log file. Older ones are `localport.log.1` (youngest) to `.4`.
pub(super) struct Rotating {
    dir: PathBuf,
    file: File,
    size: u64,
    limit: u64,
}

impl Rotating {
    /// Opens the current file in `dir` at its end.
    pub(super) fn open(dir: &Path, limit: u64) -> io::Result<Self> {
        let file = open(dir)?;
        let size = file.metadata()?.len();
        Ok(Self { dir: dir.to_owned(), file, size, limit })
    }

    /// Appends whole lines; they are never divided between two files.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let length = lines.len() as u64;
        if self.size > 0 && self.size + length > self.limit {
            self.rotate()?;
        }
        self.file.write_all(lines)?;
        self.size += length;
        Ok(())
    }

    /// Begins a new file. When that fails, the old one goes on, so that no line is lost.
    fn rotate(&mut self) -> io::Result<()> {
        for age in (0..FILES - 1).rev() {
            match fs::rename(path(&self.dir, age), path(&self.dir, age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    // Try again after another file's worth of lines.
                    self.size = 0;
                    return Ok(());
                }
                _ => {}
            }
        }
        self.file = open(&self.dir)?;
        self.size = 0;
        Ok(())
    }
}

/// The last `limit` lines that `wanted` accepts, oldest first.
pub(super) fn tail(
    dir: &Path,
    limit: usize,
    wanted: impl Fn(&str) -> bool,
) -> io::Result<Vec<String>> {
    let mut found: VecDeque<String> = VecDeque::new();
    for age in 0..FILES {
        if found.len() >= limit {
            break;
        }
        let file = match File::open(path(dir, age)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let older = last_lines(file, limit - found.len(), &wanted)?;
        for line in older.into_iter().rev() {
            found.push_front(line);
        }
    }
    Ok(found.into())
}

fn last_lines(
    file: File,
    limit: usize,
    wanted: impl Fn(&str) -> bool,
) -> io::Result<VecDeque<String>> {
    let mut kept = VecDeque::new();
    let mut reader = BufReader::new(file);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end();
        if !line.is_empty() && wanted(line) {
            if kept.len() == limit {
                kept.pop_front();
            }
            kept.push_back(line.to_owned());
        }
        bytes.clear();
    }
    Ok(kept)
}

fn path(dir: &Path, age: usize) -> PathBuf {
    match age {
        0 => dir.join("localport.log"),
        _ => dir.join(format!("localport.log.{age}")),
    }
}

fn open(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path(dir, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_loses_no_line_and_keeps_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Rotating::open(dir.path(), 100).unwrap();
        for number in 0..45 {
            log.append(format!("line {number:04}\n").as_bytes()).unwrap();
        }
        // Ten lines of ten bytes fit one file: 45 lines are five files, all kept.
        let all = tail(dir.path(), 1_000, |_| true).unwrap();
        let expected: Vec<String> = (0..45).map(|number| format!("line {number:04}")).collect();
        assert_eq!(all, expected);
        log.append(b"123456789\n123456789\n123456789\n123456789\n123456789\n123456\n").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), FILES);
        assert_eq!(tail(dir.path(), 1_000, |_| true).unwrap()[0], "line 0010", "oldest file gone");
    }

    #[test]
    fn reopening_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        Rotating::open(dir.path(), 15).unwrap().append(b"one\n").unwrap();
        let mut log = Rotating::open(dir.path(), 15).unwrap();
        log.append(b"two\n").unwrap();
        log.append(b"three three\n").unwrap();
        assert_eq!(tail(dir.path(), 10, |_| true).unwrap(), ["one", "two", "three three"]);
        assert!(dir.path().join("localport.log.1").exists());
    }

    #[test]
    fn tail_takes_the_last_wanted_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Rotating::open(dir.path(), 1_000).unwrap();
        log.append(b"a 1\nb 2\na 3\n\xff bad\na 4\n").unwrap();
        let wanted = |line: &str| line.starts_with('a');
        assert_eq!(tail(dir.path(), 2, wanted).unwrap(), ["a 3", "a 4"]);
        assert_eq!(tail(&dir.path().join("none"), 2, wanted).unwrap(), Vec::<String>::new());
    }
}
