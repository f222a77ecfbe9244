-- How many bids each user made in each of their sessions.
CREATE TABLE nowhere (bidder BIGINT, bid_count BIGINT, starttime TIMESTAMP(3), endtime TIMESTAMP(3))
  WITH ('connector' = 'blackhole');

CREATE VIEW answer AS
  SELECT bidder, count(*) AS bid_count,
         SESSION_START(`dateTime`, INTERVAL '10' SECOND) AS starttime,
         SESSION_END(`dateTime`, INTERVAL '10' SECOND) AS endtime
  FROM bid
  GROUP BY bidder, SESSION(`dateTime`, INTERVAL '10' SECOND);
