//! Which partition a key belongs to, and a dense numbering of all partitions of all topics.

use crate::event_log::{Partition, Topic};

/// One partition of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) topic: Topic,
    pub(super) partition: Partition,
    /// The slot's place in every `Vec` that is kept per slot.
    pub(super) index: usize,
}

impl Slot {
    /// The table that holds this slot's records in each segment, quoted for SQL.
    pub(super) fn table(self) -> String {
        format!("\"records/{}/{}\"", self.topic.name(), self.partition.0)
    }
}

/// All slots of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots {
    partitions: u16,
}

impl Slots {
    /// `partitions` is at least 1; the catalog has checked it.
    pub(super) const fn new(partitions: u16) -> Self {
        Self { partitions }
    }

    pub(super) fn count(self) -> usize {
        Topic::ALL.into_iter().map(|topic| usize::from(topic.partitions(self.partitions))).sum()
    }

    pub(super) fn all(self) -> impl Iterator<Item = Slot> {
        Topic::ALL.into_iter().flat_map(move |topic| self.of_topic(topic))
    }

    pub(super) fn of_topic(self, topic: Topic) -> impl Iterator<Item = Slot> {
        (0..topic.partitions(self.partitions)).map(move |partition| self.slot(topic, Partition(partition)))
    }

    /// The slot of a partition, `None` when the topic has no such partition.
    pub(super) fn get(self, topic: Topic, partition: Partition) -> Option<Slot> {
        (partition.0 < topic.partitions(self.partitions)).then(|| self.slot(topic, partition))
    }

    /// The slot called `topic` and `partition` in a file.
    pub(super) fn named(self, topic: &str, partition: u16) -> Option<Slot> {
        let topic = Topic::ALL.into_iter().find(|known| known.name() == topic)?;
        self.get(topic, Partition(partition))
    }

    /// The slot of a key: CRC-32 (IEEE, as in gzip) of the key, modulo the number of partitions.
    ///
    /// This is librdkafka's `consistent` partitioner. It must never change: a request's duplicates are found
    /// only because they fall in the same partition.
    pub(super) fn of_key(self, topic: Topic, key: &[u8]) -> Slot {
        let partition = crc32fast::hash(key) % u32::from(topic.partitions(self.partitions));
        self.slot(topic, Partition(u16::try_from(partition).unwrap_or(0)))
    }

    /// Every topic before the last has `partitions` of them.
    const fn slot(self, topic: Topic, partition: Partition) -> Slot {
        Slot { topic, partition, index: topic as usize * self.partitions as usize + partition.0 as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_where_earlier_releases_put_them() {
        let slots = Slots::new(4);
        let partitions: Vec<u16> = ["", "a", "123456789", "5c2b7d3e-0000-4000-8000-000000000001"]
            .iter()
            .map(|key| slots.of_key(Topic::Webhooks, key.as_bytes()).partition.0)
            .collect();
        // The CRC-32 check value of "123456789" is 0xCBF43926.
        assert_eq!(partitions[..3], [0, 3, 2]);
        assert_eq!(slots.of_key(Topic::Webhooks, b"123456789").partition.0, (0xCBF4_3926_u32 % 4) as u16);
    }

    #[test]
    fn indices_are_dense() {
        let slots = Slots::new(3);
        let indices: Vec<usize> = slots.all().map(|slot| slot.index).collect();
        assert_eq!(indices, (0..slots.count()).collect::<Vec<_>>());
        assert_eq!(slots.count(), 3 * 3 + 1);
    }

    #[test]
    fn leadership_has_one_partition() {
        let slots = Slots::new(4);
        assert_eq!(slots.of_topic(Topic::Control).count(), 1);
        assert!(slots.get(Topic::Control, Partition(1)).is_none());
        assert_eq!(slots.of_key(Topic::Control, b"123456789").partition, Partition(0));
    }
}
