//! Finds the end of one Java object in the format of Java's own serialization, as far as Flink's metadata uses it:
//! objects of plain fields, strings, enums, nulls and back references. There are no arrays, and no class with a
//! `writeObject` of its own.
//!
//! An object is its class and then the values of its fields, those of the uppermost class first. A class is described
//! where it first occurs: name, version, flags, fields (type code, name, and for objects the type's name as a string),
//! an end mark, the class above. Every class, object and string gets a number, by which it is referred to from then on.

use std::rc::Rc;

use highwater_types::{ByteReader, Result};

use super::primitives::corrupt;

/// How deep objects, and classes above a class, may be nested; the properties' own depth is three.
const MAX_DEPTH: usize = 8;

const MAGIC_AND_VERSION: [u8; 4] = [0xac, 0xed, 0x00, 0x05];

const NULL: u8 = 0x70;
const REFERENCE: u8 = 0x71;
const CLASS: u8 = 0x72;
const OBJECT: u8 = 0x73;
const STRING: u8 = 0x74;
const END_OF_ANNOTATIONS: u8 = 0x78;
const ENUM: u8 = 0x7e;

const FIRST_NUMBER: u32 = 0x007e_0000;

/// Flags of a class whose objects are their fields and nothing else, and of an enum.
const PLAIN_CLASS: u8 = 0x02;
const ENUM_CLASS: u8 = 0x12;

/// Reads one object of the class `name`, from the stream's magic number to the last byte of the object.
pub(super) fn read_object(reader: &mut ByteReader<'_>, name: &str) -> Result<()> {
    let offset = reader.position();
    if reader.read_array()? != MAGIC_AND_VERSION {
        return Err(corrupt("not a Java object", offset));
    }
    let mut objects = Objects { reader, known: Vec::new() };
    match objects.read(0)? {
        Some(class) if class.name == name => Ok(()),
        _ => Err(corrupt("an object of another Java class", offset).with("expected", name)),
    }
}

struct Class {
    name: String,
    flags: u8,
    /// Type codes.
    fields: Vec<u8>,
    above: Option<Rc<Class>>,
    /// How many classes are above.
    depth: usize,
}

/// What a number stands for. A class has none before it was read to its end.
enum Known {
    Class(Option<Rc<Class>>),
    Value,
}

struct Objects<'r, 'a> {
    reader: &'r mut ByteReader<'a>,
    known: Vec<Known>,
}

impl Objects<'_, '_> {
    /// Reads an object, a string, an enum's constant, a null or a reference; the class of an object.
    fn read(&mut self, depth: usize) -> Result<Option<Rc<Class>>> {
        let offset = self.reader.position();
        if depth > MAX_DEPTH {
            return Err(corrupt("Java objects are nested too deep", offset));
        }
        match self.reader.read_u8()? {
            NULL => {}
            REFERENCE => drop(self.reference()?),
            STRING => self.string()?,
            ENUM => {
                self.class_of(ENUM_CLASS)?;
                self.known.push(Known::Value);
                self.read_string()?;
            }
            OBJECT => {
                let class = self.class_of(PLAIN_CLASS)?;
                self.known.push(Known::Value);
                self.fields(&class, depth)?;
                return Ok(Some(class));
            }
            other => return Err(corrupt("not a Java object, string or enum", offset).with("found", other)),
        }
        Ok(None)
    }

    /// The values of the fields.
    fn fields(&mut self, class: &Class, depth: usize) -> Result<()> {
        if let Some(above) = &class.above {
            self.fields(above, depth)?;
        }
        for field in &class.fields {
            match field {
                b'B' | b'Z' => drop(self.reader.read_u8()?),
                b'C' | b'S' => drop(self.reader.read_u16()?),
                b'F' | b'I' => drop(self.reader.read_u32()?),
                b'D' | b'J' => drop(self.reader.read_i64()?),
                _ => drop(self.read(depth + 1)?),
            }
        }
        Ok(())
    }

    /// The class of an object or enum.
    fn class_of(&mut self, flags: u8) -> Result<Rc<Class>> {
        let offset = self.reader.position();
        match self.class(0)? {
            Some(class) if class.flags == flags => Ok(class),
            _ => Err(corrupt("not the class of such a Java object", offset)),
        }
    }

    /// A class; none above the uppermost.
    fn class(&mut self, below: usize) -> Result<Option<Rc<Class>>> {
        let offset = self.reader.position();
        let class = match self.reader.read_u8()? {
            NULL => return Ok(None),
            REFERENCE => match self.reference()? {
                Known::Class(Some(class)) => Rc::clone(class),
                _ => return Err(corrupt("a reference to a Java class leads to something else", offset)),
            },
            CLASS => self.new_class(below)?,
            other => return Err(corrupt("not a Java class", offset).with("found", other)),
        };
        if below + class.depth > MAX_DEPTH {
            return Err(corrupt("Java classes are nested too deep", offset));
        }
        Ok(Some(class))
    }

    fn new_class(&mut self, below: usize) -> Result<Rc<Class>> {
        if below > MAX_DEPTH {
            return Err(corrupt("Java classes are nested too deep", self.reader.position()));
        }
        let name = self.reader.read_utf()?;
        self.reader.read_i64()?;
        let number = self.known.len();
        self.known.push(Known::Class(None));
        let flags = self.reader.read_u8()?;
        let count = self.reader.read_u16()?;
        let mut fields = Vec::new();
        for _ in 0..count {
            fields.push(self.field()?);
        }
        let offset = self.reader.position();
        match self.reader.read_u8()? {
            END_OF_ANNOTATIONS => {}
            other => return Err(corrupt("a Java class is annotated", offset).with("found", other)),
        }
        let above = self.class(below + 1)?;
        let depth = above.as_ref().map_or(0, |above| above.depth + 1);
        let class = Rc::new(Class { name, flags, fields, above, depth });
        if let Some(known) = self.known.get_mut(number) {
            *known = Known::Class(Some(Rc::clone(&class)));
        }
        Ok(class)
    }

    /// The type code of a field.
    fn field(&mut self) -> Result<u8> {
        let offset = self.reader.position();
        let code = self.reader.read_u8()?;
        self.reader.read_utf()?;
        match code {
            b'B' | b'C' | b'D' | b'F' | b'I' | b'J' | b'S' | b'Z' => {}
            b'L' => self.read_string()?,
            other => return Err(corrupt("not the type of a field", offset).with("found", other)),
        }
        Ok(code)
    }

    /// A string or a reference.
    fn read_string(&mut self) -> Result<()> {
        let offset = self.reader.position();
        match self.reader.read_u8()? {
            STRING => self.string(),
            REFERENCE => self.reference().map(drop),
            other => Err(corrupt("not a Java string", offset).with("found", other)),
        }
    }

    fn string(&mut self) -> Result<()> {
        self.reader.read_utf()?;
        self.known.push(Known::Value);
        Ok(())
    }

    fn reference(&mut self) -> Result<&Known> {
        let offset = self.reader.position();
        let number = self.reader.read_u32()?;
        let index = number.checked_sub(FIRST_NUMBER).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.known.get(index)).ok_or_else(|| {
            corrupt("a reference to a Java object that did not come before", offset).with("found", number)
        })
    }
}
