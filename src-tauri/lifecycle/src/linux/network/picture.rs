//! Owns what is known of the network, from the kernel's messages (rtnetlink(7)): pure.

use std::collections::HashMap;

const HEADER: usize = 16;
const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const DEL_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
const DEL_ROUTE: u16 = 25;

/// `IFF_UP | IFF_RUNNING`: configured up, and a carrier is there.
const UP: u32 = 0x1 | 0x40;
/// `RT_SCOPE_LINK`: from here on nothing that leads beyond the link.
const SCOPE_LINK: u8 = 253;
/// `RT_TABLE_LOCAL`: the kernel's own bookkeeping of addresses.
const TABLE_LOCAL: u8 = 255;
/// `RTM_F_CLONED`: an entry of a cache.
const CLONED: u32 = 0x200;
const UNICAST: u8 = 1;

/// The network as the messages so far show it.
#[derive(Default)]
pub(super) struct Picture {
    /// Whether a link is up.
    links: HashMap<u32, bool>,
    /// Addresses and routes by what identifies them; whether they are there.
    things: HashMap<Vec<u8>, bool>,
}

impl Picture {
    /// Takes messages in; whether anything is different now. What was there before the
    /// first message counts as new when it is first told of.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> bool {
        let mut changed = false;
        while let Some((kind, body, rest)) = message(bytes) {
            changed |= self.one(kind, body).unwrap_or(false);
            bytes = rest;
        }
        changed
    }

    fn one(&mut self, kind: u16, body: &[u8]) -> Option<bool> {
        match kind {
            NEW_LINK | DEL_LINK => {
                let (index, flags) = (u32_at(body, 4)?, u32_at(body, 8)?);
                let up = kind == NEW_LINK && flags & UP == UP;
                let before = self.links.insert(index, up).unwrap_or(false);
                Some(before != up)
            }
            NEW_ADDRESS | DEL_ADDRESS => {
                let (family, prefix, scope) = (*body.first()?, *body.get(1)?, *body.get(3)?);
                if scope >= SCOPE_LINK {
                    return None;
                }
                let mut key = vec![b'a', family, prefix];
                key.extend_from_slice(body.get(4..8)?);
                // IFA_ADDRESS and IFA_LOCAL; lifetimes are renewed again and again.
                key.extend(attributes(body.get(8..)?, &[1, 2]));
                Some(self.put(key, kind == NEW_ADDRESS))
            }
            NEW_ROUTE | DEL_ROUTE => {
                let route = body.get(..12)?;
                let (table, of) = (route[4], route[7]);
                if table == TABLE_LOCAL || of != UNICAST || u32_at(body, 8)? & CLONED != 0 {
                    return None;
                }
                let mut key = vec![b'r'];
                key.extend_from_slice(&route[..5]);
                // RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_TABLE.
                key.extend(attributes(body.get(12..)?, &[1, 4, 5, 6, 7, 15]));
                Some(self.put(key, kind == NEW_ROUTE))
            }
            _ => None,
        }
    }

    fn put(&mut self, key: Vec<u8>, there: bool) -> bool {
        if there {
            self.things.insert(key, true) != Some(true)
        } else {
            // One that was there before the first message was not known.
            self.things.remove(&key);
            true
        }
    }
}

/// Kind and body of the first message, and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER..length)?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    Some((kind, body, rest))
}

/// The attributes of these kinds, as they are.
fn attributes(mut bytes: &[u8], kinds: &[u16]) -> Vec<u8> {
    let mut found = vec![];
    while let (Some(head), Some(kind)) = (bytes.get(..2), bytes.get(2..4)) {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let Some(attribute) = bytes.get(..length).filter(|_| length >= 4) else { break };
        if kinds.contains(&u16::from_ne_bytes([kind[0], kind[1]])) {
            found.extend_from_slice(attribute);
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    found
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn address(kind: u16, scope: u8, last: u8, lifetime: u8) -> Vec<u8> {
        let mut body = vec![2, 24, 0, scope, 3, 0, 0, 0];
        body.extend(attribute(1, &[10, 0, 0, last]));
        body.extend(attribute(6, &[lifetime; 16]));
        built(kind, &body)
    }

    fn route(kind: u16, table: u8, flags: u32) -> Vec<u8> {
        let mut body = vec![2, 0, 0, 0, table, 3, 0, UNICAST];
        body.extend(flags.to_ne_bytes());
        body.extend(attribute(5, &[10, 0, 0, 1]));
        built(kind, &body)
    }

    fn link(kind: u16, flags: u32) -> Vec<u8> {
        let mut body = vec![0; 4];
        body.extend(7_u32.to_ne_bytes());
        body.extend(flags.to_ne_bytes());
        body.extend([0; 4]);
        built(kind, &body)
    }

    /// G2: what is a change and what is chatter, message after message.
    #[test]
    fn g2_only_differences_are_changes() {
        let mut picture = Picture::default();
        let table = [
            ("a new address", address(NEW_ADDRESS, 0, 5, 1), true),
            ("its lifetime is renewed", address(NEW_ADDRESS, 0, 5, 2), false),
            ("another address", address(NEW_ADDRESS, 0, 6, 1), true),
            ("an address of the link only", address(NEW_ADDRESS, SCOPE_LINK, 7, 1), false),
            ("the first goes", address(DEL_ADDRESS, 0, 5, 2), true),
            ("and comes back", address(NEW_ADDRESS, 0, 5, 3), true),
            ("a default route", route(NEW_ROUTE, 254, 0), true),
            ("announced again", route(NEW_ROUTE, 254, 0), false),
            ("the kernel's own table", route(NEW_ROUTE, TABLE_LOCAL, 0), false),
            ("a cache entry", route(NEW_ROUTE, 254, CLONED), false),
            ("the route goes", route(DEL_ROUTE, 254, 0), true),
            ("a link without carrier", link(NEW_LINK, 0x1), false),
            ("it gets its carrier", link(NEW_LINK, UP), true),
            ("its counters change", link(NEW_LINK, UP), false),
            ("it goes away", link(DEL_LINK, UP), true),
            ("a neighbour", built(28, &[0; 12]), false),
        ];
        for (what, bytes, changes) in table {
            assert_eq!(picture.take(&bytes), changes, "{what}");
        }
        let both = [route(NEW_ROUTE, TABLE_LOCAL, 0), address(NEW_ADDRESS, 0, 9, 1)].concat();
        assert!(picture.take(&both), "the second of two messages");
    }

    /// Whatever bytes come, nothing panics.
    #[test]
    fn broken_messages_are_left() {
        let mut picture = Picture::default();
        let whole = [address(NEW_ADDRESS, 0, 5, 1), route(NEW_ROUTE, 254, 0)].concat();
        for end in 0..whole.len() {
            picture.take(&whole[..end]);
            let mut broken = whole.clone();
            broken[end] ^= 0xff;
            picture.take(&broken);
        }
        assert!(!picture.take(&[0; 64]));
    }
}
