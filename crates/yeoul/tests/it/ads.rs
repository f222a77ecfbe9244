//! `examples/ads`: real traffic whose sums are known.

use crate::program::{checkout, good, rows, text, yeoul};

#[test]
fn the_sums_are_the_known_ones() {
    let project = checkout().join("examples/ads");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    good(&["run", text(&project), "--data", text(&data), "--until-drained"]);

    let totals = rows(
        &data,
        "SELECT campaign, CAST(sum(impressions) AS BIGINT), CAST(sum(clicks) AS BIGINT) \
         FROM ads_totals GROUP BY campaign ORDER BY campaign",
    );
    assert_eq!(totals, ["all,20000,80", "men,20000,115"]);

    // Every roll-up is of the same rows.
    for view in ["ctr_1m", "ctr_item_1m", "ads_positions", "ads_items"] {
        let sql = format!(
            "SELECT CAST(sum(impressions) AS BIGINT), CAST(sum(clicks) AS BIGINT) FROM {view}"
        );
        assert_eq!(rows(&data, &sql), ["40000,195"], "{view}");
    }

    // The views are what the same query gives over the rows.
    let twin = "SELECT campaign, policy, count(*), count(*) FILTER (WHERE click = 1) \
                FROM impressions GROUP BY campaign, policy ORDER BY campaign, policy";
    let kept =
        "SELECT campaign, policy, impressions, clicks FROM ads_totals ORDER BY campaign, policy";
    assert_eq!(rows(&data, kept), rows(&data, twin));

    // The bounds are around the rate.
    let outside = "SELECT count(*) FROM ctr_item_1m \
                   WHERE ctr < ctr_lower OR ctr > ctr_upper OR ctr_lower < 0 OR ctr_upper > 1";
    assert_eq!(rows(&data, outside), ["0"]);

    // Starting again is starting: nothing is read twice.
    good(&["run", text(&project), "--data", text(&data), "--until-drained"]);
    assert_eq!(rows(&data, "SELECT count(*) FROM impressions"), ["40000"]);

    let audit = good(&["audit", "--data", text(&data)]);
    assert!(audit.contains("every source balances"), "{audit}");
    let inspected = yeoul(&["inspect", text(&data)]);
    assert_eq!(inspected.code, Some(0), "{}", inspected.err);
    assert!(inspected.out.contains("manifest: commit"), "{}", inspected.out);
}

#[test]
fn the_project_is_checked() {
    let project = checkout().join("examples/ads");
    let out = good(&["check", text(&project)]);
    assert!(out.contains("nothing wrong"), "{out}");
}
