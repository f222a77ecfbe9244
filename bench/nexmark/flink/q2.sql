-- Selection: bids on some auctions.
CREATE TABLE nowhere (auction BIGINT, price BIGINT)
  WITH ('connector' = 'blackhole');

CREATE VIEW answer AS
  SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0;
