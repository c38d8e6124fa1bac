//! Owns the question which names in the file system decide what a path leads to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Symbolic links followed before a path counts as a loop; what systems allow.
const HOPS: usize = 40;

/// Every name whose change may change what is read at `path`: the path itself, each
/// symbolic link on the way and what it leads to, the directory that it lies in, and the
/// first name that is missing.
pub(super) fn trail(path: &Path) -> BTreeSet<PathBuf> {
    let mut names = BTreeSet::new();
    let mut todo: Vec<PathBuf> = parts(path);
    let mut here = PathBuf::new();
    let mut hops = 0;
    while let Some(part) = todo.pop() {
        if part == Path::new("..") {
            here.pop();
            continue;
        }
        let name = here.join(part);
        if todo.len() <= 1 {
            names.insert(name.clone());
        }
        match fs::read_link(&name) {
            Ok(target) if hops < HOPS => {
                hops += 1;
                names.insert(name);
                todo.extend(parts(&target));
                if target.is_absolute() {
                    here = PathBuf::new();
                }
            }
            Ok(_) => return names,
            Err(_) if fs::symlink_metadata(&name).is_err() => {
                names.insert(name);
                return names;
            }
            Err(_) => here = name,
        }
    }
    names
}

/// The parts of a path, last first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let mut parts: Vec<PathBuf> = vec![];
    for component in path.components() {
        match component {
            Component::CurDir => {}
            // A drive and its root belong together.
            Component::RootDir if !parts.is_empty() => parts[0].push(component),
            other => parts.push(PathBuf::from(other.as_os_str())),
        }
    }
    parts.reverse();
    parts
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn has(names: &BTreeSet<PathBuf>, name: &Path) -> bool {
        names.contains(name)
    }

    #[test]
    fn a_plain_file_is_its_name_and_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::create_dir(dir.join("sub")).unwrap();
        let file = dir.join("sub/localport.yaml");
        fs::write(&file, "").unwrap();
        let names = trail(&file);
        assert!(has(&names, &file) && has(&names, &dir.join("sub")), "{names:?}");
        assert!(!has(&names, &dir), "{names:?}");
    }

    #[test]
    fn a_missing_directory_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let names = trail(&dir.join("a/b/c.yaml"));
        assert_eq!(names, BTreeSet::from([dir.join("a")]));
    }

    /// The way configuration maps are mounted: a link to a link to a directory.
    #[test]
    fn every_link_on_the_way_counts() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::create_dir(dir.join("one")).unwrap();
        fs::write(dir.join("one/c.yaml"), "").unwrap();
        symlink("one", dir.join("data")).unwrap();
        symlink("data/c.yaml", dir.join("c.yaml")).unwrap();
        let names = trail(&dir.join("c.yaml"));
        for name in ["c.yaml", "data", "one/c.yaml"] {
            assert!(has(&names, &dir.join(name)), "{name}: {names:?}");
        }
    }

    #[test]
    fn a_loop_ends() {
        let dir = tempfile::tempdir().unwrap();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        assert!(trail(&dir.path().join("a")).len() >= 2);
    }
}
