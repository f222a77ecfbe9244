-- Every bid with a value of the side input. It comes from a map in memory (Lookup):
-- the file connector of Flink cannot be looked up in.
CREATE TEMPORARY FUNCTION side_value AS 'Lookup';

CREATE TABLE nowhere (auction BIGINT, bidder BIGINT, price BIGINT, `dateTime` TIMESTAMP(3), `value` STRING)
  WITH ('connector' = 'blackhole');

CREATE VIEW answer AS
  SELECT auction, bidder, price, `dateTime`, side_value(CAST(MOD(auction, 10000) AS STRING)) AS `value` FROM bid;
