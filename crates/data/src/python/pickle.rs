//! A stack machine for the opcodes that picklers write for a batch, and no others.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use super::PickleError;
use super::array;
use super::value::{Bytes, Global, MAX_DEPTH, Span, Value};

/// Values that any file may have, and bytes of a file for each one more. A batch has two or three values per image, which
/// has 3072 bytes.
const FREE_VALUES: usize = 8192;
const BYTES_PER_VALUE: usize = 128;

/// The value that `file` holds.
pub(super) fn parse(file: &[u8]) -> Result<Value, PickleError> {
    let limit = FREE_VALUES.saturating_add(file.len() / BYTES_PER_VALUE);
    let mut machine = Machine {
        file,
        position: 0,
        opcode_at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        limit,
        made: 0,
    };
    match file {
        [0x80, 2..=5, ..] => machine.position = 2,
        [] | [0x80] => return Err(PickleError::Truncated { offset: 0, wanted: 2, left: file.len() }),
        _ => return Err(PickleError::Protocol),
    }
    while machine.step()? {}
    machine.finish()
}

/// What can be fetched again: small things, so that no file grows by repetition. Anything else is remembered as having
/// been there.
#[derive(Clone, Copy)]
enum Stored {
    Text(Span),
    Bytes(Bytes),
    Global(Global),
    Dtype,
    Other,
}

struct Machine<'a> {
    file: &'a [u8],
    position: usize,
    opcode_at: usize,
    stack: Vec<Value>,
    /// Heights of the stack at open marks.
    marks: Vec<usize>,
    memo: Vec<Stored>,
    limit: usize,
    /// Values, marks and memo entries made so far.
    made: usize,
}

impl<'a> Machine<'a> {
    /// Does one opcode; false at the end.
    fn step(&mut self) -> Result<bool, PickleError> {
        self.opcode_at = self.position;
        let opcode = self.byte()?;
        match opcode {
            b'.' => return Ok(false),
            0x95 => self.frame()?,
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            b'K' | b'M' | b'J' | 0x8a => {
                let number = self.integer(opcode)?;
                self.push(Value::Int(number))?;
            }
            b'U' | b'T' | b'C' | b'B' | 0x8e | 0x96 => {
                let span = self.counted(opcode)?;
                self.push(Value::Bytes(Bytes::Plain(span)))?;
            }
            b'X' | 0x8c => {
                let span = self.counted(opcode)?;
                self.push(Value::Text(span))?;
            }
            b']' => self.push(Value::List(Vec::new()))?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b')' => self.push(Value::Tuple(Vec::new()))?,
            b'(' => self.mark()?,
            b't' => self.tuple_to_mark()?,
            0x85..=0x87 => self.tuple(usize::from(opcode.saturating_sub(0x84)))?,
            b'a' | b'e' => self.append(opcode)?,
            b's' | b'u' => self.set_items(opcode)?,
            b'c' | 0x93 => self.global(opcode)?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            b'q' | b'r' | 0x94 => self.remember(opcode)?,
            b'h' | b'j' => self.fetch(opcode)?,
            _ => return Err(PickleError::Opcode { opcode, offset: self.opcode_at }),
        }
        Ok(true)
    }

    /// The one value that is left, if nothing follows it.
    fn finish(mut self) -> Result<Value, PickleError> {
        let left = self.file.len().saturating_sub(self.position);
        if left > 0 {
            return Err(PickleError::Trailing { left });
        }
        let value = self.pop()?;
        if self.stack.is_empty() && self.marks.is_empty() { Ok(value) } else { Err(self.misfit()) }
    }

    fn misfit(&self) -> PickleError {
        PickleError::Stack { offset: self.opcode_at }
    }

    fn take(&mut self, count: u64) -> Result<Span, PickleError> {
        let left = self.file.len().saturating_sub(self.position);
        let truncated = PickleError::Truncated { offset: self.opcode_at, wanted: count, left };
        let end = usize::try_from(count).ok().filter(|&count| count <= left).map(|c| self.position.saturating_add(c));
        let end = end.ok_or(truncated)?;
        // Files are below 4 GiB: their limit is checked when they are opened.
        let place = |at: usize| u32::try_from(at).map_err(|_| self.misfit());
        let span = Span { start: place(self.position)?, end: place(end)? };
        self.position = end;
        Ok(span)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let span = self.take(N as u64)?;
        let bytes = self.file.get(span.start as usize..).and_then(|rest| rest.first_chunk::<N>());
        bytes.copied().ok_or_else(|| self.misfit())
    }

