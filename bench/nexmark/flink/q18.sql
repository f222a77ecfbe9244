-- The last bid of each user on each auction.
CREATE TABLE nowhere (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, `dateTime` TIMESTAMP(3), extra STRING)
  WITH ('connector' = 'blackhole');

CREATE VIEW answer AS
  SELECT auction, bidder, price, channel, url, `dateTime`, extra
  FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY bidder, auction ORDER BY `dateTime` DESC) AS rank_number FROM bid
  )
  WHERE rank_number <= 1;
