use candle_core::{Device, Tensor};

use super::*;

fn moments(width: usize, gram: bool) -> Moments {
    let fed = Tensor::randn(0.1f32, 1.0, (33, width), &Device::Cpu).unwrap();
    Moments::of(&fed, None, Wanted { gram, ..Wanted::default() }).unwrap()
}

#[test]
fn sums_come_back_to_the_bit() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join(NAME);
    let sites = BTreeMap::from([("block.0.up".to_owned(), moments(5, true)), ("head".to_owned(), moments(3, false))]);
    file::write(&path, &sites).unwrap();
    let opened = file::open(&path).unwrap();
    let squares = Wanted::default();
    let all = Wanted { gram: true, ..Wanted::default() };
    assert_eq!(file::read(&opened, "block.0.up", 5, all).unwrap().as_ref(), sites.get("block.0.up"));
    assert_eq!(file::read(&opened, "head", 3, squares).unwrap().as_ref(), sites.get("head"));
    assert_eq!(file::read(&opened, "block.0.up", 5, squares).unwrap().unwrap().gram, None, "nobody asked for it");
    assert_eq!(file::read(&opened, "a.table", 3, squares).unwrap(), None);
    assert!(file::read(&opened, "head", 4, squares).unwrap_err().contains("'head'"), "of another width");
    assert!(file::read(&opened, "head", 3, all).is_err(), "without the products");
    assert!(sites.values().map(file::bytes).sum::<u64>() < std::fs::metadata(&path).unwrap().len());
}

#[test]
fn what_is_not_whole_or_too_large_is_not_left() {
    let place = tempfile::tempdir().unwrap();
    let asked = Asked { key: "k".into(), given: None };
    let open = || Statistics::open(Some(&asked), Some("k".into()), &crate::engine::context::Silent);
    assert_eq!(Statistics::default().leave(place.path()).unwrap(), None, "nobody keeps it");
    assert_eq!(open().leave(place.path()).unwrap(), None, "nothing was taken");
    let put = |statistics: &Statistics| {
        let sites = BTreeMap::from([("head".to_owned(), moments(3, false))]);
        statistics.now().taken.as_mut().unwrap().extend(sites);
    };
    let missed = open();
    put(&missed);
    missed.miss();
    assert_eq!((missed.leave(place.path()).unwrap(), missed.provenance()), (None, None));
    assert!(!place.path().join(NAME).exists());
    let whole = open();
    put(&whole);
    let (size_bytes, sha256) = whole.leave(place.path()).unwrap().unwrap();
    assert_eq!(size_bytes, std::fs::metadata(place.path().join(NAME)).unwrap().len());
    let told = whole.provenance().unwrap();
    assert_eq!((told.key.as_str(), &told.sha256, told.is_reused), ("k", &sha256, false));
}
