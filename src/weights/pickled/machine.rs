//! Python's pickles, as far as files of tensors use them (protocols 2 to 5, pickletools.py).
//!
//! A pickle is a program for a machine with a stack, which makes objects and calls functions. Here calls are only written down:
//! nothing of what a file names is run.

use std::collections::HashMap;

/// The most dimensions of a tensor.
const MAX_RANK: usize = 8;

/// The number of an object.
pub(super) type Id = usize;

/// An object.
#[derive(Debug)]
pub(super) enum Object<'a> {
    None,
    Bool,
    Int(i64),
    Float,
    Text(&'a str),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A function or a class, by its module and its name.
    Global(&'a str, &'a str),
    /// What a function or a class returns for these arguments.
    Call(Id, Id),
    /// What lies outside of the pickle under this name.
    Persistent(Id),
}

/// The objects of a pickle.
pub(super) struct Objects<'a> {
    objects: Vec<Object<'a>>,
    /// The object that was pickled.
    pub(super) root: Id,
}

impl<'a> Objects<'a> {
    /// Reads a pickle; an error says what is wrong with it.
    pub(super) fn read(pickle: &'a [u8]) -> Result<Self, String> {
        let mut machine = Machine {
            rest: pickle,
            objects: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        while !machine.step()? {}
        Ok(Self {
            root: machine.pop()?,
            objects: machine.objects,
        })
    }

    pub(super) fn get(&self, id: Id) -> &Object<'a> {
        self.objects.get(id).unwrap_or(&Object::None)
    }

    pub(super) fn text(&self, id: Id) -> Option<&'a str> {
        match self.get(id) {
            Object::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn size(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Object::Int(size) => usize::try_from(*size).ok(),
            _ => None,
        }
    }

    pub(super) fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Object::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// A tensor's sizes: no more than tensors have.
    pub(super) fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        let items = self.tuple(id)?;
        let items = (items.len() <= MAX_RANK).then_some(items)?.iter();
        items.map(|item| self.size(*item)).collect()
    }

    /// The arguments of a call of a function.
    pub(super) fn arguments(&self, id: Id, module: &str, function: &str) -> Option<&[Id]> {
        let Object::Call(called, arguments) = self.get(id) else {
            return None;
        };
        match self.get(*called) {
            Object::Global(own, name) if (*own, *name) == (module, function) => {
                self.tuple(*arguments)
            }
            _ => None,
        }
    }
}

