-- The ten highest bids on each auction.
CREATE TABLE nowhere (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, `dateTime` TIMESTAMP(3), extra
  STRING, rank_number BIGINT)
  WITH ('connector' = 'blackhole');

CREATE VIEW answer AS
  SELECT *
  FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC) AS rank_number FROM bid
  )
  WHERE rank_number <= 10;
