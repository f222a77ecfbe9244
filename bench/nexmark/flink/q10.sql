-- Log: every bid with the names of its folders. Nexmark writes files; here nothing is written, as in the others.
CREATE TABLE nowhere (auction BIGINT, bidder BIGINT, price BIGINT, `dateTime` TIMESTAMP(3), extra STRING, dt STRING, hm STRING)
  WITH ('connector' = 'blackhole');

CREATE VIEW answer AS
  SELECT auction, bidder, price, `dateTime`, extra,
         DATE_FORMAT(`dateTime`, 'yyyy-MM-dd') AS dt, DATE_FORMAT(`dateTime`, 'HH:mm') AS hm
  FROM bid;
