//! Baseline JPEG files of one colour, coded by hand.

/// An image of `width` x `height` pixels, of one sample (grey) or three (luminance and two colour differences).
pub fn jpeg(width: u16, height: u16, samples: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8];
    let quantisation = [[0u8].as_slice(), &[1; 64]].concat();
    segment(&mut bytes, 0xdb, &quantisation);
    let mut frame = vec![8];
    frame.extend(height.to_be_bytes());
    frame.extend(width.to_be_bytes());
    frame.push(samples.len() as u8);
    (0..samples.len() as u8).for_each(|component| frame.extend([component + 1, 0x11, 0]));
    segment(&mut bytes, 0xc0, &frame);
    // Sizes 0 to 11 of the first coefficient have codes of four bits, in order; of the others there is only the end of block,
    // with the code 0 of one bit.
    let mut first = vec![0x00, 0, 0, 0, 12];
    first.extend([0; 12]);
    first.extend(0..12u8);
    segment(&mut bytes, 0xc4, &first);
    let mut others = vec![0x10, 1];
    others.extend([0; 15]);
    others.push(0);
    segment(&mut bytes, 0xc4, &others);
    let mut scan = vec![samples.len() as u8];
    (0..samples.len() as u8).for_each(|component| scan.extend([component + 1, 0]));
    scan.extend([0, 63, 0]);
    segment(&mut bytes, 0xda, &scan);
    let blocks = usize::from(width.div_ceil(8)) * usize::from(height.div_ceil(8));
    bytes.extend(coded(blocks, samples));
    bytes.extend([0xff, 0xd9]);
    bytes
}

fn segment(bytes: &mut Vec<u8>, marker: u8, content: &[u8]) {
    bytes.extend([0xff, marker]);
    bytes.extend((content.len() as u16 + 2).to_be_bytes());
    bytes.extend(content);
}

/// The first coefficient of a block of one value is 8 times its distance from 128; blocks after the first differ by 0.
fn coded(blocks: usize, samples: &[u8]) -> Vec<u8> {
    let mut bits: Vec<bool> = Vec::new();
    for block in 0..blocks {
        for &sample in samples {
            let difference = if block == 0 { 8 * (i32::from(sample) - 128) } else { 0 };
            let size = (32 - difference.unsigned_abs().leading_zeros()) as i32;
            let value = if difference < 0 { difference + (1 << size) - 1 } else { difference };
            bits.extend((0..4).rev().map(|bit| size >> bit & 1 == 1));
            bits.extend((0..size).rev().map(|bit| value >> bit & 1 == 1));
            bits.push(false);
        }
    }
    bits.resize(bits.len().next_multiple_of(8), true);
    let bytes = bits.chunks(8).map(|bits| bits.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit)));
    bytes.flat_map(|byte| if byte == 0xff { vec![0xff, 0] } else { vec![byte] }).collect()
}
