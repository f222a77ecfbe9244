-- How many bids each user made in every 10 seconds. Nexmark asks for processing time; that of the events has an
-- answer that can be checked.
SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime
FROM TUMBLE(bid, date_time, INTERVAL '10 seconds')
GROUP BY bidder, window_start, window_end
