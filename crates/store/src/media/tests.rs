//! Both media do the same as long as nothing fails, and the trial one fails as it says.

use super::*;

fn with_both(check: impl Fn(&dyn Media)) {
    let dir = tempfile::tempdir().unwrap();
    check(&DiskMedia::open(dir.path()).unwrap());
    check(&TrialMedia::new(1));
}

#[test]
fn files_are_written_read_renamed_and_removed() {
    with_both(|media| {
        media.create_dir("a/b").unwrap();
        let mut file = media.create("a/b/one").unwrap();
        file.append(b"hello ").unwrap();
        file.append_vectored(&[b"wor", b"", b"ld"]).unwrap();
        assert_eq!(file.position(), 11);
        file.sync().unwrap();
        assert_eq!(&media.read("a/b/one").unwrap()[..], b"hello world");
        assert_eq!(&media.read_at("a/b/one", 6, 5).unwrap()[..], b"world");
        assert!(media.read_at("a/b/one", 6, 6).is_err());
        media.create("a/b/two").unwrap();
        assert_eq!(media.list("a/b").unwrap(), ["one", "two"]);
        media.rename("a/b/one", "a/b/two").unwrap();
        assert_eq!(media.list("a/b").unwrap(), ["two"]);
        assert_eq!(media.len("a/b/two").unwrap(), 11);
        media.remove("a/b/two").unwrap();
        assert!(!media.exists("a/b/two").unwrap());
        assert!(media.remove("a/b/two").is_err());
        media.remove_dir_all("a").unwrap();
        media.remove_dir_all("a").unwrap();
        assert!(!media.exists("a/b").unwrap());
        assert!(media.list("a").unwrap().is_empty());
        assert!(media.create("a/c").is_err());
        media.sync_dir("").unwrap();
    });
}

#[test]
fn preallocated_zeros_are_overwritten_and_cut() {
    with_both(|media| {
        let mut file = media.create("f").unwrap();
        file.append(b"abc").unwrap();
        file.preallocate(200_000).unwrap();
        file.preallocate(100).unwrap();
        assert_eq!((file.position(), media.len("f").unwrap()), (3, 200_000));
        file.append(b"def").unwrap();
        assert_eq!(&media.read_at("f", 0, 8).unwrap()[..], b"abcdef\0\0");
        file.truncate(4).unwrap();
        file.append(b"x").unwrap();
        assert_eq!(&media.read("f").unwrap()[..], b"abcdx");
        drop(file);
        let mut file = media.open_append("f", 2).unwrap();
        file.append(b"--").unwrap();
        assert_eq!(&media.read("f").unwrap()[..], b"ab--x");
    });
}

#[test]
fn many_slices_are_written_in_order() {
    with_both(|media| {
        let parts: Vec<Vec<u8>> = (0..3000_u32).map(|n| n.to_le_bytes().to_vec()).collect();
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let mut file = media.create("f").unwrap();
        file.append_vectored(&slices).unwrap();
        assert_eq!(media.read("f").unwrap(), parts.concat());
    });
}

#[test]
fn a_folder_belongs_to_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let first = DiskMedia::open(dir.path()).unwrap();
    first.create("f").unwrap().append(b"x").unwrap();
    let second = DiskMedia::open(dir.path()).unwrap_err();
    let pid = std::process::id().to_string();
    assert!(matches!(second, StoreError::InUse(owner) if owner == pid));
    let reader = DiskMedia::read_only(dir.path()).unwrap();
    assert_eq!(&reader.read("f").unwrap()[..], b"x");
    assert!(reader.create("g").is_err());
    assert!(reader.remove("f").is_err());
    assert!(reader.local_path("f").unwrap().is_file());
    drop(first);
    DiskMedia::open(dir.path()).unwrap();
}

#[test]
fn a_crash_keeps_what_was_synced_and_a_prefix_of_the_rest() {
    for seed in 0..200 {
        let media = TrialMedia::new(seed);
        let mut file = media.create("f").unwrap();
        file.append(b"durable").unwrap();
        file.sync().unwrap();
        media.sync_dir("").unwrap();
        file.append(b" and").unwrap();
        file.append(b" not").unwrap();
        let after = media.after_crash();
        let found = after.read("f").unwrap();
        let text = b"durable and not";
        let kept = found.iter().zip(text).take_while(|(a, b)| a == b).count();
        assert!(kept >= 7, "seed {seed}: {found:?}");
        assert!(found[kept..].iter().all(|b| *b == 0), "seed {seed}: {found:?}");
        assert_eq!(after.after_crash().read("f").unwrap(), found, "seed {seed}");
    }
}

#[test]
fn a_crash_can_lose_names_until_the_folder_is_synced() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..100 {
        let media = TrialMedia::new(seed);
        let mut file = media.create("old").unwrap();
        file.append(b"old").unwrap();
        file.sync().unwrap();
        media.sync_dir("").unwrap();
        let mut file = media.create("new").unwrap();
        file.append(b"new").unwrap();
        file.sync().unwrap();
        media.rename("new", "old").unwrap();
        let after = media.after_crash();
        match &after.read("old").unwrap()[..] {
            b"old" => lost += 1,
            b"new" => kept += 1,
            other => panic!("seed {seed}: {other:?}"),
        }
        media.sync_dir("").unwrap();
        assert_eq!(&media.after_crash().read("old").unwrap()[..], b"new");
    }
    assert!(lost > 10 && kept > 10, "lost {lost}, kept {kept}");
}

#[test]
fn the_chosen_operation_fails_and_only_that_one() {
    for fault in [Fault::Io, Fault::NoSpace, Fault::ShortWrite] {
        let media = TrialMedia::with_fault(7, 2, fault);
        let mut file = media.create("f").unwrap();
        let error = file.append(b"0123456789").unwrap_err().to_string();
        assert!(error.starts_with("cannot write \"f\""), "{error}");
        assert!(media.len("f").unwrap() < 10);
        file.sync().unwrap();
        assert_eq!(media.operations(), 3);
    }
}

#[test]
fn nothing_works_after_a_crash() {
    let media = TrialMedia::with_fault(7, 2, Fault::CrashAfter);
    let mut file = media.create("f").unwrap();
    assert!(file.append(b"x").is_err());
    assert!(media.has_crashed());
    assert!(file.sync().is_err());
    assert!(media.read("f").is_err());
    assert!(media.create("g").is_err());
}
