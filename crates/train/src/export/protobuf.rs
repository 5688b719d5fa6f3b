//! The wire format of Protocol Buffers, as much of it as writing messages takes.
//!
//! A message is a sequence of fields: a key `number << 3 | wire type`, then the value. Order is free, and a field that is
//! left out has its default. <https://protobuf.dev/programming-guides/encoding/>

/// A message that grows field by field.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

/// Wire types.
const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;
const FIXED_32: u32 = 5;

impl Message {
    /// An empty message.
    pub fn new() -> Message {
        Message::default()
    }

    /// Adds an `int64`, `int32` or enumeration.
    pub fn integer(mut self, field: u32, value: i64) -> Message {
        self.key(field, VARINT);
        self.varint(value as u64);
        self
    }

    /// Adds a repeated integer, element by element.
    pub fn integers(self, field: u32, values: &[i64]) -> Message {
        values.iter().fold(self, |message, &value| message.integer(field, value))
    }

    /// Adds a `float`.
    pub fn float(mut self, field: u32, value: f32) -> Message {
        self.key(field, FIXED_32);
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Adds a `string` or `bytes`.
    pub fn bytes(mut self, field: u32, value: impl AsRef<[u8]>) -> Message {
        let value = value.as_ref();
        self.key(field, LENGTH_DELIMITED);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
        self
    }

    /// Adds a message.
    pub fn message(self, field: u32, value: Message) -> Message {
        self.bytes(field, value.bytes)
    }

    /// Its bytes.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn key(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    /// Seven bits a byte, low ones first; the high bit says that more follow.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification_come_out_byte_for_byte() {
        assert_eq!(Message::new().integer(1, 150).finish(), [0x08, 0x96, 0x01]);
        assert_eq!(Message::new().bytes(2, "testing").finish(), b"\x12\x07testing");
        let inner = Message::new().integer(1, 150);
        assert_eq!(Message::new().message(3, inner).finish(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
    }

    #[test]
    fn negative_integers_take_ten_bytes_and_floats_four() {
        let negative = Message::new().integer(1, -1).finish();
        assert_eq!(negative, [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
        assert_eq!(Message::new().float(1, 1.0).finish(), [0x0d, 0x00, 0x00, 0x80, 0x3f]);
        assert_eq!(Message::new().integers(16, &[1, 2]).finish(), [0x80, 0x01, 1, 0x80, 0x01, 2]);
    }
}
