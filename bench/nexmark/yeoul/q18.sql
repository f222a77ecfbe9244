-- The last bid of each user on each auction. The last key of the order decides between bids of the same time.
SELECT auction, bidder, price, channel, url, date_time, extra
FROM (
  SELECT *, row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC, extra) AS rank_number FROM bid
) bids
WHERE rank_number <= 1
