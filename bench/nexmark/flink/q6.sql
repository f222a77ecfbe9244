-- The average closing price of each seller's last auctions. Flink cannot keep it.
CREATE TABLE nowhere (seller BIGINT, average BIGINT)
  WITH ('connector' = 'blackhole');

CREATE VIEW answer AS
  SELECT Q.seller,
         AVG(Q.price) OVER (PARTITION BY Q.seller ORDER BY Q.`dateTime` ROWS BETWEEN 10 PRECEDING AND CURRENT ROW) AS average
  FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY id, seller ORDER BY price DESC) AS rank_number
    FROM (
      SELECT A.id, A.seller, B.price, B.`dateTime`
      FROM auction A, bid B
      WHERE A.id = B.auction AND B.`dateTime` BETWEEN A.`dateTime` AND A.expires
    )
  ) Q
  WHERE Q.rank_number <= 1;
