//! Bounds on what a template does with nested values.
//!
//! `MiniJinja` counts fuel for instructions and for the bytes that they make, but not for what a value holds: comparing, hashing
//! and printing visit all of it, with a stack frame for each level. A list that holds the same list several times, at several
//! levels, is small and takes for ever to print; one that holds itself never ends. Here every instruction that would visit its
//! operands is preceded by others that visit them first: [`visit`] pays for what it finds, and refuses deep nesting.
//!
//! Instructions are part of `MiniJinja`'s machinery, which changes between its versions: Cargo.toml names the exact one.

use std::collections::BTreeMap;

use minijinja::machinery::{Instruction, Instructions};
use minijinja::value::{DynObject, ObjectRepr, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};

/// The deepest nesting of a value that is compared, hashed or printed. (JSON of clients has at most 128 levels.)
const MAX_DEPTH: usize = 160;
/// Bytes that one unit of fuel pays for.
pub(super) const BYTES_PER_FUEL: usize = 64;
/// Fuel for what is neither a list nor a mapping, as long as its text.
const PLAIN_FUEL: u64 = 16;

/// Filters with these names are no template's own: they can't be written in one.
const VISIT: &str = "<visit>";
const HOLD: &str = "<hold>";
/// The index of a filter that is looked up each time.
const NOT_CACHED: u8 = u8::MAX;

/// Filters and tests that look at most at a value's own entries, not at what those hold.
const SHALLOW_FILTERS: [&str; 8] = [
    "count", "d", "default", "first", "items", "last", "length", "list",
];
const SHALLOW_TESTS: [&str; 13] = [
    "boolean",
    "callable",
    "defined",
    "false",
    "float",
    "integer",
    "iterable",
    "mapping",
    "none",
    "number",
    "sequence",
    "string",
    "undefined",
];

/// Adds the filters that the added instructions call.
pub(super) fn add_filters(environment: &mut Environment<'_>) {
    environment.add_filter(VISIT, visit_operands);
    environment.add_filter(HOLD, hold);
}

/// The same blocks with guards.
pub(super) fn guarded_blocks<'source>(
    blocks: &BTreeMap<&'source str, Instructions<'source>>,
) -> BTreeMap<&'source str, Instructions<'source>> {
    let blocks = blocks.iter();
    blocks
        .map(|(name, block)| (*name, guarded(block)))
        .collect()
}

/// The same instructions with guards.
pub(super) fn guarded<'source>(original: &Instructions<'source>) -> Instructions<'source> {
    let mut result = Instructions::new(original.name(), original.source());
    // Where each of the original instructions, or the first of its guards, is now.
    let mut positions = Vec::new();
    let mut length = 0;
    for index in 0.. {
        positions.push(length);
        let Some(instruction) = original.get(index) else {
            break;
        };
        let line = original.get_line(index).unwrap_or(0) as u16;
        let guards = guards(instruction).into_iter();
        for instruction in guards.chain([instruction.clone()]) {
            length = result.add_with_line(instruction, line) + 1;
        }
    }
    for index in 0..length {
        if let Some(target) = result.get_mut(index).and_then(target)
            && let Some(position) = positions.get(*target as usize)
        {
            *target = *position;
        }
    }
    result
}

/// Where an instruction may jump to.
fn target<'a>(instruction: &'a mut Instruction<'_>) -> Option<&'a mut u32> {
    match instruction {
        Instruction::Iterate(target)
        | Instruction::Jump(target)
        | Instruction::JumpIfFalse(target)
        | Instruction::JumpIfFalseOrPop(target)
        | Instruction::JumpIfTrueOrPop(target)
        | Instruction::BuildMacro(_, target, _) => Some(target),
        _ => None,
    }
}