    fn byte(&mut self) -> Result<u8, PickleError> {
        Ok(u8::from_le_bytes(self.fixed()?))
    }

    /// A frame is a promise about the bytes that follow; opcodes run across it.
    fn frame(&mut self) -> Result<(), PickleError> {
        let wanted = u64::from_le_bytes(self.fixed()?);
        let left = self.file.len().saturating_sub(self.position);
        if wanted > left as u64 {
            return Err(PickleError::Truncated { offset: self.opcode_at, wanted, left });
        }
        Ok(())
    }

    fn integer(&mut self, opcode: u8) -> Result<i64, PickleError> {
        match opcode {
            b'K' => Ok(i64::from(self.byte()?)),
            b'M' => Ok(i64::from(u16::from_le_bytes(self.fixed()?))),
            b'J' => Ok(i64::from(i32::from_le_bytes(self.fixed()?))),
            _ => {
                // A count of bytes, then a little-endian number in two's complement.
                let count = self.byte()?;
                let span = self.take(u64::from(count))?;
                let bytes = self.file.get(span.start as usize..span.end as usize).unwrap_or_default();
                let sign = if bytes.last().is_some_and(|&last| last >= 0x80) { 0xff } else { 0 };
                let mut number = [sign; 8];
                let room = number.get_mut(..bytes.len()).ok_or_else(|| self.misfit())?;
                room.copy_from_slice(bytes);
                Ok(i64::from_le_bytes(number))
            }
        }
    }

    /// Bytes after their number, whose width the opcode decides.
    fn counted(&mut self, opcode: u8) -> Result<Span, PickleError> {
        let count = match opcode {
            b'U' | b'C' | 0x8c => u64::from(self.byte()?),
            0x8e | 0x96 => u64::from_le_bytes(self.fixed()?),
            _ => u64::from(u32::from_le_bytes(self.fixed()?)),
        };
        self.take(count)
    }

    fn count(&mut self) -> Result<(), PickleError> {
        self.made = self.made.saturating_add(1);
        if self.made > self.limit {
            return Err(PickleError::TooMany { offset: self.opcode_at, limit: self.limit });
        }
        Ok(())
    }

    fn push(&mut self, value: Value) -> Result<(), PickleError> {
        self.count()?;
        self.stack.push(value);
        Ok(())
    }

    /// Takes the topmost value, but never from below the last mark.
    fn pop(&mut self) -> Result<Value, PickleError> {
        if self.stack.len() <= self.marks.last().copied().unwrap_or(0) {
            return Err(self.misfit());
        }
        self.stack.pop().ok_or_else(|| self.misfit())
    }

    fn mark(&mut self) -> Result<(), PickleError> {
        self.count()?;
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// The values above the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Value>, PickleError> {
        let mark = self.marks.pop().ok_or_else(|| self.misfit())?;
        if mark > self.stack.len() {
            return Err(self.misfit());
        }
        Ok(self.stack.drain(mark..).collect())
    }

    /// Refuses values that are too deep to be put into one more container.
    fn shallow(&self, value: &Value) -> Result<(), PickleError> {
        if value.depth() >= MAX_DEPTH {
            return Err(PickleError::Nesting { offset: self.opcode_at, limit: MAX_DEPTH });
        }
        Ok(())
    }

    fn push_tuple(&mut self, items: Vec<Value>) -> Result<(), PickleError> {
        items.iter().try_for_each(|item| self.shallow(item))?;
        self.push(Value::Tuple(items))
    }

    fn tuple_to_mark(&mut self) -> Result<(), PickleError> {
        let items = self.pop_mark()?;
        self.push_tuple(items)
    }

    fn tuple(&mut self, count: usize) -> Result<(), PickleError> {
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push_tuple(items)
    }

    fn append(&mut self, opcode: u8) -> Result<(), PickleError> {
        let items = if opcode == b'a' { vec![self.pop()?] } else { self.pop_mark()? };
        // Of a list in a list only one level is needed, which keeps lists out of the count of depths.
        if items.iter().any(|item| item.depth() > 0) {
            return Err(PickleError::Nesting { offset: self.opcode_at, limit: 1 });
        }
        let misfit = self.misfit();
        match self.stack.last_mut() {
            Some(Value::List(list)) => list.extend(items),
            _ => return Err(misfit),
        }
        Ok(())
    }

