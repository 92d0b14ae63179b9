//! What the tests of the main job share.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::fs;
use std::path::{Path, PathBuf};

/// A program that cargo built beside this test.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(program.exists(), "{} is missing: run `cargo build -p highwater --examples`", program.display());
    program
}

/// Name and text of every committed file.
pub(crate) fn committed_files(output: &Path) -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir(output) else { return Vec::new() };
    entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| name.starts_with("part-"))
        .map(|(name, path)| (name, fs::read_to_string(path).unwrap()))
        .collect()
}
