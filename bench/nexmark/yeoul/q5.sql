-- Hot items: the auctions with the most bids in each window of 10 seconds, every 2 seconds.
SELECT bids.auction, bids.num, bids.starttime, bids.endtime
FROM (
  SELECT auction, count(*) AS num, window_start AS starttime, window_end AS endtime
  FROM HOP(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds')
  GROUP BY auction, window_start, window_end
) bids
JOIN (
  SELECT max(num) AS maxn, starttime, endtime
  FROM (
    SELECT count(*) AS num, window_start AS starttime, window_end AS endtime
    FROM HOP(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds')
    GROUP BY auction, window_start, window_end
  ) counted
  GROUP BY starttime, endtime
) most
ON bids.starttime = most.starttime AND bids.endtime = most.endtime AND bids.num >= most.maxn
