//! Owns the `mysql` check: the server's greeting and, where a user is given, a login.
//!
//! Of the protocol only what a login needs: the greeting, TLS, the answer by
//! `mysql_native_password` or `caching_sha2_password`, and what the server says to it.

use super::secure::{Stream, secure};
use super::words::Blame;
use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use localport_core::config::{Secret, TlsCheck};
use localport_core::problem::Problem;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LONG_PASSWORD: u32 = 0x1;
const PROTOCOL_41: u32 = 0x200;
const SSL: u32 = 0x800;
const SECURE_CONNECTION: u32 = 0x8000;
const PLUGIN_AUTH: u32 = 0x8_0000;
/// UTF-8, which every version has.
const CHARSET: u8 = 33;
const PACKET: u32 = 16 * 1024 * 1024 - 1;
/// Longest packet that is believed, in bytes.
const LONGEST: usize = 64 * 1024;

/// Reads the greeting and logs in.
pub(super) async fn probe(
    stream: Stream,
    user: Option<&str>,
    password: Option<&Secret>,
    tls: Option<&TlsCheck>,
    host: &str,
    blame: Blame<'_>,
) -> Result<(), Problem> {
    let mut wire = Wire { stream, next: 0, blame };
    let packet = wire.read().await?;
    if packet.first() == Some(&0xFF) {
        let did = format!("takes no connection: {}", error_words(&packet));
        return Err(blame.answer(did, "See the server's log"));
    }
    let greeting = Greeting::read(&packet).ok_or_else(|| blame.stranger("the MySQL protocol"))?;
    let Some(user) = user else { return Ok(()) };
    let mut flags = LONG_PASSWORD | PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH;
    if let Some(tls) = tls {
        if greeting.flags & SSL == 0 {
            return Err(blame.tls("the server offers none"));
        }
        flags |= SSL;
        wire.write(&head(flags)).await?;
        let Wire { stream, next, blame } = wire;
        let stream = Box::new(secure(stream, tls, host, &[], blame).await?);
        wire = Wire { stream, next, blame };
    }
    let password = password.map(Secret::expose).unwrap_or_default();
    let mut answer = head(flags);
    answer.extend(user.as_bytes());
    answer.push(0);
    let proof = scramble(&greeting.plugin, password, &greeting.salt);
    answer.push(u8::try_from(proof.len()).unwrap_or_default());
    answer.extend(proof);
    answer.extend(greeting.plugin.as_bytes());
    answer.push(0);
    wire.write(&answer).await?;
    wire.converse(password, greeting, tls.is_some()).await
}

struct Greeting {
    flags: u32,
    plugin: String,
    salt: Vec<u8>,
}

impl Greeting {
    fn read(packet: &[u8]) -> Option<Self> {
        let (&10, rest) = packet.split_first()? else { return None };
        let version = rest.iter().position(|byte| *byte == 0)?;
        let rest = rest.get(version + 1 + 4..)?;
        let mut salt = rest.get(..8)?.to_vec();
        let rest = rest.get(9..)?;
        let low = u16::from_le_bytes([*rest.first()?, *rest.get(1)?]);
        let high = u16::from_le_bytes([*rest.get(5)?, *rest.get(6)?]);
        let length = usize::from(*rest.get(7)?).saturating_sub(8).max(13);
        let rest = rest.get(18..)?;
        salt.extend(rest.get(..length.min(rest.len()))?.iter().take(12));
        let plugin = rest.get(length..).unwrap_or_default();
        let plugin = plugin.split(|byte| *byte == 0).next().unwrap_or_default();
        let plugin = match plugin {
            [] => "mysql_native_password".to_owned(),
            name => String::from_utf8_lossy(name).into_owned(),
        };
        Some(Self { flags: u32::from(low) | u32::from(high) << 16, plugin, salt })
    }
}

struct Wire<'a> {
    stream: Stream,
    next: u8,
    blame: Blame<'a>,
}