    fn set_items(&mut self, opcode: u8) -> Result<(), PickleError> {
        let items = match opcode {
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_mark()?,
        };
        let (misfit, offset, file) = (self.misfit(), self.opcode_at, self.file);
        let Some(Value::Dict(entries)) = self.stack.last_mut() else { return Err(misfit) };
        let mut items = items.into_iter();
        while let Some(key) = items.next() {
            let Some(value) = items.next() else { return Err(misfit) };
            let text = key.text(file);
            if text.is_none() || entries.len() >= MAX_KEYS || entries.iter().any(|(known, _)| known.text(file) == text)
            {
                return Err(PickleError::Keys { offset });
            }
            if value.depth() > 1 {
                return Err(PickleError::Nesting { offset, limit: 1 });
            }
            entries.push((key, value));
        }
        Ok(())
    }

    fn global(&mut self, opcode: u8) -> Result<(), PickleError> {
        let (file, offset) = (self.file, self.opcode_at);
        let (module, name) = match opcode {
            b'c' => (self.line()?, self.line()?),
            _ => {
                let (name, module) = (self.pop()?, self.pop()?);
                let misfit = || PickleError::Stack { offset };
                (module.text(file).ok_or_else(misfit)?, name.text(file).ok_or_else(misfit)?)
            }
        };
        match Global::find(module, name) {
            Some(global) => self.push(Value::Global(global)),
            None => {
                let part =
                    |bytes: &[u8]| bytes.iter().take(64).copied().collect::<Vec<u8>>().escape_ascii().to_string();
                Err(PickleError::Global { name: format!("{}.{}", part(module), part(name)), offset })
            }
        }
    }

    /// The bytes up to the end of a line.
    fn line(&mut self) -> Result<&'a [u8], PickleError> {
        let rest = self.file.get(self.position..).unwrap_or_default();
        let Some(length) = rest.iter().take(MAX_LINE).position(|&byte| byte == b'\n') else {
            return Err(PickleError::Truncated { offset: self.opcode_at, wanted: MAX_LINE as u64, left: rest.len() });
        };
        self.position = self.position.saturating_add(length).saturating_add(1);
        Ok(rest.get(..length).unwrap_or_default())
    }

    fn reduce(&mut self) -> Result<(), PickleError> {
        let arguments = self.pop()?;
        match (self.pop()?, arguments) {
            (Value::Global(function), Value::Tuple(arguments)) => {
                let value = array::call(self.file, self.opcode_at, function, &arguments)?;
                self.push(value)
            }
            _ => Err(self.misfit()),
        }
    }

    fn build(&mut self) -> Result<(), PickleError> {
        let state = self.pop()?;
        let object = self.pop()?;
        let value = array::set_state(self.file, self.opcode_at, &object, &state)?;
        self.push(value)
    }

    /// Stores the topmost value under a number; picklers count from 0 or 1.
    fn remember(&mut self, opcode: u8) -> Result<(), PickleError> {
        let index = match opcode {
            b'q' => usize::from(self.byte()?),
            b'r' => u32::from_le_bytes(self.fixed()?) as usize,
            _ => self.memo.len(),
        };
        let stored = match self.stack.last() {
            Some(Value::Text(span)) => Stored::Text(*span),
            Some(Value::Bytes(bytes)) => Stored::Bytes(*bytes),
            Some(Value::Global(global)) => Stored::Global(*global),
            Some(Value::Dtype) => Stored::Dtype,
            Some(_) => Stored::Other,
            None => return Err(self.misfit()),
        };
        self.count()?;
        if index > self.memo.len().saturating_add(1) {
            return Err(PickleError::Memo { offset: self.opcode_at });
        }
        while self.memo.len() <= index {
            self.memo.push(Stored::Other);
        }
        if let Some(place) = self.memo.get_mut(index) {
            *place = stored;
        }
        Ok(())
    }

    fn fetch(&mut self, opcode: u8) -> Result<(), PickleError> {
        let index = match opcode {
            b'h' => usize::from(self.byte()?),
            _ => u32::from_le_bytes(self.fixed()?) as usize,
        };
        let value = match self.memo.get(index) {
            Some(Stored::Text(span)) => Value::Text(*span),
            Some(Stored::Bytes(bytes)) => Value::Bytes(*bytes),
            Some(Stored::Global(global)) => Value::Global(*global),
            Some(Stored::Dtype) => Value::Dtype,
            Some(Stored::Other) | None => return Err(PickleError::Memo { offset: self.opcode_at }),
        };
        self.push(value)
    }
}

/// Entries of a dictionary; a batch has four or five.
const MAX_KEYS: usize = 16;
/// Bytes of the name of a module.
const MAX_LINE: usize = 256;
