//! Owns the lane against a real API server: Kubernetes built once from the distribution's
//! own source package, etcd beside it, and the suite that runs against both.
//!
//! It is no part of the default test run: the build takes minutes, and only Debian and its
//! kin carry the sources.

use crate::packages::{CARGO_NEXTEST, REAL_APISERVER, install, tool};
use crate::shell::{Result, cargo, command, output, run, step, succeeds};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Go that builds this Kubernetes.
const GO: &str = "/usr/lib/go-1.19/bin";

/// Builds what is missing of the server and runs the suite; `filter` goes to nextest.
pub fn test(filter: &[&str]) -> Result {
    let place = match obtain() {
        Ok(place) => place,
        Err(why) => {
            println!("the tests against a real API server are skipped: {why}");
            return Ok(());
        }
    };
    step("build", &mut cargo(&["build", "--workspace", "--exclude", "localport-desktop"]))?;
    let (name, package) = CARGO_NEXTEST;
    let nextest = tool(name, package)?;
    let words = ["nextest", "run", "--workspace", "--exclude", "localport-desktop"];
    let mut tests = command(&nextest.to_string_lossy(), &words);
    tests.args(["--features", "localport-tests/real-apiserver", "--test", "real_apiserver"]);
    tests.args(filter).env("LOCALPORT_REAL_APISERVER", place);
    step("tests against a real API server", &mut tests)
}

/// The directory with `kube-apiserver` and `etcd`.
fn obtain() -> Result<PathBuf> {
    let place = cache()?.join("localport").join("real-apiserver");
    if ["kube-apiserver", "etcd"].iter().all(|name| place.join(name).exists()) {
        return Ok(place);
    }
    if !succeeds(&mut command("dpkg-query", &["--version"])) {
        return Err("its sources come as a Debian package".to_owned());
    }
    install(&[REAL_APISERVER])?;
    if !Path::new(GO).exists() {
        return Err("the Go that builds it is not there".to_owned());
    }
    let work = place.join("work");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(|error| format!("`{}`: {error}", work.display()))?;
    let made = etcd(&work, &place).and_then(|()| server(&work, &place));
    let _ = fs::remove_dir_all(&work);
    made.map(|()| place)
}

/// etcd out of its package, without installing it: that would start a service.
fn etcd(work: &Path, place: &Path) -> Result {
    step("etcd", Command::new("apt-get").args(["download", "etcd-server"]).current_dir(work))?;
    let package = entry(work, "etcd-server", ".deb")?;
    run(Command::new("dpkg-deb").arg("-x").arg(package).arg(work.join("etcd")))?;
    keep(&work.join("etcd/usr/bin/etcd"), &place.join("etcd"))
}

fn server(work: &Path, place: &Path) -> Result {
    let lists = work.join("lists");
    fs::create_dir_all(lists.join("partial")).map_err(|error| error.to_string())?;
    let sources = work.join("sources.list");
    fs::write(&sources, source_lines()?).map_err(|error| error.to_string())?;
    let apt = |words: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.arg("-qq").current_dir(work);
        // A list of its own: the machine's stays as it is.
        for (key, path) in [("Dir::Etc::sourcelist", &sources), ("Dir::State::lists", &lists)] {
            apt.arg("-o").arg(format!("{key}={}", path.display()));
        }
        apt.args(["-o", "Dir::Etc::sourceparts=/dev/null"]).args(words);
        apt
    };
    step("list of sources", &mut apt(&["update"]))?;
    step("sources of Kubernetes", &mut apt(&["source", "kubernetes"]))?;
    let tree = entry(work, "kubernetes-", "")?;
    mend(&tree)?;
    let mut make = Command::new("nice");
    make.args(["-n", "15", "make", "WHAT=cmd/kube-apiserver"]).current_dir(&tree);
    let path = env::var("PATH").unwrap_or_default();
    make.env("PATH", format!("{GO}:{path}"));
    make.env("GOPATH", tree.join("_gopath")).env("GOCACHE", work.join("gocache"));
    make.env("GO111MODULE", "auto").env("KUBE_GIT_VERSION", "v1.20.2").env_remove("GOFLAGS");
    step("kube-apiserver: minutes on the first run", &mut make)?;
    keep(&tree.join("_output/bin/kube-apiserver"), &place.join("kube-apiserver"))
}

/// Go 1.18 gave an argument to the function by which this version's JSON library walks
/// maps. Without it the library writes to wherever the register points, and the server
/// breaks after the first labels that it shows.
fn mend(tree: &Path) -> Result {
    let library = tree.join("vendor/github.com/modern-go/reflect2");
    let layout = "t, h, buckets, bptr unsafe.Pointer\n\toverflow, oldoverflow *[]unsafe.Pointer\n\t\
                  startBucket uintptr\n\toffset uint8\n\twrapped bool\n\tb, i uint8\n\t\
                  bucket, checkBucket uintptr\n";
    let walk = "it := new(hiter)\n\tmapiterinit(type2.rtype, *(*unsafe.Pointer)(obj), it)\n\t\
                return &UnsafeMapIterator{\n\t\thiter:      it,";
    let changes = [
        ("unsafe_link.go", "m unsafe.Pointer) *hiter", "m unsafe.Pointer, it *hiter)"),
        ("unsafe_link.go", "// rest fields are ignored\n", layout),
        (
            "unsafe_map.go",
            "return &UnsafeMapIterator{\n\t\thiter:      mapiterinit(type2.rtype, *(*unsafe.Pointer)(obj)),",
            walk,
        ),
    ];
    for (name, old, new) in changes {
        let file = library.join(name);
        let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
        if !text.contains(old) {
            return Err(format!("`{}` is not as expected", file.display()));
        }
        fs::write(&file, text.replace(old, new)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Where this machine gets its packages from, as places of sources.
fn source_lines() -> Result<String> {
    let words = ["indextargets", "--format", "$(REPO_URI) $(SUITE) $(COMPONENT)"];
    let targets = output(command("apt-get", &words).arg("Created-By: Packages"))?;
    let mut lines: Vec<String> = targets
        .lines()
        .filter(|line| line.ends_with(" main"))
        .map(|line| format!("deb-src {line}\n"))
        .collect();
    lines.sort();
    lines.dedup();
    if lines.is_empty() {
        Err("apt knows no place of packages".to_owned())
    } else {
        Ok(lines.concat())
    }
}

/// The one entry of `dir` with a name that begins and ends so.
fn entry(dir: &Path, begin: &str, end: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).map_err(|error| error.to_string())?;
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with(begin) && name.ends_with(end) && (!end.is_empty() || path.is_dir())
    };
    let found = entries.filter_map(|entry| Some(entry.ok()?.path())).find(fits);
    found.ok_or_else(|| format!("`{begin}…{end}` did not come with the package"))
}

/// Copies under another name first, so that a broken copy is never taken for a whole one.
fn keep(from: &Path, to: &Path) -> Result {
    let fresh = to.with_extension("new");
    fs::copy(from, &fresh)
        .and_then(|_| fs::rename(&fresh, to))
        .map_err(|error| format!("`{}` could not be kept: {error}", from.display()))
}

fn cache() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .ok_or_else(|| "this user has no home directory".to_owned())
}
