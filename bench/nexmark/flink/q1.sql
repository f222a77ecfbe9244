-- Currency: every price in euros.
CREATE TABLE nowhere (auction BIGINT, bidder BIGINT, price DECIMAL(23, 3), `dateTime` TIMESTAMP(3), extra STRING)
  WITH ('connector' = 'blackhole');

CREATE VIEW answer AS
  SELECT auction, bidder, 0.908 * price AS price, `dateTime`, extra FROM bid;
