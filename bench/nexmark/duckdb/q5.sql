-- Hot items: the auctions with the most bids in each window of 10 seconds, every 2 seconds.
WITH counted AS (
  SELECT auction, count(*) AS num, starttime, starttime + INTERVAL 10 SECONDS AS endtime
  FROM (
    SELECT auction, time_bucket(INTERVAL 2 SECONDS, date_time) - INTERVAL 2 SECONDS * unnest([0, 1, 2, 3, 4]) AS starttime
    FROM bid
  ) hopped
  GROUP BY auction, starttime
)
SELECT auction, num, starttime, endtime
FROM counted
WHERE num = (SELECT max(num) FROM counted other WHERE other.starttime = counted.starttime)
