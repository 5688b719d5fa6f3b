//! Batches of CIFAR as the picklers of Python 2 and 3 write them, opcode for opcode.

/// A pickler: which protocol, and whether it is that of Python 2.
pub struct Pickler {
    protocol: u8,
    python2: bool,
    next: u32,
    bytes: Vec<u8>,
}

/// Which picklers there are: Python 2 knows protocol 2, Python 3 protocols 2 to 5.
pub const PICKLERS: [(u8, bool); 5] = [(2, true), (2, false), (3, false), (4, false), (5, false)];

/// A batch of CIFAR-10, with the entries of the published files.
pub fn batch(pickler: (u8, bool), images: &[[u8; 3072]], labels: &[i32]) -> Vec<u8> {
    dictionary(pickler, &["labels"], &images.concat(), [images.len(), 3072], labels)
}

/// A file of CIFAR-100.
pub fn batch100(pickler: (u8, bool), images: &[[u8; 3072]], labels: &[i32]) -> Vec<u8> {
    dictionary(pickler, &["fine_labels", "coarse_labels"], &images.concat(), [images.len(), 3072], labels)
}

/// A dictionary with lists of labels of these names and an array of any shape, whether its bytes fit or not.
pub fn dictionary(pickler: (u8, bool), lists: &[&str], data: &[u8], shape: [usize; 2], labels: &[i32]) -> Vec<u8> {
    let mut p = Pickler::new(pickler);
    p.op(b"}").memo();
    p.op(b"(");
    p.text("batch_label").text("training batch 1 of 5");
    for list in lists {
        p.text(list).op(b"]").memo();
        p.op(b"(");
        labels.iter().for_each(|&label| {
            p.int(label);
        });
        p.op(b"e");
    }
    p.text("data").array(data, shape);
    p.text("filenames").op(b"]").memo();
    p.op(b"(");
    (0..labels.len()).for_each(|image| {
        p.text(&format!("domestic_cat_s_{image:06}.png"));
    });
    p.op(b"e");
    p.op(b"u").op(b".");
    p.bytes
}

impl Pickler {
    pub fn new((protocol, python2): (u8, bool)) -> Pickler {
        // The C pickler of Python 2 counts its memo from 1.
        Pickler { protocol, python2, next: u32::from(python2), bytes: vec![0x80, protocol] }
    }

    pub fn op(&mut self, bytes: &[u8]) -> &mut Pickler {
        self.bytes.extend(bytes);
        self
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub fn memo(&mut self) -> &mut Pickler {
        match (self.protocol, u8::try_from(self.next)) {
            (4.., _) => self.bytes.push(0x94),
            (_, Ok(index)) => self.bytes.extend([b'q', index]),
            _ => {
                self.bytes.push(b'r');
                self.bytes.extend(self.next.to_le_bytes());
            }
        }
        self.next += 1;
        self
    }

    pub fn int(&mut self, value: i32) -> &mut Pickler {
        match value {
            0..=0xff => self.op(&[b'K', value as u8]),
            0x100..=0xffff => self.op(b"M").op(&(value as u16).to_le_bytes()),
            _ => self.op(b"J").op(&value.to_le_bytes()),
        }
    }

    /// Bytes in Python 2, text in Python 3.
    pub fn text(&mut self, text: &str) -> &mut Pickler {
        let length = text.len() as u8;
        match (self.python2, self.protocol) {
            (true, _) => self.op(&[b'U', length]),
            (_, 4..) => self.op(&[0x8c, length]),
            _ => self.op(&[b'X', length, 0, 0, 0]),
        };
        self.op(text.as_bytes()).memo()
    }

    pub fn raw(&mut self, bytes: &[u8]) -> &mut Pickler {
        if self.protocol == 2 && !self.python2 {
            let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
            self.global("_codecs", "encode").op(b"X").op(&(text.len() as u32).to_le_bytes()).op(text.as_bytes()).memo();
            return self.text("latin1").op(b"\x86").memo().op(b"R").memo();
        }
        match (self.python2, bytes.len()) {
            (true, 0..256) => self.op(&[b'U', bytes.len() as u8]),
            (true, length) => self.op(b"T").op(&(length as u32).to_le_bytes()),
            (false, 0..256) => self.op(&[b'C', bytes.len() as u8]),
            (false, length) => self.op(b"B").op(&(length as u32).to_le_bytes()),
        };
        self.op(bytes).memo()
    }

    pub fn global(&mut self, module: &str, name: &str) -> &mut Pickler {
        if self.protocol >= 4 {
            return self.text(module).text(name).op(b"\x93").memo();
        }
        self.op(format!("c{module}\n{name}\n").as_bytes()).memo()
    }

    pub fn array(&mut self, data: &[u8], shape: [usize; 2]) -> &mut Pickler {
        let package = if self.python2 { "numpy.core" } else { "numpy._core" };
        if self.protocol == 5 {
            self.global(&format!("{package}.numeric"), "_frombuffer").op(b"(");
            self.op(b"\x96").op(&(data.len() as u64).to_le_bytes()).op(data).memo();
            return self.dtype().shape(shape).text("C").op(b"t").memo().op(b"R").memo();
        }
        self.global(&format!("{package}.multiarray"), "_reconstruct").global("numpy", "ndarray");
        self.int(0).op(b"\x85").memo().raw(b"b").op(b"\x87").memo().op(b"R").memo();
        self.op(b"(").int(1).shape(shape).dtype().op(b"\x89").raw(data).op(b"t").memo().op(b"b")
    }

    fn shape(&mut self, [rows, columns]: [usize; 2]) -> &mut Pickler {
        self.int(rows as i32).int(columns as i32).op(b"\x86").memo()
    }

    fn dtype(&mut self) -> &mut Pickler {
        self.global("numpy", "dtype").text("u1");
        // Python 2 passes 0 and 1, Python 3 False and True.
        if self.python2 {
            self.int(0).int(1)
        } else {
            self.op(b"\x89\x88")
        };
        self.op(b"\x87").memo().op(b"R").memo();
        self.op(b"(").int(3).text("|").op(b"NNN").int(-1).int(-1).int(0).op(b"t").memo().op(b"b")
    }
}