impl Wire<'_> {
    /// Answers what the server still asks, until it has decided.
    async fn converse(
        &mut self,
        password: &str,
        mut greeting: Greeting,
        encrypted: bool,
    ) -> Result<(), Problem> {
        loop {
            let packet = self.read().await?;
            match packet.split_first() {
                Some((0x00, _)) => return Ok(()),
                Some((0xFF, _)) => return Err(self.blame.login(error_words(&packet))),
                Some((0xFE, rest)) => {
                    let mut parts = rest.splitn(2, |byte| *byte == 0);
                    let plugin = parts.next().unwrap_or_default();
                    greeting.plugin = String::from_utf8_lossy(plugin).into_owned();
                    let salt = parts.next().unwrap_or_default();
                    greeting.salt = salt.iter().take(20).copied().collect();
                    let answer = scramble(&greeting.plugin, password, &greeting.salt);
                    self.write(&answer).await?;
                }
                // The password was right, and the server remembered it.
                Some((0x01, [0x03])) => {}
                Some((0x01, [0x04])) if encrypted => {
                    let mut clear = password.as_bytes().to_vec();
                    clear.push(0);
                    self.write(&clear).await?;
                }
                Some((0x01, [0x04])) => {
                    self.write(&[0x02]).await?;
                    let key = self.read().await?;
                    let sealed = seal(key.get(1..).unwrap_or_default(), password, &greeting.salt)
                        .ok_or_else(|| self.blame.stranger("the MySQL protocol"))?;
                    self.write(&sealed).await?;
                }
                _ => return Err(self.blame.stranger("the MySQL protocol")),
            }
        }
    }

    async fn read(&mut self) -> Result<Vec<u8>, Problem> {
        let read = async {
            let mut head = [0; 4];
            self.stream.read_exact(&mut head).await?;
            let size =
                usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
            if size > LONGEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut packet = vec![0; size];
            self.stream.read_exact(&mut packet).await?;
            self.next = head[3].wrapping_add(1);
            Ok(packet)
        };
        read.await.map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::InvalidData => self.blame.stranger("the MySQL protocol"),
            _ => self.blame.broke(&error),
        })
    }

    async fn write(&mut self, packet: &[u8]) -> Result<(), Problem> {
        let size = u32::try_from(packet.len()).unwrap_or(PACKET).to_le_bytes();
        let mut bytes = vec![size[0], size[1], size[2], self.next];
        bytes.extend(packet);
        self.next = self.next.wrapping_add(1);
        let write = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        };
        write.await.map_err(|error| self.blame.broke(&error))
    }
}

fn head(flags: u32) -> Vec<u8> {
    let mut head = flags.to_le_bytes().to_vec();
    head.extend(PACKET.to_le_bytes());
    head.push(CHARSET);
    head.extend([0; 23]);
    head
}

/// The proof that `plugin` asks for: never the password itself.
fn scramble(plugin: &str, password: &str, salt: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return vec![];
    }
    let hash = |algorithm: &'static Algorithm, parts: &[&[u8]]| {
        digest(algorithm, &parts.concat()).as_ref().to_vec()
    };
    let password = password.as_bytes();
    if plugin == "caching_sha2_password" {
        let once = hash(&SHA256, &[password]);
        let mask = hash(&SHA256, &[&hash(&SHA256, &[&once]), salt]);
        return xor(&once, &mask);
    }
    let once = hash(&SHA1_FOR_LEGACY_USE_ONLY, &[password]);
    let twice = hash(&SHA1_FOR_LEGACY_USE_ONLY, &[&once]);
    xor(&once, &hash(&SHA1_FOR_LEGACY_USE_ONLY, &[salt, &twice]))
}

/// The password for the server's key alone, where there is no TLS.
fn seal(key: &[u8], password: &str, salt: &[u8]) -> Option<Vec<u8>> {
    let key = SubjectPublicKeyInfoDer::from_pem_slice(key).ok()?;
    let key =
        OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(key.as_ref()).ok()?).ok()?;
    let mut clear = password.as_bytes().to_vec();
    clear.push(0);
    let mask: Vec<u8> = salt.iter().copied().cycle().take(clear.len()).collect();
    let mut sealed = vec![0; key.ciphertext_size()];
    key.encrypt(&OAEP_SHA1_MGF1SHA1, &xor(&clear, &mask), &mut sealed, None).ok()?;
    Some(sealed)
}

fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(one, other)| one ^ other).collect()
}

/// What an error packet says: after its mark, code and state.
fn error_words(packet: &[u8]) -> String {
    let words = packet.get(3..).unwrap_or_default();
    let words =
        if words.first() == Some(&b'#') { words.get(6..).unwrap_or_default() } else { words };
    String::from_utf8_lossy(words).into_owned()
}
