//! Files that grow, come, are cut and are replaced.

use std::io::Write as _;

use crate::shop::{Shop, line};

fn lines(ids: std::ops::Range<usize>) -> String {
    ids.map(line).collect()
}

#[test]
fn growing_new_cut_and_replaced_files() {
    let mut shop = Shop::new();
    shop.write("a.json", lines(0..3));
    shop.create("path = '*.json', follow = 'true'");
    let sources = shop.start().expect("starts");
    shop.wait_for(3);
    assert!(sources.is_drained(), "a source without end holds nobody up");

    // Half a record waits for its other half.
    let next = line(3);
    shop.append("a.json", &next[..10]);
    shop.append("b.json", lines(100..102));
    shop.wait_for(5);
    shop.append("a.json", &next[10..]);
    shop.wait_for(6);

    // Cut to nothing and written again.
    shop.write("a.json", "");
    std::thread::sleep(std::time::Duration::from_millis(200));
    shop.append("a.json", lines(4..6));
    shop.wait_for(8);

    // Moved away (out of the pattern), with a last record that has no line end, and replaced.
    shop.append("b.json", line(102).trim_end());
    std::fs::rename(shop.path("b.json"), shop.path("b.old")).expect("moves");
    shop.write("b.json", lines(103..110));
    shop.wait_for(16);
    sources.stop();

    // While nobody looks: one grows, one is cut.
    shop.append("b.json", line(110));
    shop.write("a.json", line(6));
    shop.restart();
    let sources = shop.start().expect("starts");
    shop.wait_for(18);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(shop.rows("SELECT count(*), count(DISTINCT id) FROM events"), ["18|18"]);
    assert_eq!(sources.statuses()[0].error, None);
    sources.stop();
}

#[test]
fn a_file_that_was_empty_between_is_found_again() {
    let mut shop = Shop::new();
    shop.write("e.csv", "");
    shop.create("path = 'e.csv', follow = 'true'");
    let sources = shop.start().expect("starts");
    let replace = |text: &str| {
        std::fs::remove_file(shop.path("e.csv")).expect("is removed");
        shop.write("e.csv", text);
        std::thread::sleep(std::time::Duration::from_millis(600));
    };
    // Nobody has written to the first; the third and the fourth have no rows.
    replace("id,name\n1,a\n2,b\n3,c\n4,d\n");
    shop.wait_for(4);
    replace("");
    replace("id,name\n\n");
    replace("id,name\n5,e\n6,f\n");
    shop.wait_for(6);
    assert_eq!(sources.statuses()[0].error, None);
    sources.stop();

    shop.restart();
    let sources = shop.start().expect("starts");
    shop.append("e.csv", "7,g\n");
    shop.wait_for(7);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(shop.rows("SELECT count(*), count(DISTINCT id) FROM events"), ["7|7"]);
    sources.stop();
}

#[test]
fn csv_header_may_come_later() {
    let shop = Shop::new();
    shop.create("path = 'e.csv', follow = 'true'");
    let sources = shop.start().expect("waits for the file");
    shop.append("e.csv", "name,");
    std::thread::sleep(std::time::Duration::from_millis(100));
    shop.append("e.csv", "id\nx,1\ny,");
    shop.wait_for(1);
    shop.append("e.csv", "2\n");
    shop.wait_for(2);
    assert_eq!(shop.rows("SELECT name, id FROM events ORDER BY id"), ["x|1", "y|2"]);
    sources.stop();
}

/// `logrotate` moves a file away and only then tells the program that writes to it.
#[test]
fn what_is_written_to_a_file_that_was_moved_away_is_read() {
    let shop = Shop::new();
    shop.write("a.json", lines(0..3));
    let writer = std::fs::OpenOptions::new().append(true).open(shop.path("a.json"));
    shop.create("path = 'a.json', follow = 'true'");
    let sources = shop.start().expect("starts");
    shop.wait_for(3);
    std::fs::rename(shop.path("a.json"), shop.path("a.json.1")).expect("moves");
    shop.write("a.json", lines(10..12));
    std::thread::sleep(std::time::Duration::from_millis(300));
    writer.expect("opens").write_all(lines(3..5).as_bytes()).expect("writes");
    shop.wait_for(7);
    assert_eq!(shop.rows("SELECT count(DISTINCT id) FROM events"), ["7"]);
    sources.stop();
}

#[test]
fn a_longer_file_in_its_place_while_nobody_looks() {
    let mut shop = Shop::new();
    shop.write("a.json", lines(0..3));
    shop.write("b.csv", "id,name\n100,a\n101,b\n");
    shop.create("path = '*.json', follow = 'true'");
    shop.run(
        "CREATE STREAM sheet (id BIGINT, name VARCHAR) \
         WITH (connector = 'file', path = '*.csv', follow = 'true')",
    );
    let sources = shop.start().expect("starts");
    shop.wait_for(3);
    sources.stop();

    shop.write("a.json", lines(1_000..1_010));
    shop.write("b.csv", "id,name\n100000,longer\n100001,longer\n");
    shop.restart();
    let sources = shop.start().expect("starts");
    shop.wait_for(13);
    sources.stop();
    assert_eq!(shop.rows("SELECT count(*) FROM yeoul.dead_letters"), ["0"]);
    assert_eq!(shop.rows("SELECT count(*) FROM sheet"), ["4"]);
}

/// Where a piece of a list of objects ends is no line's end, and the file is the same all the same.
#[test]
fn a_list_of_objects_grows_while_nobody_looks() {
    let mut shop = Shop::new();
    shop.write("a.json", "[\n{\"id\":1}, {\"id\":2}, {\"i");
    shop.create("path = '*.json', follow = 'true'");
    let sources = shop.start().expect("starts");
    shop.wait_for(2);
    sources.stop();
    shop.append("a.json", "d\":3}\n, {\"id\":4}]");
    shop.restart();
    let sources = shop.start().expect("starts");
    shop.wait_for(4);
    sources.stop();
}
