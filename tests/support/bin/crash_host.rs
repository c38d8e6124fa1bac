//! Owns a headless host that kills itself at a chosen write to its journal. Everything
//! else is the product: its engine, its adapters, its control API.
//!
//! Arguments: words of the record that is to be its last, and whether it dies `after` that
//! record's write, `before` it, or with it `torn` in the middle. What it wrote in full, and what it would have
//! written, goes line by line to the file that `CRASH_ACCOUNT` names.

use localport_engine::home::Home;
use localport_engine::host::{self, HostOptions, Role};
use localport_engine::journal::{JournalFile, Medium};
use rustix::process::{Signal, getpid, kill_process};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A journal's file that is the end of its host.
struct Deadly {
    file: JournalFile,
    account: File,
    path: PathBuf,
    last: Vec<u8>,
    how: How,
}

#[derive(Clone, Copy, PartialEq)]
enum How {
    Before,
    Torn,
    After,
}

impl Deadly {
    fn write(
        &mut self,
        bytes: &[u8],
        torn: &Path,
        write: impl FnOnce(&mut JournalFile, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let is_last = bytes.windows(self.last.len()).any(|part| part == self.last);
        if is_last && self.how != How::After {
            if self.how == How::Torn {
                let mut file = OpenOptions::new().append(true).create(true).open(torn)?;
                let part = &bytes[..bytes.len() * 2 / 3];
                file.write_all(part)?;
                if torn == self.path {
                    // The records in front of the torn one are whole.
                    let whole = part.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                    self.account.write_all(&part[..whole])?;
                }
            }
            die();
        }
        write(&mut self.file, bytes)?;
        self.account.write_all(bytes)?;
        if is_last {
            die();
        }
        Ok(())
    }
}

impl Medium for Deadly {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        self.file.read()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let torn = self.path.clone();
        self.write(bytes, &torn, JournalFile::append)
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let torn = self.path.with_extension("new");
        self.write(bytes, &torn, JournalFile::replace)
    }
}

fn die() -> ! {
    // As a crash is: nothing runs afterwards, not even a destructor.
    let _ = kill_process(getpid(), Signal::KILL);
    loop {
        std::thread::park();
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    if let Some(code) = localport_engine::adapter::ssh::askpass::run_helper() {
        return code;
    }
    let mut arguments = std::env::args().skip(1);
    let last = arguments.next().unwrap().into_bytes();
    let how = match arguments.next().as_deref() {
        Some("before") => How::Before,
        Some("torn") => How::Torn,
        Some("after") => How::After,
        other => panic!("unknown: {other:?}"),
    };
    let account = std::env::var_os("CRASH_ACCOUNT").unwrap();
    let account = OpenOptions::new().append(true).create(true).open(account).unwrap();
    let home = Home::find().unwrap();
    home.create().unwrap();
    let path = home.journal();
    let file = JournalFile::new(path.clone());
    let options = HostOptions {
        journal: Some(Box::new(Deadly { file, account, path, last, how })),
        ..HostOptions::new(home, Role::Headless)
    };
    let host = host::start(options).await.unwrap();
    println!("{{\"started\":{}}}", host.owner.pid);
    let receipt = host.wait().await;
    println!("{{\"stopped\":{}}}", receipt.is_clean());
    ExitCode::SUCCESS
}
