-- How many bids each user made in each of their sessions: a bid 10 seconds or more behind the one before begins a new one.
SELECT bidder, count(*) AS bid_count, min(date_time) AS starttime, max(date_time) + INTERVAL 10 SECONDS AS endtime
FROM (
  SELECT bidder, date_time, sum(begins) OVER (PARTITION BY bidder ORDER BY date_time ROWS UNBOUNDED PRECEDING) AS number
  FROM (
    SELECT bidder, date_time,
           CASE WHEN date_time - lag(date_time) OVER (PARTITION BY bidder ORDER BY date_time) < INTERVAL 10 SECONDS
                THEN 0 ELSE 1 END AS begins
    FROM bid
  ) bids
) sessions
GROUP BY bidder, number
