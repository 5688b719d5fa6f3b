//! TensorBoard's event files: the few fields of a protocol buffer that scalars need, in records with checksums.
//!
//! A file is a sequence of records: the length of the data (u64), the masked CRC-32C of those eight bytes (u32), the data, and
//! their masked CRC-32C (u32), all little-endian. A masked checksum is `(crc >> 15 | crc << 17) + 0xa282ead8`
//! (`tensorflow/core/lib/io/record_writer.h`). The data are an `Event` of `tensorflow/core/util/event.proto`:
//!
//! | field of `Event` | number and type |
//! | --- | --- |
//! | `wall_time` | 1, double: seconds since 1970 |
//! | `step` | 2, int64 |
//! | `file_version` | 3, string; the first event of a file |
//! | `summary` | 5, message with repeated `value` (1): `tag` (1, string) and `simple_value` (2, float) |
//! | `session_log` | 7, message with `status` (1): `START` (1) makes readers forget what they have from `step` on |

/// Bytes of data beyond which a record is taken for damage.
const MAX_DATA: usize = 64 << 20;
/// What the first event of every file says.
const FILE_VERSION: &str = "brain.Event:2";

/// What is recorded at one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Seconds since 1970.
    pub wall_time: f64,
    /// The step, from 0.
    pub step: u64,
    /// What happened.
    pub what: What,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A file begins.
    Version,
    /// A run begins or goes on: whoever reads shall forget what it has from this step on.
    Start,
    /// Values by name.
    Scalars(Vec<(String, f32)>),
}

impl Event {
    /// The event as a record.
    pub fn record(&self) -> Vec<u8> {
        let data = self.encode();
        let length = (data.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(data.len() + 16);
        record.extend(length);
        record.extend(masked_crc(&length).to_le_bytes());
        record.extend(&data);
        record.extend(masked_crc(&data).to_le_bytes());
        record
    }

    fn encode(&self) -> Vec<u8> {
        let mut data = Vec::new();
        push_key(&mut data, 1, FIXED64);
        data.extend(self.wall_time.to_le_bytes());
        push_key(&mut data, 2, VARINT);
        push_varint(&mut data, self.step);
        match &self.what {
            What::Version => push_bytes(&mut data, 3, FILE_VERSION.as_bytes()),
            What::Start => push_bytes(&mut data, 7, &[8, 1]),
            What::Scalars(values) => push_bytes(&mut data, 5, &summary(values)),
        }
        data
    }

    fn decode(data: &[u8]) -> Option<Event> {
        let mut event = Event { wall_time: 0.0, step: 0, what: What::Version };
        let mut rest = data;
        while !rest.is_empty() {
            match take_field(&mut rest)? {
                (1, Field::Fixed64(bits)) => event.wall_time = f64::from_bits(bits),
                (2, Field::Varint(step)) => event.step = step,
                (5, Field::Bytes(bytes)) => event.what = What::Scalars(scalars(bytes)?),
                (7, Field::Bytes(_)) => event.what = What::Start,
                _ => {}
            }
        }
        Some(event)
    }
}

/// The whole events at the beginning of a file, each with the offset at which it ends. What follows a damaged or cut record is
/// not read, for nothing says where the next one begins.
pub fn read(file: &[u8]) -> Vec<(Event, usize)> {
    let (mut events, mut offset) = (Vec::new(), 0);
    while let Some((event, length)) = file.get(offset..).and_then(take_record) {
        offset += length;
        events.push((event, offset));
    }
    events
}

fn take_record(bytes: &[u8]) -> Option<(Event, usize)> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (length_crc, rest) = rest.split_first_chunk::<4>()?;
    let size = usize::try_from(u64::from_le_bytes(*length)).ok().filter(|&size| size <= MAX_DATA)?;
    let (data, rest) = rest.split_at_checked(size)?;
    let (data_crc, _) = rest.split_first_chunk::<4>()?;
    let is_whole =
        u32::from_le_bytes(*length_crc) == masked_crc(length) && u32::from_le_bytes(*data_crc) == masked_crc(data);
    is_whole.then(|| Event::decode(data)).flatten().map(|event| (event, size + 16))
}

fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

fn summary(values: &[(String, f32)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in values {
        let mut field = Vec::with_capacity(tag.len() + 8);
        push_bytes(&mut field, 1, tag.as_bytes());
        push_key(&mut field, 2, FIXED32);
        field.extend(value.to_le_bytes());
        push_bytes(&mut summary, 1, &field);
    }
    summary
}

fn push_key(data: &mut Vec<u8>, field: u64, kind: u64) {
    push_varint(data, field << 3 | kind);
}

fn push_varint(data: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        data.push(value as u8 | 0x80);
        value >>= 7;
    }
    data.push(value as u8);
}

fn push_bytes(data: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    push_key(data, field, BYTES);
    push_varint(data, bytes.len() as u64);
    data.extend(bytes);
}

enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

fn take_field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = take_varint(rest)?;
    let field = match key & 7 {
        VARINT => Field::Varint(take_varint(rest)?),
        FIXED64 => {
            let (bytes, after) = rest.split_first_chunk()?;
            *rest = after;
            Field::Fixed64(u64::from_le_bytes(*bytes))
        }
        BYTES => {
            let length = usize::try_from(take_varint(rest)?).ok()?;
            let (bytes, after) = rest.split_at_checked(length)?;
            *rest = after;
            Field::Bytes(bytes)
        }
        FIXED32 => {
            let (bytes, after) = rest.split_first_chunk()?;
            *rest = after;
            Field::Fixed32(u32::from_le_bytes(*bytes))
        }
        _ => return None,
    };
    Some((key >> 3, field))
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn scalars(mut summary: &[u8]) -> Option<Vec<(String, f32)>> {
    let mut values = Vec::new();
    while !summary.is_empty() {
        let (1, Field::Bytes(mut value)) = take_field(&mut summary)? else { continue };
        let (mut tag, mut number) = (String::new(), 0.0);
        while !value.is_empty() {
            match take_field(&mut value)? {
                (1, Field::Bytes(bytes)) => tag = String::from_utf8_lossy(bytes).into_owned(),
                (2, Field::Fixed32(bits)) => number = f32::from_bits(bits),
                _ => {}
            }
        }
        values.push((tag, number));
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> Vec<Event> {
        let scalars = vec![("loss".to_owned(), 0.25), ("density/layer1.0".to_owned(), -1.5e-20)];
        let what = [What::Version, What::Start, What::Scalars(scalars), What::Scalars(Vec::new())];
        what.into_iter()
            .zip([0, 1, 300, u64::MAX >> 1])
            .map(|(what, step)| Event { wall_time: 1.5e9, step, what })
            .collect()
    }

    #[test]
    fn the_checksum_is_the_masked_one_of_record_files() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(masked_crc(&[0; 8]), 0x8c28_b28au32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    #[test]
    fn events_come_back_as_they_were_written() {
        let file: Vec<u8> = events().iter().flat_map(Event::record).collect();
        let found = read(&file);
        assert_eq!(found.last().unwrap().1, file.len());
        assert_eq!(found.into_iter().map(|(event, _)| event).collect::<Vec<_>>(), events());
    }

    #[test]
    fn a_cut_file_gives_the_events_before_the_cut() {
        let records: Vec<Vec<u8>> = events().iter().map(Event::record).collect();
        let file = records.concat();
        for cut in 0..file.len() {
            let mut end = 0;
            let whole = records.iter().take_while(|record| {
                end += record.len();
                end <= cut
            });
            assert_eq!(read(&file[..cut]).len(), whole.count(), "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed_wherever_it_is() {
        let file: Vec<u8> = events().iter().flat_map(Event::record).collect();
        for bit in 0..8 * file.len() {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&damaged).len() < events().len(), "bit {bit}");
        }
    }
}