struct Machine<'a> {
    rest: &'a [u8],
    objects: Vec<Object<'a>>,
    stack: Vec<Id>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl<'a> Machine<'a> {
    /// Runs one instruction; returns whether it was the last.
    fn step(&mut self) -> Result<bool, String> {
        let [code] = self.take()?;
        match code {
            b'.' => return Ok(true),
            // PROTO, FRAME
            0x80 => drop(self.take::<1>()?),
            0x95 => drop(self.take::<8>()?),
            b'(' => self.marks.push(self.stack.len()),
            // POP; and BUILD, which gives an object attributes: no tensor needs them.
            b'0' | b'b' => drop(self.pop()?),
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.append(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set(&items)?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE
            b'q' | b'r' | 0x94 => {
                let name = match code {
                    b'q' => self.take::<1>()?[0].into(),
                    b'r' => u32::from_le_bytes(self.take()?).into(),
                    _ => self.memo.len() as u64,
                };
                let top = *self.stack.last().ok_or(EMPTY)?;
                self.memo.insert(name, top);
            }
            // BINGET, LONG_BINGET
            b'h' | b'j' => {
                let name = match code {
                    b'h' => self.take::<1>()?[0].into(),
                    _ => u32::from_le_bytes(self.take()?).into(),
                };
                let object = self.memo.get(&name);
                let object = *object.ok_or("an object that was not remembered")?;
                self.stack.push(object);
            }
            code => {
                let made = match self.value(code)? {
                    Some(value) => Some(value),
                    None => self.made_of_others(code)?,
                };
                let object =
                    made.ok_or_else(|| format!("instruction {code:#x}, which is not supported"))?;
                self.push(object);
            }
        }
        Ok(false)
    }

    /// The object that an instruction holds; `None`: another instruction.
    fn value(&mut self, code: u8) -> Result<Option<Object<'a>>, String> {
        Ok(Some(match code {
            b'N' => Object::None,
            // NEWTRUE, NEWFALSE
            0x88 | 0x89 => Object::Bool,
            b'K' => Object::Int(self.take::<1>()?[0].into()),
            b'M' => Object::Int(u16::from_le_bytes(self.take()?).into()),
            b'J' => Object::Int(i32::from_le_bytes(self.take()?).into()),
            // LONG1
            0x8a => {
                let [length] = self.take()?;
                let bytes = self.bytes(length.into())?;
                let mut value = [if bytes.last() >= Some(&0x80) { 0xff } else { 0 }; 8];
                let own = value.get_mut(..bytes.len());
                own.ok_or("a number of more than 8 bytes")?
                    .copy_from_slice(bytes);
                Object::Int(i64::from_le_bytes(value))
            }
            b'G' => {
                self.take::<8>()?;
                Object::Float
            }
            // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
            0x8c | b'X' | 0x8d => {
                let length = match code {
                    0x8c => self.take::<1>()?[0].into(),
                    b'X' => u32::from_le_bytes(self.take()?).into(),
                    _ => u64::from_le_bytes(self.take()?),
                };
                let length = usize::try_from(length).map_err(|_| SHORT)?;
                Object::Text(text(self.bytes(length)?)?)
            }
            b'c' => Object::Global(self.line()?, self.line()?),
            b')' => Object::Tuple(Vec::new()),
            b']' => Object::List(Vec::new()),
            b'}' => Object::Dict(Vec::new()),
            _ => return Ok(None),
        }))
    }

    /// The object that an instruction makes of those on the stack; `None`: another instruction.
    fn made_of_others(&mut self, code: u8) -> Result<Option<Object<'a>>, String> {
        Ok(Some(match code {
            // STACK_GLOBAL
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let own = |id: Id| match self.objects.get(id) {
                    Some(Object::Text(text)) => Ok(*text),
                    _ => Err("a function whose name is no text"),
                };
                Object::Global(own(module)?, own(name)?)
            }
            b'Q' => Object::Persistent(self.pop()?),
            // REDUCE, NEWOBJ
            b'R' | 0x81 => {
                let (arguments, called) = (self.pop()?, self.pop()?);
                match self.objects.get(called) {
                    Some(Object::Global("collections", "OrderedDict" | "defaultdict")) => {
                        Object::Dict(Vec::new())
                    }
                    _ => Object::Call(called, arguments),
                }
            }
            // TUPLE1 to TUPLE3
            0x85..=0x87 => {
                let start = self.stack.len().checked_sub(usize::from(code) - 0x84);
                Object::Tuple(self.stack.split_off(start.ok_or(EMPTY)?))
            }
            b't' => Object::Tuple(self.since_mark()?),
            _ => return Ok(None),
        }))
    }

    fn push(&mut self, object: Object<'a>) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }

    fn pop(&mut self) -> Result<Id, String> {
        Ok(self.stack.pop().ok_or(EMPTY)?)
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, String> {
        let start = self
            .marks
            .pop()
            .ok_or("the end of a list without a start")?;
        match start <= self.stack.len() {
            true => Ok(self.stack.split_off(start)),
            false => Err(EMPTY.into()),
        }
    }

    fn append(&mut self, new: &[Id]) -> Result<(), String> {
        match self.top()? {
            Object::List(items) => {
                items.extend(new);
                Ok(())
            }
            _ => Err("items for what is no list".into()),
        }
    }

    fn set(&mut self, new: &[Id]) -> Result<(), String> {
        match (self.top()?, new.as_chunks()) {
            (Object::Dict(items), (pairs, [])) => {
                items.extend(pairs.iter().map(|[key, value]| (*key, *value)));
                Ok(())
            }
            (Object::Dict(_), _) => Err("a key without a value".into()),
            _ => Err("keys for what is no dictionary".into()),
        }
    }

    fn top(&mut self) -> Result<&mut Object<'a>, String> {
        let top = *self.stack.last().ok_or(EMPTY)?;
        Ok(self.objects.get_mut(top).ok_or(EMPTY)?)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (first, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*first)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(SHORT)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let line = self.bytes(end.ok_or(SHORT)?)?;
        self.take::<1>()?;
        text(line)
    }
}

const EMPTY: &str = "an empty stack";
const SHORT: &str = "an end within an instruction";

fn text(bytes: &[u8]) -> Result<&str, String> {
    Ok(std::str::from_utf8(bytes).map_err(|_| "a text that is not UTF-8")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_described_and_none_is_called() {
        // os.system("rm -rf /"), twice the same text, and a dictionary.
        let pickle = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x07X\x01\x00\x00\x00bcos\nsystem\nh\x01\x85Ru.";
        let objects = Objects::read(pickle).unwrap();
        let Object::Dict(items) = objects.get(objects.root) else {
            panic!("no dictionary")
        };
        let [(first, seven), (second, call)] = items[..] else {
            panic!("not two items")
        };
        assert_eq!(objects.text(first), Some("a"));
        assert_eq!(objects.size(seven), Some(7));
        assert_eq!(objects.text(second), Some("b"));
        let arguments = objects.arguments(call, "os", "system").unwrap();
        assert_eq!(objects.text(arguments[0]), Some("a"));
    }

    #[test]
    fn damaged_pickles_are_errors() {
        let whole = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01J\xff\xff\xff\xffu.";
        assert!(Objects::read(whole).is_ok());
        for length in 0..whole.len() {
            assert!(Objects::read(&whole[..length]).is_err(), "{length}");
        }
        for (pickle, expected) in [
            (&b"."[..], "empty stack"),
            (b"(NNu.", "empty stack"),
            (b"}(Nu.", "without a value"),
            (b"N(NNu.", "no dictionary"),
            (b"NNa.", "no list"),
            (b"t.", "without a start"),
            (b"h\x05.", "not remembered"),
            (b"(N00t.", "empty stack"),
            (b"\x8a\x09123456789.", "more than 8 bytes"),
            (b"X\xff\xff\xff\xffa.", "within an instruction"),
            (b"\x8c\x01\xff.", "not UTF-8"),
            (b"i.", "instruction 0x69"),
        ] {
            let error = Objects::read(pickle).map(drop).unwrap_err();
            assert!(error.contains(expected), "{pickle:?}: {error}");
        }
    }
}
