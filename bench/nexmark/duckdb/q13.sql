-- Every bid with a value looked up in a table that does not change.
SELECT b.auction, b.bidder, b.price, b.date_time, s.value
FROM bid b JOIN side_input s ON s.key = b.auction % 10000
