-- How many bids each user made in every 10 seconds.
SELECT bidder, count(*) AS bid_count, time_bucket(INTERVAL 10 SECONDS, date_time) AS starttime,
       starttime + INTERVAL 10 SECONDS AS endtime
FROM bid
GROUP BY bidder, starttime
