//! List state.

use highwater_types::Result;

use super::Subject;
use crate::ListStateDescriptor;

/// `add` and `add_all` append, `update` replaces, `get` and `for_each` go in order.
pub fn list_keeps_the_order_of_additions(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<String>()?;
    let state = backend.list_state(&ListStateDescriptor::<i64>::new("list"))?;
    backend.set_current_key("a".to_owned())?;
    state.add(3)?;
    state.add_all(vec![1, 2])?;
    state.add(3)?;
    assert_eq!(state.get()?, [3, 1, 2, 3]);
    state.update(vec![9, 8])?;
    state.add(7)?;
    let mut seen = Vec::new();
    state.for_each(|element| seen.push(*element))?;
    assert_eq!(seen, [9, 8, 7]);
    backend.set_current_key("b".to_owned())?;
    assert_eq!(state.get()?, [] as [i64; 0]);
    state.add_all((0..1000).collect())?;
    assert_eq!(state.get()?, (0..1000).collect::<Vec<_>>());
    Ok(())
}

/// Elements whose bytes are or hold the byte that joins elements come back as they were.
pub fn list_elements_may_hold_the_delimiter(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let numbers = backend.list_state(&ListStateDescriptor::<i64>::new("numbers"))?;
    let texts = backend.list_state(&ListStateDescriptor::<String>::new("texts"))?;
    backend.set_current_key(0x2c2c_2c2c_2c2c_2c2c)?;
    let commas = [0x2c, 0x2c2c_2c2c_2c2c_2c2c, 0, 0x2c00];
    commas.iter().try_for_each(|number| numbers.add(*number))?;
    let words = ["", ",", ",,", "a,b", "", "😀,"].map(str::to_owned);
    texts.add_all(words.to_vec())?;
    texts.add_all(words.to_vec())?;
    assert_eq!(numbers.get()?, commas);
    assert_eq!(texts.get()?, [words.clone(), words].concat());
    Ok(())
}

/// An empty list and no list are the same, however it came to be.
pub fn list_without_elements_is_no_list(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let state = backend.list_state(&ListStateDescriptor::<String>::new("list"))?;
    let count = |backend: &crate::KeyedBackend<i64>| backend.entry_count("list");
    backend.set_current_key(1)?;
    assert_eq!(state.get()?, [] as [String; 0]);
    state.add_all(vec![])?;
    state.update(vec![])?;
    state.clear()?;
    state.retain(|_| true)?;
    assert_eq!(count(&backend)?, 0);
    state.add("a".to_owned())?;
    state.add_all(vec![])?;
    assert_eq!((state.get()?, count(&backend)?), (vec!["a".to_owned()], 1));
    state.update(vec![])?;
    assert_eq!((state.get()?, count(&backend)?), (vec![], 0));
    state.add("b".to_owned())?;
    state.retain(|_| false)?;
    assert_eq!((state.get()?, count(&backend)?), (vec![], 0));
    state.add("c".to_owned())?;
    state.clear()?;
    assert_eq!((state.get()?, count(&backend)?), (vec![], 0));
    state.add("d".to_owned())?;
    assert_eq!(state.get()?, ["d"], "nothing of what was removed comes back");
    Ok(())
}

/// `retain` changes elements and drops others in one go.
pub fn list_in_place_updates_are_kept(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<i64>()?;
    let state = backend.list_state(&ListStateDescriptor::<String>::new("list"))?;
    backend.set_current_key(1)?;
    state.update((0..6).map(|number| number.to_string()).collect())?;
    let copy = state.get()?;
    state.retain(|element| {
        element.push('!');
        !matches!(element.as_str(), "0!" | "3!" | "5!")
    })?;
    assert_eq!(state.get()?, ["1!", "2!", "4!"]);
    assert_eq!(copy.concat(), "012345", "what was read is a copy");
    state.add("6".to_owned())?;
    assert_eq!(state.get()?, ["1!", "2!", "4!", "6"]);
    Ok(())
}
