//! The corpora of the fuzz targets, played again: each was found because it goes a way that no other goes.

#[path = "../fuzz/targets.rs"]
mod targets;

use rutter_tests::dice::Dice;
use rutter_tests::root;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = root().join("tests/fuzz/corpus").join(name);
    std::fs::read_dir(dir).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn requests_of_any_bytes_harm_nobody() {
    let all = corpus("request");
    assert!(all.len() > 50, "the corpus is missing");
    all.iter().for_each(|bytes| targets::request(bytes));
}

#[test]
fn streams_come_to_rest_whatever_happens() {
    let all = corpus("stream");
    assert!(all.len() > 50, "the corpus is missing");
    all.iter().for_each(|bytes| targets::stream(bytes));
    let mut dice = Dice::new(0x5EED_F022);
    for _ in 0..2000 {
        let bytes: Vec<u8> = (0..dice.below(200)).map(|_| dice.below(256) as u8).collect();
        targets::stream(&bytes);
    }
}
