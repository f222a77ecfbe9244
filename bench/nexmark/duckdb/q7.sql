-- The highest bids of every 10 seconds.
SELECT b.auction, b.price, b.bidder, b.date_time, b.extra
FROM bid b
JOIN (
  SELECT max(price) AS maxprice, time_bucket(INTERVAL 10 SECONDS, date_time) + INTERVAL 10 SECONDS AS date_time
  FROM bid
  GROUP BY 2
) highest
ON b.price = highest.maxprice
WHERE b.date_time BETWEEN highest.date_time - INTERVAL 10 SECONDS AND highest.date_time
