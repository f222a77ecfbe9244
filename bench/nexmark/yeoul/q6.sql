-- The average closing price of each seller's last auctions: of the winning bid and the ten before it. Equal times are
-- ordered by auction.
SELECT seller, id,
       avg(price) OVER (PARTITION BY seller ORDER BY date_time, id ROWS BETWEEN 10 PRECEDING AND CURRENT ROW) AS average
FROM (
  SELECT a.id, a.seller, b.price, b.date_time,
         row_number() OVER (PARTITION BY a.id, a.seller ORDER BY b.price DESC, b.date_time, b.extra) AS rank_number
  FROM auction a JOIN bid b ON a.id = b.auction
  WHERE b.date_time BETWEEN a.date_time AND a.expires
) bids
WHERE rank_number <= 1
