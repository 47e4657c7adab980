//! How a record is laid out in a row, and the checksum that shows whether it is still what was written.

use bytes::{Buf, BufMut, Bytes};

use super::slots::Slot;
use crate::{
    domain::UtcMillis,
    event_log::{Header, NewRecord, Offset, Position, Record},
};

/// The columns of one record as they stand in a row.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    pub(super) timestamp_ms: i64,
    pub(super) key: &'a [u8],
    pub(super) headers: &'a [u8],
    pub(super) body: &'a [u8],
}

impl Columns<'_> {
    /// CRC-32 over everything that makes the record, its place included. SQLite does not checksum its pages,
    /// and a row that turns up in another place is damage too.
    pub(super) fn checksum(&self, slot: Slot, offset: u64) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(slot.topic.name().as_bytes());
        hasher.update(&slot.partition.0.to_le_bytes());
        hasher.update(&offset.to_le_bytes());
        hasher.update(&self.timestamp_ms.to_le_bytes());
        for part in [self.key, self.headers, self.body] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize()
    }

    /// Bytes of payload.
    pub(super) const fn size_bytes(&self) -> usize {
        self.key.len() + self.headers.len() + self.body.len()
    }

    /// The record of these columns, or what is wrong with them.
    pub(super) fn decode(&self, slot: Slot, offset: u64, stored_checksum: u32) -> Result<Record, &'static str> {
        if self.checksum(slot, offset) != stored_checksum {
            return Err("its checksum does not match");
        }
        Ok(Record {
            position: Position { topic: slot.topic, partition: slot.partition, offset: Offset(offset) },
            key: Bytes::copy_from_slice(self.key),
            body: Bytes::copy_from_slice(self.body),
            timestamp: UtcMillis(self.timestamp_ms),
            headers: decode_headers(self.headers).ok_or("its headers cannot be decoded")?,
        })
    }
}

/// Bytes that `record` counts for against `max_record_bytes` and the queue's bound.
pub(super) fn size_bytes(record: &NewRecord) -> usize {
    let headers: usize = record.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
    record.key.len() + record.body.len() + headers
}

/// Each header as length and bytes of the name, then of the value; lengths are 32 bits, little-endian.
pub(super) fn encode_headers(headers: &[Header]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for header in headers {
        for part in [header.name.as_bytes(), header.value.as_ref()] {
            // `max_record_bytes` is far below 4 GiB, so nothing saturates.
            encoded.put_u32_le(u32::try_from(part.len()).unwrap_or(u32::MAX));
            encoded.put_slice(part);
        }
    }
    encoded
}

/// The inverse of [`encode_headers`].
fn decode_headers(encoded: &[u8]) -> Option<Vec<Header>> {
    let mut rest = Bytes::copy_from_slice(encoded);
    let mut headers = Vec::new();
    while rest.has_remaining() {
        let name = String::from_utf8(take_part(&mut rest)?.to_vec()).ok()?;
        headers.push(Header { name, value: take_part(&mut rest)? });
    }
    Some(headers)
}

fn take_part(rest: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
    (length <= rest.len()).then(|| rest.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::event_log::{Topic, embedded::slots::Slots};

    proptest! {
        #[test]
        fn headers_come_back(headers in vec((".{0,20}", vec(any::<u8>(), 0..50)), 0..5)) {
            let headers: Vec<Header> = headers
                .into_iter()
                .map(|(name, value)| Header { name, value: Bytes::from(value) })
                .collect();
            prop_assert_eq!(decode_headers(&encode_headers(&headers)), Some(headers));
        }

        #[test]
        fn damaged_headers_are_an_error_or_other_headers_but_never_a_panic(bytes in vec(any::<u8>(), 0..64)) {
            let _ = decode_headers(&bytes);
        }

        #[test]
        fn any_flipped_bit_is_noticed(body in vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>(), bit in 0..8) {
            let slot = Slots::new(2).of_key(Topic::Webhooks, b"k");
            let columns = Columns { timestamp_ms: 7, key: b"k", headers: b"", body: &body };
            let checksum = columns.checksum(slot, 3);
            prop_assert!(columns.decode(slot, 3, checksum).is_ok());
            prop_assert!(columns.decode(slot, 4, checksum).is_err());
            let mut damaged = body.clone();
            damaged[at.index(body.len())] ^= 1_u8 << bit;
            let columns = Columns { body: &damaged, ..columns };
            prop_assert!(columns.decode(slot, 3, checksum).is_err());
        }
    }
}
