-- Every bid with a value looked up in a table that does not change.
SELECT b.auction, b.bidder, b.price, b.date_time, s.value
FROM bid b JOIN side_input FOR SYSTEM_TIME AS OF PROCTIME() s ON s.key = b.auction % 10000
