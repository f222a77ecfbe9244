-- Pass through.
CREATE TABLE nowhere (auction BIGINT, bidder BIGINT, price BIGINT, `dateTime` TIMESTAMP(3), extra STRING)
  WITH ('connector' = 'blackhole');

CREATE VIEW answer AS
  SELECT auction, bidder, price, `dateTime`, extra FROM bid;