/// What comes before an instruction.
fn guards<'source>(instruction: &Instruction<'_>) -> Vec<Instruction<'source>> {
    use Instruction as I;
    match instruction {
        I::Eq
        | I::Ne
        | I::Gt
        | I::Gte
        | I::Lt
        | I::Lte
        | I::In
        | I::CompareAndPreserve(_)
        | I::StringConcat => visits(Some(2)),
        // A key is hashed, lists are gone through.
        I::GetItem | I::Include(_) | I::UnpackList(_) => visits(Some(1)),
        I::BuildMap(pairs) => visits(Some(2 * pairs)),
        I::ApplyFilter(name, ..) if SHALLOW_FILTERS.contains(name) => Vec::new(),
        I::PerformTest(name, ..) if SHALLOW_TESTS.contains(name) => Vec::new(),
        I::ApplyFilter(_, count, _) | I::PerformTest(_, count, _) | I::CallMethod(_, count) => {
            visits(count.map(usize::from))
        }
        // The value is below the namespace.
        I::SetAttr(_) => vec![I::Swap, I::ApplyFilter(HOLD, Some(1), NOT_CACHED), I::Swap],
        _ => Vec::new(),
    }
}

/// Visits the topmost values of the stack, and leaves them there; their number is on top of them if it is `None` here.
fn visits<'source>(count: Option<usize>) -> Vec<Instruction<'source>> {
    let mut instructions = vec![
        Instruction::BuildTuple(count),
        Instruction::ApplyFilter(VISIT, Some(1), NOT_CACHED),
        // Leaves the number on top.
        Instruction::UnpackLists(1),
    ];
    if count.is_some() {
        instructions.push(Instruction::DiscardTop);
    }
    instructions
}

fn visit_operands(state: &State<'_, '_>, operands: &Value) -> Result<Value, Error> {
    for operand in operands.try_iter()? {
        visit(state, &operand)?;
    }
    Ok(operands.clone())
}

/// Pays for all that a list or a mapping holds; fails if it is too deep or too large. Texts are free: what works on them pays.
pub(super) fn visit(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.as_object() {
        Some(object) => visit_object(state, object, 0),
        None => Ok(()),
    }
}

/// Pays for a text as for all other values.
pub(super) fn visit_with_text(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    visit_entry(state, value, 0)
}

fn visit_entry(state: &State<'_, '_>, value: &Value, depth: usize) -> Result<(), Error> {
    match value.as_object() {
        Some(object) => visit_object(state, object, depth),
        None => {
            let bytes = value.as_str().map_or(0, str::len);
            state.consume_fuel(1 + (bytes / BYTES_PER_FUEL) as u64)
        }
    }
}

fn visit_object(state: &State<'_, '_>, object: &DynObject, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        let message = format!("a value has more than {MAX_DEPTH} levels");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    // Printed over several lines, each entry is indented.
    state.consume_fuel(1 + depth as u64)?;
    match object.repr() {
        ObjectRepr::Map => {
            for (key, value) in object.try_iter_pairs().into_iter().flatten() {
                visit_entry(state, &key, depth + 1)?;
                visit_entry(state, &value, depth + 1)?;
            }
            Ok(())
        }
        ObjectRepr::Seq | ObjectRepr::Iterable => {
            let mut entries = object.try_iter().into_iter().flatten();
            entries.try_for_each(|value| visit_entry(state, &value, depth + 1))
        }
        _ => state.consume_fuel(PLAIN_FUEL),
    }
}

/// A value for a namespace: data alone, which cannot lead back to the namespace. Otherwise it would hold itself, and never be
/// freed.
fn hold(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    visit(state, value)?;
    let value = match value.kind() {
        ValueKind::Iterable => value.try_iter()?.collect(),
        _ => value.clone(),
    };
    match is_data(&value) {
        true => Ok(value),
        false => {
            let message = "a namespace holds texts, numbers, lists and mappings, \
                           not other namespaces, loops, macros or iterators";
            Err(Error::new(ErrorKind::InvalidOperation, message))
        }
    }
}

/// Whether a value, which was visited, consists of texts, numbers, lists and mappings.
fn is_data(value: &Value) -> bool {
    let Some(object) = value.as_object() else {
        return true;
    };
    match object.repr() {
        ObjectRepr::Map => {
            // Of MiniJinja's mappings, these hold more than they show.
            let others = ["Namespace", "Loop", "Module", "Macro"];
            let name = object.type_name();
            let mut pairs = object.try_iter_pairs().into_iter().flatten();
            !others.iter().any(|other| name.ends_with(other))
                && pairs.all(|(key, value)| is_data(&key) && is_data(&value))
        }
        ObjectRepr::Seq => {
            let mut entries = object.try_iter().into_iter().flatten();
            entries.all(|value| is_data(&value))
        }
        _ => false,
    }
}
